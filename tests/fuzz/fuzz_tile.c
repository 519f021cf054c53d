/* fuzz_tile.c - the tile text form: nothing that comes in may crash the reader or the checker, and what it accepts must print to a text
 * that it accepts again and prints to the same bytes. */
#include "base.h"
#include "tile.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LIMIT_BYTES = 256 << 20, MOST_INPUT = 64 << 10 };

static void run(Arena *a, const char *text, size_t n) {
  Diag d, again_d;
  TileProgram p, again;
  Text out, again_out;
  diag_init(&d, a);
  tile_init(&p, a, &d);
  if (!tile_parse(&p, "fuzz.tile", text, n)) {
    if (!d.errors || !d.text.n) abort(); /* refused without a word */
    return;
  }
  text_init(&out, a, KEEP);
  tile_print(&p, &out);
  diag_init(&again_d, a);
  tile_init(&again, a, &again_d);
  if (!tile_parse(&again, "fuzz.tile", out.at, out.n)) abort();
  text_init(&again_out, a, KEEP);
  tile_print(&again, &again_out);
  if (strcmp(out.at, again_out.at)) abort();
  if (tile_check(&p) != (d.errors == 0)) abort();
  if (tile_check(&again) != (again_d.errors == 0) || !d.errors != !again_d.errors) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n > MOST_INPUT) return 0;
  Arena a;
  jmp_buf landing;
  arena_init(&a, LIMIT_BYTES);
  a.on_exhausted = &landing;
  if (!setjmp(landing)) run(&a, (const char *)data, n);
  arena_free(&a);
  return 0;
}
