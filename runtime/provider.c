/* provider.c - the shipped provider: asks the command which settings an op has, lets it emit what the arguments need, and
 * keeps the result in a cache folder.
 *
 * An entry of the cache ends in a line with the length and hash of what stands before it; whatever does not match is made
 * anew. Entries are written to a temporary name and renamed, so that a reader sees a whole one or none. The hash in an entry's
 * name covers all that the text depends on: op, target, settings, and the command itself (path, size, time). */
#define _GNU_SOURCE
#include "alloc.h"
#include "cache.h"
#include "error.h"
#include "expr.h"
#include "kiln.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
  OUTPUT_BYTES = 65536, /* the list of a chain with four stages has 13 KB */
  SET_BYTES = 1024,
  MAX_CHOICES = 16,
  MAX_OPEN = 4,
  SCHEDULE_BYTES = 2048,
  CHILD_SECONDS = 120 /* unless KILN_EMIT_SECONDS says otherwise; an emission takes 10 to 50 ms */
};

typedef struct Job {
  kiln_device *dev;
  const kiln_request *request;
  char command[CACHE_PATH_BYTES], folder[CACHE_PATH_BYTES];
  bool keeps; /* folder is a cache that can be written */
  uint64_t identity;
  char dtypes[64]; /* what `dtype` may be */
  int seconds;     /* that a child may take */
  bool late;       /* the last one took longer, and was ended */
  char output[OUTPUT_BYTES];                            /* of the last child: standard output and error */
  char settings[OUTPUT_BYTES], schedules[OUTPUT_BYTES]; /* what it listed */
} Job;

/* ---- the child ---- */

static kiln_status refuse(const Job *job, const char *what) {
  const char *said = job->output;
  if (job->late)
    return error_set(KILN_PROVIDER, "%s: `%s` had not ended after %d s (KILN_EMIT_SECONDS gives it more); emit the file by hand and kiln_add it",
                     job->request->op, job->command, job->seconds);
  return error_set(KILN_PROVIDER, "%s: `%s` %s%s%s; emit the file by hand and kiln_add it", job->request->op, job->command, what,
                   *said ? ": " : "", said);
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the child closes its output; false: it has not in time. */
static bool read_output(Job *job, int from) {
  size_t n = 0;
  char rest[512];
  int64_t end = now_ms() + (int64_t)job->seconds * 1000;
  bool late = false;
  for (;;) {
    int64_t left = end - now_ms();
    struct pollfd wait = {.fd = from, .events = POLLIN};
    int ready = left > 0 ? poll(&wait, 1, (int)left) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      late = true;
      break;
    }
    bool room = n < OUTPUT_BYTES - 1;
    ssize_t got = read(from, room ? job->output + n : rest, room ? OUTPUT_BYTES - 1 - n : sizeof rest);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (room) n += (size_t)got;
  }
  while (n && (job->output[n - 1] == '\n' || job->output[n - 1] == ' ')) n--;
  job->output[n] = 0;
  return !late;
}

/* Runs the command with its output in job->output; its exit code, or -1 if it could not be run. */
static int run(Job *job, char *const argv[]) {
  int ends[2], code = -1;
  pid_t child;
  job->output[0] = 0;
  job->late = false;
  if (pipe2(ends, O_CLOEXEC)) return -1;
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) == 0) {
    int failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!failed) failed = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    if (!failed) failed = posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    if (!failed) failed = posix_spawn(&child, job->command, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    ends[1] = -1;
    if (!failed) {
      int state;
      pid_t done;
      job->late = !read_output(job, ends[0]);
      if (job->late) kill(child, SIGKILL);
      do done = waitpid(child, &state, 0);
      while (done < 0 && errno == EINTR);
      if (done == child && WIFEXITED(state)) code = WEXITSTATUS(state);
      /* the program ignores SIGCHLD, or waits for every child itself: what this one said must do */
      if (done < 0 && errno == ECHILD && !job->late) code = strncmp(job->output, "kiln: ", 6) == 0;
    }
  }
  if (ends[1] >= 0) close(ends[1]);
  close(ends[0]);
  return code;
}

static int child_seconds(void) {
  const char *given = getenv("KILN_EMIT_SECONDS");
  int64_t n;
  return given && expr_integer(given, strlen(given), &n) && n > 0 && n < 86400 ? (int)n : CHILD_SECONDS;
}

/* The command's file, found as a shell would; its identity goes into every entry's name. */
static kiln_status find_command(Job *job, const char *name) {
  struct stat about;
  const char *path = getenv("PATH");
  if (strchr(name, '/')) path = "";
  bool found = false;
  for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; !found; at++) {
    const char *end = strchrnul(at, ':');
    int n = snprintf(job->command, CACHE_PATH_BYTES, "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "", name);
    found =
        n > 0 && n < CACHE_PATH_BYTES && stat(job->command, &about) == 0 && S_ISREG(about.st_mode) && access(job->command, X_OK) == 0;
    at = end;
    if (!*end) break;
  }
  if (!found)
    return error_set(KILN_PROVIDER,
                     "%s: the command %s was not found; name it in kiln_set_provider's user argument, or add the "
                     "op's files with kiln_add",
                     job->request->op, name);
  const int64_t facts[] = {about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec};
  job->identity = cache_hash(cache_hash_text(cache_hash_text(CACHE_HASH_START, kiln_version()), job->command), facts, sizeof facts);
  return KILN_OK;
}

/* ---- settings ---- */

static const kiln_arg *find_arg(const kiln_request *r, const char *name, size_t bytes) {
  for (int i = 0; i < r->nargs; i++)
    if (strlen(r->args[i].name) == bytes && memcmp(r->args[i].name, name, bytes) == 0) return &r->args[i];
  return NULL;
}

static const kiln_tensor *first_tensor(const kiln_request *r) {
  for (int i = 0; i < r->nargs; i++)
    if (r->args[i].tensor) return r->args[i].tensor;
  return NULL;
}

static bool append(char *text, size_t capacity, const char *key, size_t key_bytes, const char *value, size_t value_bytes) {
  size_t used = strlen(text);
  if (used + key_bytes + value_bytes + 3 > capacity) return false;
  snprintf(text + used, capacity - used, "%s%.*s=%.*s", used ? "," : "", (int)key_bytes, key, (int)value_bytes, value);
  return true;
}

typedef struct Open {
  const char *key, *values;
  size_t key_bytes, values_bytes;
} Open; /* a setting that arguments do not decide */

static bool lists(const char *values, size_t bytes, const char *value) {
  size_t n = strlen(value);
  for (const char *at = values, *end = values + bytes; at < end;) {
    const char *stop = memchr(at, '|', (size_t)(end - at));
    if (!stop) stop = end;
    if ((size_t)(stop - at) == n && memcmp(at, value, n) == 0) return true;
    at = stop + 1;
  }
  return false;
}

/* Whether the op has a setting NAME_dtype for this tensor. */
static bool has_own_dtype(const char *settings, const char *name) {
  char key[80];
  if (snprintf(key, sizeof key, "%s_dtype=", name) >= (int)sizeof key) return false;
  for (const char *at = settings; (at = strstr(at, key)); at++)
    if (at > settings && (at[-1] == ' ' || at[-1] == '\t' || at[-1] == '\n')) return true;
  return false;
}

/* What the setting `dtype` may be: the dtype of the first tensor where the setting has it. Codes of eight bits may stand there; it is
 * then any that the other tensors have, but for those with a setting of their own: "f32|f16" of f32 scales and an f16 result. */
static const char *possible_dtypes(Job *job, const char *values, size_t values_bytes) {
  const kiln_request *r = job->request;
  const kiln_tensor *first = first_tensor(r);
  const char *own = first ? kiln_dtype_name(first->dtype) : NULL;
  job->dtypes[0] = 0;
  for (int i = 0; i < r->nargs && own && !lists(values, values_bytes, own); i++) {
    const char *name = r->args[i].tensor ? kiln_dtype_name(r->args[i].tensor->dtype) : "";
    size_t used = strlen(job->dtypes);
    if (*name && lists(values, values_bytes, name) && !lists(job->dtypes, used, name) &&
        !has_own_dtype(job->settings, r->args[i].name))
      snprintf(job->dtypes + used, sizeof job->dtypes - used, "%s%s", used ? "|" : "", name);
  }
  return *job->dtypes ? job->dtypes : own;
}

/* Whether "key=value" is among those that are decided. */
static bool is_decided(const char *set, const char *key, const char *value) {
  size_t n = strlen(key), m = strlen(value);
  for (const char *at = set; *at; at += *at == ',') {
    size_t word = strcspn(at, ",");
    if (word == n + 1 + m && memcmp(at, key, n) == 0 && at[n] == '=' && memcmp(at + n + 1, value, m) == 0) return true;
    at += word;
  }
  return false;
}

/* One "key=v1|v2|v3" of the op, decided by the arguments: a text argument names it; `dtype` as possible_dtypes says; NAME=yes|no
 * says whether tensor NAME is there; NAME_dtype is that tensor's own ("same" where it is the op's `dtype`, which comes before). What
 * says something else about a tensor (NAME_major) or of one of its dims (NAME_B=yes|no) stays open: every value is emitted, and
 * selection finds the one that fits. */
static bool decide(Job *job, const char *key, size_t key_bytes, const char *values, size_t values_bytes, char *set, Open *open,
                   int *nopen) {
  const kiln_request *r = job->request;
  const kiln_arg *named = find_arg(r, key, key_bytes);
  const char *underscore = memrchr(key, '_', key_bytes);
  const kiln_arg *owner = underscore ? find_arg(r, key, (size_t)(underscore - key)) : NULL;
  const char *value = NULL;
  if (named && named->text)
    value = named->text;
  else if (key_bytes == 5 && memcmp(key, "dtype", 5) == 0) {
    value = possible_dtypes(job, values, values_bytes);
    if (value && strchr(value, '|')) {
      if (*nopen == MAX_OPEN) return false;
      open[(*nopen)++] = (Open){key, value, key_bytes, strlen(value)};
      value = NULL;
    }
  } else if (memmem(values, values_bytes, "yes", 3) && memmem(values, values_bytes, "no", 2) && (named || !owner || !owner->tensor))
    value = named && named->tensor ? "yes" : "no";
  else if (owner && owner->tensor && strncmp(underscore, "_dtype", 6) == 0) {
    value = kiln_dtype_name(owner->tensor->dtype);
    if (is_decided(set, "dtype", value) && lists(values, values_bytes, "same")) value = "same";
  } else if (owner && owner->tensor) {
    if (*nopen == MAX_OPEN) return false;
    open[(*nopen)++] = (Open){key, values, key_bytes, values_bytes};
  }
  return !value || append(set, SET_BYTES, key, key_bytes, value, strlen(value));
}

/* Reads the op's settings off `kiln list OP`: the words with an = between name and values. */
static kiln_status ask_settings(Job *job, char *set, Open *open, int *nopen) {
  char *argv[] = {job->command, "list", (char *)(uintptr_t)job->request->op, NULL};
  int code = run(job, argv);
  if (code) return refuse(job, code < 0 ? "could not be run" : "does not know the op");
  memcpy(job->settings, job->output, OUTPUT_BYTES); /* open settings point into it */
  bool fits = true;
  for (const char *at = job->settings; *at;) {
    size_t n = strcspn(at, " \t\n"), key = 0;
    while (key < n && expr_is_name(at[key])) key++;
    if (key > 0 && key + 1 < n && at[key] == '=')
      fits &= decide(job, at, key, at + key + 1, n - key - 1, set, open, nopen);
    at += n + strspn(at + n, " \t\n");
  }
  return fits ? KILN_OK : refuse(job, "has more settings than a request can hold");
}

/* ---- the cache ---- */

static void choose_folder(Job *job) {
  const char *temporary = getenv("TMPDIR");
  job->keeps = cache_folder(job->folder, true);
  if (job->keeps) return;
  int n = snprintf(job->folder, CACHE_PATH_BYTES, "%s",
                   temporary && *temporary == '/' ? temporary : "/tmp"); /* no cache, but no refusal either */
  if (n >= CACHE_PATH_BYTES - CACHE_NAME_BYTES) snprintf(job->folder, CACHE_PATH_BYTES, "/tmp");
}

#define SEAL "// kiln cache %016" PRIx64 " %020zu\n"
enum { SEAL_BYTES = 14 + 16 + 1 + 20 + 1 };

static bool is_sealed(const CacheFile *e) {
  char seal[SEAL_BYTES + 1];
  if (e->bytes <= SEAL_BYTES) return false;
  size_t body = e->bytes - SEAL_BYTES;
  snprintf(seal, sizeof seal, SEAL, cache_hash(CACHE_HASH_START, e->text, body), body);
  return memcmp(e->text + body, seal, SEAL_BYTES) == 0;
}

/* Seals the temporary file and gives it its name; that this may fail costs only a later emission. */
static void keep_entry(const char *temporary, const char *path, const CacheFile *e) {
  char seal[SEAL_BYTES + 1];
  int n = snprintf(seal, sizeof seal, SEAL, cache_hash(CACHE_HASH_START, e->text, e->bytes), e->bytes);
  int file = open(temporary, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return;
  bool written = n == SEAL_BYTES && cache_write_all(file, seal, SEAL_BYTES);
  written = close(file) == 0 && written;
  if (!written || rename(temporary, path)) unlink(temporary);
}

static kiln_status emit(Job *job, char *set, char *schedule, const char *path) {
  char temporary[CACHE_PATH_BYTES + 16];
  snprintf(temporary, sizeof temporary, "%s/.emit-XXXXXX", job->folder);
  int file = mkstemp(temporary);
  if (file < 0) return refuse(job, "has no folder for its output");
  close(file);
  char *op = (char *)(uintptr_t)job->request->op,
       *target = (char *)(uintptr_t)job->request->target; /* exec's argv is not const */
  char *argv[16] = {job->command, "emit", op, "--target", target, "-o", temporary};
  int n = 7;
  if (*set) argv[n++] = "--set", argv[n++] = set;
  if (*schedule) argv[n++] = "--schedule", argv[n++] = schedule;
  CacheFile e = {0};
  int code = run(job, argv);
  kiln_status s = code < 0 ? refuse(job, "could not be run") : code > 0 ? refuse(job, "emit refused") : KILN_OK;
  if (!s && !cache_read(temporary, &e))
    s = e.no_memory ? error_set(KILN_NO_MEMORY, "kiln_emit_provider: out of memory")
                    : refuse(job, "emit wrote nothing that can be read");
  if (!s) s = kiln_add_text(job->dev, path, e.text, e.bytes);
  if (!s && job->keeps)
    keep_entry(temporary, path, &e);
  else
    unlink(temporary);
  cache_free(&e);
  return s;
}

/* From the cache, or from the command. */
static kiln_status supply_one(Job *job, char *set, char *schedule) {
  const kiln_request *r = job->request;
  char path[CACHE_PATH_BYTES + CACHE_NAME_BYTES], op[65];
  uint64_t key = cache_hash_text(cache_hash_text(cache_hash_text(cache_hash_text(job->identity, r->op), r->target), set), schedule);
  snprintf(op, sizeof op, "%s", r->op);
  for (char *c = op; *c; c++)
    if (!expr_is_name(*c)) *c = '_';
  snprintf(path, sizeof path, "%s/%s-%.16s-%016" PRIx64 ".ptx", job->folder, op, r->target, key);
  CacheFile e;
  if (job->keeps && cache_read(path, &e)) {
    bool usable = is_sealed(&e) && kiln_add_text(job->dev, path, e.text, e.bytes - SEAL_BYTES) == KILN_OK;
    cache_free(&e);
    if (usable) return KILN_OK;
  }
  return emit(job, set, schedule, path);
}

/* The key=value words of a line, as --schedule takes them (a chain's keys have the stage's name and a dot in front); returns the line's end. */
static const char *read_schedule(const char *line, char *schedule) {
  const char *end = strchrnul(line, '\n');
  schedule[0] = 0;
  for (const char *at = line; at < end;) {
    size_t n = strcspn(at, " \t\n"), key = 0;
    while (key < n && (expr_is_name(at[key]) || at[key] == '.')) key++;
    if (key > 0 && key + 1 < n && at[key] == '=' && !append(schedule, SCHEDULE_BYTES, at, key, at + key + 1, n - key - 1))
      schedule[0] = 0;
    at += n + strspn(at + n, " \t");
  }
  return end;
}

/* Every schedule that the op offers for these settings, so that selection has its choice; one that the target refuses is no loss while
 * another is there. An op without a list is emitted as the command sees fit. */
static kiln_status supply(Job *job, char *set) {
  char *op = (char *)(uintptr_t)job->request->op, *target = (char *)(uintptr_t)job->request->target;
  char *argv[] = {job->command, "list", "--variants", op, "--target", target, *set ? "--set" : NULL, set, NULL};
  char schedule[SCHEDULE_BYTES] = "";
  int supplied = 0;
  kiln_status last = KILN_OK;
  bool listed = run(job, argv) == 0;
  memcpy(job->schedules, job->output, OUTPUT_BYTES);
  for (const char *at = job->schedules; listed && *at;) {
    at = read_schedule(at, schedule);
    at += *at == '\n';
    if (!*schedule) continue; /* the titles */
    kiln_status s = supply_one(job, set, schedule);
    if (s == KILN_NO_MEMORY) return s;
    if (s)
      last = s;
    else
      supplied++;
  }
  schedule[0] = 0;
  if (supplied) return KILN_OK;
  return last ? last : supply_one(job, set, schedule);
}

static int count_values(const Open *open) {
  int count = 1;
  for (size_t k = 0; k < open->values_bytes; k++) count += open->values[k] == '|';
  return count;
}

/* Every combination of what stayed open; one that the op refuses is no loss while another is there. */
static kiln_status supply_all(Job *job, const char *decided, const Open *open, int nopen) {
  kiln_status last = KILN_OK;
  int supplied = 0, choices = 1;
  for (int i = 0; i < nopen && choices <= MAX_CHOICES; i++) choices *= count_values(&open[i]);
  job->output[0] = 0;
  if (choices > MAX_CHOICES) return refuse(job, "has too many settings that these arguments leave open; name some by text arguments");
  for (int choice = 0; choice < choices; choice++) {
    char set[SET_BYTES];
    snprintf(set, sizeof set, "%s", decided);
    int rest = choice;
    for (int i = 0; i < nopen; i++) {
      int count = count_values(&open[i]), pick = rest % count;
      rest /= count;
      const char *value = open[i].values, *end = open[i].values + open[i].values_bytes;
      while (pick--) value = (const char *)memchr(value, '|', (size_t)(end - value)) + 1;
      const char *stop = memchr(value, '|', (size_t)(end - value));
      if (!append(set, sizeof set, open[i].key, open[i].key_bytes, value, (size_t)((stop ? stop : end) - value))) break;
    }
    kiln_status s = supply(job, set);
    if (s == KILN_NO_MEMORY) return s;
    if (s)
      last = s;
    else
      supplied++;
  }
  return supplied ? KILN_OK : last;
}

static kiln_status supply_needed(Job *job) {
  char set[SET_BYTES] = "";
  Open open[MAX_OPEN];
  int nopen = 0;
  kiln_status s = ask_settings(job, set, open, &nopen);
  return s ? s : supply_all(job, set, open, nopen);
}

/* "a=1 b=2" as --set and --schedule take it. */
static bool copy_list(char *out, size_t bytes, const char *list) {
  int n = snprintf(out, bytes, "%s", list ? list : "");
  for (char *c = out; *c; c++)
    if (*c == ' ') *c = ',';
  return n >= 0 && (size_t)n < bytes;
}

/* The one variant that the request names. */
static kiln_status supply_named(Job *job) {
  char set[SET_BYTES], schedule[SCHEDULE_BYTES];
  bool fits = copy_list(set, sizeof set, job->request->settings) && copy_list(schedule, sizeof schedule, job->request->schedule);
  return fits ? supply_one(job, set, schedule) : refuse(job, "is asked for more settings than a request can hold");
}

kiln_status kiln_emit_provider(void *user, kiln_device *dev, const kiln_request *request) {
  if (!dev || !request || !request->op || !request->target || (request->nargs && !request->args))
    return error_set(KILN_BAD_CALL, "kiln_emit_provider: dev or request is NULL or incomplete");
  if (!*request->op || *request->op == '-') return error_set(KILN_BAD_CALL, "kiln_emit_provider: \"%s\" is no op", request->op);
  Job *job = kiln_mem(NULL, 0, sizeof *job);
  if (!job) return error_set(KILN_NO_MEMORY, "kiln_emit_provider: out of memory");
  memset(job, 0, sizeof *job);
  job->dev = dev;
  job->request = request;
  job->seconds = child_seconds();
  choose_folder(job);
  kiln_status s = find_command(job, user ? user : "kiln");
  if (!s) s = request->schedule ? supply_named(job) : supply_needed(job);
  kiln_mem(job, sizeof *job, 0);
  return s;
}
