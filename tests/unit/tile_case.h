/* tile_case.h - for tests of the proofs over tiles: a program in text form. Included by tests/unit/test_{hazard,flight}.c. */
#ifndef TILE_CASE_H
#define TILE_CASE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tile.h"
#include <stdio.h>
#include <string.h>

typedef struct Run { Arena arena; Diag diag; TileProgram tiles; bool ok; } Run;

static inline void read_text(Run *r, const char *text) {
  arena_init(&r->arena, 0);
  diag_init(&r->diag, &r->arena);
  tile_init(&r->tiles, &r->arena, &r->diag);
  bool parsed = tile_parse(&r->tiles, "test.tile", text, strlen(text));
  if (!parsed) fprintf(stderr, "%s\n", r->diag.text.at);
  assert_true(parsed);
}

static inline void end(Run *r) { arena_free(&r->arena); }
#endif
