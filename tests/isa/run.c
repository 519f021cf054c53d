/* run.c - runs the files of tests/isa/forms on a device, through contract and runtime, and compares what comes out.
 *
 * usage: isa_run [--device D] [--save FILE] [--against FILE [--list FILE]] [--verbose] PATH...      (PATH: a .ptx file or a folder of them)
 *
 * Besides its contract a file holds, in comments:
 *   //< NAME WORD...   what tensor NAME holds before the launch (hexadecimal bits; lines of one tensor go on)
 *   //> NAME WORD...   what it must hold afterwards; `nan`: any NaN; `?`: the manual leaves it open
 *   //~ NAME [rel X] [abs Y]   the result may differ by X times the expected value plus Y; otherwise bits must agree
 * Outputs are poisoned first, and so is what lies behind them. Each output has a twin: with one expected word changed the
 * comparison must fail.
 *
 * --save writes the outputs as text; --against compares with such a file of another device: bit for bit, or within twice the bound; --list
 * writes the names of the files that agreed. NaNs agree whatever their payload (the payloads that differ are counted). Ends with
 * "N passed, N failed". Exit status 3: a GPU was lost for this process, and the files in lines "LEFT PATH" wait for another one. */
#include "kiln.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TENSORS_MAX = 12, WORDS_MAX = 4096, GUARD = 256, POISON = 0xa5 };
enum { WORD_BITS, WORD_NAN, WORD_OPEN };

typedef struct Table {
  int n;
  uint64_t bits[WORDS_MAX];
  uint8_t kind[WORDS_MAX];
} Table;

typedef struct Tensor {
  char name[16], mode[8];
  kiln_dtype dtype;
  int64_t count;
  double rel, abs;
  bool bounded;
  Table given, wanted;
  uint64_t got[WORDS_MAX];
  unsigned char *device;
} Tensor;

typedef struct Case {
  char name[96], op[96], section[96], *text;
  size_t bytes;
  int ntensors;
  Tensor tensor[TENSORS_MAX];
} Case;

typedef struct Section {
  char name[96];
  int files, passed, failed, absent;
} Section;

typedef struct Run {
  const char *device, *save, *against, *list;
  bool verbose;
  kiln_device *dev;
  FILE *out, *agreed, *fails; /* what failed is printed after the table */
  char *fail_text;
  size_t fail_bytes;
  char *other; /* text of the file to compare with */
  Section section[128];
  int nsections, passed, failed, absent, payloads, compared;
  int left, missing; /* files for another process; outputs that the other device does not have */
} Run;

static char why[1024];

static bool fail(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  return false;
}

/* ---- files ---- */

static char *read_file(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = NULL;
  size_t n = 0, have = 0;
  do {
    char *more = realloc(text, have += 1 << 16);
    if (!more) break;
    text = more;
    n += fread(text + n, 1, have - n - 1, f);
  } while (n == have - 1);
  fclose(f);
  if (text) text[n] = 0;
  if (bytes) *bytes = n;
  return text;
}

static Tensor *tensor_named(Case *c, const char *name) {
  for (int i = 0; i < c->ntensors; i++)
    if (strcmp(c->tensor[i].name, name) == 0) return &c->tensor[i];
  return NULL;
}

static bool add_words(Table *t, const char *at) {
  char word[32];
  int n = 0;
  for (; sscanf(at, "%31s%n", word, &n) == 1; at += n) {
    if (t->n == WORDS_MAX) return fail("a table has more than %d words", WORDS_MAX);
    char *end = word;
    t->kind[t->n] = strcmp(word, "nan") == 0 ? WORD_NAN : strcmp(word, "?") == 0 ? WORD_OPEN : WORD_BITS;
    if (t->kind[t->n] == WORD_BITS) {
      t->bits[t->n] = strtoull(word, &end, 16);
      if (*end) return fail("'%s' is no word of a table", word);
    }
    t->n++;
  }
  return true;
}

static bool read_bound(Tensor *t, const char *at) {
  char word[16];
  double value;
  int n = 0;
  t->bounded = true;
  for (; sscanf(at, "%15s %la%n", word, &value, &n) == 2; at += n)
    if (strcmp(word, "rel") == 0) t->rel = value;
    else if (strcmp(word, "abs") == 0) t->abs = value;
    else return fail("'%s' is no bound", word);
  return true;
}

static bool read_line(Case *c, const char *line) {
  char name[16], mode[8], dtype[8];
  long count;
  int n = 0;
  if (sscanf(line, "//@ op %95s", c->op) == 1) return true;
  if (sscanf(line, "//@ tensor %15s %7s %7s [%ld]", name, mode, dtype, &count) == 4) {
    if (c->ntensors == TENSORS_MAX || count > WORDS_MAX) return fail("too many tensors or elements");
    Tensor *t = &c->tensor[c->ntensors++];
    *t = (Tensor){.dtype = kiln_dtype_from_name(dtype), .count = count};
    snprintf(t->name, sizeof t->name, "%s", name), snprintf(t->mode, sizeof t->mode, "%s", mode);
    return t->dtype != KILN_NO_DTYPE ? true : fail("'%s' is no dtype", dtype);
  }
  const char *colon = strncmp(line, "// ", 3) == 0 ? strstr(line, ": ") : NULL; /* "// opcode: Section: instruction" */
  if (colon && !c->section[0]) sscanf(colon, ": %95[^:,]", c->section);
  if (line[0] != '/' || line[1] != '/' || !strchr("<>~", line[2]) || sscanf(line + 3, "%15s%n", name, &n) != 1) return true;
  Tensor *t = tensor_named(c, name);
  if (!t) return fail("a table names '%s', which is no tensor", name);
  const char *rest = line + 3 + n;
  return line[2] == '~' ? read_bound(t, rest) : add_words(line[2] == '<' ? &t->given : &t->wanted, rest);
}

static bool read_case(Case *c, const char *path) {
  const char *slash = strrchr(path, '/');
  *c = (Case){0};
  snprintf(c->name, sizeof c->name, "%s", slash ? slash + 1 : path);
  if (strlen(c->name) > 4) c->name[strlen(c->name) - 4] = 0;
  c->text = read_file(path, &c->bytes);
  if (!c->text) return fail("%s: %s", path, strerror(errno));
  char line[4096];
  for (const char *at = c->text; *at;) {
    size_t n = strcspn(at, "\n"), keep = n < sizeof line - 1 ? n : sizeof line - 1;
    memcpy(line, at, keep), line[keep] = 0;
    if (!read_line(c, line)) return false;
    at += n + (at[n] != 0);
  }
  int outputs = 0;
  for (int i = 0; i < c->ntensors; i++) {
    Tensor *t = &c->tensor[i];
    bool in = strcmp(t->mode, "out") != 0, out = strcmp(t->mode, "in") != 0;
    if (in && t->given.n != t->count) return fail("tensor %s has %ld elements, its table %d", t->name, (long)t->count, t->given.n);
    if (out && t->wanted.n != t->count) return fail("tensor %s has %ld elements, its results %d", t->name, (long)t->count, t->wanted.n);
    outputs += out;
  }
  return outputs ? true : fail("no tensor is written");
}

/* ---- numbers ---- */

static double number_of(kiln_dtype dtype, uint64_t bits) {
  static const int exponent[] = {[KILN_F64] = 11, [KILN_F32] = 8, [KILN_F16] = 5, [KILN_BF16] = 8, [KILN_E4M3] = 4, [KILN_E5M2] = 5};
  static const int mantissa[] = {[KILN_F64] = 52, [KILN_F32] = 23, [KILN_F16] = 10, [KILN_BF16] = 7, [KILN_E4M3] = 3, [KILN_E5M2] = 2};
  int e = exponent[dtype], m = mantissa[dtype], bias = (1 << (e - 1)) - 1, top = (1 << e) - 1;
  int field = (int)(bits >> m) & top;
  uint64_t fraction = bits & ((1ull << m) - 1);
  double sign = bits >> (e + m) & 1 ? -1 : 1;
  if (dtype == KILN_E4M3 && field == top && fraction == 7) return NAN;
  if (dtype != KILN_E4M3 && field == top) return fraction ? NAN : sign * INFINITY;
  if (field == 0) return sign * ldexp((double)fraction, 1 - bias - m);
  return sign * ldexp((double)(fraction | 1ull << m), field - bias - m);
}

static bool is_float(kiln_dtype d) { return d == KILN_F64 || d == KILN_F32 || d == KILN_F16 || d == KILN_BF16 || d == KILN_E4M3 || d == KILN_E5M2; }

static bool agrees(const Tensor *t, uint64_t got, uint64_t want, uint8_t kind, double slack) {
  if (kind == WORD_OPEN) return true;
  if (kind == WORD_NAN) return is_float(t->dtype) && isnan(number_of(t->dtype, got));
  if (got == want) return true;
  if (!t->bounded || !is_float(t->dtype)) return false;
  double g = number_of(t->dtype, got), w = number_of(t->dtype, want);
  return isfinite(g) && isfinite(w) && fabs(g - w) <= slack * (t->rel * fabs(w) + t->abs);
}

/* The first element that does not agree with the table, or -1. */
static int64_t first_wrong(const Tensor *t) {
  for (int64_t i = 0; i < t->count; i++)
    if (!agrees(t, t->got[i], t->wanted.bits[i], t->wanted.kind[i], 1)) return i;
  return -1;
}

static uint64_t word_at(const unsigned char *p, size_t size) {
  uint64_t w = 0;
  memcpy(&w, p, size);
  return w;
}

/* ---- one file on the device ---- */

static bool upload_tensor(Run *r, Tensor *t) {
  size_t size = kiln_dtype_bytes(t->dtype), bytes = size * (size_t)t->count;
  unsigned char *host = malloc(bytes + GUARD);
  if (!host) return fail("out of memory");
  memset(host, POISON, bytes + GUARD);
  for (int64_t i = 0; i < t->given.n; i++) memcpy(host + size * (size_t)i, &t->given.bits[i], size);
  kiln_status s = kiln_malloc(r->dev, (void **)&t->device, bytes + GUARD);
  if (s == KILN_OK) s = kiln_upload(r->dev, t->device, host, bytes + GUARD);
  free(host);
  return s == KILN_OK ? true : fail("%s", kiln_error());
}

static bool download_tensor(Run *r, Tensor *t) {
  size_t size = kiln_dtype_bytes(t->dtype), bytes = size * (size_t)t->count;
  unsigned char *host = malloc(bytes + GUARD);
  if (!host) return fail("out of memory");
  bool ok = kiln_download(r->dev, host, t->device, bytes + GUARD) == KILN_OK || fail("%s", kiln_error());
  for (int64_t i = 0; ok && i < t->count; i++) t->got[i] = word_at(host + size * (size_t)i, size);
  for (size_t i = 0; ok && i < GUARD; i++)
    if (host[bytes + i] != POISON) ok = fail("what lies behind %s was written", t->name);
  free(host);
  return ok;
}

/* A GPU's context is lost with a kernel that fails, and its memory with it: the other files get a new one. After some faults no context can
 * be had in this process any more: then they are left to another one. */
static void reopen_device(Run *r, Case *c) {
  for (int i = 0; i < c->ntensors; i++) c->tensor[i].device = NULL;
  kiln_close(r->dev);
  r->dev = NULL;
  if (kiln_open(&r->dev, r->device) != KILN_OK) fprintf(stderr, "isa_run: %s is lost: %s\n", r->device, kiln_error());
}

/* 1: ran; 0: failed (why); -1: the device does not have this form. */
static int launch_case(Run *r, Case *c) {
  kiln_tensor view[TENSORS_MAX];
  kiln_arg args[TENSORS_MAX];
  for (int i = 0; i < c->ntensors; i++) {
    if (!upload_tensor(r, &c->tensor[i])) return 0;
    view[i] = (kiln_tensor){c->tensor[i].device, c->tensor[i].dtype, 1, &c->tensor[i].count, NULL};
    args[i] = (kiln_arg){.name = c->tensor[i].name, .tensor = &view[i]};
  }
  kiln_plan *plan = NULL;
  kiln_status s = kiln_add_text(r->dev, c->name, c->text, c->bytes);
  if (s == KILN_OK) s = kiln_plan_create(&plan, r->dev, c->op, args, c->ntensors);
  if (s == KILN_NO_TARGET || (s == KILN_BAD_PTX && (strstr(kiln_error(), "not simulated") || strstr(kiln_error(), "UNSUPPORTED_PTX_VERSION"))))
    return fail("%s", kiln_error()), -1;
  if (s == KILN_OK) s = kiln_launch(plan, NULL, NULL);
  if (s == KILN_OK) s = kiln_sync(r->dev);
  if (s != KILN_OK) fail("%s", kiln_error());
  kiln_plan_destroy(plan);
  if (s == KILN_KERNEL_FAULT) reopen_device(r, c);
  return s == KILN_OK;
}

static bool compare_case(Case *c) {
  for (int i = 0; i < c->ntensors; i++) {
    Tensor *t = &c->tensor[i];
    if (strcmp(t->mode, "in") == 0) {
      for (int64_t k = 0; k < t->count; k++)
        if (t->got[k] != t->given.bits[k]) return fail("input %s[%ld] was changed", t->name, (long)k);
      continue;
    }
    int digits = 2 * (int)kiln_dtype_bytes(t->dtype);
    int64_t k = first_wrong(t);
    if (k >= 0) {
      const char *open = t->wanted.kind[k] == WORD_NAN ? "a NaN" : NULL;
      return open ? fail("%s[%ld] is %0*llx, not a NaN", t->name, (long)k, digits, (unsigned long long)t->got[k])
                  : fail("%s[%ld] is %0*llx, not %0*llx", t->name, (long)k, digits, (unsigned long long)t->got[k], digits,
                         (unsigned long long)t->wanted.bits[k]);
    }
    int64_t at = 0; /* the twin: one word that is known, changed so that no bound admits it */
    while (at < t->count && t->wanted.kind[at] == WORD_OPEN) at++;
    if (at == t->count) return fail("nothing of %s is compared", t->name);
    uint64_t bits = t->wanted.bits[at];
    uint8_t kind = t->wanted.kind[at];
    t->wanted.kind[at] = WORD_BITS;
    t->wanted.bits[at] = kind == WORD_NAN ? 0 : bits ^ (t->bounded ? 1ull << (digits * 4 - 2) : 1);
    bool caught = first_wrong(t) == at;
    t->wanted.bits[at] = bits, t->wanted.kind[at] = kind;
    if (!caught) return fail("%s[%ld] changed in the table is not noticed", t->name, (long)at);
  }
  return true;
}

/* Against the saved outputs of another device: "name tensor word word ...". */
static bool compare_saved(Run *r, const Case *c) {
  for (int i = 0; i < c->ntensors; i++) {
    const Tensor *t = &c->tensor[i];
    if (strcmp(t->mode, "in") == 0) continue;
    char key[128];
    snprintf(key, sizeof key, "\n%s %s ", c->name, t->name);
    const char *at = strstr(r->other, key);
    if (!at) return r->missing++, true; /* that device did not have the form, or failed there */
    at += strlen(key);
    for (int64_t k = 0; k < t->count; k++) {
      char *end;
      uint64_t theirs = strtoull(at, &end, 16);
      if (end == at) return fail("%s: the saved line of %s %s is too short", r->against, c->name, t->name);
      at = end;
      if (t->wanted.kind[k] == WORD_OPEN || theirs == t->got[k]) continue;
      if (is_float(t->dtype) && isnan(number_of(t->dtype, theirs)) && isnan(number_of(t->dtype, t->got[k]))) {
        r->payloads++;
        continue;
      }
      int digits = 2 * (int)kiln_dtype_bytes(t->dtype);
      if (!agrees(t, t->got[k], theirs, WORD_BITS, 2))
        return fail("%s[%ld] is %0*llx here, %0*llx in %s", t->name, (long)k, digits, (unsigned long long)t->got[k], digits,
                    (unsigned long long)theirs, r->against);
    }
  }
  r->compared++;
  return true;
}

static void save_case(Run *r, const Case *c) {
  for (int i = 0; i < c->ntensors; i++) {
    const Tensor *t = &c->tensor[i];
    if (strcmp(t->mode, "in") == 0) continue;
    fprintf(r->out, "%s %s", c->name, t->name);
    for (int64_t k = 0; k < t->count; k++) fprintf(r->out, " %0*llx", 2 * (int)kiln_dtype_bytes(t->dtype), (unsigned long long)t->got[k]);
    fputc('\n', r->out);
  }
}

static Section *section_of(Run *r, const char *name) {
  for (int i = 0; i < r->nsections; i++)
    if (strcmp(r->section[i].name, name) == 0) return &r->section[i];
  if (r->nsections == 127) return &r->section[127];
  snprintf(r->section[r->nsections].name, sizeof r->section[0].name, "%s", name);
  return &r->section[r->nsections++];
}

static void run_file(Run *r, const char *path) {
  static Case c;
  int ran = 0;
  if (!r->dev) {
    printf("LEFT %s\n", path);
    r->left++;
    return;
  }
  why[0] = 0;
  int missing = r->missing;
  bool ok = read_case(&c, path) && (ran = launch_case(r, &c)) == 1;
  for (int i = 0; ok && i < c.ntensors; i++) ok = download_tensor(r, &c.tensor[i]);
  if (ok && r->out) save_case(r, &c);
  ok = ok && compare_case(&c) && (!r->other || compare_saved(r, &c));
  if (ok && r->agreed && r->other && r->missing == missing) fprintf(r->agreed, "%s\n", c.name);
  for (int i = 0; i < c.ntensors; i++)
    if (c.tensor[i].device) kiln_free(r->dev, c.tensor[i].device);
  free(c.text);
  Section *s = section_of(r, c.section[0] ? c.section : "(no section)");
  s->files++;
  if (ran < 0) s->absent++, r->absent++;
  else if (ok) s->passed++, r->passed++;
  else s->failed++, r->failed++;
  if (ran >= 0 && !ok) fprintf(r->fails, "FAIL %s: %s\n", c.name, why);
  else if (r->verbose) printf("%s %s%s%s\n", ok ? "ok  " : "absent", c.name, ok ? "" : ": ", ok ? "" : why);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int is_ptx(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return n > 4 && strcmp(e->d_name + n - 4, ".ptx") == 0;
}

static bool run_path(Run *r, const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return fprintf(stderr, "isa_run: %s: %s\n", path, strerror(errno)), false;
  if (!S_ISDIR(st.st_mode)) return run_file(r, path), true;
  struct dirent **list;
  int n = scandir(path, &list, is_ptx, by_name);
  for (int i = 0; i < n; i++) {
    char file[4096];
    snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);
    run_file(r, file);
    free(list[i]);
  }
  if (n >= 0) free(list);
  return n > 0 ? true : (fprintf(stderr, "isa_run: no .ptx file in %s\n", path), false);
}

static void print_table(const Run *r) {
  printf("%-52s %6s %7s %7s %7s\n", "section", "files", "passed", "failed", "absent");
  for (int i = 0; i < r->nsections; i++) {
    const Section *s = &r->section[i];
    printf("%-52s %6d %7d %7d %7d\n", s->name, s->files, s->passed, s->failed, s->absent);
  }
  fflush(r->fails);
  fputs(r->fail_text, stdout);
  kiln_device_info info;
  if (r->dev && kiln_device_query(r->dev, &info) == KILN_OK) printf("on %s, %s\n", info.name, info.target);
  if (r->other) printf("%d files agree with %s; NaN payloads that differ: %d\n", r->compared, r->against, r->payloads);
  printf("%d passed, %d failed, %d not on this device\n%d passed, %d failed\n", r->passed, r->failed, r->absent, r->passed, r->failed);
}

int main(int argc, char **argv) {
  static Run r = {.device = "sim:sm_100a"};
  int npaths = 0;
  for (int i = 1; i < argc; i++) {
    const char **value = strcmp(argv[i], "--device") == 0    ? &r.device
                         : strcmp(argv[i], "--save") == 0    ? &r.save
                         : strcmp(argv[i], "--against") == 0 ? &r.against
                         : strcmp(argv[i], "--list") == 0    ? &r.list
                                                             : NULL;
    if (value && i + 1 < argc) *value = argv[++i];
    else if (strcmp(argv[i], "--verbose") == 0) r.verbose = true;
    else if (argv[i][0] == '-') npaths = -argc;
    else argv[npaths++ < 0 ? 0 : npaths] = argv[i];
  }
  if (npaths <= 0) return fprintf(stderr, "usage: isa_run [--device D] [--save FILE] [--against FILE [--list FILE]] [--verbose] PATH...\n"), 2;
  if (kiln_open(&r.dev, r.device) != KILN_OK) return fprintf(stderr, "isa_run: %s: %s\n", r.device, kiln_error()), 2;
  if (r.save && !(r.out = fopen(r.save, "w"))) return fprintf(stderr, "isa_run: %s: %s\n", r.save, strerror(errno)), 2;
  if (r.out) fprintf(r.out, "outputs of tests/isa on %s\n", r.device);
  if (r.list && !(r.agreed = fopen(r.list, "w"))) return fprintf(stderr, "isa_run: %s: %s\n", r.list, strerror(errno)), 2;
  if (r.against && !(r.other = read_file(r.against, NULL))) return fprintf(stderr, "isa_run: %s: %s\n", r.against, strerror(errno)), 2;
  if (!(r.fails = open_memstream(&r.fail_text, &r.fail_bytes))) return fprintf(stderr, "isa_run: out of memory\n"), 2;
  bool ok = true;
  for (int i = 1; i <= npaths; i++) ok = run_path(&r, argv[i]) && ok;
  print_table(&r);
  if (r.agreed && fclose(r.agreed) != 0) ok = false, fprintf(stderr, "isa_run: %s could not be written\n", r.list);
  if (r.out && fclose(r.out) != 0) ok = false, fprintf(stderr, "isa_run: %s could not be written\n", r.save);
  fclose(r.fails);
  free(r.fail_text);
  free(r.other);
  kiln_close(r.dev);
  return r.left ? 3 : ok && r.failed == 0 && r.passed > 0 ? 0 : 1;
}
