/* tune_store.h - the file of measurements of a device, as `kiln tune` writes it (runtime/tuned.h reads it). Every addition is on the disk when
 * the call returns: the file is locked, read again, merged and renamed into place, so that several processes may add at once. */
#ifndef KILN_CLI_TUNE_STORE_H
#define KILN_CLI_TUNE_STORE_H
#include "../../runtime/tuned.h"
#include "cli.h"

typedef struct TuneStore {
  char path[CACHE_PATH_BYTES + CACHE_NAME_BYTES], header[TUNED_HEADER_BYTES];
  char **line; /* without newline; only whole ones */
  int n, room;
  int damaged; /* lines that were left out */
  char found[TUNED_LINE_BYTES]; /* the last one asked for, cut into its words */
  bool foreign; /* there is a file of another version or device: begun anew at the first addition */
} TuneStore;

bool tune_store_open(TuneStore *s, const kiln_device_info *info); /* false after a message: no folder can be written, or a file not be read */
void tune_store_close(TuneStore *s);

/* The words before the result: what a measurement is of. Owned by the caller: cli_free. */
char *tune_store_subject(const TunedKey *key);

/* The result of a subject, with the hash of the text it was measured with. false: there is none of that text. The result lives until the next
 * call on the store. */
bool tune_store_find(TuneStore *s, const char *subject, const char *hash, TunedLine *out);
/* Adds a result, or puts it in the place of the subject's earlier one. false after a message. */
bool tune_store_add(TuneStore *s, const char *subject, const char *hash, const char *result);
#endif
