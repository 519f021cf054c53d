/* cli.c - see cli.h. */
#include "cli.h"
#include "../../runtime/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *fmt, va_list args) {
  fflush(stdout);
  fputs("kiln: ", stderr);
  vfprintf(stderr, fmt, args);
  fputc('\n', stderr);
}

void cli_error(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  say(fmt, args);
  va_end(args);
}

void cli_note(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  say(fmt, args);
  va_end(args);
}

int cli_usage(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  say(fmt, args);
  va_end(args);
  return CLI_USAGE;
}

/* ---- memory: the block's size stands before it, because the hook wants it back ---- */

typedef union Header { size_t bytes; max_align_t align; } Header;

void *cli_alloc(size_t bytes) {
  Header *h = bytes < SIZE_MAX - sizeof *h ? kiln_mem(NULL, 0, sizeof *h + bytes) : NULL;
  if (!h) {
    cli_error("out of memory (%zu bytes)", bytes);
    exit(CLI_FAILED);
  }
  h->bytes = sizeof *h + bytes;
  return memset(h + 1, 0, bytes);
}

void cli_free(void *p) {
  Header *h = p;
  if (h) kiln_mem(h - 1, h[-1].bytes, 0);
}

char *cli_text_n(const char *s, size_t n) {
  char *copy = cli_alloc(n + 1);
  memcpy(copy, s, n);
  return copy;
}

char *cli_text(const char *s) { return cli_text_n(s, strlen(s)); }

/* ---- the generator ---- */

KilnGen *cli_open_generator(const Options *o) {
  KilnGen *g = NULL;
  kiln_gen_status status = kiln_gen_open(&g, o->lua);
  if (status == KILN_GEN_OK) return g;
  cli_error("%s", g ? kiln_gen_message(g) : "out of memory");
  kiln_gen_close(g);
  return NULL;
}

int cli_generator_failed(const KilnGen *g, kiln_gen_status status) {
  const char *message = kiln_gen_message(g);
  size_t n = strlen(message);
  while (n > 0 && message[n - 1] == '\n') n--;
  if (n == 0) cli_error("%s", status == KILN_GEN_NO_MEMORY ? "out of memory" : "failed without a message");
  else cli_error("%s%.*s", status == KILN_GEN_REFUSED ? "refused: " : "", (int)n, message);
  return CLI_FAILED;
}

bool cli_is_path(const char *op) {
  const char *dot = strstr(op, ".lua");
  return strchr(op, '/') || (dot && (dot[4] == 0 || dot[4] == ':'));
}

static void append_op(OpList *list, const char *name, const char *settings) {
  char **names = cli_alloc((size_t)(list->n + 1) * sizeof *names), **texts = cli_alloc((size_t)(list->n + 1) * sizeof *texts);
  if (list->n) {
    memcpy(names, list->name, (size_t)list->n * sizeof *names);
    memcpy(texts, list->settings, (size_t)list->n * sizeof *texts);
  }
  cli_free(list->name);
  cli_free(list->settings);
  list->name = names;
  list->settings = texts;
  list->name[list->n] = cli_text(name);
  list->settings[list->n++] = cli_text(settings ? settings : "");
}

void cli_free_ops(OpList *ops) {
  for (int i = 0; i < ops->n; i++) {
    cli_free(ops->name[i]);
    cli_free(ops->settings[i]);
  }
  cli_free(ops->name);
  cli_free(ops->settings);
  memset(ops, 0, sizeof *ops);
}

const char *cli_named(const char *operand) {
  const char *colon = strrchr(operand, ':');
  return colon && !strchr(colon, '/') ? colon + 1 : NULL;
}

bool cli_is_op(const char *listed, const char *op) {
  const char *name = cli_named(listed);
  return strcmp(name ? name : listed, op) == 0;
}

static bool list_script(KilnGen *g, const char *operand, OpList *out) {
  const char *colon = cli_named(operand) ? cli_named(operand) - 1 : NULL;
  char *path = cli_text_n(operand, colon ? (size_t)(colon - operand) : strlen(operand));
  const kiln_gen_op *ops;
  int n;
  kiln_gen_status status = kiln_gen_script_ops(g, path, &ops, &n);
  if (status != KILN_GEN_OK) cli_generator_failed(g, status);
  for (int i = 0; status == KILN_GEN_OK && i < n; i++) {
    if (colon && strcmp(colon + 1, ops[i].name) != 0) continue;
    char name[1024];
    snprintf(name, sizeof name, "%s:%s", path, ops[i].name);
    append_op(out, name, ops[i].settings);
  }
  if (status == KILN_GEN_OK && out->n == 0) {
    if (colon) cli_error("%s: there is no op \"%s\" in this script", path, colon + 1);
    else cli_error("%s: this script defines no op", path);
  }
  cli_free(path);
  return out->n > 0;
}

static bool is_gradient_of(const char *gradient, const char *op) {
  size_t n = strlen(op);
  return strncmp(gradient, op, n) == 0 && strcmp(gradient + n, ".grad") == 0;
}

bool cli_list_one(KilnGen *g, const char *command, const char *operand, OpList *out) {
  if (!cli_list_ops(g, operand, out)) return false;
  if (out->n == 2 && is_gradient_of(out->name[1], out->name[0])) {
    cli_free(out->name[1]);
    cli_free(out->settings[1]);
    out->n = 1;
  }
  if (out->n > 1) cli_error("%s: one op at a time; %s holds %d, such as %s", command, operand, out->n, out->name[0]);
  return out->n == 1;
}

bool cli_list_ops(KilnGen *g, const char *operand, OpList *out) {
  memset(out, 0, sizeof *out);
  if (cli_is_path(operand)) return list_script(g, operand, out);
  const kiln_gen_op *ops;
  int n;
  kiln_gen_status status = kiln_gen_ops(g, &ops, &n);
  if (status != KILN_GEN_OK) return cli_generator_failed(g, status), false;
  bool all = strcmp(operand, "all") == 0;
  for (int i = 0; i < n; i++)
    if (all || strcmp(ops[i].name, operand) == 0)
      append_op(out, ops[i].name, ops[i].settings);
  if (out->n) return true;
  char known[1024] = "";
  for (int i = 0; i < n; i++)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", ops[i].name);
  cli_error("unknown op \"%s\"; there %s %s (a script is named by its path: ./%s.lua)", operand, n == 1 ? "is" : "are",
            n ? known : "none", operand);
  return false;
}

enum { MOST_FILE_BYTES = 64 << 20 }; /* as libkiln takes them */

char *cli_read_file(const char *path, size_t *bytes) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
  FILE *f = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MOST_FILE_BYTES ? fdopen(fd, "rb") : NULL;
  if (!f) {
    if (fd < 0) cli_error("%s: %s", path, strerror(errno));
    else if (S_ISREG(st.st_mode)) cli_error("%s: has %lld bytes; the most is %d", path, (long long)st.st_size, MOST_FILE_BYTES);
    else cli_error("%s: is %s, a file was expected", path, S_ISDIR(st.st_mode) ? "a folder" : "a pipe or a device");
    if (fd >= 0) close(fd);
    return NULL;
  }
  size_t room = 1 << 16, used = 0;
  char *text = cli_alloc(room);
  for (size_t got; (got = fread(text + used, 1, room - used - 1, f)) > 0;) {
    used += got;
    if (room - used > 1) continue;
    char *wider = cli_alloc(room * 2);
    memcpy(wider, text, used);
    cli_free(text);
    text = wider;
    room *= 2;
  }
  bool failed = ferror(f);
  if (failed) cli_error("%s: %s", path, strerror(errno));
  fclose(f);
  if (failed) {
    cli_free(text);
    return NULL;
  }
  text[used] = 0;
  *bytes = used;
  return text;
}
