/* compile.h - from recorded tile statements to PTX text: the pass list. */
#ifndef KILN_COMPILE_H
#define KILN_COMPILE_H
#include "target.h"
#include "tile.h"

typedef struct CompileJob {
  Arena *arena;
  Diag *diag;
  TileProgram *tiles;
  const Target *target;
  const char *const *contract; /* lines without "//@ ", in the order in which the script gave them */
  int ncontract;
  const char *name;            /* of the variant, without ".ptx" */
  Text *out;                   /* receives the PTX file */
  const char *dump_after;      /* NULL, or the pass after which the tile IR is printed to dump and the work ends */
  Text *dump;
  bool refused;                /* set: right in itself, but the target lacks what it needs; diag says which */
} CompileJob;

bool compile_program(CompileJob *job); /* false: the errors stand in diag */
#endif
