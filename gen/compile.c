/* compile.c - the pass list. It reads from top to bottom; each pass leaves its errors in diag and the next does not run then. */
#include "compile.h"
#include "contract.h"
#include "lower.h"
#include "ptx.h"
#include <string.h>

/* What the pass kept for itself goes. true: the program was wanted as it is after this pass, and nothing more. */
static bool end_pass(CompileJob *job, const char *pass) {
  arena_reset_pass(job->arena);
  if (!job->dump_after || strcmp(job->dump_after, pass) != 0) return false;
  tile_print(job->tiles, job->dump);
  return true;
}

bool compile_program(CompileJob *job) {
  Arena *a = job->arena;
  TileProgram *tiles = job->tiles;
  uint32_t n = tiles->top.n;
  PtxProgram **ptx = ARENA_ARRAY(a, KEEP, PtxProgram *, n ? n : 1);
  LowerResult *kernel = ARENA_ARRAY(a, KEEP, LowerResult, n ? n : 1);
  int version = 0;

  if (!tile_check(tiles)) return false;
  if (end_pass(job, "script")) return true;
  if (!tile_complete(tiles)) return false;
  if (end_pass(job, "layout")) return true;
  if (!tile_hazard(tiles)) return false;
  if (end_pass(job, "hazard")) return true;

  for (uint32_t i = 0; i < n; i++) {
    if (!lower_kernel(a, job->diag, tiles, (TileId){tiles->top.at[i]}, job->target, &ptx[i], &kernel[i])) {
      job->refused = kernel[i].refused;
      return false;
    }
    ptx_fold(ptx[i]);
    if (!ptx_check(ptx[i])) return false;
    int v = ptx_version(ptx[i]);
    if (v > version) version = v;
    arena_reset_pass(a);
  }

  if (!contract_write(job, kernel, (int)n)) return false;
  ptx_header(job->out, job->target, version, job->diag);
  if (n) ptx_externs(ptx[0], job->out); /* the kernels of a file have the same ones: dynamic shared memory */
  for (uint32_t i = 0; i < n; i++) ptx_text(ptx[i], job->out);
  return job->diag->errors == 0;
}
