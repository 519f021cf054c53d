/* write.c - see write.h. */
#include "write.h"
#include "../../runtime/cache.h"
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool complain(const char *path, const char *what) {
  cli_error("%s: cannot %s: %s", path, what, strerror(errno));
  return false;
}

static bool write_direct(const char *path, const char *text, size_t bytes) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return complain(path, "open it");
  bool done = cache_write_all(fd, text, bytes);
  if (!done) complain(path, "write");
  close(fd);
  return done;
}

static bool replace(const char *path, const char *text, size_t bytes, mode_t mode) {
  size_t n = strlen(path);
  char *temporary = cli_alloc(n + 32);
  snprintf(temporary, n + 32, "%s.%ld.tmp", path, (long)getpid());
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) {
    complain(path, "create a file beside it");
    cli_free(temporary);
    return false;
  }
  bool done = cache_write_all(fd, text, bytes) || complain(path, "write");
  if (close(fd) != 0 && done) done = complain(path, "write");
  if (done && rename(temporary, path) != 0) done = complain(path, "rename to it");
  if (!done) unlink(temporary);
  cli_free(temporary);
  return done;
}

bool write_whole(const char *path, const char *text, size_t bytes) {
  struct stat st;
  if (stat(path, &st) != 0) return replace(path, text, bytes, 0666); /* the process's umask applies */
  if (S_ISDIR(st.st_mode)) {
    cli_error("%s: is a folder, a file's name was expected", path);
    return false;
  }
  if (!S_ISREG(st.st_mode)) return write_direct(path, text, bytes);
  char *real = realpath(path, NULL);
  if (!real) return complain(path, "find it");
  bool done = replace(real, text, bytes, st.st_mode & 0777);
  free(real); /* made by realpath, outside the hook */
  return done;
}

bool write_whole_below(const char *path, const char *text, size_t bytes) {
  char *folder = cli_text(path);
  bool made = true;
  for (char *slash = strchr(folder + 1, '/'); made && slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) made = complain(folder, "make the folder");
    *slash = '/';
  }
  cli_free(folder);
  return made && write_whole(path, text, bytes);
}
