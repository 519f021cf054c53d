/* test_layout.c - the layout algebra against index formulas written anew from the PTX manual's figures, and the promises that
 * lowering relies on: every element once, slices consistent, swizzles free of bank conflicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "layout.h"
#include <stdlib.h>
#include <string.h>

/* Every coordinate of the shape is held, and by exactly `copies` (thread, register) pairs. */
static void assert_covers(const Layout *l, int copies) {
  int rows = l->shape[0], cols = l->rank > 1 ? l->shape[1] : 1;
  int *seen = calloc((size_t)(rows * cols), sizeof *seen);
  for (int w = 0; w < layout_warps(l); w++)
    for (int lane = 0; lane < 32; lane++)
      for (int r = 0; r < layout_regs(l); r++) {
        int32_t c[LAYOUT_RANK];
        layout_coord(l, r, lane, w, c);
        assert_in_range(c[0], 0, rows - 1);
        if (l->rank > 1) assert_in_range(c[1], 0, cols - 1);
        seen[c[0] * cols + (l->rank > 1 ? c[1] : 0)]++;
      }
  for (int i = 0; i < rows * cols; i++) assert_int_equal(seen[i], copies);
  free(seen);
}

/* PTX ISA, "Matrix Fragments for mma.m16n8k16": groupID = lane >> 2, row = groupID (+8 for i >= 2), col = (lane % 4) * 2 + (i & 1). */
static void accumulator_follows_the_manual(void **state) {
  (void)state;
  static const int shape[][4] = {{16, 16, 1, 1}, {64, 64, 2, 2}, {128, 256, 2, 4}, {128, 128, 4, 2}, {32, 128, 1, 8}};
  for (unsigned k = 0; k < sizeof shape / sizeof *shape; k++) {
    int bm = shape[k][0], bn = shape[k][1], wm = shape[k][2], wn = shape[k][3];
    Layout l = layout_mma_acc(bm, bn, wm, wn, false, MMA_PAIRS);
    assert_true(layout_valid(&l));
    assert_covers(&l, 1);
    int nt = bn / wn / 8;
    for (int w = 0; w < wm * wn; w++)
      for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < layout_regs(&l); r++) {
          int i = r % 4, n = r / 4 % nt, m = r / 4 / nt;
          int row = w % wm * (bm / wm) + m * 16 + (lane >> 2) + (i >= 2 ? 8 : 0);
          int col = w / wm * (bn / wn) + n * 8 + lane % 4 * 2 + (i & 1);
          int32_t c[LAYOUT_RANK];
          layout_coord(&l, r, lane, w, c);
          assert_int_equal(c[0], row);
          assert_int_equal(c[1], col);
        }
  }
}

/* Runs: the j-th of four products has every fourth of 32 columns as its 8, of which a thread has 2q and 2q+1: so it has 8q .. 8q+7. */
static void runs_are_columns_of_four_products(void **state) {
  (void)state;
  static const int shape[][4] = {{16, 32, 1, 1}, {64, 64, 2, 2}, {128, 256, 2, 4}, {32, 256, 1, 8}};
  for (unsigned k = 0; k < 2 * sizeof shape / sizeof *shape; k++) {
    const int *s = shape[k / 2];
    bool rows = k % 2;
    Layout l = layout_mma_acc(s[0], s[1], s[2], s[3], rows, MMA_RUNS), pairs = layout_mma_acc(s[0], s[1], s[2], s[3], rows, MMA_PAIRS);
    assert_true(layout_valid(&l));
    assert_covers(&l, 1);
    assert_int_equal(layout_vector(&l, 1), 8);
    assert_true(layout_has_runs(&l));
    assert_false(layout_has_runs(&pairs));
    for (int w = 0; w < s[2] * s[3]; w++)
      for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < layout_regs(&l); r++) {
          int within = r % 8, column_of_product = lane % 4 * 2 + within / 4, product = within % 4; /* c0 and c1 are four columns apart */
          int32_t c[LAYOUT_RANK];
          layout_coord(&l, r, lane, w, c);
          assert_int_equal(c[1], w / s[2] * (s[1] / s[3]) + r / 16 % (s[1] / s[3] / 32) * 32 + 4 * column_of_product + product);
        }
  }
}

static void rows_are_covered_in_vectors(void **state) {
  (void)state;
  static const int shape[][5] = {{1, 4096, 4, 128, 8}, {16, 64, 4, 8, 8}, {4, 1024, 4, 32, 8}, {2, 2048, 4, 64, 8}, {1, 32, 1, 32, 1}, {128, 128, 8, 16, 8}};
  for (unsigned k = 0; k < sizeof shape / sizeof *shape; k++) {
    Layout l = layout_rowwise(shape[k][0], shape[k][1], shape[k][2], shape[k][3], shape[k][4]);
    assert_true(layout_valid(&l));
    assert_covers(&l, 1);
    assert_int_equal(layout_vector(&l, 1) % shape[k][4], 0);
  }
}

static void copies_stay_in_their_thread(void **state) {
  (void)state;
  static const int shape[][5] = {{1, 256, 4, 128, 2}, {16, 64, 4, 8, 8}, {8, 512, 4, 32, 8}, {128, 64, 8, 16, 2}};
  for (unsigned k = 0; k < 8; k++) {
    int times = k < 4 ? 2 : 4;
    const int *s = shape[k % 4];
    Layout l = layout_rowwise(s[0], s[1], s[2], s[3], s[4]), t = layout_repeat(&l, times);
    assert_int_equal(t.shape[1], times * s[1]);
    assert_true(layout_valid(&t));
    assert_covers(&t, 1);
    for (int w = 0; w < s[2]; w++)
      for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < layout_regs(&t); r++) {
          int32_t c[LAYOUT_RANK], of[LAYOUT_RANK];
          layout_coord(&t, r, lane, w, c);
          layout_coord(&l, layout_repeat_reg(&l, times, r), lane, w, of);
          assert_int_equal(c[0], of[0]);
          assert_int_equal(c[1] % s[1], of[1]);
        }
  }
}

static void slices_agree_with_their_whole(void **state) {
  (void)state;
  Layout l = layout_mma_acc(64, 128, 2, 2, false, MMA_PAIRS);
  for (int dim = 0; dim < 2; dim++) {
    Layout s = layout_slice(&l, dim);
    assert_true(layout_valid(&s));
    assert_int_equal(layout_slice_dim(&l, &s), dim);
    for (int w = 0; w < 4; w++)
      for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < layout_regs(&l); r++) {
          int32_t full[LAYOUT_RANK], part[LAYOUT_RANK];
          layout_coord(&l, r, lane, w, full);
          layout_coord(&s, layout_slice_reg(&l, dim, r), lane, w, part);
          assert_int_equal(part[0], full[1 - dim]);
        }
  }
}

static void text_comes_back(void **state) {
  (void)state;
  Layout l = layout_mma_acc(128, 256, 2, 4, false, false), s = layout_slice(&l, 1), back;
  char text[256];
  layout_print(&l, text, sizeof text);
  back = (Layout){.rank = 2, .shape = {128, 256}};
  assert_true(layout_parse(&back, text));
  assert_true(layout_equal(&l, &back));
  layout_print(&s, text, sizeof text);
  back = (Layout){.rank = 1, .shape = {128}};
  assert_true(layout_parse(&back, text));
  assert_true(layout_equal(&s, &back));
  static const char *const bad[] = {"x2@0:1", "r@0:1", "r2", "r2@9:1", "r2@0", "r2@0:", "r2@0:0", "r2@0:1x", "r2@0:1,l4@1:1", "r0@0:1"};
  for (unsigned k = 0; k < sizeof bad / sizeof *bad; k++) {
    back = (Layout){.rank = 2, .shape = {128, 256}};
    assert_false(layout_parse(&back, bad[k]));
  }
}

static void wrong_layouts_are_found(void **state) {
  (void)state;
  Layout l = layout_mma_acc(64, 64, 2, 2, false, MMA_PAIRS);
  l.mode[0].stride = 2; /* column 1 is held nowhere */
  assert_false(layout_valid(&l));
  l = layout_mma_acc(64, 64, 2, 2, false, MMA_PAIRS);
  l.mode[4].extent = 2; /* 16 lanes */
  assert_false(layout_valid(&l));
}

/* ldmatrix reads eight rows of 16 bytes at once: their banks (128 bytes wide) must differ, for each 16-byte column. */
static void swizzles_have_no_conflicts(void **state) {
  (void)state;
  static const int cols[] = {32, 64, 128, 256};
  for (unsigned k = 0; k < sizeof cols / sizeof *cols; k++) {
    SmemLayout l = smem_layout_rows(64, cols[k], 2, 128, 0);
    for (int row = 0; row < 64; row += 8)
      for (int col = 0; col < cols[k]; col += 8) {
        unsigned banks = 0;
        for (int i = 0; i < 8; i++) banks |= 1u << (smem_layout_offset(&l, 2, row + i, col) / 16 % 8);
        assert_int_equal(banks, 255);
      }
  }
}

/* The same where every fourth row is read at once, and where eight pieces are written one after the other. */
static void fourths_have_no_conflicts(void **state) {
  (void)state;
  static const int cols[] = {16, 32, 64, 128, 256};
  for (unsigned k = 0; k < sizeof cols / sizeof *cols; k++) {
    SmemLayout l = smem_layout_fourths(64, cols[k], 2);
    char *seen = calloc((size_t)l.bytes / 16, 1);
    for (int row = 0; row < 64; row++)
      for (int col = 0; col < cols[k]; col += 8) {
        unsigned banks = 0, written = 0;
        for (int i = 0; i < 8 && row % 32 < 4; i++) banks |= 1u << (smem_layout_offset(&l, 2, row + 4 * i, col) / 16 % 8);
        for (int i = 0, at = row * cols[k] + col; i < 8; i++) {
          int piece = (at / 64 * 8 + i) * 8; /* of eight that begin at a multiple of 128 bytes */
          written |= 1u << (smem_layout_offset(&l, 2, piece / cols[k], piece % cols[k]) / 16 % 8);
        }
        assert_true(row % 32 >= 4 || banks == 255);
        assert_int_equal(written, 255);
        uint32_t at = smem_layout_offset(&l, 2, row, col);
        assert_true(at % 16 == 0 && at < (uint32_t)l.bytes && !seen[at / 16]);
        seen[at / 16] = 1;
      }
    free(seen);
  }
}

/* A warp reads 4 rows of k by 8 neighbours of 4 bytes at once: 32 different banks; 16 bytes stay together, and nothing leaves its row. */
static void words_have_no_conflicts(void **state) {
  (void)state;
  static const int cols[] = {16, 32, 64, 128, 256};
  for (unsigned k = 0; k < sizeof cols / sizeof *cols; k++) {
    SmemLayout l = smem_layout_words(32, cols[k]);
    for (int row = 0; row < 32; row += 4)
      for (int col = 0; col < cols[k]; col += 8) {
        uint32_t banks = 0;
        for (int i = 0; i < 32; i++) {
          uint32_t at = smem_layout_offset(&l, 4, row + i / 8, col + i % 8);
          banks |= 1u << (at / 4 % 32);
          assert_int_equal(at / (uint32_t)(cols[k] * 4), row + i / 8);
          assert_int_equal(at % 16, i % 4 * 4);
        }
        assert_int_equal(banks, 0xffffffffu);
      }
  }
}

static void swizzles_move_nothing_out_of_its_row(void **state) {
  (void)state;
  SmemLayout l = smem_layout_rows(32, 128, 2, 128, 0);
  char *seen = calloc((size_t)l.bytes, 1);
  for (int r = 0; r < 32; r++)
    for (int c = 0; c < 128; c++) {
      uint32_t at = smem_layout_offset(&l, 2, r, c);
      assert_true(at < (uint32_t)l.bytes);
      assert_int_equal(at / 256, r);
      assert_int_equal(seen[at]++, 0);
    }
  free(seen);
}

/* Row 16 w + g + 8 (i/2%2) + 64 b, column 8 (i/4) + 2 q + i%2 of register i of block b: PTX ISA, wgmma accumulators. */
static void a_warpgroup_holds_its_accumulator(void **state) {
  (void)state;
  Layout l = layout_wgmma_acc(128, 40);
  assert_true(layout_valid(&l));
  assert_int_equal(layout_regs(&l), 2 * 20);
  for (int warp = 0; warp < 4; warp++)
    for (int lane = 0; lane < 32; lane++)
      for (int r = 0; r < 40; r++) {
        int32_t at[LAYOUT_RANK];
        int i = r % 20, block = r / 20;
        layout_coord(&l, r, lane, warp, at);
        assert_int_equal(at[0], 64 * block + 16 * warp + lane / 4 + 8 * (i / 2 % 2));
        assert_int_equal(at[1], 8 * (i / 4) + 2 * (lane % 4) + i % 2);
      }
}

static void pieces_are_registers_of_their_whole(void **state) {
  (void)state;
  Layout full = layout_wgmma_acc(128, 256), piece;
  int32_t start[] = {64, 96}, shape[] = {64, 32};
  assert_true(layout_piece(&full, start, shape, &piece));
  Layout want = layout_wgmma_acc(64, 32);
  assert_true(layout_equal(&piece, &want));
  for (int r = 0; r < layout_regs(&piece); r++) {
    int32_t here[LAYOUT_RANK], there[LAYOUT_RANK];
    int k = layout_piece_reg(&full, &piece, start, r);
    assert_in_range(k, 0, layout_regs(&full) - 1);
    layout_coord(&piece, r, 13, 2, here);
    layout_coord(&full, k, 13, 2, there);
    assert_int_equal(there[0], here[0] + 64);
    assert_int_equal(there[1], here[1] + 96);
  }
  int32_t within[] = {16, 0}, few[] = {16, 256}; /* other warps' rows */
  assert_false(layout_piece(&full, within, few, &piece));
}

/* As bulk copies write a box: 16-byte piece c of row r at r * W + (c ^ f(r)) * 16, f by the width; panels one after the other. */
static void panels_are_what_bulk_copies_write(void **state) {
  (void)state;
  for (int width = 32; width <= 128; width *= 2) {
    SmemLayout l;
    int cols = width / 2 * 3, rows = 24;
    assert_true(smem_layout_panels(rows, cols, 2, width, &l));
    assert_int_equal(layout_swizzle_bytes(&l), width);
    assert_int_equal(l.panel, width / 2);
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < cols; c++) {
        int panel = c / (width / 2), byte = c % (width / 2) * 2, line = r * width / 128;
        int moved = (byte / 16 ^ (line & (width / 16 - 1))) * 16 + byte % 16;
        assert_int_equal(smem_layout_offset(&l, 2, r, c), panel * rows * width + r * width + moved);
      }
  }
  SmemLayout l;
  assert_false(smem_layout_panels(64, 24, 2, 128, &l)); /* rows of 48 bytes */
  assert_false(smem_layout_panels(64, 96, 2, 128, &l)); /* one panel and a half */
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(accumulator_follows_the_manual), cmocka_unit_test(runs_are_columns_of_four_products),
    cmocka_unit_test(rows_are_covered_in_vectors),    cmocka_unit_test(slices_agree_with_their_whole),
    cmocka_unit_test(text_comes_back),                cmocka_unit_test(wrong_layouts_are_found),     cmocka_unit_test(swizzles_have_no_conflicts),
    cmocka_unit_test(fourths_have_no_conflicts),      cmocka_unit_test(words_have_no_conflicts),      cmocka_unit_test(copies_stay_in_their_thread),
    cmocka_unit_test(swizzles_move_nothing_out_of_its_row), cmocka_unit_test(a_warpgroup_holds_its_accumulator),
    cmocka_unit_test(pieces_are_registers_of_their_whole),  cmocka_unit_test(panels_are_what_bulk_copies_write),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
