/* run.c - kernels with one fault each: the simulator must name it, by kind and line; and their right twins, about which it must be silent.
 *
 * One file holds both: a line that ends in "//-" is the broken kernel's alone, one that begins with "//+" its twin's. Its head says
 *
 *   //! report KIND [SPACE]     what the simulator must say (KIND|KIND where it depends on who comes first), or "result WORD": nothing,
 *                               but y differs from the twin's, first in that word
 *   //! launch GRID BLOCK       of the entry k(x, y)
 *   //! buffer NAME FILL BYTES  iota (words 0, 1, 2 ..), zero, none (nothing is written), freed
 *
 * The report must be of the line marked "// HERE"; under seeds that let the other side of a race come second also of one marked "// OR".
 * `run [--show] FOLDER` */
#include "runtime/cuda/driver_abi.h"
#include "runtime/sim/kilnsim.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVER(need, name, params, args) DrvResult name params;
#include "runtime/cuda/driver.def"

enum { SEEDS = 32, BROKEN_SEEDS = 12, LINES_MAX = 400 };

typedef struct Buffer { char fill[16]; size_t bytes; } Buffer;
typedef struct Plant {
  char name[64], target[16], kind[32], space[16];
  char *broken, *twin;          /* texts */
  unsigned grid, block;
  Buffer buffer[2];
  bool here[LINES_MAX], other[LINES_MAX]; /* lines of the broken text */
  int word;                     /* of a result that differs; -1: a report is expected */
} Plant;

typedef struct Outcome {
  bool reported;
  kilnsim_finding finding;
  uint32_t *y;
  char error[300];              /* nothing of the kind: what went wrong */
} Outcome;

/* ---- the file ---- */

static char *read_file(const char *path) {
  FILE *f = fopen(path, "rb");
  char *text = calloc(1, 1 << 16);
  size_t n = f && text ? fread(text, 1, (1 << 16) - 1, f) : 0;
  if (f) fclose(f);
  if (n) return text;
  free(text);
  return NULL;
}

static void read_head(Plant *p, const char *line) {
  char name[16], fill[16];
  size_t bytes;
  if (sscanf(line, "//! report result %d", &p->word) == 1) return;
  if (sscanf(line, "//! report %31s %15s", p->kind, p->space) >= 1) p->word = -1;
  if (sscanf(line, "//! launch %u %u", &p->grid, &p->block) == 2) return;
  if (sscanf(line, "//! buffer %15s %15s %zu", name, fill, &bytes) != 3) return;
  Buffer *b = &p->buffer[strcmp(name, "x") != 0];
  snprintf(b->fill, sizeof b->fill, "%s", fill);
  b->bytes = bytes;
}

static bool ends_with(const char *line, size_t n, const char *mark) {
  size_t m = strlen(mark);
  return n >= m && memcmp(line + n - m, mark, m) == 0;
}

/* A line for each text; what is not in one of them is empty there, so that both count alike. */
static void take_line(Plant *p, const char *line, size_t n, int number) {
  char copy[512];
  snprintf(copy, sizeof copy, "%.*s", (int)n, line);
  read_head(p, copy);
  sscanf(copy, ".target %15s", p->target);
  const char *plus = strstr(copy, "//+ ");
  bool broken_only = ends_with(line, n, "//-");
  if (number < LINES_MAX && !plus) {
    p->here[number] = strstr(copy, "// HERE") != NULL;
    p->other[number] = strstr(copy, "// OR") != NULL;
  }
  if (!plus) strcat(p->broken, copy);
  strcat(p->broken, "\n");
  if (!broken_only) strcat(p->twin, plus ? plus + 4 : copy);
  strcat(p->twin, "\n");
}

static bool read_plant(Plant *p, const char *folder, const char *file) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, file);
  char *text = read_file(path);
  if (!text) return false;
  memset(p, 0, sizeof *p);
  p->word = -2;
  snprintf(p->name, sizeof p->name, "%.*s", (int)(strlen(file) - 4), file);
  p->broken = calloc(1, 1 << 17);
  p->twin = calloc(1, 1 << 17);
  int number = 1;
  for (const char *at = text; *at; number++) {
    size_t n = strcspn(at, "\n");
    take_line(p, at, n, number);
    at += n + (at[n] == '\n');
  }
  free(text);
  return p->word != -2 && p->grid && p->block && p->buffer[0].bytes && p->buffer[1].bytes && p->target[0];
}

/* ---- a launch ---- */

static bool failed(Outcome *o, const char *what, DrvResult code) {
  const char *message = "";
  if (code == DRV_SUCCESS) return false;
  kilnsim_message(&message);
  snprintf(o->error, sizeof o->error, "%s: %u %s", what, code, message);
  return true;
}

static bool make_buffer(Outcome *o, const Buffer *b, DrvPtr *at) {
  if (failed(o, "cuMemAlloc", cuMemAlloc_v2(at, b->bytes))) return false;
  uint32_t *host = calloc(1, b->bytes);
  for (size_t i = 0; i < b->bytes / 4 && strcmp(b->fill, "iota") == 0; i++) host[i] = (uint32_t)i;
  bool fills = strcmp(b->fill, "none") != 0, done = !fills || !failed(o, "cuMemcpyHtoD", cuMemcpyHtoD_v2(*at, host, b->bytes));
  free(host);
  if (done && strcmp(b->fill, "freed") == 0) return !failed(o, "cuMemFree", cuMemFree_v2(*at));
  return done;
}

static void launch(const Plant *p, DrvModule module, int ordinal, Outcome *o) {
  DrvFunction f;
  DrvPtr at[2];
  if (failed(o, "cuModuleGetFunction", cuModuleGetFunction(&f, module, "k"))) return;
  if (!make_buffer(o, &p->buffer[0], &at[0]) || !make_buffer(o, &p->buffer[1], &at[1])) return;
  DrvResult code = cuLaunchKernel(f, p->grid, 1, 1, p->block, 1, 1, 0, NULL, (void *[]){&at[0], &at[1]}, NULL);
  o->reported = code != DRV_SUCCESS;
  if (o->reported) {
    if (kilnsim_report(ordinal, &o->finding) != 0) failed(o, "cuLaunchKernel, without a report", code);
    cuCtxSynchronize(); /* which says so once more */
    return;
  }
  bool readable = strcmp(p->buffer[1].fill, "freed") != 0;
  o->y = calloc(1, p->buffer[1].bytes);
  if (readable) failed(o, "cuMemcpyDtoH", cuMemcpyDtoH_v2(o->y, at[1], p->buffer[1].bytes));
}

static void run_text(const Plant *p, const char *text, int seed, Outcome *o) {
  static const char *const policies[] = {"lazy", "eager", "random"};
  char options[128];
  int ordinal;
  DrvContext ctx;
  DrvModule module;
  memset(o, 0, sizeof *o);
  snprintf(options, sizeof options, "%s,cores=%d,seed=%d,policy=%s,limit=100000", p->target, 1 + seed % 2, seed, policies[seed % 3]);
  if (failed(o, "kilnsim_configure", kilnsim_configure(options, &ordinal)) || failed(o, "cuInit", cuInit(0)) ||
      failed(o, "cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(&ctx, ordinal)))
    return;
  cuCtxPushCurrent_v2(ctx);
  if (!failed(o, "cuModuleLoadDataEx", cuModuleLoadDataEx(&module, text, 0, NULL, NULL))) {
    launch(p, module, ordinal, o);
    cuModuleUnload(module);
  }
  cuCtxPopCurrent_v2(NULL);
  cuDevicePrimaryCtxRelease_v2(ordinal);
}

/* ---- judging ---- */

static int first_difference(const Plant *p, const uint32_t *a, const uint32_t *b) {
  for (size_t i = 0; i < p->buffer[1].bytes / 4; i++)
    if (a[i] != b[i]) return (int)i;
  return -1;
}

/* The twin under every seed; y: what it leaves, the same each time. */
static bool judge_twin(const Plant *p, uint32_t **y) {
  for (int seed = 0; seed < SEEDS; seed++) {
    Outcome o;
    run_text(p, p->twin, seed, &o);
    bool right = !*o.error && !o.reported && o.y && (!*y || first_difference(p, *y, o.y) < 0);
    if (!right)
      printf("%s: the right twin, seed %d: %s\n", p->name, seed, *o.error ? o.error : o.reported ? o.finding.text : "another result");
    if (right && !*y) *y = o.y;
    else free(o.y);
    if (!right) return false;
  }
  return true;
}

static bool names_it(const Plant *p, const kilnsim_finding *f, int seed) {
  const char *kind = strstr(p->kind, f->kind);
  size_t n = strlen(f->kind);
  if (!kind || (kind > p->kind && kind[-1] != '|') || (kind[n] && kind[n] != '|') || (*p->space && strcmp(f->space, p->space) != 0)) return false;
  bool line = f->ptx_line > 0 && f->ptx_line < LINES_MAX;
  return line && (p->here[f->ptx_line] || (seed > 0 && p->other[f->ptx_line]));
}

static bool judge_broken(const Plant *p, int seed, const uint32_t *y, bool show) {
  Outcome o;
  run_text(p, p->broken, seed, &o);
  bool right = !*o.error;
  if (right && p->word >= 0) right = !o.reported && first_difference(p, y, o.y) == p->word;
  else if (right) right = o.reported && names_it(p, &o.finding, seed);
  const char *said = *o.error ? o.error : o.reported ? o.finding.text : "no report";
  if (!right) {
    printf("%s, seed %d: expected %s%s%s, got: %s\n", p->name, seed, p->word >= 0 ? "another result" : p->kind, *p->space ? " " : "", p->space, said);
    if (!o.reported && o.y && p->word >= 0) printf("  y differs first in word %d, expected %d\n", first_difference(p, y, o.y), p->word);
  } else if (show && seed == 0) {
    printf("%s: %s\n", p->name, p->word >= 0 ? "another result" : said);
  }
  free(o.y);
  return right;
}

static bool judge(const char *folder, const char *file, bool show) {
  Plant *p = calloc(1, sizeof *p);
  uint32_t *y = NULL;
  bool right = read_plant(p, folder, file);
  if (!right) printf("%s: its head is not complete\n", file);
  else right = judge_twin(p, &y);
  for (int seed = 0; seed < BROKEN_SEEDS && right; seed++) right = judge_broken(p, seed, y, show);
  free(y);
  free(p->broken);
  free(p->twin);
  free(p);
  return right;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int is_ptx(const struct dirent *d) { return ends_with(d->d_name, strlen(d->d_name), ".ptx"); }

int main(int argc, char **argv) {
  bool show = argc > 1 && strcmp(argv[1], "--show") == 0;
  struct dirent **list = NULL;
  int n = argc == 2 + show ? scandir(argv[1 + show], &list, is_ptx, by_name) : -1, named = 0;
  if (n < 0) return fprintf(stderr, "usage: run [--show] FOLDER\n"), 2;
  for (int i = 0; i < n; i++) {
    named += judge(argv[1 + show], list[i]->d_name, show);
    free(list[i]);
  }
  free(list);
  printf("planted: %d of %d named, twins silent\n", named, n);
  return n >= 40 && named == n ? 0 : 1;
}
