/* comma_locale.h - the program's locale becomes one that writes 1,5 for 1.5, as an application's setlocale would make it. Where the machine has
 * none, localedef makes one; false: neither can be had. Included by tests/unit/test_select.c and test_sim_calls.c. */
#ifndef COMMA_LOCALE_H
#define COMMA_LOCALE_H
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline bool writes_commas(const char *name) {
  char text[16];
  if (!setlocale(LC_ALL, name)) return false;
  snprintf(text, sizeof text, "%.1f", 1.5);
  return text[1] == ',';
}

static char locale_folder[] = "/tmp/kiln-locale-XXXXXX";

static inline void remove_locale(void) {
  char command[64];
  snprintf(command, sizeof command, "rm -rf %s", locale_folder);
  if (system(command)) perror(command);
}

static inline bool comma_locale(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE"};
  static bool tried;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (writes_commas(names[i])) return true;
  if (tried || !mkdtemp(locale_folder)) return false;
  tried = true;
  atexit(remove_locale);
  char command[128]; /* with a small character set: that is most of its time; its code is 1 where it has warned, too */
  snprintf(command, sizeof command, "localedef -c --no-archive -i de_DE -f ISO-8859-1 %s/de_DE >/dev/null 2>&1", locale_folder);
  int code = system(command);
  setenv("LOCPATH", locale_folder, 1);
  if (writes_commas("de_DE")) return true;
  print_message("no locale with a comma (localedef: %d)\n", code);
  unsetenv("LOCPATH");
  return false;
}
#endif
