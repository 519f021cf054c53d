/* lower_elem.c - elementwise operations on scalars and fragments, and conversions. Float arithmetic is f32; 16-bit values are
 * converted first. Functions that the hardware lacks are polynomials whose coefficients were fitted for this file (Chebyshev
 * interpolation, rounded to f32; the bounds stand beside them). */
#include "lower.h"
#include <math.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)
#define F(x) po_f(x)

/* ---- conversions ---- */

static PtxReg bits_of(Lower *l, PtxReg f) { return DEF(mov_b32_from_f32, R(f)); }
static PtxReg float_of(Lower *l, PtxReg r) { return DEF(mov_f32_from_b32, R(r)); }
static bool has(const Lower *l, IsaId form) { return target_runs(l->target, isa_form(form)->sm); }

/* f32 to the upper 16 bits of a bf16, to nearest even, with integers; NaN stays NaN. For targets without the conversion. */
static PtxReg round_bf16_bits(Lower *l, PtxReg f) {
  PtxReg u = bits_of(l, f);
  PtxReg odd = DEF(and_b32, R(DEF(shr_u32, R(u), po_i(16))), po_i(1));
  PtxReg sum = DEF(add_s32, R(DEF(add_s32, R(u), po_i(0x7fff))), R(odd));
  PtxReg nan = DEF(setp_nan_f32, R(f), R(f));
  return DEF(selp_b32, po_i(0x7fff0000), R(sum), R(nan));
}

/* Two f32 to one register of 16-bit elements. */
static PtxReg pack(Lower *l, PtxReg lo, PtxReg hi, kiln_dtype to) {
  if (to == KILN_F16 && has(l, ISA_cvt_rn_f16x2_f32)) return DEF(cvt_rn_f16x2_f32, R(hi), R(lo));
  if (to == KILN_F16) return DEF(mov_b32_pack, po_vec(l->ptx, (PtxReg[]){DEF(cvt_rn_f16_f32, R(lo)), DEF(cvt_rn_f16_f32, R(hi))}, 2));
  if (has(l, ISA_cvt_rn_bf16x2_f32)) return DEF(cvt_rn_bf16x2_f32, R(hi), R(lo));
  return DEF(prmt_b32, R(round_bf16_bits(l, lo)), R(round_bf16_bits(l, hi)), po_i(0x7632));
}

void elem_unpack(Lower *l, PtxReg pair, kiln_dtype from, PtxReg *lo, PtxReg *hi) {
  if (from == KILN_BF16) {
    *lo = float_of(l, DEF(shl_b32, R(pair), po_i(16)));
    *hi = float_of(l, DEF(and_b32, R(pair), po_i(0xffff0000ll)));
    return;
  }
  PtxReg half[2] = {ptx_reg(l->ptx, PTX_H), ptx_reg(l->ptx, PTX_H)};
  ptx_put(l->ptx, ISA_mov_b32_unpack, po_vec(l->ptx, half, 2), R(pair));
  *lo = DEF(cvt_f32_f16, R(half[0]));
  *hi = DEF(cvt_f32_f16, R(half[1]));
}

static PtxReg narrow(Lower *l, PtxReg f, kiln_dtype to) {
  if (to == KILN_F16) return DEF(cvt_rn_f16_f32, R(f));
  if (has(l, ISA_cvt_rn_bf16_f32)) return DEF(cvt_rn_bf16_f32, R(f));
  PtxReg half[2] = {ptx_reg(l->ptx, PTX_H), ptx_reg(l->ptx, PTX_H)};
  ptx_put(l->ptx, ISA_mov_b32_unpack, po_vec(l->ptx, half, 2), R(round_bf16_bits(l, f)));
  return half[1];
}

static PtxReg widen(Lower *l, PtxReg h, kiln_dtype from) {
  if (from == KILN_F16) return DEF(cvt_f32_f16, R(h));
  PtxReg zero = DEF(mov_b16, po_i(0));
  return float_of(l, DEF(mov_b32_pack, po_vec(l->ptx, (PtxReg[]){zero, h}, 2)));
}

PtxReg elem_convert(Lower *l, PtxReg r, kiln_dtype from, kiln_dtype to) {
  bool half_from = from == KILN_F16 || from == KILN_BF16, half_to = to == KILN_F16 || to == KILN_BF16;
  if (from == to) return r;
  if (byte_is_float(from)) return elem_convert(l, byte_widen(l, r, from), KILN_F32, to);
  if (byte_is_int(from)) return elem_convert(l, byte_widen(l, r, from), KILN_I32, to);
  if (byte_is_float(to)) return byte_narrow(l, elem_convert(l, r, from, KILN_F32), to);
  if (byte_is_int(to)) return byte_narrow(l, elem_convert(l, r, from, KILN_I32), to);
  if (half_from) return elem_convert(l, widen(l, r, from), KILN_F32, to);
  if (half_to) return narrow(l, elem_convert(l, r, from, KILN_F32), to);
  if (from == KILN_F32) {
    if (to == KILN_I32) return DEF(cvt_rzi_s32_f32, R(r));
    if (to == KILN_I64) return DEF(cvt_rzi_s64_f32, R(r));
    if (to == KILN_BOOL) return DEF(setp_neu_f32, R(r), F(0));
  } else if (from == KILN_I32) {
    if (to == KILN_F32) return DEF(cvt_rn_f32_s32, R(r));
    if (to == KILN_I64) return DEF(cvt_s64_s32, R(r));
    if (to == KILN_BOOL) return DEF(setp_ne_s32, R(r), po_i(0));
  } else if (from == KILN_I64) {
    if (to == KILN_F32) return DEF(cvt_rn_f32_s64, R(r));
    if (to == KILN_I32) return DEF(cvt_u32_u64, R(r));
  } else if (from == KILN_F64) { /* a scalar of the caller's; nothing computes in it */
    if (to == KILN_F32) return DEF(cvt_rn_f32_f64, R(r));
  } else if (from == KILN_BOOL) {
    if (to == KILN_F32) return DEF(selp_f32, F(1), F(0), R(r));
    if (to == KILN_I32) return DEF(selp_b32, po_i(1), po_i(0), R(r));
  }
  lower_error(l, "no conversion from %s to %s here; go through f32", tile_dtype_name(from), tile_dtype_name(to));
  return r;
}

/* ---- functions ---- */

/* e^x = 2^hi * (1 + lo ln 2), where hi + lo = x log2 e: the product's rounding would cost |x| ulp otherwise. lo is tiny but for
 * an infinite hi, where it may be NaN or infinite; min and max (which drop a NaN) keep it from spoiling the 0 or infinity. */
static PtxReg natural_exp(Lower *l, PtxReg x) {
  const float log2e = 0x1.715476p+0f, rest = 0x1.4ae0bep-26f, ln2 = 0x1.62e43p-1f;
  PtxReg hi = DEF(mul_rn_f32, R(x), F(log2e));
  PtxReg lo = DEF(fma_rn_f32, R(x), F(log2e), R(DEF(neg_f32, R(hi))));
  lo = DEF(fma_rn_f32, R(x), F(rest), R(lo));
  lo = DEF(max_f32, R(DEF(min_f32, R(lo), F(1))), F(-1));
  PtxReg e = DEF(ex2_approx_ftz_f32, R(hi));
  return DEF(mul_rn_f32, R(e), R(DEF(fma_rn_f32, R(lo), F(ln2), F(1))));
}

static PtxReg horner(Lower *l, const float *c, int n, PtxReg x) { /* c[0] + c[1] x + ... */
  PtxReg sum = DEF(mov_f32, F(c[n - 1]));
  for (int i = n - 2; i >= 0; i--) sum = DEF(fma_rn_f32, R(sum), R(x), F(c[i]));
  return sum;
}

/* |x| < 1: odd polynomial, relative error 1.7e-7. Above: 1 - 2^-q(|x|), absolute error 6.1e-8; from 4 on it rounds to 1. */
static PtxReg error_function(Lower *l, PtxReg x) {
  static const float small[] = {1.12837911f, -0.376126260f, 0.112835974f, -0.0268543288f, 5.18931216e-3f, -8.0188555e-4f, 7.8824974e-5f};
  static const float large[] = {-4.05123894e-4f, 1.63035333f, 0.911922038f, 0.158445522f, -0.0379092917f,
                                6.79318840e-3f, -8.45294271e-4f, 6.45791588e-5f, -2.26716952e-6f};
  PtxReg t = DEF(abs_f32, R(x)), square = DEF(mul_rn_f32, R(x), R(x));
  PtxReg near = DEF(mul_rn_f32, R(horner(l, small, 7, square)), R(x));
  PtxReg capped = DEF(min_f32, R(t), F(4.1f));
  PtxReg tail = DEF(ex2_approx_ftz_f32, R(DEF(neg_f32, R(horner(l, large, 9, capped)))));
  PtxReg far = DEF(copysign_f32, R(x), R(DEF(sub_rn_f32, F(1), R(tail))));
  PtxReg is_far = DEF(setp_ge_f32, R(t), F(1)); /* false for NaN: near then is NaN */
  return DEF(selp_f32, R(far), R(near), R(is_far));
}

/* 1 - 2/(e^2|x| + 1) with x's sign: within 6 units of 2^-24 from 0.65 on, where the difference no longer cancels. Below, an odd
 * polynomial, within 2 units. */
static PtxReg hyperbolic_tangent(Lower *l, PtxReg x) {
  static const float small[] = {1.0f, -0.3333323f, 0.13330448f, -0.053667385f, 0.020420853f, -5.473605e-3f};
  PtxReg t = DEF(abs_f32, R(x));
  PtxReg near = DEF(mul_rn_f32, R(horner(l, small, 6, DEF(mul_rn_f32, R(x), R(x)))), R(x));
  PtxReg e = DEF(ex2_approx_ftz_f32, R(DEF(mul_rn_f32, R(t), F(2.88539008f))));
  PtxReg inverse = DEF(rcp_approx_ftz_f32, R(DEF(add_rn_f32, R(e), F(1))));
  PtxReg far = DEF(copysign_f32, R(x), R(DEF(fma_rn_f32, R(inverse), F(-2), F(1))));
  return DEF(selp_f32, R(near), R(far), R(DEF(setp_lt_f32, R(t), F(0.65f))));
}

static PtxReg unary_f32(Lower *l, TileOp op, PtxReg a) {
  switch (op) {
  case TILE_neg: return DEF(neg_f32, R(a));
  case TILE_abs: return DEF(abs_f32, R(a));
  case TILE_exp: return natural_exp(l, a);
  case TILE_exp2: return DEF(ex2_approx_ftz_f32, R(a));
  case TILE_log: return DEF(mul_rn_f32, R(DEF(lg2_approx_f32, R(a))), F(0x1.62e43p-1f));
  case TILE_log2: return DEF(lg2_approx_f32, R(a));
  case TILE_sqrt: return DEF(sqrt_rn_f32, R(a));
  case TILE_rsqrt: return DEF(rsqrt_approx_f32, R(a));
  case TILE_rcp: return DEF(rcp_rn_f32, R(a));
  case TILE_tanh: return hyperbolic_tangent(l, a);
  case TILE_erf: return error_function(l, a);
  case TILE_sin: return DEF(sin_approx_f32, R(a));
  case TILE_cos: return DEF(cos_approx_f32, R(a));
  case TILE_rint: return DEF(cvt_rni_f32_f32, R(a));
  default: lower_error(l, "'%s' is not defined for f32", tile_op_info(op)->name); return a;
  }
}

static PtxReg unary_int(Lower *l, TileOp op, kiln_dtype t, PtxReg a) {
  bool wide = t == KILN_I64;
  switch (op) {
  case TILE_neg: return wide ? DEF(neg_s64, R(a)) : DEF(neg_s32, R(a));
  case TILE_abs: return wide ? DEF(abs_s64, R(a)) : DEF(abs_s32, R(a));
  default: lower_error(l, "'%s' is not defined for integers; convert to f32 first", tile_op_info(op)->name); return a;
  }
}

typedef struct BinaryForm { uint16_t op, f32, i32, i64, pred; } BinaryForm;
/*   op        f32                  i32              i64              pred       */
static const BinaryForm BINARY[] = {
  {TILE_add,  ISA_add_rn_f32,      ISA_add_s32,     ISA_add_s64,     0},
  {TILE_sub,  ISA_sub_rn_f32,      ISA_sub_s32,     ISA_sub_s64,     0},
  {TILE_mul,  ISA_mul_rn_f32,      ISA_mul_lo_s32,  ISA_mul_lo_s64,  0},
  {TILE_div,  ISA_div_full_f32,    ISA_div_s32,     ISA_div_s64,     0},
  {TILE_rem,  0,                   ISA_rem_s32,     ISA_rem_s64,     0},
  {TILE_min,  ISA_min_NaN_f32,     ISA_min_s32,     ISA_min_s64,     0},
  {TILE_max,  ISA_max_NaN_f32,     ISA_max_s32,     ISA_max_s64,     0},
  {TILE_lt,   ISA_setp_lt_f32,     ISA_setp_lt_s32, ISA_setp_lt_s64, 0},
  {TILE_le,   ISA_setp_le_f32,     ISA_setp_le_s32, ISA_setp_le_s64, 0},
  {TILE_eq,   ISA_setp_eq_f32,     ISA_setp_eq_s32, ISA_setp_eq_s64, 0},
  {TILE_ne,   ISA_setp_neu_f32,    ISA_setp_ne_s32, ISA_setp_ne_s64, 0},
  {TILE_and,  0,                   0,               0,               ISA_and_pred},
  {TILE_or,   0,                   0,               0,               ISA_or_pred},
};

/* min and max with NaN before sm_80: the comparison is unordered when either is NaN, and then the sum is the NaN. */
static PtxReg extreme_with_nan(Lower *l, bool max, PtxReg a, PtxReg b) {
  PtxReg m = max ? DEF(max_f32, R(a), R(b)) : DEF(min_f32, R(a), R(b));
  return DEF(selp_f32, R(DEF(add_rn_f32, R(a), R(b))), R(m), R(DEF(setp_nan_f32, R(a), R(b))));
}

PtxReg elem_binary(Lower *l, TileOp op, kiln_dtype t, PtxReg a, PtxReg b) {
  for (unsigned i = 0; i < sizeof BINARY / sizeof *BINARY; i++) {
    if (BINARY[i].op != op) continue;
    IsaId form = t == KILN_F32 ? BINARY[i].f32 : t == KILN_I64 ? BINARY[i].i64 : t == KILN_BOOL ? BINARY[i].pred : t == KILN_I32 ? BINARY[i].i32 : 0;
    if (!form) break;
    if ((op == TILE_min || op == TILE_max) && !has(l, form)) return extreme_with_nan(l, op == TILE_max, a, b);
    return ptx_def(l->ptx, form, R(a), R(b));
  }
  lower_error(l, "'%s' is not defined for this type; values of 8 and 16 bits are converted to f32 first", tile_op_info(op)->name);
  return a;
}

/* ---- operands: scalars, fragments, row slices ---- */

typedef struct Operand { Val *v; int slice_dim; PtxReg same; } Operand; /* slice_dim >= 0: a slice of the result's layout */

static Operand operand_at(Lower *l, TileId id, int k, const Layout *full) {
  Operand o = {lower_val(l, id), -1, {0}};
  if (o.v->kind != VAL_FRAG) {
    o.same = lower_scalar(l, o.v);
  } else if (full) {
    const Layout *own = frag_layout(l, o.v->layout);
    if (!layout_equal(own, full)) {
      o.slice_dim = layout_slice_dim(full, own);
      if (o.slice_dim < 0)
        lower_error(l, "operand %d of '%s' lies differently in registers; load it like the other one", k + 1, tile_op_info(l->node->op)->name);
    }
  }
  return o;
}

static Operand operand_of(Lower *l, int k, const Layout *full) { return operand_at(l, tile_arg(l->tiles, l->node, k), k, full); }

/* Element r of the result's layout, as the value's own class; 16-bit pairs are not taken apart here. */
static PtxReg element(const Operand *o, const Layout *full, int r) {
  if (o->v->kind != VAL_FRAG) return o->same;
  return o->v->reg[o->slice_dim < 0 ? r : layout_slice_reg(full, o->slice_dim, r)];
}

static bool fold_const(Lower *l) {
  TileOp op = l->node->op;
  Val *a = lower_arg(l, 0), *b = l->node->nargs > 1 ? lower_arg(l, 1) : a;
  if (a->kind != VAL_CONST || b->kind != VAL_CONST || l->node->nargs > 2) return false;
  Val r = {.kind = VAL_CONST, .dtype = l->node->type.dtype};
  int64_t x = a->i, y = b->i;
  if (a->dtype != KILN_I32 && a->dtype != KILN_I64) return false; /* floats keep the rounding of the hardware */
  bool over = false; /* what leaves the type's range is left to the hardware */
  switch (op) {
  case TILE_add: over = __builtin_add_overflow(x, y, &r.i); break;
  case TILE_sub: over = __builtin_sub_overflow(x, y, &r.i); break;
  case TILE_mul: over = __builtin_mul_overflow(x, y, &r.i); break;
  case TILE_div: if (y == 0 || y == -1) return false; r.i = x / y; break;
  case TILE_rem: if (y == 0 || y == -1) return false; r.i = x % y; break;
  case TILE_min: r.i = x < y ? x : y; break;
  case TILE_max: r.i = x > y ? x : y; break;
  case TILE_lt: r.i = x < y; break;
  case TILE_le: r.i = x <= y; break;
  case TILE_eq: r.i = x == y; break;
  case TILE_ne: r.i = x != y; break;
  default: return false;
  }
  if (over || (r.dtype == KILN_I32 && r.i != (int32_t)r.i)) return false;
  r.f = (double)r.i;
  *lower_result(l) = r;
  return true;
}

/* ---- products that a sum takes in, rounded once: where nothing else needs them, they are never made ---- */

bool elem_product(Lower *l, TileId id, const Layout *full, ElemProduct *p) {
  const TileNode *m = tile_at(l->tiles, id);
  if (m->op != TILE_mul || m->type.dtype != KILN_F32) return false;
  for (int k = 0; k < 2; k++) {
    const TileNode *from = tile_at(l->tiles, tile_arg(l->tiles, m, k));
    if (from->op == TILE_read || from->op == TILE_frag) return false; /* which may be assigned between the product and the sum */
    Operand o = operand_at(l, tile_arg(l->tiles, m, k), k, full);
    if (l->failed) return false;
    p->v[k] = o.v;
    p->slice_dim[k] = o.slice_dim;
    p->same[k] = o.same;
  }
  return true;
}

PtxReg elem_product_add(Lower *l, const ElemProduct *p, const Layout *full, int r, PtxReg c) {
  PtxReg ab[2];
  for (int k = 0; k < 2; k++) {
    Operand o = {p->v[k], p->slice_dim[k], p->same[k]};
    ab[k] = element(&o, full, r);
  }
  return DEF(fma_rn_f32, R(ab[0]), R(ab[1]), R(c));
}

/* a * b + c, a * b - c, c - a * b. */
static bool add_product(Lower *l, const Layout *full) {
  TileNode *n = l->node;
  if ((n->op != TILE_add && n->op != TILE_sub) || n->type.dtype != KILN_F32) return false;
  ElemProduct p;
  for (int k = 0; k < 2; k++) {
    if (!elem_product(l, tile_arg(l->tiles, n, k), full, &p)) continue;
    Operand other = operand_of(l, 1 - k, full);
    int from, to;
    Val *out = lower_result(l);
    int count = full ? layout_regs(full) : 1;
    if (l->failed) return true;
    if (lower_range(l, count, &from, &to))
      *out = (Val){.kind = full ? VAL_FRAG : VAL_SCALAR, .dtype = KILN_F32, .n = (uint32_t)count, .layout = n->type.layout,
                   .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, count)};
    for (int r = from; r < to; r++) {
      PtxReg c = element(&other, full, r);
      if (n->op == TILE_add || k == 0) {
        out->reg[r] = elem_product_add(l, &p, full, r, n->op == TILE_sub ? DEF(neg_f32, R(c)) : c);
      } else {
        Operand a = {p.v[0], p.slice_dim[0], p.same[0]}, b = {p.v[1], p.slice_dim[1], p.same[1]};
        out->reg[r] = DEF(fma_rn_f32, R(DEF(neg_f32, R(element(&a, full, r)))), R(element(&b, full, r)), R(c));
      }
    }
    return true;
  }
  return false;
}

/* The node's value, made with its first elements: one register each. full NULL: a scalar. */
static Val *make_result(Lower *l, const Layout *full, int *from, int *to) {
  const TileNode *n = l->node;
  int count = full ? layout_regs(full) : 1;
  Val *out = lower_result(l);
  if (lower_range(l, count, from, to))
    *out = (Val){.kind = full ? VAL_FRAG : VAL_SCALAR, .dtype = n->type.dtype, .n = (uint32_t)count, .layout = n->type.layout,
                 .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, count)};
  return out;
}

/* a / b for a number b: by its reciprocal in two parts, within 0.501 units in the last place. The first part is rounded towards
 * zero, so that both have one sign and an infinite a stays infinite. */
static PtxReg divide_by_const(Lower *l, PtxReg a, double b) {
  float hi = (float)(1 / b);
  if (fabs((double)hi) > fabs(1 / b)) hi = nextafterf(hi, 0);
  float lo = (float)(1 / b - (double)hi);
  PtxReg small = lo == 0 ? a : DEF(mul_rn_f32, R(a), F(lo));
  return lo == 0 ? DEF(mul_rn_f32, R(a), F(hi)) : DEF(fma_rn_f32, R(a), F(hi), R(small));
}

/* Numbers whose reciprocal has both parts among f32's normal numbers. */
static bool has_reciprocal(const Val *v) {
  return v->kind == VAL_CONST && v->dtype == KILN_F32 && fabs(v->f) > 0x1p-90 && fabs(v->f) < 0x1p90;
}

static PtxReg apply(Lower *l, const Operand *o, const Layout *full, int r) {
  TileOp op = l->node->op;
  kiln_dtype t = o[0].v->dtype;
  PtxReg a = element(&o[0], full, r);
  if (l->node->nargs == 3) {
    if (t != KILN_F32) lower_error(l, "'fma' is defined for f32");
    return DEF(fma_rn_f32, R(a), R(element(&o[1], full, r)), R(element(&o[2], full, r)));
  }
  if (op == TILE_div && has_reciprocal(o[1].v)) return divide_by_const(l, a, (double)(float)o[1].v->f);
  if (op == TILE_div && t == KILN_F32 && !full) return DEF(div_rn_f32, R(a), R(element(&o[1], full, r))); /* once per thread: exact */
  if (l->node->nargs == 2) return elem_binary(l, op, t, a, element(&o[1], full, r));
  if (op == TILE_not) return DEF(not_pred, R(a));
  return t == KILN_F32 ? unary_f32(l, op, a) : unary_int(l, op, t, a);
}

void lower_elementwise(Lower *l) {
  if (fold_const(l)) return;
  TileNode *n = l->node;
  bool frag = n->type.kind == TK_FRAG;
  const Layout *full = frag ? frag_layout(l, n->type.layout) : NULL;
  if (add_product(l, full)) return;
  Operand o[3];
  for (int k = 0; k < n->nargs; k++) o[k] = operand_of(l, k, full);
  if (l->failed) return;
  int from, to;
  Val *out = make_result(l, full, &from, &to);
  for (int r = from; r < to && !l->failed; r++) out->reg[r] = apply(l, o, full, r);
}

void lower_where(Lower *l) {
  TileNode *n = l->node;
  bool frag = n->type.kind == TK_FRAG;
  const Layout *full = frag ? frag_layout(l, n->type.layout) : NULL;
  if (add_product(l, full)) return;
  Operand o[3];
  for (int k = 0; k < 3; k++) o[k] = operand_of(l, k, full);
  if (l->failed) return;
  int from, to;
  Val *out = make_result(l, full, &from, &to);
  IsaId form = n->type.dtype == KILN_F32 ? ISA_selp_f32 : n->type.dtype == KILN_I64 ? ISA_selp_b64 : ISA_selp_b32;
  if (tile_dtype_bytes(n->type.dtype) < 4) {
    lower_error(l, "'where' chooses between f32 or integer values; convert first");
    return;
  }
  for (int r = from; r < to; r++) out->reg[r] = ptx_def(l->ptx, form, R(element(&o[1], full, r)), R(element(&o[2], full, r)), R(element(&o[0], full, r)));
}

/* Elements r .. r+n of a fragment (n no less than a register holds), each in a register of its own. Returns their type. */
static kiln_dtype take_elements(Lower *l, const Val *in, uint32_t r, uint32_t n, PtxReg *x) {
  uint32_t per = frag_per_register(in);
  for (uint32_t k = 0; k < n; k += per) {
    PtxReg word = in->reg[(r + k) / per];
    if (per == 4) byte_unpack(l, word, (kiln_dtype)in->dtype, &x[k]);
    else if (per == 2) elem_unpack(l, word, (kiln_dtype)in->dtype, &x[k], &x[k + 1]);
    else x[k] = word;
  }
  return per == 1 ? (kiln_dtype)in->dtype : byte_is_int((kiln_dtype)in->dtype) ? KILN_I32 : KILN_F32;
}

static void put_elements(Lower *l, Val *out, uint32_t r, uint32_t n, PtxReg *x, kiln_dtype have) {
  uint32_t per = frag_per_register(out);
  kiln_dtype to = (kiln_dtype)out->dtype, want = per == 1 ? to : byte_is_int(to) ? KILN_I32 : KILN_F32;
  for (uint32_t k = 0; k < n; k++) x[k] = elem_convert(l, x[k], have, want);
  for (uint32_t k = 0; k < n; k += per)
    out->reg[(r + k) / per] = per == 4 ? byte_pack(l, &x[k], to) : per == 2 ? pack(l, x[k], x[k + 1], to) : x[k];
}

void elem_convert_frag(Lower *l, const Val *in, Val *out, uint32_t from, uint32_t to) {
  uint32_t n = frag_per_register(in) > frag_per_register(out) ? frag_per_register(in) : frag_per_register(out);
  for (uint32_t r = from; r < to; r += n) {
    PtxReg x[4];
    put_elements(l, out, r, n, x, take_elements(l, in, r, n, x));
  }
}

/* A number as another type, where that is what the hardware would make of it. */
static bool convert_const(const Val *in, kiln_dtype to, Val *out) {
  bool truth = in->dtype == KILN_BOOL, whole = truth || in->dtype == KILN_I32 || in->dtype == KILN_I64;
  int64_t i = truth ? in->i != 0 : in->dtype == KILN_I32 ? (int32_t)(uint32_t)in->i : in->i;
  double f = whole ? (double)i : in->dtype == KILN_F32 ? (double)(float)in->f : in->f;
  if (in->kind != VAL_CONST) return false;
  *out = (Val){.kind = VAL_CONST, .dtype = (uint8_t)to, .i = i, .f = f};
  switch (to) {
  case KILN_F32: return true;
  case KILN_BOOL: out->i = f != 0; return true;
  case KILN_I32: case KILN_I64: break;
  default: return false;
  }
  if (!whole && !(fabs(f) < (to == KILN_I32 ? 0x1p31 : 0x1p63))) return false; /* saturates; NaN is 0 */
  if (!whole) out->i = (int64_t)f;
  if (to == KILN_I32) out->i = (int32_t)(uint32_t)out->i;
  out->f = (double)out->i;
  return true;
}

void lower_cvt(Lower *l) {
  TileNode *n = l->node;
  Val *in = lower_arg(l, 0), *out = lower_result(l), number;
  kiln_dtype to = n->type.dtype;
  if (in->dtype != to && convert_const(in, to, &number)) {
    *out = number;
    return;
  }
  if (in->dtype == to) {
    *out = *in;
    return;
  }
  if (in->kind != VAL_FRAG) {
    *out = (Val){.kind = VAL_SCALAR, .dtype = to, .n = 1, .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, 1)};
    out->reg[0] = elem_convert(l, lower_scalar(l, in), in->dtype, to);
    return;
  }
  const Layout *lay = frag_layout(l, n->type.layout);
  uint32_t elems = (uint32_t)layout_regs(lay);
  int first, end;
  if (lower_range(l, (int)elems, &first, &end)) {
    *out = (Val){.kind = VAL_FRAG, .dtype = to, .layout = n->type.layout, .packed = frag_packed(lay, to)};
    out->n = elems / frag_per_register(out);
    out->reg = ARENA_ARRAY(l->arena, PASS, PtxReg, out->n);
  }
  elem_convert_frag(l, in, out, (uint32_t)first, (uint32_t)end);
}
