/* cvt.h - conversions other than the frequent ones of handlers.def. Types are numbers in the instruction: sub = source | destination
 * << 4 | rounding << 8 | modifiers << 12; each step is one loop over the lanes. */

enum { CVT_S8, CVT_U8, CVT_S16, CVT_U16, CVT_S32, CVT_U32, CVT_S64, CVT_U64, CVT_F16, CVT_BF16, CVT_F32, CVT_F64 };
enum { ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP };
enum { CVT_SAT = 1, CVT_RELU = 2, CVT_FINITE = 4, CVT_FTZ = 8 };
#define CVT_FROM(in) ((in)->sub & 15)
#define CVT_TO(in) ((in)->sub >> 4 & 15)
#define CVT_ROUND(in) ((in)->sub >> 8 & 15)
#define CVT_MODS(in) ((in)->sub >> 12)

static void read_ints(SimWarp *w, const SimInstr *in, int slot, int64_t *v) {
  const L32 *a = R32(slot);
  const L64 *b = R64(slot);
  switch (CVT_FROM(in)) {
  case CVT_S8: LANES { v[l] = (int8_t)a[l]; } break;
  case CVT_U8: LANES { v[l] = (uint8_t)a[l]; } break;
  case CVT_S16: LANES { v[l] = (int16_t)a[l]; } break;
  case CVT_U16: LANES { v[l] = (uint16_t)a[l]; } break;
  case CVT_S32: LANES { v[l] = (int32_t)a[l]; } break;
  case CVT_U32: LANES { v[l] = a[l]; } break;
  default: LANES { v[l] = (int64_t)b[l]; } break;
  }
}

static void write_ints(SimWarp *w, const SimInstr *in, uint32_t mask, const int64_t *v) {
  L32 *d = R32(0);
  L64 *e = R64(0);
#define NARROW(T, keep) LANES { uint32_t r = (uint32_t)(T)v[l] & (keep); d[l] = (mask & lane_bit[l]) ? r : d[l]; } break;
  switch (CVT_TO(in)) {
  case CVT_S8: NARROW(int8_t, in->flags & SIM_I_WIDE ? SIM_FULL : 0xffff)
  case CVT_U8: NARROW(uint8_t, SIM_FULL)
  case CVT_S16: NARROW(int16_t, in->flags & SIM_I_WIDE ? SIM_FULL : 0xffff)
  case CVT_U16: NARROW(uint16_t, SIM_FULL)
  case CVT_S32:
  case CVT_U32: NARROW(uint32_t, SIM_FULL)
  default: LANES { e[l] = (mask & lane_bit[l]) ? (uint64_t)v[l] : e[l]; } break;
  }
#undef NARROW
}

static const struct { int64_t low, high; } int_range[8] = {
  {-128, 127}, {0, 255}, {-32768, 32767}, {0, 65535}, {INT32_MIN, INT32_MAX}, {0, UINT32_MAX}, {INT64_MIN, INT64_MAX}, {0, INT64_MAX}};

HANDLER(cvt_int) {
  int64_t v[SIM_LANES];
  read_ints(w, in, 1, v);
  if (CVT_MODS(in) & CVT_SAT) {
    int64_t low = int_range[CVT_TO(in)].low, high = int_range[CVT_TO(in)].high;
    if (CVT_FROM(in) == CVT_U64) LANES { v[l] = v[l] < 0 ? INT64_MAX : v[l]; } /* above all that others hold */
    LANES { v[l] = v[l] < low ? low : v[l] > high ? high : v[l]; }
  }
  write_ints(w, in, mask, v);
  return STEP_NEXT;
}

static void read_floats(SimWarp *w, const SimInstr *in, int slot, double *v) {
  const L32 *a = R32(slot);
  const F32 *f = RF32(slot);
  const F64 *d = RF64(slot);
  switch (CVT_FROM(in)) {
  case CVT_F16: LANES { v[l] = f32_of_f16(a[l]); } break;
  case CVT_BF16: LANES { v[l] = f32_of_bf16(a[l]); } break;
  case CVT_F32:
    /* To f16 an H200 rounds a subnormal itself (of use to rm and rp alone), whatever .ftz says. */
    if ((CVT_MODS(in) & CVT_FTZ) && CVT_TO(in) != CVT_F16) LANES { v[l] = ftz(f[l]); }
    else LANES { v[l] = f[l]; }
    break;
  default: LANES { v[l] = d[l]; } break;
  }
}

static double round_integral(double x, int how) {
  return how == ROUND_NEAREST ? __builtin_rint(x) : how == ROUND_ZERO ? __builtin_trunc(x) : how == ROUND_DOWN ? __builtin_floor(x) : __builtin_ceil(x);
}

/* Saturating. NaN: 0, unless source or destination has 64 bits, where only the destination's top bit is set (PTX ISA cvt, notes). */
HANDLER(cvt_to_int) {
  double x[SIM_LANES];
  int64_t v[SIM_LANES];
  int to = CVT_TO(in);
  bool wide = to >= CVT_S64 || CVT_FROM(in) == CVT_F64;
  int64_t nan = wide ? (int64_t)((uint64_t)1 << ((8 << to / 2) - 1)) : 0; /* types come in pairs of 8, 16, 32 and 64 bits */
  read_floats(w, in, 1, x);
  for (int l = 0; l < SIM_LANES; l++) {
    double r = round_integral(x[l], CVT_ROUND(in));
    if (r != r) v[l] = nan;
    else if (to == CVT_U64) v[l] = r <= 0 ? 0 : r >= 0x1p64 ? (int64_t)UINT64_MAX : (int64_t)(uint64_t)r;
    else if (to == CVT_S64) v[l] = r <= -0x1p63 ? INT64_MIN : r >= 0x1p63 ? INT64_MAX : (int64_t)r;
    else v[l] = r <= (double)int_range[to].low ? int_range[to].low : r >= (double)int_range[to].high ? int_range[to].high : (int64_t)r;
  }
  write_ints(w, in, mask, v);
  return STEP_NEXT;
}

static inline uint32_t finite16(uint32_t h, uint32_t inf) { return (h & 0x7fff) == inf ? h - 1 : h; }

/* A double to 16 bits in one rounding: for those away from zero one step from what rounding to zero gives. */
static uint32_t half_of_f64(double x, int to, int how) {
  bool is_f16 = to == CVT_F16;
  if (x != x) return 0x7fff;
  if (how == ROUND_NEAREST) return is_f16 ? f16_of_f64(x) : bf16_of_f64(x);
  float f = sim_narrow_f64(ROUND_ZERO, x);
  if (x - x != 0) f = (float)x;
  uint32_t h = is_f16 ? f16_of_f32_rz(f) : bf16_of_f32_rz(f);
  bool exact = (double)(is_f16 ? f32_of_f16(h) : f32_of_bf16(h)) == x;
  bool away = how == ROUND_DOWN ? x < 0 : how == ROUND_UP ? x > 0 : false;
  return !exact && away ? h + 1 : h;
}

/* the same with modifiers */
static uint32_t narrow16(double x, int to, int how, int mods) {
  uint32_t h = half_of_f64(x, to, how);
  if (mods & CVT_RELU) h = relu16(h);
  if (mods & CVT_FINITE) h = finite16(h, to == CVT_F16 ? 0x7c00 : 0x7f80);
  return h;
}

/* a double that rounds as the integer does: sticky bit below 53 */
static inline double odd_double(int64_t v, bool is_unsigned) {
  bool minus = !is_unsigned && v < 0;
  uint64_t u = minus ? 0 - (uint64_t)v : (uint64_t)v;
  if (u >> 53) {
    uint64_t low = u & 0x7ff;
    u = (u & ~(uint64_t)0x7ff) | (low ? 0x800 : 0); /* bit 11 is kept by 53 bits from bit 63 down */
  }
  return minus ? -(double)u : (double)u;
}

HANDLER(cvt_from_int) {
  int64_t v[SIM_LANES];
  bool is_unsigned = CVT_FROM(in) == CVT_U64;
  L32 *d = R32(0);
  L64 *e = R64(0);
  read_ints(w, in, 1, v);
  for (int l = 0; l < SIM_LANES; l++) {
    if (!(mask & lane_bit[l])) continue;
    switch (CVT_TO(in)) {
    case CVT_F64: e[l] = bits_of64(sim_f64_of_int(CVT_ROUND(in), v[l], is_unsigned)); break;
    case CVT_F32: d[l] = bits_of(sim_f32_of_int(CVT_ROUND(in), v[l], is_unsigned)); break;
    default: d[l] = half_of_f64(odd_double(v[l], is_unsigned), CVT_TO(in), CVT_ROUND(in)); break;
    }
  }
  return STEP_NEXT;
}

/* float to float; size 1: to an integral value (rni ...); or saturated to [0, 1] */
HANDLER(cvt_float) {
  double x[SIM_LANES];
  int to = CVT_TO(in), how = CVT_ROUND(in), mods = CVT_MODS(in);
  L32 *d = R32(0);
  L64 *e = R64(0);
  read_floats(w, in, 1, x);
  ACTIVE(l, mask) {
    double r = x[l];
    if (mods & CVT_SAT) r = saturate(r);
    if (in->size) r = round_integral(r, how);
    if (to == CVT_F64) e[l] = bits_of64(canon64(r));
    else if (to == CVT_F32) {
      float f = canon(sim_narrow_f64(how, r));
      d[l] = bits_of(mods & CVT_FTZ ? ftz(f) : f);
    } else {
      d[l] = narrow16(r, to, how, mods);
    }
  }
  return STEP_NEXT;
}

HANDLER(cvt_pair) { /* two f32 to f16x2 or bf16x2, first source in the high half; or one to tf32 */
  L32 *d = R32(0);
  const F32 *a = RF32(1), *b = in->n == 2 ? RF32(2) : RF32(1);
  for (int l = 0; l < SIM_LANES; l++) {
    if (!(mask & lane_bit[l])) continue;
    if (in->n == 2) {
      d[l] = narrow16(a[l], CVT_TO(in), CVT_ROUND(in), CVT_MODS(in)) << 16 | narrow16(b[l], CVT_TO(in), CVT_ROUND(in), CVT_MODS(in));
    } else {
      uint32_t u = bits_of(a[l]);
      if (a[l] != a[l]) u = 0x7fffffffu;
      else if (CVT_ROUND(in) == ROUND_NEAREST && (u & 0x7f800000u) != 0x7f800000u) u = (u + 0xfff + (u >> 13 & 1)) & 0xffffe000u;
      else u &= 0xffffe000u;
      d[l] = u;
    }
  }
  return STEP_NEXT;
}

static inline float not_negative(float x) { return x == x && __builtin_signbit(x) ? 0 : x; } /* relu: -0 too */

HANDLER(cvt_fp8_f32) { /* n: 1 e4m3, 2 e5m2 */
  L32 *d = R32(0);
  const F32 *a = RF32(1), *b = RF32(2);
  for (int l = 0; l < SIM_LANES; l++) {
    if (!(mask & lane_bit[l])) continue;
    float x = a[l], y = b[l];
    if (CVT_MODS(in) & CVT_RELU) x = not_negative(x), y = not_negative(y);
    d[l] = in->n == 1 ? e4m3_of_f32(x) << 8 | e4m3_of_f32(y) : e5m2_of_f32(x) << 8 | e5m2_of_f32(y);
  }
  return STEP_NEXT;
}

HANDLER(cvt_fp8_f16x2) {
  L32 *d = R32(0);
  const L32 *a = R32(1);
  for (int l = 0; l < SIM_LANES; l++) {
    if (!(mask & lane_bit[l])) continue;
    float x = f32_of_f16(a[l] >> 16), y = f32_of_f16(a[l] & 0xffff);
    if (CVT_MODS(in) & CVT_RELU) x = not_negative(x), y = not_negative(y);
    d[l] = in->n == 1 ? e4m3_of_f32(x) << 8 | e4m3_of_f32(y) : e5m2_of_f32(x) << 8 | e5m2_of_f32(y);
  }
  return STEP_NEXT;
}

HANDLER(cvt_f16x2_fp8) {
  L32 *d = R32(0);
  const L32 *a = R32(1);
  for (int l = 0; l < SIM_LANES; l++) {
    if (!(mask & lane_bit[l])) continue;
    float x = in->n == 1 ? f32_of_e4m3(a[l] >> 8 & 0xff) : f32_of_e5m2(a[l] >> 8 & 0xff);
    float y = in->n == 1 ? f32_of_e4m3(a[l] & 0xff) : f32_of_e5m2(a[l] & 0xff);
    uint32_t high = f16_of_f32(x), low = f16_of_f32(y);
    if (CVT_MODS(in) & CVT_RELU) high = relu16(high), low = relu16(low);
    d[l] = high << 16 | low;
  }
  return STEP_NEXT;
}
