/* error.c - see error.h; also the texts of every status. */
#include "error.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KILN_STATUS(name, value, text) _Static_assert(KILN_##name == value, "status.def and kiln.h differ");
#include "status.def"

enum { MESSAGE_BYTES = 8192 };
static _Thread_local char message[MESSAGE_BYTES];

/* Ends a text that did not fit at its last whole word, so that the reader sees that something is missing. */
static void end_at_word(char *text, size_t capacity) {
  static const char more[] = " ...";
  size_t at = capacity - sizeof more;
  for (size_t i = at; i > at - 64 && i > 0; i--)
    if (text[i] == ' ' || text[i] == '\n') {
      at = i;
      break;
    }
  memcpy(text + at, more, sizeof more);
}

kiln_status error_set(kiln_status status, const char *fmt, ...) {
  char text[MESSAGE_BYTES]; /* arguments may point into the old message */
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n < 0) text[0] = 0;
  if (n >= (int)sizeof text) end_at_word(text, sizeof text);
  memcpy(message, text, strlen(text) + 1);
  return status;
}

kiln_status error_prefix(kiln_status status, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n < 0) return status;
  if (n >= (int)sizeof text) end_at_word(text, sizeof text);
  size_t front = strlen(text), back = strlen(message);
  bool cut = front + back >= MESSAGE_BYTES;
  if (cut) back = MESSAGE_BYTES - 1 - front;
  memmove(message + front, message, back);
  memcpy(message, text, front);
  message[front + back] = 0;
  if (cut) end_at_word(message, MESSAGE_BYTES);
  return status;
}

void error_append(const char *text) {
  size_t n = strlen(message), more = strlen(text);
  bool cut = n + more >= MESSAGE_BYTES;
  if (cut) more = MESSAGE_BYTES - 1 - n;
  memcpy(message + n, text, more);
  message[n + more] = 0;
  if (cut) end_at_word(message, MESSAGE_BYTES);
}

const char *kiln_error(void) { return message; }

const char *kiln_status_text(kiln_status status) {
  switch (status) {
#define KILN_STATUS(name, value, text) case KILN_##name: return text;
#include "status.def"
  }
  return "not a status of kiln";
}

const char *kiln_status_name(kiln_status status) {
  switch (status) {
#define KILN_STATUS(name, value, text) case KILN_##name: return #name;
#include "status.def"
  }
  return "?";
}

const char *kiln_version(void) { return KILN_VERSION; }
