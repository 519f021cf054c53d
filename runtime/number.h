/* number.h - a number as text with a point in it, whatever the program's locale writes ("1,5"). */
#ifndef KILN_NUMBER_H
#define KILN_NUMBER_H
#include <locale.h>
#include <stddef.h>
#include <stdio.h>

enum { NUMBER_BYTES = 32 }; /* for what "%.17g" writes */

/* snprintf of one double in the C locale, which is set for this thread only. Returns text. */
static inline const char *number_text(char *text, size_t bytes, const char *spec, double v) {
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = plain ? uselocale(plain) : (locale_t)0;
  snprintf(text, bytes, spec, v);
  if (plain) {
    uselocale(before);
    freelocale(plain);
  }
  return text;
}
#endif
