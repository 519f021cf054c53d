/* test_dlpack.c - the headers that are all of their libraries: kiln_rope.h by worked values, and kiln_dlpack.h, with DLPack's types spelled
 * out here as its specification lays them out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#define DLPACK_DLPACK_H_
typedef enum { kDLCPU = 1, kDLCUDA = 2 } DLDeviceType;
typedef struct { DLDeviceType device_type; int32_t device_id; } DLDevice;
typedef struct { uint8_t code, bits; uint16_t lanes; } DLDataType;
typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} DLTensor;
#include "kiln_dlpack.h"
#include "kiln_rope.h"

/* base 100, a 2x2 grid, 8 channels: angles of the four patches, pairs 0 to 3 */
static void test_axial_table(void **state) {
  (void)state;
  static const double angle[4][4] = {{0, 0, 0, 0}, {0, 0, 1, .1}, {1, .1, 0, 0}, {1, .1, 1, .1}};
  float cos_table[16], sin_table[16];
  assert_int_equal(kiln_axial_rope_table(100, 2, 2, 8, cos_table, sin_table), KILN_OK);
  for (int n = 0; n < 4; n++)
    for (int p = 0; p < 4; p++) {
      assert_true(cos_table[4 * n + p] == (float)cos(angle[n][p]));
      assert_true(sin_table[4 * n + p] == (float)sin(angle[n][p]));
    }
  assert_int_equal(kiln_axial_rope_table(100, 0, 2, 8, NULL, NULL), KILN_OK);
  assert_int_equal(kiln_axial_rope_table(100, 2, 2, 6, cos_table, sin_table), KILN_BAD_CALL);
  assert_int_equal(kiln_axial_rope_table(0, 2, 2, 8, cos_table, sin_table), KILN_BAD_CALL);
  assert_int_equal(kiln_axial_rope_table(100, 2, 2, 8, NULL, sin_table), KILN_BAD_CALL);
}

static void test_views(void **state) {
  (void)state;
  int64_t shape[] = {2, 3}, strides[] = {1, 2};
  char memory[64];
  DLTensor t = {.data = memory, .device = {kDLCUDA, 0}, .ndim = 2, .dtype = {4, 16, 1}, .shape = shape, .strides = strides,
                .byte_offset = 8};
  kiln_tensor x;
  assert_int_equal(kiln_from_dlpack(&x, &t), KILN_OK);
  assert_ptr_equal(x.data, memory + 8);
  assert_int_equal(x.dtype, KILN_BF16);
  assert_int_equal(x.rank, 2);
  assert_ptr_equal(x.shape, shape);
  assert_ptr_equal(x.strides, strides);
  t.dtype.lanes = 2;
  assert_int_equal(kiln_from_dlpack(&x, &t), KILN_BAD_DTYPE);
  t.dtype.lanes = 1, t.device.device_type = kDLCPU;
  assert_int_equal(kiln_from_dlpack(&x, &t), KILN_BAD_POINTER);
  assert_int_equal(kiln_from_dlpack(&x, NULL), KILN_BAD_CALL);
}

static void test_dtypes(void **state) {
  (void)state;
  static const struct { DLDataType from; kiln_dtype to; } pairs[] = {
      {{0, 8, 1}, KILN_I8},   {{0, 16, 1}, KILN_I16}, {{0, 32, 1}, KILN_I32},  {{0, 64, 1}, KILN_I64}, {{1, 8, 1}, KILN_U8},
      {{2, 16, 1}, KILN_F16}, {{2, 32, 1}, KILN_F32}, {{2, 64, 1}, KILN_F64},  {{4, 16, 1}, KILN_BF16}, {{6, 8, 1}, KILN_BOOL},
      {{10, 8, 1}, KILN_E4M3}, {{12, 8, 1}, KILN_E5M2}, {{1, 32, 1}, KILN_NO_DTYPE}, {{5, 64, 1}, KILN_NO_DTYPE}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    assert_int_equal(kiln_dtype_from_dlpack(pairs[i].from), pairs[i].to);
    assert_int_equal(kiln_dtype_bytes(pairs[i].to) * 8, pairs[i].to ? pairs[i].from.bits : 0);
    assert_int_equal(kiln_dtype_from_name(kiln_dtype_name(pairs[i].to)), pairs[i].to);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_axial_table), cmocka_unit_test(test_views), cmocka_unit_test(test_dtypes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
