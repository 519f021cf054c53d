/* fuzz_program.c - random valid programs on the simulator and on the evaluator (evaluator/), compared bit for bit. The input's bytes
 * are the choices from which program.c makes the text. Anything that the checker finds is a fault as well: the programs are right.
 *
 * FUZZ_SHOW=1 in the environment prints every text; FUZZ_GO_ON=1 does not stop at a fault, so that all can be seen at once. */
#include "evaluator/evaluator.h"
#include "kilnsim.h"
#include "program.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/driver_abi.h"
#define DRIVER(need, name, params, args) DrvResult name params;
#include "cuda/driver.def"

enum { THREADS = PROGRAM_MAX_BLOCK * PROGRAM_MAX_GRID, OUT_BYTES = THREADS * PROGRAM_SLOT_BYTES, CELL_BYTES = (PROGRAM_MAX_GRID + 1) * PROGRAM_CELLS * 8 };

/* The same programs under each: host levels, orders, with and without the checker. Levels that this host lacks are left out. */
static const char *const devices[] = {"sm_100a,cores=1,limit=1000000", "sm_100a,cores=1,limit=1000000,checks=off,seed=3",
                                      "sm_100a,cores=1,limit=1000000,level=base,seed=1",
                                      "sm_100a,cores=1,limit=1000000,level=v3,policy=random,seed=2"};
typedef struct Device { DrvContext ctx; DrvPtr in, out, cells; } Device;
static Device opened[sizeof devices / sizeof *devices];
static int nopened;

static FuzzProgram program;
static uint8_t before_cells[CELL_BYTES], out[2][OUT_BYTES], cells[2][CELL_BYTES]; /* the simulator's, the evaluator's */
static char what[1600];                                                           /* is wrong */

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    if (call) return explain(#call);                                                                                   \
  } while (0)

static bool explain(const char *call) {
  const char *why = "";
  kilnsim_message(&why);
  snprintf(what, sizeof what, "%s: %s", call, why);
  return false;
}

static bool open_device(Device *d, const char *options) {
  int ordinal;
  TRY(kilnsim_configure(options, &ordinal));
  TRY(cuInit(0));
  TRY(cuDevicePrimaryCtxRetain(&d->ctx, ordinal));
  TRY(cuCtxPushCurrent_v2(d->ctx));
  TRY(cuMemAlloc_v2(&d->in, PROGRAM_IN_BYTES));
  TRY(cuMemAlloc_v2(&d->out, OUT_BYTES));
  TRY(cuMemAlloc_v2(&d->cells, CELL_BYTES));
  TRY(cuCtxPopCurrent_v2(NULL));
  return true;
}

static bool simulate(const Device *d) {
  DrvModule module = NULL;
  DrvFunction f;
  DrvPtr in = d->in, to = d->out, shared = d->cells;
  memset(out[0], 0, OUT_BYTES);
  TRY(cuMemcpyHtoD_v2(in, program.in, PROGRAM_IN_BYTES));
  TRY(cuMemcpyHtoD_v2(to, out[0], OUT_BYTES));
  TRY(cuMemcpyHtoD_v2(shared, before_cells, CELL_BYTES));
  TRY(cuModuleLoadDataEx(&module, program.text, 0, NULL, NULL));
  TRY(cuModuleGetFunction(&f, module, "k"));
  DrvResult code = cuLaunchKernel(f, program.grid, 1, 1, program.block, 1, 1, 0, NULL, (void *[]){&in, &to, &shared}, NULL);
  if (code) explain("cuLaunchKernel");
  cuModuleUnload(module);
  if (code) return false;
  TRY(cuMemcpyDtoH_v2(out[0], to, OUT_BYTES));
  TRY(cuMemcpyDtoH_v2(cells[0], shared, CELL_BYTES));
  return true;
}

static bool evaluate_also(const Device *d) {
  EvalLaunch l = {.grid = program.grid, .block = program.block, .params = (uint64_t[]){d->in, d->out, d->cells}, .nbuffers = 3, .limit = 100000};
  memset(out[1], 0, OUT_BYTES);
  memcpy(cells[1], before_cells, CELL_BYTES);
  l.buffers[0] = (EvalBuffer){d->in, PROGRAM_IN_BYTES, program.in};
  l.buffers[1] = (EvalBuffer){d->out, OUT_BYTES, out[1]};
  l.buffers[2] = (EvalBuffer){d->cells, CELL_BYTES, cells[1]};
  return evaluate(program.text, &l, what, sizeof what);
}

static bool same(const char *name, const uint8_t *a, const uint8_t *b, size_t n, size_t period) {
  if (memcmp(a, b, n) == 0) return true;
  for (size_t i = 0; i < n; i += 4) {
    uint32_t x, y;
    memcpy(&x, a + i, 4);
    memcpy(&y, b + i, 4);
    if (x == y) continue;
    snprintf(what, sizeof what, "%s %zu, byte %zu: simulator %08x, evaluator %08x", name, i / period, i % period, x, y);
    return false;
  }
  return false;
}

typedef enum Verdict { AGREE, DIFFER, SIMULATOR_OBJECTS, EVALUATOR_OBJECTS } Verdict;
static Verdict judge_with(const Device *d, uint8_t flip) { /* flip: bits of one cell that the evaluator sees otherwise */
  cuCtxPushCurrent_v2(d->ctx);
  bool ran = simulate(d);
  cuCtxPopCurrent_v2(NULL);
  if (!ran) return SIMULATOR_OBJECTS;
  before_cells[CELL_BYTES / 3 - 1] ^= flip; /* of the last cell, which no program changes */
  bool evaluated = evaluate_also(d);
  before_cells[CELL_BYTES / 3 - 1] ^= flip;
  if (!evaluated) return EVALUATOR_OBJECTS;
  return same("thread", out[0], out[1], OUT_BYTES, PROGRAM_SLOT_BYTES) && same("cells", cells[0], cells[1], CELL_BYTES, PROGRAM_CELLS * 8) ? AGREE : DIFFER;
}

static Verdict judge(const Device *d) { return judge_with(d, 0); }

/* Lines are left out one by one, from the last, as long as the verdict stays. */
static void make_smaller(const Device *d, Verdict verdict) {
  static char whole[PROGRAM_TEXT];
  for (bool again = true; again;) {
    again = false;
    for (size_t end = program.length; end > 0;) {
      size_t begin = end - 1;
      while (begin > 0 && program.text[begin - 1] != '\n') begin--;
      memcpy(whole, program.text, program.length + 1);
      memmove(program.text + begin, program.text + end, program.length + 1 - end);
      if (judge(d) == verdict) program.length -= end - begin, again = true;
      else memcpy(program.text, whole, program.length + 1);
      end = begin;
    }
  }
  judge(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const verdicts[] = {"", "results differ", "the simulator objects to a right program", "the evaluator cannot"};
  Choices c;
  for (size_t i = 0; !nopened && i < sizeof devices / sizeof *devices; i++)
    if (open_device(&opened[nopened], devices[i])) nopened++;
  if (!nopened) fprintf(stderr, "%s\n", what), abort();
  choices_begin(&c, data, size);
  const Device *d = &opened[choose(&c, (uint32_t)nopened)];
  program_make(&program, &c);
  for (size_t i = 0; i < CELL_BYTES; i += 8) memcpy(before_cells + i, &(uint64_t){choose_bits(&c)}, 8);
  if (getenv("FUZZ_SHOW")) fputs(program.text, stderr);
  static bool noticed; /* once: a difference of one bit is one */
  if (!noticed && judge_with(d, 0x10) == AGREE) fprintf(stderr, "a difference is not noticed\n"), abort();
  noticed = true;
  Verdict verdict = judge(d);
  if (verdict == AGREE) return 0;
  fprintf(stderr, "%s: %s\n", verdicts[verdict], what);
  make_smaller(d, verdict);
  fprintf(stderr, "%s\ngrid %u block %u, the smallest program for which %s: %s\n", program.text, program.grid, program.block, verdicts[verdict], what);
  if (!getenv("FUZZ_GO_ON")) abort();
  return 0;
}
