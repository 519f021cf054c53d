/* script.c - the closed Lua state: memory, ceilings, files, and errors that name a script's line. See script_lua.h.
 *
 * Ceilings. Instructions are counted by a hook, work inside C functions is charged to the same account, bytes are counted by the
 * allocator. The first breach stays: from then on the hook fires on every instruction, so nothing can go on. The price of an
 * instruction grows with the longest string that was ever made, since one comparison may read all of it. What no count shows is how
 * many keys of a table collide: for these the hook looks at the thread's processor time, too. Honest scripts take milliseconds of
 * it, so that no result depends on the clock. */
#include "script.h"
#include "../runtime/alloc.h"
#include "embed.h"
#include "script_lua.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char script_key_library, script_key_user, script_key_modules, script_key_core;

/* ---- ceilings ---- */

static const char *breach_words(ScriptBreach b) {
  switch (b) {
  case SCRIPT_STEPS: return "the script does not come to an end: it ran more than 25 million instructions";
  case SCRIPT_LIVE: return "the script takes more than 64 MB of memory";
  case SCRIPT_CHURN: return "the script allocates without end: more than 512 MB in all";
  case SCRIPT_STRING: return "the script makes a string of more than 1 MB";
  case SCRIPT_TABLE: return "the script makes a table of more than 32768 keys";
  case SCRIPT_TIME: return "the script does not come to an end: it took more than 1.2 s of processor time (do the keys of a large table collide?)";
  case SCRIPT_NO_BREACH: break;
  }
  return "";
}

static int64_t cpu_ns(void) { /* of this thread: other programs on a busy machine do not count */
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void stop_on_breach(lua_State *L, lua_Debug *ar) {
  (void)ar;
  Script *s = script_of(L);
  if (!s->breach) {
    size_t bytes = s->longest_string; /* scanned at each use as a number: those that no op needs cost more, for the two seconds on a busy machine */
    s->steps -= SCRIPT_HOOK_STEPS * (int64_t)(1 + bytes / (bytes < 65536 ? 256 : 64));
    if (s->steps < 0) s->breach = SCRIPT_STEPS;
    else if (cpu_ns() - s->began_ns > SCRIPT_MOST_CPU_NS) s->breach = SCRIPT_TIME;
  }
  if (s->breach) {
    lua_sethook(L, stop_on_breach, LUA_MASKCOUNT, 1);
    script_fail(L, "%s", breach_words(s->breach));
  }
  if (!s->gc_runs && s->live_bytes > SCRIPT_GC_STARTS) {
    s->gc_runs = true;
    lua_gc(L, LUA_GCRESTART);
  }
}

void script_charge(lua_State *L, size_t units) {
  Script *s = script_of(L);
  int64_t most = SCRIPT_MOST_STEPS;
  s->steps -= units < (size_t)most ? (int64_t)units : most;
  if (s->steps >= 0 && !s->breach) return;
  if (!s->breach) s->breach = SCRIPT_STEPS;
  lua_sethook(L, stop_on_breach, LUA_MASKCOUNT, 1);
  script_fail(L, "%s", breach_words(s->breach));
}

static void breach(Script *s, ScriptBreach b) {
  if (s->breach) return;
  s->breach = b;
  /* allowed from anywhere, also from inside an allocation: the next instruction raises, where a line is known */
  if (s->L) lua_sethook(s->L, stop_on_breach, LUA_MASKCOUNT, 1);
}

/* Lua 5.4 makes the hash part of a table as a fresh vector of 2^n nodes of 24 bytes; its stack has 16 to a slot, its buffers are made
 * for a string's length or grow from 1024 by halves. */
static bool is_hash_part(size_t bytes) { return bytes % 24 == 0 && ((bytes / 24) & (bytes / 24 - 1)) == 0; }

/* Lua's allocator. A ceiling is soft at first, so that the message has a line; a request far beyond it fails here. */
static void *allocate(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  Script *s = user;
  bool is_string = !ptr && old_bytes == LUA_TSTRING;
  if (!ptr && old_bytes == 0 && new_bytes > SCRIPT_MOST_HASH && is_hash_part(new_bytes)) breach(s, SCRIPT_TABLE);
  if (!ptr) old_bytes = 0;
  if (new_bytes > old_bytes) {
    size_t more = new_bytes - old_bytes;
    if (more > SCRIPT_HARD_LIVE || s->live_bytes + more > SCRIPT_HARD_LIVE) {
      breach(s, SCRIPT_LIVE);
      return NULL;
    }
    s->churn_bytes += more;
    if (is_string && new_bytes > s->longest_string) s->longest_string = new_bytes;
    if (is_string && new_bytes > SCRIPT_MOST_STRING + 64) breach(s, SCRIPT_STRING);
    if (s->live_bytes + more > SCRIPT_MOST_LIVE) breach(s, SCRIPT_LIVE);
    if (s->churn_bytes > SCRIPT_MOST_CHURN) breach(s, SCRIPT_CHURN);
  }
  void *block = kiln_mem(ptr, old_bytes, new_bytes);
  if (!block && new_bytes) return NULL;
  s->live_bytes += new_bytes - old_bytes;
  return block;
}

/* ---- raising, and the arena under Lua ---- */

void script_fail(lua_State *L, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  lua_pushstring(L, text);
  lua_error(L);
  __builtin_unreachable();
}

void script_fail_memory(lua_State *L) {
  script_of(L)->exhausted = true;
  lua_pushnil(L);
  lua_error(L);
  __builtin_unreachable();
}

void script_fail_reported(lua_State *L) {
  script_of(L)->reported = true;
  lua_pushnil(L);
  lua_error(L);
  __builtin_unreachable();
}

bool script_guard(Script *s, void (*body)(void *), void *with) {
  Arena *a = s->call->arena;
  jmp_buf here, *outer = a->on_exhausted;
  a->on_exhausted = &here;
  if (setjmp(here) == 0) {
    body(with);
    a->on_exhausted = outer;
    return true;
  }
  a->on_exhausted = outer;
  return false;
}

void *script_alloc(lua_State *L, size_t bytes) {
  void *at = arena_try(script_of(L)->call->arena, KEEP, bytes);
  if (!at) script_fail_memory(L);
  return at;
}

const char *script_copy(lua_State *L, int index) {
  size_t n;
  const char *s = lua_tolstring(L, index, &n);
  char *copy = script_alloc(L, n + 1);
  memcpy(copy, s, n);
  return copy;
}

/* ---- where a script stands ---- */

/* Chunks are called "=\1<index>": no copy of a path, no clipped name, and no text of a script looks like one. */
static int file_of(const char *source) { return source[0] == '=' && source[1] == '\1' ? atoi(source + 2) : 0; }

static bool frame_at(lua_State *L, int level, int *file, int *line) {
  lua_Debug ar;
  if (!lua_getstack(L, level, &ar)) return false;
  lua_getinfo(L, "S", &ar);
  *file = file_of(ar.source);
  *line = 0;
  if (*file) {
    lua_getinfo(L, "l", &ar);
    *line = ar.currentline > 0 ? ar.currentline : 1;
  }
  return true;
}

enum { MOST_LEVELS = 200 };

bool script_frame(lua_State *L, int *file, int *line) {
  Script *s = script_of(L);
  int inner_file = 0, inner_line = 0;
  for (int level = 0; level < MOST_LEVELS && frame_at(L, level, file, line); level++) {
    if (!*file) continue;
    if (s->file[*file].kind != SCRIPT_LIBRARY) return true;
    if (!inner_file) {
      inner_file = *file;
      inner_line = *line;
    }
  }
  *file = inner_file;
  *line = inner_line;
  return inner_file != 0;
}

typedef struct Naming { Script *s; ScriptFile *f; } Naming;
static void name_file(void *with) {
  Naming *n = with;
  n->f->diag_index = diag_file(n->s->call->diag, n->f->name, n->f->text);
}

bool script_loc(lua_State *L, int file, int line, Loc *loc) {
  Script *s = script_of(L);
  *loc = (Loc){0};
  if (file <= 0 || file > s->nfiles) return true;
  ScriptFile *f = &s->file[file];
  if (!f->diag_index) {
    Naming n = {s, f};
    if (!script_guard(s, name_file, &n)) return false;
  }
  loc->file = f->diag_index;
  loc->line = line > 0 ? (uint32_t)line : 0;
  return true;
}

/* ---- errors ---- */

/* Takes "\1<index>:<line>: " off the front of a message that Lua made. */
static const char *strip_place(Script *s, const char *message, int *file, int *line) {
  int f = 0, l = 0, n = 0;
  if (sscanf(message, "\1%d:%d: %n", &f, &l, &n) < 2 || !n || f <= 0 || f > s->nfiles) return message;
  *file = f;
  *line = l;
  return message + n;
}

/* Lua calls a chunk by its own name in some messages ("function '\1 3:12'"); a reader sees the file's. */
static void put_readable(Script *s, Text *out, const char *message) {
  while (*message) {
    size_t n = strcspn(message, "\1");
    text_put(out, message, n);
    message += n;
    if (*message != '\1') continue;
    char *end;
    long file = strtol(message + 1, &end, 10);
    if (file > 0 && file <= s->nfiles) text_str(out, s->file[file].name);
    message = end > message + 1 ? end : message + 1;
  }
}

static bool is_word(char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Column of the word that a message puts in quotes, if the line has it. */
static uint16_t quoted_column(const char *text, int line, const char *message) {
  const char *from = strchr(message, '\''), *to = from ? strchr(from + 1, '\'') : NULL;
  if (!text || !to || to == from + 1) return 0;
  size_t n = (size_t)(to - from - 1);
  for (int i = 1; i < line && text; i++) {
    text = strchr(text, '\n');
    if (text) text++;
  }
  size_t end = text ? strcspn(text, "\n") : 0;
  for (size_t at = 0; at + n <= end; at++) {
    bool starts = at == 0 || !is_word(text[at - 1]) || !is_word(from[1]);
    if (starts && !memcmp(text + at, from + 1, n)) return at < 0xffff ? (uint16_t)(at + 1) : 0;
  }
  return 0;
}

typedef struct Report {
  Script *s;
  const char *message;
  int file, line;        /* where the script stands */
  int inner_file, inner_line; /* where Lua says the error is; 0: it did not say */
  Loc loc;
  struct { int file, line; char name[48]; } frame[6];
  int nframes;
} Report;

static void write_report(void *with) {
  Report *r = with;
  Script *s = r->s;
  Diag *d = s->call->diag;
  if (r->message) {
    Text words;
    text_init(&words, d->arena, KEEP);
    put_readable(s, &words, r->message);
    if (r->inner_file && s->file[r->inner_file].kind == SCRIPT_LIBRARY)
      text_fmt(&words, " [at %s:%d]", s->file[r->inner_file].name, r->inner_line);
    if (r->loc.file) r->loc.col = quoted_column(s->file[r->file].text, r->line, words.at);
    diag_error(d, r->loc, "%s", words.at);
  }
  for (int i = 0; i < r->nframes; i++) {
    text_fmt(&d->text, "  called from %s:%d", s->file[r->frame[i].file].name, r->frame[i].line);
    if (r->frame[i].name[0]) text_fmt(&d->text, " in '%s'", r->frame[i].name);
    text_str(&d->text, "\n");
  }
}

/* The frames of ops, families and users' scripts that led here, maybe without the first, at which the error stands. */
static void collect_frames(lua_State *L, Report *r, bool without_first) {
  bool first = without_first;
  for (int level = 0, file, line; level < MOST_LEVELS && r->nframes < 6 && frame_at(L, level, &file, &line); level++) {
    if (!file || r->s->file[file].kind == SCRIPT_LIBRARY) continue;
    int i = r->nframes;
    if (first || (i && r->frame[i - 1].file == file && r->frame[i - 1].line == line)) { /* a recursion is told once */
      first = false;
      continue;
    }
    r->nframes++;
    lua_Debug ar;
    r->frame[i].file = file;
    r->frame[i].line = line;
    r->frame[i].name[0] = 0;
    if (lua_getstack(L, level, &ar) && lua_getinfo(L, "n", &ar) && ar.name)
      snprintf(r->frame[i].name, sizeof r->frame[i].name, "%s", ar.name);
  }
}

static int explain_error(lua_State *L) {
  Script *s = script_of(L);
  if (s->exhausted || s->parsing) return 1; /* load_chunk tells of what it meets itself */
  Report r = {.s = s};
  char other[64];
  if (lua_type(L, 1) == LUA_TSTRING) {
    r.message = lua_tostring(L, 1);
  } else if (!s->reported) {
    snprintf(other, sizeof other, "error() was given a %s, not a text", luaL_typename(L, 1));
    r.message = other;
  }
  if (!s->refused && !s->about_request) { /* those are about the request, not about a line */
    if (r.message) r.message = strip_place(s, r.message, &r.inner_file, &r.inner_line);
    script_frame(L, &r.file, &r.line);
    if (s->at_file) {
      r.file = s->at_file;
      r.line = s->at_line;
    } else if (r.file && !r.inner_file && s->file[r.file].kind == SCRIPT_LIBRARY) {
      r.file = 0; /* what the library says of its own accord, with no script running, is not about a line of the library */
    }
    bool in_family = s->about_file && r.file && s->file[r.file].kind == SCRIPT_FAMILY;
    if (in_family) {
      r.file = s->about_file;
      r.line = s->about_line;
    }
    if (!script_loc(L, r.file, r.line, &r.loc)) s->exhausted = true;
    collect_frames(L, &r, !in_family);
  }
  if (!s->exhausted && !script_guard(s, write_report, &r)) s->exhausted = true;
  return 1;
}

/* ---- files ---- */

enum { MOST_WAIT_MS = 1500 };

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A script may come through a pipe (`kiln emit <(...)`), but one that nobody writes to is waited for no longer than any script may take. */
static ssize_t read_some(int fd, char *to, size_t room, int64_t until) {
  for (;;) {
    int64_t left = until - now_ms();
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready = left > 0 ? poll(&one, 1, (int)left) : 0;
    if (!ready) errno = ETIMEDOUT;
    ssize_t got = ready > 0 ? read(fd, to, room) : -1;
    if (got >= 0 || (errno != EINTR && errno != EAGAIN)) return got;
  }
}

static bool read_file(Arena *a, const char *path, char **text, size_t *bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat about;
  size_t room = SCRIPT_MOST_SOURCE + 1, n = 0; /* one byte more than a script may have, to see that it has more */
  if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size < (off_t)room) room = (size_t)about.st_size;
  char *at = arena_try(a, KEEP, room + 1);
  ssize_t got = 1;
  int64_t until = now_ms() + MOST_WAIT_MS;
  while (at && n < room && (got = read_some(fd, at + n, room - n, until)) > 0) n += (size_t)got;
  int why = errno;
  close(fd);
  if (got < 0 || !at) {
    errno = at ? why : ENOMEM;
    return false;
  }
  at[n] = 0;
  *text = at;
  *bytes = n;
  return true;
}

static void read_text(lua_State *L, ScriptFile *f, const char *path) {
  Script *s = script_of(L);
  char *text;
  if (!read_file(&s->arena, path, &text, &f->bytes)) {
    if (errno == ENOMEM) script_fail_memory(L);
    if (errno == ETIMEDOUT) script_fail(L, "cannot read '%s': it is a pipe through which no script came to its end within %d ms", path, MOST_WAIT_MS);
    script_fail(L, "cannot read '%s': %s", path, strerror(errno));
  }
  if (f->bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a mark that some editors put in front of UTF-8 */
    text += 3;
    f->bytes -= 3;
  }
  f->text = text;
}

static void load_chunk(lua_State *L, ScriptFile *f, const void *environment) {
  Script *s = script_of(L);
  if (f->bytes > SCRIPT_MOST_SOURCE) script_fail(L, "'%s' is longer than 256 KB, the most that a script may have", f->name);
  if (f->bytes && f->text[0] == LUA_SIGNATURE[0]) script_fail(L, "'%s' is bytecode; kiln takes scripts as text only", f->name);
  const char *zero = memchr(f->text, 0, f->bytes);
  if (zero) script_fail(L, "'%s' is no text: its byte %zu is zero", f->name, (size_t)(zero - f->text) + 1);
  char chunk[16];
  snprintf(chunk, sizeof chunk, "=\1%d", (int)(f - s->file));
  s->parsing = true;
  int rc = f->code_bytes ? luaL_loadbufferx(L, f->code, f->code_bytes, chunk, "b") : LUA_ERRSYNTAX;
  if (f->code_bytes && rc == LUA_ERRSYNTAX) lua_pop(L, 1); /* of another Lua */
  if (rc == LUA_ERRSYNTAX) rc = luaL_loadbufferx(L, f->text, f->bytes, chunk, "t");
  s->parsing = false;
  if (rc == LUA_ERRMEM) lua_error(L);
  if (s->breach) script_fail(L, "%s", breach_words(s->breach));
  if (rc != LUA_OK) { /* a syntax error: no frame stands at its line, so the place in the message is the place */
    Report r = {.s = s, .file = (int)(f - s->file)};
    const char *message = lua_tostring(L, -1);
    bool deep = !message || strstr(message, "C stack overflow");
    r.message = deep ? "the script's text nests too deeply" : strip_place(s, message, &r.file, &r.line);
    if (!script_loc(L, r.file, r.line, &r.loc) || !script_guard(s, write_report, &r)) script_fail_memory(L);
    script_fail_reported(L);
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, environment);
  if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
}

void script_load(lua_State *L, ScriptFile *f) {
  Script *s = script_of(L);
  if (!f->text) {
    const char *path = lua_pushfstring(L, "%s/%s", s->lua_dir, f->path);
    read_text(L, f, path);
    lua_pop(L, 1);
  }
  load_chunk(L, f, f->kind < SCRIPT_OP ? &script_key_library : &script_key_user);
}

static ScriptFile *add_file(Script *s, const char *name, size_t n, ScriptKind kind) {
  static const char prefix[] = "kiln/";
  if (s->nfiles + 1 >= SCRIPT_MOST_FILES) return NULL;
  char *copy = arena_try(&s->arena, KEEP, sizeof prefix + n);
  if (!copy) return NULL;
  memcpy(copy, prefix, sizeof prefix - 1);
  memcpy(copy + sizeof prefix - 1, name, n);
  ScriptFile *f = &s->file[++s->nfiles];
  *f = (ScriptFile){.path = copy + sizeof prefix - 1, .kind = kind};
  f->name = kind == SCRIPT_USER ? f->path : copy;
  return f;
}

int script_load_user(lua_State *L, const char *path, size_t n) {
  Script *s = script_of(L);
  if (s->nfiles + 1 >= SCRIPT_MOST_FILES) script_fail(L, "too many scripts");
  ScriptFile *f = add_file(s, path, n, SCRIPT_USER);
  if (!f) script_fail_memory(L);
  read_text(L, f, f->path);
  load_chunk(L, f, &script_key_user);
  return (int)(f - s->file);
}

static ScriptKind kind_of(const char *path) {
  return !strncmp(path, "kiln/", 5) ? SCRIPT_LIBRARY : !strncmp(path, "families/", 9) ? SCRIPT_FAMILY : SCRIPT_OP;
}

ScriptFile *script_find(Script *s, const char *path) {
  for (int i = 1; i <= s->nfiles; i++)
    if (s->file[i].kind != SCRIPT_USER && !strcmp(s->file[i].path, path)) return &s->file[i];
  return NULL;
}

static bool list_embedded(Script *s) {
  for (const EmbedFile *e = embed_files; e->name; e++) {
    ScriptFile *f = add_file(s, e->name, strlen(e->name), kind_of(e->name));
    if (!f) return false;
    f->text = e->text;
    f->bytes = e->bytes;
    f->code = e->code;
    f->code_bytes = e->code_bytes;
  }
  return true;
}

static int by_path(const void *a, const void *b) { return strcmp(((const ScriptFile *)a)->path, ((const ScriptFile *)b)->path); }

/* The Lua files of one folder below lua_dir, in order of name. A folder that is not there has none. */
static bool list_folder(Script *s, const char *folder) {
  char path[1024];
  if (snprintf(path, sizeof path, "%s/%s", s->lua_dir, folder) >= (int)sizeof path) return true;
  DIR *dir = opendir(path);
  if (!dir) return errno != ENOMEM;
  int first = s->nfiles + 1;
  bool ok = true;
  for (struct dirent *e; ok && (e = readdir(dir));) {
    size_t n = strlen(e->d_name);
    if (n < 5 || strcmp(e->d_name + n - 4, ".lua")) continue;
    int length = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    ok = length < (int)sizeof path && add_file(s, path, (size_t)length, kind_of(path));
  }
  closedir(dir);
  for (int i = first; i <= s->nfiles; i++) /* few files: an insertion sort, and no heap behind qsort */
    for (int j = i; j > first && by_path(&s->file[j], &s->file[j - 1]) < 0; j--) {
      ScriptFile swap = s->file[j];
      s->file[j] = s->file[j - 1];
      s->file[j - 1] = swap;
    }
  return ok;
}

/* ---- life ---- */

Script *script_open(const char *lua_dir) {
  Script *s = kiln_mem(NULL, 0, sizeof *s);
  if (!s) return NULL;
  memset(s, 0, sizeof *s);
  if (!lua_dir) return s;
  s->lua_dir = kiln_mem(NULL, 0, strlen(lua_dir) + 1);
  if (!s->lua_dir) {
    script_close(s);
    return NULL;
  }
  strcpy(s->lua_dir, lua_dir);
  return s;
}

void script_drop(Script *s) {
  s->call = NULL;
  if (s->L) lua_close(s->L);
  s->L = NULL;
  arena_free(&s->arena);
  s->nfiles = 0;
  s->ready = s->spent = false;
}

void script_close(Script *s) {
  if (!s) return;
  script_drop(s);
  if (s->lua_dir) kiln_mem(s->lua_dir, strlen(s->lua_dir) + 1, 0);
  kiln_mem(s, sizeof *s, 0);
}

static bool open_state(Script *s) {
  arena_init(&s->arena, 64u << 20);
  s->live_bytes = s->churn_bytes = s->longest_string = 0;
  s->breach = SCRIPT_NO_BREACH;
  s->gc_runs = false;
  bool listed = s->lua_dir ? list_folder(s, "families") && list_folder(s, "kiln") && list_folder(s, "ops") : list_embedded(s);
  if (!listed) return false;
  s->L = lua_newstate(allocate, s);
  if (!s->L) return false;
  *(Script **)lua_getextraspace(s->L) = s;
  lua_gc(s->L, LUA_GCSTOP);
  return true;
}

static void begin_call(Script *s, ScriptWork work, ScriptCall *call) {
  s->work = work;
  s->call = call;
  s->steps = SCRIPT_MOST_STEPS;
  s->began_ns = cpu_ns();
  s->churn_bytes = 0;
  s->reported = s->refused = s->about_request = s->exhausted = s->parsing = false;
  s->at_file = s->at_line = 0;
  s->about_file = s->about_line = 0;
  s->stage[0] = 0;
  for (int i = 1; i <= s->nfiles; i++) s->file[i].diag_index = 0;
  lua_sethook(s->L, stop_on_breach, LUA_MASKCOUNT, SCRIPT_HOOK_STEPS);
}

kiln_gen_status script_run(Script *s, ScriptWork work, ScriptCall *call) {
  if (s->spent) script_drop(s);
  if (!s->L && !open_state(s)) {
    script_drop(s);
    return KILN_GEN_NO_MEMORY;
  }
  begin_call(s, work, call);
  lua_State *L = s->L;
  lua_settop(L, 0);
  lua_pushcfunction(L, explain_error);
  lua_pushcfunction(L, script_work);
  int rc = lua_pcall(L, 0, 0, 1);
  bool has_user = s->nfiles && s->file[s->nfiles].kind == SCRIPT_USER;
  bool exhausted = s->exhausted || (rc == LUA_ERRMEM && !s->breach), refused = s->refused;
  ScriptBreach why = s->breach;
  /* A user's script can change tables of the library that it sees; the next call gets fresh ones. Until then the texts of its
   * files stay, for messages of later passes. */
  s->spent = rc != LUA_OK || has_user;
  s->call = NULL;
  if (rc == LUA_OK) return KILN_GEN_OK;
  if (exhausted) return KILN_GEN_NO_MEMORY;
  if (refused) return KILN_GEN_REFUSED;
  if (!call->diag->errors)
    diag_error(call->diag, (Loc){0}, "%s", why ? breach_words(why) : "the calls of the script nest too deeply");
  return KILN_GEN_ERROR;
}
