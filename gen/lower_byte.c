/* lower_byte.c - elements of one byte: e4m3, e5m2, u8, i8, bool.
 *
 * A fragment whose runs are long enough holds four to a .b32 register, the first in the lowest byte; otherwise a register holds one,
 * its upper bytes 0. A bool is a predicate in a fragment and a byte, 0 or 1, in memory. Arithmetic is never done on bytes: fp8 goes
 * through f32, integers through i32.
 *
 * Conversions to fp8 round to nearest even, saturate to the largest finite value, and keep NaN (as 0x7f). Targets without the
 * instruction get the same bits from integers: the f32's own bits rounded at the narrower mantissa; below the smallest normal value,
 * where the step is constant, by adding the power of two at which f32 has that step. */
#include "lower.h"

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)
#define F(x) po_f(x)

typedef struct ByteFloat {
  IsaId from_f32, to_f16x2;
  int mantissa;         /* bits */
  uint32_t rebias;      /* exponent field of 1.0 in f32 minus its own, above the mantissa */
  uint32_t least;       /* bits of the smallest normal value as f32 */
  float step;           /* f32 whose last place is the format's smallest step, and its bits */
  uint32_t step_bits;
  uint32_t largest;     /* code */
} ByteFloat;

static const ByteFloat e4m3 = {ISA_cvt_rn_satfinite_e4m3x2_f32, ISA_cvt_rn_f16x2_e4m3x2, 3, (127 - 7) << 3, 0x3c800000, 0x1p14f, 0x46800000, 0x7e};
static const ByteFloat e5m2 = {ISA_cvt_rn_satfinite_e5m2x2_f32, ISA_cvt_rn_f16x2_e5m2x2, 2, (127 - 15) << 2, 0x38800000, 0x1p7f, 0x43000000, 0x7b};

static const ByteFloat *format_of(kiln_dtype t) { return t == KILN_E4M3 ? &e4m3 : t == KILN_E5M2 ? &e5m2 : NULL; }
static bool has(const Lower *l, IsaId form) { return target_runs(l->target, isa_form(form)->sm); }
static PtxReg bits_of(Lower *l, PtxReg f) { return DEF(mov_b32_from_f32, R(f)); }
static PtxReg float_of(Lower *l, PtxReg r) { return DEF(mov_f32_from_b32, R(r)); }

bool byte_is_float(kiln_dtype t) { return format_of(t) != NULL; }
bool byte_is_int(kiln_dtype t) { return t == KILN_U8 || t == KILN_I8; }

/* ---- places ---- */

PtxReg byte_at(Lower *l, PtxReg word, int k) { return DEF(bfe_u32, R(word), po_i(8 * k), po_i(8)); }

PtxReg byte_join(Lower *l, const PtxReg b[4]) {
  PtxReg lo = DEF(prmt_b32, R(b[0]), R(b[1]), po_i(0x1140)), hi = DEF(prmt_b32, R(b[2]), R(b[3]), po_i(0x1140));
  return DEF(prmt_b32, R(lo), R(hi), po_i(0x5410));
}

/* ---- fp8 ---- */

static PtxReg encode_by_integers(Lower *l, const ByteFloat *f, PtxReg x) {
  int shift = 23 - f->mantissa;
  PtxReg bits = bits_of(l, x), size = DEF(and_b32, R(bits), po_i(0x7fffffff));
  PtxReg odd = DEF(bfe_u32, R(size), po_i(shift), po_i(1));
  PtxReg rounded = DEF(add_s32, R(DEF(add_s32, R(size), po_i((1 << (shift - 1)) - 1))), R(odd));
  PtxReg normal = DEF(sub_s32, R(DEF(shr_u32, R(rounded), po_i(shift))), po_i(f->rebias));
  PtxReg raised = bits_of(l, DEF(add_rn_f32, R(float_of(l, size)), F(f->step)));
  PtxReg small = DEF(sub_s32, R(raised), po_i(f->step_bits));
  PtxReg code = DEF(selp_b32, R(small), R(normal), R(DEF(setp_lt_u32, R(size), po_i(f->least))));
  code = DEF(min_u32, R(code), po_i(f->largest));
  code = DEF(or_b32, R(code), R(DEF(and_b32, R(DEF(shr_u32, R(bits), po_i(24))), po_i(0x80))));
  return DEF(selp_b32, po_i(0x7f), R(code), R(DEF(setp_gt_u32, R(size), po_i(0x7f800000))));
}

/* Bytes k and k+1 of a word as f32. With its exponent moved into place e4m3 is a f16 that is 2^8 too small; its NaN would be 480. */
static void decode_pair(Lower *l, PtxReg word, kiln_dtype t, int k, PtxReg *lo, PtxReg *hi) {
  PtxReg pair = DEF(prmt_b32, R(word), po_i(0), po_i(k ? 0x3424 : 0x1404)); /* each in the upper byte of a half */
  if (t == KILN_E5M2) {
    elem_unpack(l, pair, KILN_F16, lo, hi);
    return;
  }
  PtxReg size = DEF(shr_u32, R(DEF(and_b32, R(pair), po_i(0x7f007f00))), po_i(1));
  elem_unpack(l, DEF(or_b32, R(size), R(DEF(and_b32, R(pair), po_i(0x80008000ll)))), KILN_F16, lo, hi);
  for (int i = 0; i < 2; i++) {
    PtxReg *x = i ? hi : lo, value = DEF(mul_rn_f32, R(*x), F(256));
    PtxReg finite = DEF(setp_le_f32, R(DEF(abs_f32, R(value))), F(448));
    *x = DEF(selp_f32, R(value), R(float_of(l, DEF(mov_b32, po_i(0x7fffffff)))), R(finite));
  }
}

static void decode(Lower *l, PtxReg word, kiln_dtype t, PtxReg x[4]) {
  const ByteFloat *f = format_of(t);
  if (!has(l, f->to_f16x2)) {
    for (int k = 0; k < 4; k += 2) decode_pair(l, word, t, k, &x[k], &x[k + 1]);
    return;
  }
  PtxReg half[2] = {ptx_reg(l->ptx, PTX_H), ptx_reg(l->ptx, PTX_H)};
  ptx_put(l->ptx, ISA_mov_b32_unpack, po_vec(l->ptx, half, 2), R(word));
  for (int k = 0; k < 2; k++) elem_unpack(l, ptx_def(l->ptx, f->to_f16x2, R(half[k])), KILN_F16, &x[2 * k], &x[2 * k + 1]);
}

static PtxReg encode(Lower *l, const PtxReg x[4], kiln_dtype t) {
  const ByteFloat *f = format_of(t);
  if (!has(l, f->from_f32)) {
    PtxReg b[4];
    for (int k = 0; k < 4; k++) b[k] = encode_by_integers(l, f, x[k]);
    return byte_join(l, b);
  }
  PtxReg half[2];
  for (int k = 0; k < 2; k++) half[k] = ptx_def(l->ptx, f->from_f32, R(x[2 * k + 1]), R(x[2 * k]));
  return DEF(mov_b32_pack, po_vec(l->ptx, half, 2));
}

static PtxReg encode_one(Lower *l, PtxReg x, kiln_dtype t) {
  const ByteFloat *f = format_of(t);
  if (!has(l, f->from_f32)) return encode_by_integers(l, f, x);
  return DEF(cvt_u32_u16, R(ptx_def(l->ptx, f->from_f32, R(DEF(mov_f32, F(0))), R(x))));
}

/* ---- words and single elements ---- */

void byte_unpack(Lower *l, PtxReg word, kiln_dtype from, PtxReg x[4]) {
  if (byte_is_float(from)) {
    decode(l, word, from, x);
    return;
  }
  for (int k = 0; k < 4; k++) x[k] = from == KILN_I8 ? DEF(bfe_s32, R(word), po_i(8 * k), po_i(8)) : byte_at(l, word, k);
}

PtxReg byte_pack(Lower *l, const PtxReg x[4], kiln_dtype to) {
  if (byte_is_float(to)) return encode(l, x, to);
  PtxReg zero = DEF(mov_b32, po_i(0));
  if (to == KILN_U8) return DEF(cvt_pack_sat_u8_s32_b32, R(x[1]), R(x[0]), R(DEF(cvt_pack_sat_u8_s32_b32, R(x[3]), R(x[2]), R(zero))));
  return DEF(cvt_pack_sat_s8_s32_b32, R(x[1]), R(x[0]), R(DEF(cvt_pack_sat_s8_s32_b32, R(x[3]), R(x[2]), R(zero))));
}

PtxReg byte_widen(Lower *l, PtxReg b, kiln_dtype from) {
  if (from == KILN_U8) return b;
  if (from == KILN_I8) return DEF(cvt_s32_s8, R(b));
  PtxReg x[4];
  decode(l, b, from, x);
  return x[0];
}

PtxReg byte_narrow(Lower *l, PtxReg x, kiln_dtype to) {
  if (byte_is_float(to)) return encode_one(l, x, to);
  if (to == KILN_U8) return DEF(cvt_sat_u8_s32, R(x));
  return DEF(and_b32, R(DEF(cvt_sat_s8_s32, R(x))), po_i(0xff));
}
