/* error.h - this thread's last message, and the status that goes with it. */
#ifndef KILN_ERROR_H
#define KILN_ERROR_H
#include "kiln.h"

/* Replaces the message. Too long a text is cut at a word and ends in " ...". Returns status, so that callers write
 * `return error_set(KILN_BAD_SIZE, ...)`. */
kiln_status error_set(kiln_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts words in front of the message ("rms_norm.ptx: "); the status stays what it was. */
kiln_status error_prefix(kiln_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends lines: a compile log, the simulator's report. */
void error_append(const char *text);

#endif
