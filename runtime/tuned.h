/* tuned.h - the file of measurements that `kiln tune` keeps for a device, and what it says of arguments. docs/tuning.md is its grammar.
 *
 * A line is one measurement and ends in its own hash. Of the lines of an op under some settings at some sizes the fastest counts; so there is
 * no second list that could disagree, and files merge line by line. */
#ifndef KILN_TUNED_H
#define KILN_TUNED_H
#include "cache.h"
#include "kiln.h"

enum { TUNED_VERSION = 1, TUNED_TEXT_BYTES = 768, TUNED_LINE_BYTES = 4096, TUNED_HEADER_BYTES = 256, TUNED_MAX_AXES = 16 };

/* Texts without blanks: lists by commas, "-" for an empty one. */
typedef struct TunedLine {
  const char *op, *target, *settings, *sizes, *schedule;
  const char *result; /* a number in the file's unit, or a word: why there is none */
  const char *ptx;    /* hash of the text that was measured, 16 hexadecimal digits */
} TunedLine;

bool tuned_read(char *line, TunedLine *out); /* cuts it in place; false: damaged */
int tuned_write(const TunedLine *line, char *text, size_t bytes); /* with its hash and a newline; as snprintf */
bool tuned_figure(const TunedLine *line, double *out); /* false: the result is a word */

/* The device's file, and its first line without newline. make: its folder is there afterwards. */
bool tuned_path(const kiln_device_info *info, char path[CACHE_PATH_BYTES + CACHE_NAME_BYTES], bool make);
void tuned_header(const kiln_device_info *info, char text[TUNED_HEADER_BYTES]);
const char *tuned_unit(const kiln_device_info *info); /* "ns"; on a simulated device "lane-instructions" */

/* Under which words measurements of one variant for these arguments are kept. Loads nothing; a variant that does not fit, or that has more
 * axes than a line holds, is refused with a message. */
typedef struct TunedKey {
  char op[64], target[16];
  char settings[TUNED_TEXT_BYTES], sizes[TUNED_TEXT_BYTES], schedule[TUNED_TEXT_BYTES];
} TunedKey;
kiln_status tuned_key(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, const char *variant, TunedKey *out);
#endif
