/* tune_store.c - see tune_store.h. */
#include "tune_store.h"
#include "write.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void forget(TuneStore *s) {
  for (int i = 0; i < s->n; i++) cli_free(s->line[i]);
  s->n = s->damaged = 0;
  s->foreign = false;
}

static void append(TuneStore *s, const char *line, size_t bytes) {
  if (s->n == s->room) {
    char **wider = cli_alloc((size_t)(s->room * 2 + 64) * sizeof *wider);
    if (s->n) memcpy(wider, s->line, (size_t)s->n * sizeof *wider);
    cli_free(s->line);
    s->line = wider;
    s->room = s->room * 2 + 64;
  }
  s->line[s->n++] = cli_text_n(line, bytes);
}

static bool is_whole(const char *line, size_t bytes) {
  char copy[TUNED_LINE_BYTES];
  TunedLine fields;
  if (bytes >= sizeof copy) return false;
  memcpy(copy, line, bytes);
  copy[bytes] = 0;
  return tuned_read(copy, &fields);
}

/* What the file holds now; without one, nothing. false after a message: there is one that cannot be read, and so must not be replaced. */
static bool read_file(TuneStore *s) {
  CacheFile file;
  struct stat about;
  forget(s);
  bool there = cache_read(s->path, &file);
  if (!there && (stat(s->path, &about) != 0 || about.st_size == 0)) return true;
  if (!there && !cache_read(s->path, &file)) { /* a second time: another process may have made it in between */
    cli_error("%s: cannot be read, or has %d MB or more, which no selection looks at; move it away", s->path, CACHE_MAX_BYTES >> 20);
    return false;
  }
  size_t first = strcspn(file.text, "\n");
  s->foreign = first != strlen(s->header) || memcmp(file.text, s->header, first) != 0;
  for (const char *at = file.text + first + (file.text[first] == '\n'); !s->foreign && *at;) {
    size_t n = strcspn(at, "\n");
    if (is_whole(at, n)) append(s, at, n);
    else s->damaged++;
    at += n + (at[n] == '\n');
  }
  cache_free(&file);
  return true;
}

bool tune_store_open(TuneStore *s, const kiln_device_info *info) {
  memset(s, 0, sizeof *s);
  tuned_header(info, s->header);
  if (!tuned_path(info, s->path, true)) {
    cli_error("tune: there is no folder for the measurements: $XDG_CACHE_HOME/kiln or ~/.cache/kiln must be one that can be written");
    return false;
  }
  return read_file(s);
}

void tune_store_close(TuneStore *s) {
  forget(s);
  cli_free(s->line);
  memset(s, 0, sizeof *s);
}

char *tune_store_subject(const TunedKey *k) {
  char text[TUNED_LINE_BYTES];
  snprintf(text, sizeof text, "%s %s %s %s %s", k->op, k->target, k->settings, k->sizes, k->schedule);
  return cli_text(text);
}

static int find(const TuneStore *s, const char *subject) {
  size_t n = strlen(subject);
  for (int i = 0; i < s->n; i++)
    if (strncmp(s->line[i], subject, n) == 0 && s->line[i][n] == ' ') return i;
  return -1;
}

bool tune_store_find(TuneStore *s, const char *subject, const char *hash, TunedLine *out) {
  int i = find(s, subject);
  if (i < 0) return false;
  snprintf(s->found, sizeof s->found, "%s", s->line[i]);
  return tuned_read(s->found, out) && strcmp(out->ptx, hash) == 0;
}

static bool write_file(const TuneStore *s) {
  size_t bytes = strlen(s->header) + 1;
  for (int i = 0; i < s->n; i++) bytes += strlen(s->line[i]) + 1;
  char *text = cli_alloc(bytes + 1), *to = text;
  to += sprintf(to, "%s\n", s->header);
  for (int i = 0; i < s->n; i++) to += sprintf(to, "%s\n", s->line[i]);
  bool done = write_whole(s->path, text, bytes);
  cli_free(text);
  return done;
}

/* The subject's words again, as fields, and the result: a line with its hash. */
static bool make_line(const char *subject, const char *hash, const char *result, char *line, size_t bytes) {
  char words[TUNED_LINE_BYTES], *field[5], *at = words;
  snprintf(words, sizeof words, "%s", subject);
  for (int i = 0; i < 5; i++) {
    field[i] = at;
    at += strcspn(at, " ");
    if (*at) *at++ = 0;
  }
  int n = tuned_write(&(TunedLine){field[0], field[1], field[2], field[3], field[4], result, hash}, line, bytes);
  if (n < 0 || (size_t)n >= bytes) return false;
  line[n - 1] = 0; /* without the newline */
  return true;
}

bool tune_store_add(TuneStore *s, const char *subject, const char *hash, const char *result) {
  char line[TUNED_LINE_BYTES], path[sizeof s->path + 8];
  if (!make_line(subject, hash, result, line, sizeof line)) return cli_error("tune: too long a line for %s", s->path), false;
  snprintf(path, sizeof path, "%s.lock", s->path);
  int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), held = -1;
  while (lock >= 0 && (held = flock(lock, LOCK_EX)) < 0 && errno == EINTR) continue;
  if (held < 0) {
    cli_error("%s: cannot be locked: %s", path, strerror(errno));
    if (lock >= 0) close(lock);
    return false;
  }
  if (!read_file(s)) {
    close(lock);
    return false;
  }
  int i = find(s, subject);
  if (i >= 0) {
    cli_free(s->line[i]);
    s->line[i] = cli_text(line);
  } else {
    append(s, line, strlen(line));
  }
  bool done = write_file(s);
  close(lock); /* which unlocks it */
  return done;
}
