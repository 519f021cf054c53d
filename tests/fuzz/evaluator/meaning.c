/* meaning.c - see meaning.h. An opcode is a row of words; one that nobody asks for makes the whole unknown. */
#include "meaning.h"
#include <math.h>
#include <string.h>

enum { MAX_WORDS = 12 };
typedef struct Words { char text[MAX_WORDS][20]; bool used[MAX_WORDS]; int n; } Words;

static bool split(const char *opcode, Words *w) {
  memset(w, 0, sizeof *w);
  for (const char *s = opcode; *s;) {
    size_t n = strcspn(s, ".");
    if (w->n == MAX_WORDS || n == 0 || n >= sizeof w->text[0]) return false;
    memcpy(w->text[w->n++], s, n);
    s += n + (s[n] == '.');
  }
  return w->n > 0;
}

static bool take(Words *w, const char *word) {
  for (int i = 1; i < w->n; i++)
    if (!w->used[i] && strcmp(w->text[i], word) == 0) return w->used[i] = true;
  return false;
}

static int take_one(Words *w, const char *const *list) { /* index in a list ended by NULL, or -1 */
  for (int k = 0; list[k]; k++)
    if (take(w, list[k])) return k;
  return -1;
}

static const struct { const char *name; Type type; } types[] = {
  {"pred", {TYPE_PRED, 1, 1, NULL}}, {"b8", {TYPE_BITS, 8, 1, NULL}}, {"b16", {TYPE_BITS, 16, 1, NULL}}, {"b32", {TYPE_BITS, 32, 1, NULL}},
  {"b64", {TYPE_BITS, 64, 1, NULL}}, {"u8", {TYPE_UNSIGNED, 8, 1, NULL}}, {"u16", {TYPE_UNSIGNED, 16, 1, NULL}},
  {"u32", {TYPE_UNSIGNED, 32, 1, NULL}}, {"u64", {TYPE_UNSIGNED, 64, 1, NULL}}, {"s8", {TYPE_SIGNED, 8, 1, NULL}},
  {"s16", {TYPE_SIGNED, 16, 1, NULL}}, {"s32", {TYPE_SIGNED, 32, 1, NULL}}, {"s64", {TYPE_SIGNED, 64, 1, NULL}},
  {"f16", {TYPE_FLOAT, 16, 1, &format_f16}}, {"f16x2", {TYPE_FLOAT, 16, 2, &format_f16}}, {"bf16", {TYPE_FLOAT, 16, 1, &format_bf16}},
  {"bf16x2", {TYPE_FLOAT, 16, 2, &format_bf16}}, {"f32", {TYPE_FLOAT, 32, 1, &format_f32}}, {"f32x2", {TYPE_FLOAT, 32, 2, &format_f32}},
  {"f64", {TYPE_FLOAT, 64, 1, &format_f64}}, {"e4m3x2", {TYPE_FLOAT, 8, 2, &format_e4m3}}, {"e5m2x2", {TYPE_FLOAT, 8, 2, &format_e5m2}},
  {"tf32", {TYPE_TF32, 32, 1, &format_f32}}};

static Type take_type(Words *w) { /* the first that is left */
  for (int i = 1; i < w->n; i++)
    for (size_t k = 0; k < sizeof types / sizeof *types && !w->used[i]; k++)
      if (strcmp(w->text[i], types[k].name) == 0) return w->used[i] = true, types[k].type;
  return (Type){TYPE_NONE, 0, 0, NULL};
}

static bool is_int(Type t) { return t.kind == TYPE_SIGNED || t.kind == TYPE_UNSIGNED; }
static bool is_float(Type t) { return t.kind == TYPE_FLOAT; }

static const char *const comparisons[] = {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "lo", "ls",
                                          "hi", "hs", NULL};
enum { EQ, NE, LT, LE, GT, GE, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NOTNUM, LO, LS, HI, HS };

static bool take_rounding(Words *w, Meaning *m) {
  static const char *const plain[] = {"rn", "rz", "rm", "rp", "rna", NULL}, *const whole[] = {"rni", "rzi", "rmi", "rpi", NULL};
  int k = take_one(w, plain);
  m->how = TO_NEAREST;
  if (k >= 0) return m->how = (Rounding)k, true;
  k = take_one(w, whole);
  m->integral = k >= 0;
  if (k >= 0) m->how = (Rounding)k;
  return k >= 0;
}

/* ---- finding ---- */

static bool find_arithmetic(Words *w, Meaning *m) { /* add sub mul mad fma div min max neg abs, by type */
  bool rounded = take_rounding(w, m);
  if (m->integral || (rounded && m->how == TO_AWAY)) return false;
  m->ftz = take(w, "ftz");
  m->sat = take(w, "sat");
  m->relu = take(w, "relu");
  m->propagates = take(w, "NaN");
  m->xorsign = take(w, "xorsign");
  if (m->xorsign && !take(w, "abs")) return false;
  bool lo = take(w, "lo");
  m->hi = take(w, "hi");
  m->wide = take(w, "wide");
  m->type = take_type(w);
  if (is_int(m->type)) {
    bool product = m->what == W_MUL || m->what == W_MAD;
    if (rounded || m->ftz || m->relu || m->propagates || m->xorsign || m->what == W_FMA) return false;
    if (m->sat && (m->type.kind != TYPE_SIGNED || m->type.bits != 32 || (m->what != W_ADD && m->what != W_SUB))) return false;
    return product == (lo || m->hi || m->wide);
  }
  if (!is_float(m->type) || lo || m->hi || m->wide || m->what == W_REM) return false;
  bool exact = m->what == W_MIN || m->what == W_MAX || m->what == W_NEG || m->what == W_ABS;
  if (m->ftz && m->type.bits == 64) return false;
  if (m->what == W_MAD) m->what = W_FMA;
  if ((m->what == W_DIV || m->what == W_FMA) && !rounded) return false; /* .approx and .full are not exact */
  if (exact && (rounded || m->sat || m->relu)) return false;
  if ((m->propagates || m->xorsign) && m->what != W_MIN && m->what != W_MAX) return false;
  return m->type.bits != 64 || m->how == TO_NEAREST;
}

static bool find_bits(Words *w, Meaning *m) { /* and or xor not cnot, shifts, fields, counts */
  m->left = take(w, "l");
  if (m->what == W_SHF && !m->left && !take(w, "r")) return false;
  m->clamps = take(w, "clamp");
  if (m->what == W_SHF || m->what == W_BMSK || m->what == W_SZEXT) {
    if (!m->clamps && !take(w, "wrap")) return false;
  }
  m->amount = take(w, "shiftamt");
  static const char *const modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL};
  m->type = take_type(w);
  m->mode = m->what == W_PRMT ? take_one(w, modes) : -1;
  return m->type.kind != TYPE_NONE && !is_float(m->type);
}

static bool find_compare(Words *w, Meaning *m) { /* setp set */
  static const char *const joins[] = {"and", "or", "xor", NULL};
  m->mode = take_one(w, comparisons);
  m->join = take_one(w, joins) + 1;
  m->ftz = take(w, "ftz");
  m->type = take_type(w);
  if (m->what == W_SET) m->from = take_type(w);
  Type t = m->what == W_SET ? m->from : m->type;
  if (m->mode < 0 || t.kind == TYPE_NONE || t.kind == TYPE_PRED || t.count != 1 || (m->ftz && t.bits == 64)) return false;
  if (is_float(t)) return m->mode < LO;
  if (t.kind == TYPE_BITS) return m->mode <= NE;
  return m->mode <= GE || (m->mode >= LO && t.kind == TYPE_UNSIGNED);
}

static bool find_cvt(Words *w, Meaning *m) {
  if (take(w, "pack")) {
    m->what = W_CVT_PACK;
    m->sat = take(w, "sat");
    m->type = take_type(w);
    m->from = take_type(w);
    return m->sat && is_int(m->type) && m->type.bits <= 16 && m->from.kind == TYPE_SIGNED && m->from.bits == 32 && (m->type.bits == 16 || take(w, "b32"));
  }
  bool rounded = take_rounding(w, m);
  m->ftz = take(w, "ftz");
  m->sat = take(w, "sat");
  m->relu = take(w, "relu");
  m->satfinite = take(w, "satfinite");
  m->type = take_type(w);
  m->from = take_type(w);
  if (m->type.kind == TYPE_NONE || m->from.kind == TYPE_NONE || m->type.kind == TYPE_PRED || m->type.kind == TYPE_BITS ||
      m->from.kind == TYPE_BITS)
    return false;
  bool small = is_float(m->type) && m->type.bits == 8;
  if (small && !m->satfinite) return false;
  if (m->how == TO_AWAY && m->type.kind != TYPE_TF32) return false;
  if (is_int(m->type) && is_int(m->from)) return !rounded && !m->ftz && !m->relu && !m->satfinite;
  if (is_int(m->type)) return m->integral && !m->relu && !m->satfinite;
  if (is_int(m->from)) return rounded && !m->integral && !m->ftz && !m->relu && !m->satfinite && !m->sat;
  return m->type.kind != TYPE_TF32 || rounded;
}

static const struct { const char *name; What what; } names[] = {
  {"add", W_ADD}, {"sub", W_SUB}, {"mul", W_MUL}, {"mad", W_MAD}, {"fma", W_FMA}, {"div", W_DIV}, {"rem", W_REM}, {"min", W_MIN}, {"max", W_MAX},
  {"neg", W_NEG}, {"abs", W_ABS}, {"copysign", W_COPYSIGN}, {"rcp", W_RCP}, {"sqrt", W_SQRT}, {"testp", W_TESTP}, {"and", W_AND}, {"or", W_OR},
  {"xor", W_XOR}, {"not", W_NOT}, {"cnot", W_CNOT}, {"lop3", W_LOP3}, {"shl", W_SHL}, {"shr", W_SHR}, {"shf", W_SHF}, {"prmt", W_PRMT},
  {"bfe", W_BFE}, {"bfi", W_BFI}, {"popc", W_POPC}, {"clz", W_CLZ}, {"brev", W_BREV}, {"bfind", W_BFIND}, {"dp4a", W_DP4A}, {"dp2a", W_DP2A},
  {"sad", W_SAD}, {"setp", W_SETP}, {"set", W_SET}, {"selp", W_SELP}, {"slct", W_SLCT}, {"cvt", W_CVT}, {"mov", W_MOV}, {"bmsk", W_BMSK}, {"szext", W_SZEXT}};

static bool find_by_name(Words *w, Meaning *m) {
  static const char *const classes[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal", NULL};
  switch (m->what) {
  case W_ADD: case W_SUB: case W_MUL: case W_MAD: case W_FMA: case W_DIV: case W_REM: case W_MIN: case W_MAX: case W_NEG: case W_ABS:
    return find_arithmetic(w, m);
  case W_RCP: case W_SQRT: /* .approx is left over, and so unknown */
    if (!take_rounding(w, m) || m->integral) return false;
    m->ftz = take(w, "ftz");
    m->type = take_type(w);
    return is_float(m->type) && m->type.bits >= 32 && (m->type.bits == 32 || (m->how == TO_NEAREST && !m->ftz));
  case W_TESTP:
    m->mode = take_one(w, classes);
    m->type = take_type(w);
    return m->mode >= 0 && is_float(m->type);
  case W_COPYSIGN: case W_SELP: case W_SAD: case W_MOV:
    m->type = take_type(w);
    return m->type.kind != TYPE_NONE;
  case W_SETP: case W_SET: return find_compare(w, m);
  case W_CVT: return find_cvt(w, m);
  case W_SLCT:
    m->ftz = take(w, "ftz");
    m->type = take_type(w);
    m->from = take_type(w);
    return m->type.kind != TYPE_NONE && m->from.bits == 32 && (m->from.kind == TYPE_SIGNED || is_float(m->from));
  case W_DP2A:
    m->hi = take(w, "hi");
    if (!m->hi && !take(w, "lo")) return false; /* falls through */
  case W_DP4A:
    m->type = take_type(w);
    m->from = take_type(w);
    return is_int(m->type) && is_int(m->from);
  default: return find_bits(w, m);
  }
}

bool meaning_find(const char *opcode, Meaning *m) {
  Words w;
  *m = (Meaning){.mode = -1};
  if (!split(opcode, &w)) return false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i].name, w.text[0]) == 0) m->what = names[i].what;
  if (m->what == W_NONE || !find_by_name(&w, m)) return false;
  for (int i = 1; i < w.n; i++)
    if (!w.used[i]) return false;
  return true;
}

/* ---- integers: values in 128 bits ---- */

typedef __int128 Wide;

static uint64_t low_bits(uint64_t v, int bits) { return bits >= 64 ? v : v & (((uint64_t)1 << bits) - 1); }

static Wide int_value(Type t, uint64_t bits) {
  uint64_t v = low_bits(bits, t.bits);
  if (t.kind != TYPE_SIGNED || !(v >> (t.bits - 1) & 1)) return (Wide)v;
  return (Wide)v - ((Wide)1 << t.bits);
}

static Wide int_least(Type t) { return t.kind == TYPE_SIGNED ? -((Wide)1 << (t.bits - 1)) : 0; }
static Wide int_most(Type t) { return ((Wide)1 << (t.kind == TYPE_SIGNED ? t.bits - 1 : t.bits)) - 1; }
static Wide clamp(Type t, Wide v) { return v < int_least(t) ? int_least(t) : v > int_most(t) ? int_most(t) : v; }

static Wide int_quotient(Type t, Wide a, Wide b, bool remainder) { /* by zero: all ones; the dividend */
  (void)t;
  if (b == 0) return remainder ? a : -1;
  return remainder ? a % b : a / b;
}

static uint64_t product_part(const Meaning *m, const Operation *o) {
  Wide p = int_value(m->type, o->src[0]) * int_value(m->type, o->src[1]); /* two u64: wraps into the sign, its bits are right */
  if (m->type.bits == 64 && m->type.kind == TYPE_UNSIGNED) p = (Wide)((unsigned __int128)o->src[0] * o->src[1]);
  uint64_t part = (uint64_t)(m->hi ? p >> m->type.bits : p);
  return m->what == W_MAD ? part + o->src[2] : part;
}

static uint64_t int_arithmetic(const Meaning *m, const Operation *o) {
  Wide a = int_value(m->type, o->src[0]), b = o->nsrc > 1 ? int_value(m->type, o->src[1]) : 0;
  switch (m->what) {
  case W_ADD: return (uint64_t)(m->sat ? clamp(m->type, a + b) : a + b);
  case W_SUB: return (uint64_t)(m->sat ? clamp(m->type, a - b) : a - b);
  case W_MUL: case W_MAD: return product_part(m, o);
  case W_DIV: return (uint64_t)int_quotient(m->type, a, b, false);
  case W_REM: return (uint64_t)int_quotient(m->type, a, b, true);
  case W_MIN: return (uint64_t)(a < b ? a : b);
  case W_MAX: return (uint64_t)(a > b ? a : b);
  case W_NEG: return (uint64_t)-a;
  case W_ABS: return (uint64_t)(a < 0 ? -a : a);
  default: return (uint64_t)((a < b ? b - a : a - b) + (Wide)o->src[2]); /* sad */
  }
}

/* ---- bits ---- */

static uint64_t bit_field(const Meaning *m, const Operation *o) { /* bfe: bits beyond the top are the top one, the sign */
  uint64_t a = o->src[0];
  int bits = m->type.bits, at = (int)(o->src[1] & 0xff), n = (int)(o->src[2] & 0xff), last = at + n - 1;
  bool fill = false;
  if (n && m->type.kind == TYPE_SIGNED) fill = a >> (last < bits - 1 ? last : bits - 1) & 1;
  uint64_t d = 0;
  for (int i = 0; i < bits; i++) {
    bool bit = i < n && at + i < bits ? a >> (at + i) & 1 : fill;
    d |= (uint64_t)bit << i;
  }
  return d;
}

static uint64_t insert_field(const Meaning *m, const Operation *o) {
  uint64_t d = o->src[1];
  int at = (int)(o->src[2] & 0xff), n = (int)(o->src[3] & 0xff);
  for (int i = 0; i < n && at + i < m->type.bits; i++)
    d = (d & ~((uint64_t)1 << (at + i))) | (o->src[0] >> i & 1) << (at + i);
  return d;
}

static uint64_t permute_bytes(const Meaning *m, const Operation *o) {
  uint64_t both = low_bits(o->src[0], 32) | o->src[1] << 32, c = o->src[2], d = 0;
  int s = (int)(c & 3);
  for (int i = 0; i < 4; i++) {
    int from = m->mode < 0 ? (int)(c >> 4 * i & 7) : m->mode == 0 ? s + i : m->mode == 1 ? (s - i) & 7 : m->mode == 2 ? s
               : m->mode == 3 ? (i < s ? s : i) : m->mode == 4 ? (i > s ? s : i) : (s & 1) * 2 + (i & 1);
    uint64_t byte = both >> 8 * from & 0xff;
    if (m->mode < 0 && (c >> 4 * i & 8)) byte = byte & 0x80 ? 0xff : 0;
    d |= byte << 8 * i;
  }
  return d;
}

static uint64_t shift(const Meaning *m, const Operation *o) {
  uint64_t n = low_bits(o->src[1], 32);
  Wide a = int_value(m->type, o->src[0]);
  if (m->what == W_SHL) return n >= (uint64_t)m->type.bits ? 0 : (uint64_t)a << n;
  if (n > (uint64_t)m->type.bits) n = (uint64_t)m->type.bits;
  return (uint64_t)(a >> n);
}

static uint64_t funnel(const Meaning *m, const Operation *o) {
  uint64_t both = low_bits(o->src[0], 32) | o->src[1] << 32, n = low_bits(o->src[2], 32);
  n = m->clamps ? (n > 32 ? 32 : n) : n & 31;
  return m->left ? (both << n) >> 32 : both >> n;
}

static uint64_t highest(const Meaning *m, uint64_t a) { /* bfind: the first bit from the top that is not the sign */
  if (m->type.kind == TYPE_SIGNED && (a >> (m->type.bits - 1) & 1)) a = low_bits(~a, m->type.bits);
  for (int i = m->type.bits - 1; i >= 0; i--)
    if (a >> i & 1) return (uint64_t)(m->amount ? m->type.bits - 1 - i : i);
  return 0xffffffff;
}

static uint64_t count_bits(const Meaning *m, uint64_t a) {
  uint64_t n = 0, d = 0;
  int zeros = 0;
  for (int i = 0; i < m->type.bits; i++) {
    n += a >> i & 1;
    d |= (a >> i & 1) << (m->type.bits - 1 - i);
  }
  while (zeros < m->type.bits && !(a >> (m->type.bits - 1 - zeros) & 1)) zeros++;
  return m->what == W_POPC ? n : m->what == W_CLZ ? (uint64_t)zeros : d;
}

static uint64_t dot(const Meaning *m, const Operation *o) { /* dp4a: four bytes by four; dp2a: two halves of a by two bytes of b */
  Type ta = m->type, tb = m->from;
  int n = m->what == W_DP4A ? 4 : 2, step = m->what == W_DP4A ? 8 : 16, skip = m->hi ? 2 : 0;
  Wide sum = 0;
  ta.bits = step, tb.bits = 8;
  for (int i = 0; i < n; i++) sum += int_value(ta, o->src[0] >> step * i) * int_value(tb, o->src[1] >> 8 * (i + skip));
  return (uint64_t)sum + o->src[2];
}

static uint64_t field_mask(const Meaning *m, const Operation *o) { /* bmsk: b ones from a on */
  uint64_t a = low_bits(o->src[0], 32), b = low_bits(o->src[1], 32), d = 0;
  if (!m->clamps) a &= 31, b &= 31;
  for (uint64_t i = 0; i < 32; i++) d |= (uint64_t)(i >= a && i - a < b) << i;
  return d;
}

static uint64_t extend(const Meaning *m, const Operation *o) { /* szext: the low b bits, by their top one or by 0 */
  uint64_t n = low_bits(o->src[1], 32), a = o->src[0];
  if (!m->clamps) n &= 31;
  if (n >= 32) return a;
  uint64_t kept = low_bits(a, (int)n);
  return m->type.kind == TYPE_SIGNED && n && (kept >> (n - 1) & 1) ? kept | ~(((uint64_t)1 << n) - 1) : kept;
}

static uint64_t bit_operation(const Meaning *m, const Operation *o) {
  uint64_t a = o->src[0], b = o->src[1], c = o->src[2], d = 0;
  switch (m->what) {
  case W_AND: return a & b;
  case W_OR: return a | b;
  case W_XOR: return a ^ b;
  case W_NOT: return ~a;
  case W_CNOT: return a == 0;
  case W_LOP3:
    for (int i = 0; i < 32; i++) d |= (o->src[3] >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i;
    return d;
  case W_SHL: case W_SHR: return shift(m, o);
  case W_SHF: return funnel(m, o);
  case W_PRMT: return permute_bytes(m, o);
  case W_BFE: return bit_field(m, o);
  case W_BFI: return insert_field(m, o);
  case W_BFIND: return highest(m, a);
  case W_BMSK: return field_mask(m, o);
  case W_SZEXT: return extend(m, o);
  case W_DP4A: case W_DP2A: return dot(m, o);
  default: return count_bits(m, a);
  }
}

/* ---- floating point, one value ---- */

static uint64_t sign_of_format(const Format *f) { return (uint64_t)1 << (f->bits - 1); }

static uint64_t smaller_or_larger(const Meaning *m, const Format *f, uint64_t a, uint64_t b) {
  uint64_t sign = sign_of_format(f), joint = (a ^ b) & sign;
  bool an = number_is_nan(f, a), bn = number_is_nan(f, b);
  if ((an || bn) && (m->propagates || (an && bn))) return f->nan;
  if (m->xorsign) a &= ~sign, b &= ~sign;
  uint64_t d;
  if (an || bn) d = an ? b : a;
  else {
    double x = number_value(f, a), y = number_value(f, b);
    bool a_below = x < y || (x == y && (a & sign));
    d = a_below == (m->what == W_MIN) ? a : b;
  }
  return m->xorsign ? (d & ~sign) | joint : d;
}

static uint64_t finish(const Meaning *m, const Format *f, Exact x) {
  uint64_t d = number_round(f, x, m->how);
  if (m->ftz) d = number_flush(f, d);
  bool nan = number_is_nan(f, d), minus = d & sign_of_format(f);
  if (m->relu && !nan && minus) d = 0;
  if (m->sat) d = nan || minus ? 0 : number_value(f, d) > 1 ? number_round(f, exact_of(1), TO_NEAREST) : d;
  return d;
}

static Exact sum_of(const Meaning *m, double x, double y) { /* a zero of two signs is -0 when rounding down */
  Exact s = exact_sum(x, y);
  if (s.at == 0 && m->how == TO_MINUS && (signbit(x) || signbit(y))) s.at = -0.0;
  return s;
}

static uint64_t float_arithmetic(const Meaning *m, const uint64_t *src) {
  const Format *f = m->type.format;
  uint64_t s[3] = {src[0], src[1], src[2]};
  for (int i = 0; i < 3 && m->ftz; i++) s[i] = number_flush(f, s[i]);
  double x = number_value(f, s[0]), y = number_value(f, s[1]), z = number_value(f, s[2]);
  switch (m->what) {
  case W_ADD: return finish(m, f, sum_of(m, x, y));
  case W_SUB: return finish(m, f, sum_of(m, x, -y));
  case W_MUL: return finish(m, f, exact_of(x * y)); /* f64: rounded by the host; narrower: exact */
  case W_FMA: return finish(m, f, f->bits == 64 ? exact_of(fma(x, y, z)) : sum_of(m, x * y, z));
  case W_DIV: return finish(m, f, exact_quotient(x, y));
  case W_RCP: return finish(m, f, exact_quotient(1, x));
  case W_SQRT: return finish(m, f, exact_root(x));
  case W_MIN: case W_MAX: return smaller_or_larger(m, f, s[0], s[1]);
  case W_NEG: return s[0] ^ sign_of_format(f);
  case W_ABS: return s[0] & ~sign_of_format(f);
  default: return (s[0] & sign_of_format(f)) | (s[1] & ~sign_of_format(f)); /* copysign d, a, b: a's sign, b's magnitude */
  }
}

static uint64_t each_of_pair(const Meaning *m, const Operation *o) {
  uint64_t d = 0;
  for (int k = 0; k < m->type.count; k++) {
    uint64_t s[3];
    for (int i = 0; i < 3; i++) s[i] = low_bits(o->src[i] >> m->type.bits * k, m->type.bits);
    d |= float_arithmetic(m, s) << m->type.bits * k;
  }
  return d;
}

static bool test_class(const Meaning *m, uint64_t a) {
  double x = number_value(m->type.format, a);
  bool finite = x - x == 0, small = number_flush(m->type.format, a) != a;
  switch (m->mode) {
  case 0: return finite;
  case 1: return !finite && x == x;
  case 2: return x == x;
  case 3: return x != x;
  case 4: return finite && !small; /* zeros count */
  default: return small;
  }
}

static bool compare(int mode, int order, bool unordered) { /* order: -1, 0, 1 */
  switch (mode) {
  case EQ: return !unordered && order == 0;
  case NE: return !unordered && order != 0;
  case LT: case LO: return !unordered && order < 0;
  case LE: case LS: return !unordered && order <= 0;
  case GT: case HI: return !unordered && order > 0;
  case GE: case HS: return !unordered && order >= 0;
  case NUM: return !unordered;
  case NOTNUM: return unordered;
  default: return unordered || compare(mode - EQU, order, false);
  }
}

static bool holds(const Meaning *m, Type t, const uint64_t *src) {
  if (!is_float(t)) {
    Wide a = int_value(t, src[0]), b = int_value(t, src[1]);
    return compare(m->mode, (a > b) - (a < b), false);
  }
  uint64_t s[2] = {m->ftz ? number_flush(t.format, src[0]) : src[0], m->ftz ? number_flush(t.format, src[1]) : src[1]};
  double x = number_value(t.format, s[0]), y = number_value(t.format, s[1]);
  return compare(m->mode, (x > y) - (x < y), x != x || y != y);
}

static bool joined(int join, bool p, bool c) { return join == 1 ? p && c : join == 2 ? p || c : join == 3 ? p != c : p; }

/* ---- conversions ---- */

static uint64_t to_integer(const Meaning *m, uint64_t a) {
  const Format *f = m->from.format;
  if (m->ftz) a = number_flush(f, a);
  double x = number_value(f, a);
  if (x != x) return f->bits == 64 || m->type.bits == 64 ? (uint64_t)int_value(m->type, (uint64_t)1 << (m->type.bits - 1)) : 0;
  x = m->how == TO_ZERO ? trunc(x) : m->how == TO_MINUS ? floor(x) : m->how == TO_PLUS ? ceil(x) : nearbyint(x);
  if (x >= 0x1p100) return (uint64_t)int_most(m->type);
  if (x <= -0x1p100) return (uint64_t)int_least(m->type);
  return (uint64_t)clamp(m->type, (Wide)x);
}

static uint64_t to_float(const Meaning *m, Type from, uint64_t a) { /* float to float */
  const Format *f = m->type.format;
  if (m->ftz && from.bits == 32) a = number_flush(from.format, a);
  double x = number_value(from.format, a);
  if (m->integral) x = m->how == TO_ZERO ? trunc(x) : m->how == TO_MINUS ? floor(x) : m->how == TO_PLUS ? ceil(x) : nearbyint(x);
  if (m->type.kind == TYPE_TF32) {
    static const Format tf32 = {10, -126, 127, 19, 0x3ffff, 0x3fbff, true};
    return x != x ? f->nan : number_round(&tf32, exact_of(x), m->how) << 13;
  }
  Meaning plain = *m;
  if (m->integral) plain.how = TO_NEAREST;
  if (f->bits != 32) plain.ftz = false;
  double most = number_value(f, f->most);
  if (m->satfinite && fabs(x) > most) x = copysign(most, x);
  return finish(&plain, f, exact_of(x));
}

static uint64_t pack_pair(const Meaning *m, const Operation *o) { /* the first source goes to the upper part */
  Type from = m->from;
  uint64_t high = o->src[0], low = o->src[1];
  if (from.count == 2) low = low_bits(o->src[0], from.bits), high = low_bits(o->src[0] >> from.bits, from.bits);
  from.count = 1;
  return to_float(m, from, high) << m->type.bits | to_float(m, from, low);
}

static uint64_t convert(const Meaning *m, const Operation *o) {
  Type t = m->type, from = m->from;
  if (m->what == W_CVT_PACK) {
    uint64_t a = low_bits((uint64_t)clamp(t, int_value(from, o->src[0])), t.bits), b = low_bits((uint64_t)clamp(t, int_value(from, o->src[1])), t.bits);
    return t.bits == 16 ? a << 16 | b : a << 8 | b | o->src[2] << 16;
  }
  if (is_int(t)) {
    if (!is_int(from)) return to_integer(m, o->src[0]);
    Wide v = int_value(from, o->src[0]);
    if (m->sat) v = clamp(t, v);
    return (uint64_t)int_value(t, (uint64_t)v); /* the destination's register may be wider: extended by its sign */
  }
  if (is_int(from)) return number_round(t.format, exact_integer(int_value(from, o->src[0])), m->how);
  return t.count == 2 ? pack_pair(m, o) : to_float(m, from, o->src[0]);
}

static void move(Operation *o) { /* registers side by side, lowest first, cut anew */
  unsigned __int128 all = 0;
  int at = 0;
  for (int i = 0; i < o->nsrc; i++) {
    all |= (unsigned __int128)low_bits(o->src[i], o->src_bits[i]) << at;
    at += o->src_bits[i];
  }
  at = 0;
  for (int i = 0; i < o->ndst; i++) {
    o->dst[i] = low_bits((uint64_t)(all >> at), o->dst_bits[i]);
    at += o->dst_bits[i];
  }
}

static uint64_t apply(const Meaning *m, const Operation *o) {
  Type t = m->type;
  switch (m->what) {
  case W_ADD: case W_SUB: case W_MUL: case W_MAD: case W_DIV: case W_REM: case W_MIN: case W_MAX: case W_NEG: case W_ABS: case W_SAD:
    return is_int(t) ? int_arithmetic(m, o) : each_of_pair(m, o);
  case W_FMA: case W_RCP: case W_SQRT: case W_COPYSIGN: return each_of_pair(m, o);
  case W_TESTP: return test_class(m, o->src[0]);
  case W_SELP: return o->src[2] & 1 ? o->src[0] : o->src[1];
  case W_SLCT: {
    uint64_t c = is_float(m->from) && m->ftz ? number_flush(m->from.format, o->src[2]) : o->src[2];
    bool first = is_float(m->from) ? number_value(m->from.format, c) >= 0 : int_value(m->from, c) >= 0;
    return first ? o->src[0] : o->src[1];
  }
  case W_SET: {
    bool p = joined(m->join, holds(m, m->from, o->src), o->src[2] & 1);
    return !p ? 0 : is_float(t) ? number_round(t.format, exact_of(1), TO_NEAREST) : ~(uint64_t)0;
  }
  case W_CVT: case W_CVT_PACK: return convert(m, o);
  default: return bit_operation(m, o);
  }
}

void meaning_apply(const Meaning *m, Operation *o) {
  if (m->what == W_MOV) {
    move(o);
    return;
  }
  if (m->what == W_SETP) {
    bool p = holds(m, m->type, o->src), c = o->src[2] & 1;
    o->dst[0] = joined(m->join, p, c);
    if (o->ndst > 1) o->dst[1] = joined(m->join, !p, c);
    return;
  }
  o->dst[0] = low_bits(apply(m, o), o->dst_bits[0]);
}
