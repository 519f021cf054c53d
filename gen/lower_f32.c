/* lower_f32.c - products of f32: by tensor cores as tf32, which is the upper 19 bits, rounded or split in two; or without them, by fma.
 *
 * By fma each thread multiplies for its own elements of an accumulator that lies as mma.sync has it. Of a piece of 16 x 8 it has rows g and
 * g + 8, columns 2q and 2q + 1 (g = lane/4, q = lane%4), so that a warp's load of rows is one of 8 different places and a load of columns
 * one of 4: without conflicts, and mostly broadcast.
 *
 *   stored with k innermost   four of k of a row or column by one load
 *   stored with k outermost   both columns of a piece by one load; rows by themselves */
#include "arch/arch.h"
#include "lower.h"

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

/* ---- tf32 ---- */

/* Rounded to nearest, away from zero where two are as near. */
static void round_operands(Lower *l, const PtxReg *x, int n, PtxReg *out) {
  for (int i = 0; i < n; i++) out[i] = DEF(cvt_rna_tf32_f32, R(DEF(mov_f32_from_b32, R(x[i]))));
}

/* x = hi + lo, hi rounded to tf32 and lo what that leaves, of which the product reads the upper 19 bits: nothing is lost but the last
 * bit of f32, at times. An infinity or NaN goes into lo, and hi is then 1 to 2 of its sign: so hi hi + hi lo + lo hi is what it has to
 * be for inf * y, inf * inf and inf * 0, without an infinity ever meeting another one's finite rest. The last values before
 * infinity, which hi would round to it, go the same way. */
static void split_operand(Lower *l, PtxReg x, PtxReg *hi, PtxReg *lo) {
  PtxReg f = DEF(mov_f32_from_b32, R(x));
  PtxReg usual = DEF(setp_lt_f32, R(DEF(abs_f32, R(f))), po_f(0x1.ffep127f));
  PtxReg add = DEF(selp_b32, po_i(0x1000), po_i(-0x40000000), R(usual)); /* half a unit of tf32; or the exponent's highest bit away */
  *hi = DEF(and_b32, R(DEF(add_s32, R(x), R(add))), po_i(-0x2000));
  *lo = DEF(mov_b32_from_f32, R(DEF(sub_rn_f32, R(f), R(DEF(mov_f32_from_b32, R(*hi))))));
}

typedef struct Split { PtxReg *hi, *lo; } Split;

static Split split_operands(Lower *l, const PtxReg *x, int n) {
  Split s = {ARENA_ARRAY(l->arena, PASS, PtxReg, n), ARENA_ARRAY(l->arena, PASS, PtxReg, n)};
  for (int i = 0; i < n; i++) split_operand(l, x[i], &s.hi[i], &s.lo[i]);
  return s;
}

/* Of two pieces of 8 columns: each step's sum by itself, then added to the accumulator in f32. The tensor cores truncate what they add
 * up; this way only sums of one step are truncated, and long sums are as exact as f32 makes them. hi hi comes first: where that
 * overflows, it is the infinity that the others, whose sign may be another, leave alone. */
static void issue_pair(Lower *l, const ArchMma *f, const ProductShape *s, const Split *a, const Split *b, int pair, const Val *acc) {
  PtxReg zero = DEF(mov_f32, po_f(0)), none[4] = {zero, zero, zero, zero};
  PtxReg *sum = ARENA_ARRAY(l->arena, PASS, PtxReg, 8 * s->mt);
  PtxOpnd before[16];
  for (int part = 0; part < 3; part++)
    for (int i = 0; i < 2 * s->mt; i++) {
      const PtxReg *left = part == 1 ? a->lo : a->hi, *right = part == 2 ? b->lo : b->hi;
      for (int r = 0; r < 4; r++) sum[4 * i + r] = ptx_reg(l->ptx, PTX_F);
      PtxOpnd d = po_vec(l->ptx, &sum[4 * i], 4);
      ptx_put(l->ptx, f->form, d, po_vec(l->ptx, &left[4 * (i / 2)], 4), po_vec(l->ptx, &right[i % 2 * 2], 2),
              part == 0 ? po_vec(l->ptx, none, 4) : before[i]);
      before[i] = d;
    }
  for (int i = 0; i < 2 * s->mt; i++) {
    PtxReg to[4];
    product_sums(s, acc, i / 2, 2 * pair + i % 2, to);
    for (int r = 0; r < 4; r++) ptx_put(l->ptx, ISA_add_rn_f32, R(to[r]), R(to[r]), R(sum[4 * i + r]));
  }
}

static void issue_split(Lower *l, const ArchMma *f, const ProductShape *s, const PtxReg *x, const Val *acc) {
  Split a = split_operands(l, x, 4 * s->mt);
  for (int pair = 0; pair < s->nt / 2; pair++) {
    Split b = split_operands(l, &x[4 * (s->mt + pair)], 4);
    issue_pair(l, f, s, &a, &b, pair, acc);
  }
}

/* x: the registers of a step, a by 16 rows, then b by 16 columns. */
void lower_product_tf32(Lower *l, const ArchMma *f, const ProductShape *s, const PtxReg *x, int n, const Val *acc) {
  if (tile_attr_int(l->tiles, l->node, TA_split, 0)) {
    issue_split(l, f, s, x, acc);
    return;
  }
  PtxReg *rounded = ARENA_ARRAY(l->arena, PASS, PtxReg, n);
  round_operands(l, x, n, rounded);
  product_issue(l, f, s, rounded, acc);
}

/* ---- fma ---- */

enum { CHUNK = 4 };      /* of k, whose operands are in registers together */

typedef struct Strip {   /* the rows of A, or the columns of B, that a thread has */
  const SmemVal *tile;
  bool k_inner;
  int pieces, piece;     /* of the warp; their size */
  int within[2];         /* the thread's two of a piece, counted from its first */
  PtxReg thread;         /* linear byte offset of its first */
  uint32_t bits;
  int32_t k_bytes, side_bytes;
} Strip;

static Strip strip_of(Lower *l, const SmemVal *tile, bool is_a, PtxReg first, uint32_t first_bits) {
  Strip s = {.tile = tile, .k_inner = is_a ? !tile->transposed : tile->transposed, .piece = is_a ? 16 : 8, .within = {0, is_a ? 8 : 1}};
  int32_t row = tile->layout.pitch[0] * tile->elem_bytes;
  s.k_bytes = s.k_inner ? tile->elem_bytes : row;
  s.side_bytes = s.k_inner ? row : tile->elem_bytes;
  PtxReg own = is_a ? DEF(shr_u32, R(l->lane), po_i(2)) : DEF(shl_b32, R(DEF(and_b32, R(l->lane), po_i(3))), po_i(1));
  s.thread = DEF(mul_lo_s32, R(DEF(add_s32, R(first), R(own))), po_i(s.side_bytes));
  s.bits = s.side_bytes & (s.side_bytes - 1) ? ~0u : ((is_a ? 7u : 6u) | first_bits) * (uint32_t)s.side_bytes;
  return s;
}

/* CHUNK of k of the thread's two of a piece, [two][CHUNK]. */
static void load_strip(Lower *l, const Strip *s, int piece, int k, PtxReg out[2][CHUNK]) {
  const SmemVal *t = s->tile;
  uint32_t start = (uint32_t)((t->start[0] * t->layout.pitch[0] + t->start[1]) * t->elem_bytes);
  bool pairs = !s->k_inner && s->within[1] == 1;
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < CHUNK; j++) {
      int32_t side = piece * s->piece + s->within[i];
      int64_t imm;
      if (s->k_inner ? j > 0 : pairs && i > 0) continue; /* came with the one before */
      PtxReg p = shared_address(l, t, s->thread, s->bits, start + (uint32_t)(side * s->side_bytes + (k + j) * s->k_bytes), &imm);
      if (s->k_inner) {
        for (int c = 0; c < CHUNK; c++) out[i][c] = ptx_reg(l->ptx, PTX_F);
        ptx_put(l->ptx, ISA_ld_shared_v4_f32, po_vec(l->ptx, out[i], CHUNK), po_mem(p, imm));
      } else if (pairs) {
        PtxReg both[2] = {out[0][j] = ptx_reg(l->ptx, PTX_F), out[1][j] = ptx_reg(l->ptx, PTX_F)};
        ptx_put(l->ptx, ISA_ld_shared_v2_f32, po_vec(l->ptx, both, 2), po_mem(p, imm));
      } else {
        ptx_put(l->ptx, ISA_ld_shared_f32, R(out[i][j] = ptx_reg(l->ptx, PTX_F)), po_mem(p, imm));
      }
    }
}

static void multiply_piece(Lower *l, PtxReg *acc, PtxReg a[2][CHUNK], PtxReg b[2][CHUNK]) {
  for (int k = 0; k < CHUNK; k++)
    for (int r = 0; r < 4; r++) ptx_put(l->ptx, ISA_fma_rn_f32, R(acc[r]), R(a[r / 2][k]), R(b[r % 2][k]), R(acc[r]));
}

void lower_product_fma(Lower *l, const ProductShape *s, const Val *acc, const SmemVal *a, const SmemVal *b, int k) {
  Strip rows = strip_of(l, a, true, product_warp_row(l, s), (uint32_t)((s->wm - 1) * s->warp_m));
  Strip columns = strip_of(l, b, false, product_warp_column(l, s), (uint32_t)((s->wn - 1) * s->warp_n));
  typedef PtxReg Pair[2][CHUNK];
  Pair *right = ARENA_ARRAY(l->arena, PASS, Pair, s->nt);
  for (int from = 0; from < k; from += CHUNK) {
    for (int n = 0; n < s->nt; n++) load_strip(l, &columns, n, from, right[n]);
    for (int m = 0; m < s->mt; m++) {
      Pair left;
      load_strip(l, &rows, m, from, left);
      for (int n = 0; n < s->nt; n++) multiply_piece(l, &acc->reg[(m * s->nt + n) * 4], left, right[n]);
    }
  }
}
