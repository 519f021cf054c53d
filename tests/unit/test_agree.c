/* test_agree.c - hard facts that are stated twice: the generator's layouts (data) against the simulator's formulas (written from the manual):
 * swizzles of shared memory, matrices that a descriptor names, the accumulator of a warpgroup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "layout.h"
#include "runtime/sim/descriptor.h"

enum { BASE = 4096 }; /* of a tile: a multiple of every swizzle's period */

/* Where a copy of boxes puts element (row, col): panel after panel, rows of `width` bytes, pieces of 16 bytes exchanged. */
static uint32_t copied(int rows, int es, int width, int row, int col) {
  int panel = width / es;
  return sim_swizzle((uint32_t)(BASE + col / panel * rows * width + row * width + col % panel * es), (uint32_t)width) - BASE;
}

static void test_swizzles(void **state) {
  (void)state;
  for (int width = 32; width <= 128; width *= 2)
    for (int es = 1; es <= 4; es *= 2)
      for (int panels = 1; panels <= 3; panels++) {
        SmemLayout l;
        int rows = 40, cols = panels * width / es;
        assert_true(smem_layout_panels(rows, cols, es, width, &l));
        assert_int_equal(layout_swizzle_bytes(&l), width);
        for (int r = 0; r < rows; r++)
          for (int c = 0; c < cols; c++) assert_int_equal(smem_layout_offset(&l, es, r, c), copied(rows, es, width, r, c));
      }
}

/* The descriptor of a tile as the simulator reads it, put together by the manual's fields. */
static uint64_t descriptor(uint32_t at, uint32_t leading, uint32_t stride, int width) {
  uint64_t mode = width == 128 ? 1 : width == 64 ? 2 : 3;
  return (at >> 4 & 0x3fff) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 | mode << 62;
}

static void test_k_innermost(void **state) { /* [m or n][k], products of 32 bytes of k */
  (void)state;
  for (int width = 32; width <= 128; width *= 2)
    for (int es = 1; es <= 4; es *= 2) {
      SmemLayout l;
      int rows = 64, cols = 2 * width / es;
      assert_true(smem_layout_panels(rows, cols, es, width, &l));
      for (int step = 0; step < cols * es / 32; step++) {
        uint32_t start = BASE + (uint32_t)(step * 32 / width * rows * width + step * 32 % width);
        SimDescriptor d = sim_descriptor(descriptor(start, 16, (uint32_t)(8 * width), width));
        assert_true(!d.reserved && !d.base_offset && d.width == (uint32_t)width);
        for (uint32_t i = 0; i < 8; i++)
          for (uint32_t j = 0; j < 2; j++)
            for (uint32_t r = 0; r < 8; r++)
              assert_int_equal(sim_descriptor_line(&d, false, i, j, r) - BASE,
                               smem_layout_offset(&l, es, (int)(8 * i + r), (step * 32 + (int)j * 16) / es));
      }
    }
}

static void test_k_outermost(void **state) { /* [k][m or n], 16 bits, products of 16 rows */
  (void)state;
  for (int width = 32; width <= 128; width *= 2) {
    SmemLayout l;
    int rows = 64, cols = 128, es = 2;
    assert_true(smem_layout_panels(rows, cols, es, width, &l));
    for (int step = 0; step < rows / 16; step++) {
      SimDescriptor d = sim_descriptor(descriptor(BASE + (uint32_t)(16 * step * width), (uint32_t)(rows * width), (uint32_t)(8 * width), width));
      for (uint32_t i = 0; i < (uint32_t)cols / 8; i++)
        for (uint32_t j = 0; j < 2; j++)
          for (uint32_t r = 0; r < 8; r++)
            assert_int_equal(sim_descriptor_line(&d, true, i, j, r) - BASE, smem_layout_offset(&l, es, 16 * step + (int)(8 * j + r), (int)(8 * i)));
    }
  }
}

static void test_accumulator(void **state) { /* as exec/wgmma.h and test_sim_wgmma.c have it */
  (void)state;
  for (int n = 8; n <= 256; n += 8) {
    Layout l = layout_wgmma_acc(64, n);
    assert_int_equal(layout_regs(&l), n / 2);
    for (int t = 0; t < 128; t++)
      for (int i = 0; i < n / 2; i++) {
        int32_t at[LAYOUT_RANK];
        layout_coord(&l, i, t % 32, t / 32, at);
        assert_int_equal(at[0], t / 32 * 16 + t % 32 / 4 + 8 * (i >> 1 & 1));
        assert_int_equal(at[1], 8 * (i >> 2) + t % 4 * 2 + (i & 1));
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_swizzles), cmocka_unit_test(test_k_innermost), cmocka_unit_test(test_k_outermost),
                                     cmocka_unit_test(test_accumulator)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
