/* report.c - tells whoever started the program (`kiln sim`) what happened in it. The environment variable KILN_SIM_REPORTS names a file;
 * records are appended, each by one write, so that forked processes may share it: a letter, a text, a zero byte.
 *
 *   d  a device was opened       l  a launch was executed       f  a launch failed, with the finding       r  a module or launch was refused */
#include "api.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

void sim_report_hand(char kind, const char *text) {
  static int file = -2; /* under the lock of the entry points */
  if (file == -2) {
    const char *path = getenv("KILN_SIM_REPORTS");
    file = path && *path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
  }
  if (file < 0) return;
  struct iovec parts[] = {{&kind, 1}, {(void *)(uintptr_t)text, strlen(text) + 1}};
  while (writev(file, parts, 2) < 0) /* a full disk loses reports; the program's own results are not touched */
    if (errno != EINTR) return;
}
