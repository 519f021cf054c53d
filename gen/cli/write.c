/* write.c - see write.h. */
#include "write.h"
#include "../../runtime/cache.h"
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool complain(const char *path, const char *what) {
  cli_error("%s: cannot %s: %s", path, what, strerror(errno));
  return false;
}

/* For want of a folder, or of the right to write there? */
static bool complain_beside(const char *path) {
  const char *slash = strrchr(path, '/');
  if (errno != ENOENT || !slash) return complain(path, "create a file beside it");
  cli_error("%s: cannot write: there is no folder %.*s", path, (int)(slash - path), path);
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

/* A name that nobody has: an earlier run with this process's number may have been killed and have left its file, as happens in containers. */
static int open_beside(const char *path, char *temporary, size_t room, mode_t mode) {
  int fd = -1;
  for (int i = 0; i < 100; i++) {
    snprintf(temporary, room, "%s.%ld-%d.tmp", path, (long)getpid(), i);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) break;
  }
  return fd;
}

static bool replace(const char *path, const char *text, size_t bytes, mode_t mode) {
  size_t n = strlen(path);
  char *temporary = cli_alloc(n + 48);
  sigset_t stops, before; /* Ctrl-C and the like wait until the file stands or the temporary one is gone: it takes no time */
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGHUP);
  sigaddset(&stops, SIGQUIT);
  sigprocmask(SIG_BLOCK, &stops, &before);
  int fd = open_beside(path, temporary, n + 48, mode);
  bool done = fd >= 0 ? cache_write_all(fd, text, bytes) || complain(path, "write") : complain_beside(path);
  if (fd >= 0 && close(fd) != 0 && done) done = complain(path, "write");
  if (done && rename(temporary, path) != 0) done = complain(path, "rename to it");
  if (fd >= 0 && !done) unlink(temporary);
  sigprocmask(SIG_SETMASK, &before, NULL);
  cli_free(temporary);
  return done;
}

/* Where a link leads that leads to nothing; NULL: path is none. For the caller to free. */
static char *end_of_link(const char *path) {
  char to[PATH_MAX];
  ssize_t n = readlink(path, to, sizeof to - 1);
  if (n < 0) return NULL;
  to[n] = 0;
  const char *slash = *to == '/' ? NULL : strrchr(path, '/');
  int before = slash ? (int)(slash - path) + 1 : 0;
  char *end = cli_alloc((size_t)before + (size_t)n + 1);
  memcpy(end, path, (size_t)before);
  memcpy(end + before, to, (size_t)n + 1);
  return end;
}

static bool write_new(const char *path, const char *text, size_t bytes, int links) {
  char *end = end_of_link(path);
  if (!end) return replace(path, text, bytes, 0666); /* the process's umask applies */
  errno = ELOOP;
  bool done = links > 0 ? write_new(end, text, bytes, links - 1) : complain(path, "follow it");
  cli_free(end);
  return done;
}

bool make_temporary(char *path, size_t bytes, const char *name) {
  const char *tmp = getenv("TMPDIR");
  int n = snprintf(path, bytes, "%s/%s-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp", name);
  if (n >= 0 && n < (int)bytes) return mkdtemp(path) != NULL;
  errno = ENAMETOOLONG;
  return false;
}

bool write_whole(const char *path, const char *text, size_t bytes) {
  struct stat st;
  if (stat(path, &st) != 0) return write_new(path, text, bytes, 8);
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

bool make_folders(const char *path) {
  char *folder = cli_text(path);
  bool made = true;
  for (char *slash = strchr(folder + 1, '/'); made && slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) made = complain(folder, "make the folder");
    *slash = '/';
  }
  cli_free(folder);
  return made;
}

bool write_whole_below(const char *path, const char *text, size_t bytes) { return make_folders(path) && write_whole(path, text, bytes); }
