/* ptx_const.c - pure forms on constants. Integers wrap as the hardware's do; f32 is computed where it is correctly rounded in PTX
 * and finite or infinite here (the bits of a NaN are the hardware's own). */
#include "ptx_impl.h"
#include <math.h>
#include <string.h>

static float as_f32(int64_t v) {
  float f;
  uint32_t bits = (uint32_t)v;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static bool give_f32(float f, int64_t *result) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  *result = (int32_t)bits;
  return !isnan(f);
}

static int64_t shift_left(int64_t v, uint32_t by, uint32_t width) { return by >= width ? 0 : (int64_t)((uint64_t)v << by); }
static int64_t shift_right_u32(int64_t v, uint32_t by) { return by >= 32 ? 0 : (int64_t)((uint32_t)v >> by); }
static int64_t shift_right_u64(int64_t v, uint32_t by) { return by >= 64 ? 0 : (int64_t)((uint64_t)v >> by); }
static int64_t shift_right_s64(int64_t v, uint32_t by) { return v >> (by >= 64 ? 63 : by); }

/* Forms on two and three 32- or 64-bit integers; the caller narrows the result to the destination. */
static bool evaluate_integer(IsaId form, const int64_t *v, int64_t *out) {
  int64_t a = v[0], b = v[1];
  uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
  uint32_t wa = (uint32_t)a, wb = (uint32_t)b;
  switch (form) {
  case ISA_add_s32: case ISA_add_u32: case ISA_add_s64: case ISA_add_u64: *out = (int64_t)(ua + ub); return true;
  case ISA_sub_s32: case ISA_sub_u32: case ISA_sub_s64: case ISA_sub_u64: *out = (int64_t)(ua - ub); return true;
  case ISA_mul_lo_s32: case ISA_mul_lo_u32: case ISA_mul_lo_s64: case ISA_mul_lo_u64: *out = (int64_t)(ua * ub); return true;
  case ISA_mad_lo_s32: case ISA_mad_lo_u32: case ISA_mad_lo_s64: case ISA_mad_lo_u64:
    *out = (int64_t)(ua * ub + (uint64_t)v[2]);
    return true;
  case ISA_mul_wide_s32: *out = (int64_t)(int32_t)a * (int32_t)b; return true;
  case ISA_mul_wide_u32: *out = (int64_t)((uint64_t)wa * wb); return true;
  case ISA_div_s32: case ISA_div_s64:
    if (b == 0 || b == -1) return false;
    *out = a / b;
    return true;
  case ISA_rem_s32: case ISA_rem_s64:
    if (b == 0 || b == -1) return false;
    *out = a % b;
    return true;
  case ISA_div_u32: return wb ? *out = wa / wb, true : false;
  case ISA_rem_u32: return wb ? *out = wa % wb, true : false;
  case ISA_div_u64: return ub ? *out = (int64_t)(ua / ub), true : false;
  case ISA_rem_u64: return ub ? *out = (int64_t)(ua % ub), true : false;
  case ISA_min_s32: case ISA_min_s64: *out = a < b ? a : b; return true;
  case ISA_max_s32: case ISA_max_s64: *out = a > b ? a : b; return true;
  case ISA_min_u32: *out = wa < wb ? wa : wb; return true;
  case ISA_max_u32: *out = wa > wb ? wa : wb; return true;
  case ISA_neg_s32: case ISA_neg_s64: *out = (int64_t)(0 - ua); return true;
  case ISA_and_b32: case ISA_and_b64: case ISA_and_pred: *out = a & b; return true;
  case ISA_or_b32: case ISA_or_b64: case ISA_or_pred: *out = a | b; return true;
  case ISA_xor_b32: case ISA_xor_b64: case ISA_xor_pred: *out = a ^ b; return true;
  case ISA_not_b32: case ISA_not_b64: *out = ~a; return true;
  case ISA_not_pred: *out = !a; return true;
  case ISA_shl_b32: *out = shift_left(a, wb, 32); return true;
  case ISA_shl_b64: *out = shift_left(a, wb, 64); return true;
  case ISA_shr_u32: *out = shift_right_u32(a, wb); return true;
  case ISA_shr_u64: *out = shift_right_u64(a, wb); return true;
  case ISA_shr_s32: case ISA_shr_s64: *out = shift_right_s64(a, wb); return true;
  case ISA_cvt_s64_s32: case ISA_cvt_u64_s32: case ISA_cvt_u32_u64: case ISA_cvt_s32_s64: case ISA_cvt_u32_s64: case ISA_cvt_s32_u64:
    *out = a;
    return true;
  case ISA_cvt_u64_u32: case ISA_cvt_s64_u32: *out = (int64_t)wa; return true;
  default: return false;
  }
}

#define COMPARE(suffix, x, y)                                        \
  case ISA_setp_eq_##suffix: *out = (x) == (y); return true;         \
  case ISA_setp_ne_##suffix: *out = (x) != (y); return true;         \
  case ISA_setp_lt_##suffix: *out = (x) < (y); return true;          \
  case ISA_setp_le_##suffix: *out = (x) <= (y); return true;         \
  case ISA_setp_gt_##suffix: *out = (x) > (y); return true;          \
  case ISA_setp_ge_##suffix: *out = (x) >= (y); return true

static bool evaluate_compare(IsaId form, const int64_t *v, int64_t *out) {
  switch (form) {
    COMPARE(s32, v[0], v[1]);
    COMPARE(s64, v[0], v[1]);
    COMPARE(u32, (uint32_t)v[0], (uint32_t)v[1]);
    COMPARE(u64, (uint64_t)v[0], (uint64_t)v[1]);
  case ISA_setp_eq_b32: case ISA_setp_eq_b64: *out = v[0] == v[1]; return true;
  case ISA_setp_ne_b32: case ISA_setp_ne_b64: *out = v[0] != v[1]; return true;
  default: return false;
  }
}

static bool evaluate_float(IsaId form, const int64_t *v, int64_t *out) {
  float a = as_f32(v[0]), b = as_f32(v[1]), c = as_f32(v[2]);
  switch (form) {
  case ISA_add_rn_f32: return give_f32(a + b, out);
  case ISA_sub_rn_f32: return give_f32(a - b, out);
  case ISA_mul_rn_f32: return give_f32(a * b, out);
  case ISA_fma_rn_f32: return give_f32(fmaf(a, b, c), out);
  case ISA_div_rn_f32: return give_f32(a / b, out);
  case ISA_rcp_rn_f32: return give_f32(1.0f / a, out);
  case ISA_neg_f32: return give_f32(-a, out);
  case ISA_abs_f32: return give_f32(fabsf(a), out);
  case ISA_cvt_rn_f32_s32: return give_f32((float)(int32_t)v[0], out);
  case ISA_cvt_rn_f32_u32: return give_f32((float)(uint32_t)v[0], out);
  case ISA_cvt_rn_f32_s64: return give_f32((float)v[0], out);
  default: return false;
  }
}

bool ptx_evaluate(IsaId form, int n, const int64_t *v, int64_t *result) {
  int64_t all[3] = {0, 0, 0};
  const IsaForm *f = isa_form(form);
  if (n > 3) return false;
  for (int i = 0; i < n; i++) {
    PtxClass c = ptx_class_of(f->op[i + 1].cls);
    all[i] = c == PTX_CLASSES ? v[i] : ptx_wrap(c, v[i]);
  }
  if (!evaluate_integer(form, all, result) && !evaluate_compare(form, all, result) && !evaluate_float(form, all, result)) return false;
  *result = ptx_wrap(ptx_class_of(f->op[0].cls), *result);
  return true;
}
