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

static inline bool comma_locale(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (writes_commas(names[i])) return true;
  char folder[] = "/tmp/kiln-locale-XXXXXX", command[256];
  if (!mkdtemp(folder)) return false;
  snprintf(command, sizeof command, "localedef -c --no-archive -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
  int done = system(command); /* its code is 1 where it has warned, too */
  setenv("LOCPATH", folder, 1);
  bool made = writes_commas("de_DE.UTF-8");
  unsetenv("LOCPATH");
  snprintf(command, sizeof command, "rm -rf %s", folder); /* what is in use stays mapped */
  done |= system(command);
  if (!made) print_message("no locale with a comma (localedef: %d)\n", done);
  return made;
}
#endif
