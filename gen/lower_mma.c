/* lower_mma.c - products of shared tiles by mma.sync: each warp brings its part by ldmatrix, 32 bytes of k at a time (a step: 16 elements of
 * 16 bits, 32 of one byte, 8 of f32).
 *
 * Which lane gives which row address to ldmatrix follows from the operand's storage; with L the lane, k in elements of 16 bits:
 *   A stored [m][k]: row L%16,               k 8*(L/16)            ldmatrix.x4        a0..a3 of a 16x16 piece
 *   A stored [k][m]: row L%8 + 8*(L/16),     m 8*((L/8)%2)         ldmatrix.x4.trans
 *   B stored [n][k]: row L%8 + 8*(L/16),     k 8*((L/8)%2)         ldmatrix.x4        b0 b1 of two pieces of 8 columns
 *   B stored [k][n]: row L%16,               n 8*(L/16)            ldmatrix.x4.trans
 *
 * Bytes stored with k innermost are pairs to ldmatrix, and nothing changes. Stored with k outermost, a pair is two neighbours along m (or n),
 * and ldmatrix.trans gives a lane, of one pair, two rows of k. So the rows of k are brought in the order in which a fragment wants them
 *   row 4*((L%8)/2) + L%2 + 2*((L/8)%2) + 16*(L/16)
 * (two matrices X, Y then hold a pair's k 4q, 4q+1 and 4q+2, 4q+3), and prmt takes the pair's first element from both, and its second. Which
 * puts neighbours 2g, 2g+1 where a fragment has rows g, g+8, or its columns g of two pieces: the accumulator's layout has them in that order
 * (layout_mma_acc, `rows` and MMA_NEIGHBOURS).
 *
 * Which columns a product takes is free where k is innermost, as ldmatrix wants an address of each: every fourth of 32 (MMA_RUNS) brings
 * eight that follow one another to a thread, which stores or loads them at once.
 *
 * f32 stored with k innermost are pairs of 16 bits as well. Stored with k outermost, they are read word by word, lane L with row L%4 and column
 * L/4 of 4 x 8 (layout_complete.c spreads these over all banks). The next step is loaded before the products of this one are issued. */
#include "arch/arch.h"
#include "lower.h"

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

enum { STEP_BYTES = 32 };

typedef struct Operand {     /* A or B of one warp */
  const SmemVal *tile;
  bool is_a;
  bool trans;                /* stored with k outermost */
  bool words;                /* read word by word */
  PtxReg thread;             /* linear offset of the lane's row address */
  uint32_t bits;
  int32_t k_bytes, side_bytes; /* linear bytes per element of k, and of m or n */
} Operand;

/* elem: bytes of an operand's element; k: elements. */
static bool find_shape(Lower *l, const Layout *acc, int elem, int k, ProductShape *s) {
  *s = (ProductShape){.wm = 1, .wn = 1, .step = STEP_BYTES / elem};
  for (int i = 0; i < acc->nmodes; i++)
    if (acc->mode[i].where == LM_WARP) *(acc->mode[i].dim == 0 ? &s->wm : &s->wn) *= acc->mode[i].extent;
  s->warp_m = acc->shape[0] / s->wm;
  s->warp_n = acc->shape[1] / s->wn;
  s->mt = s->warp_m / 16;
  s->nt = s->warp_n / 8;
  s->ksteps = k / s->step;
  for (s->cols = MMA_PAIRS; s->cols <= MMA_RUNS; s->cols++)
    for (int rows = 0; rows < (elem == 1 ? 2 : 1); rows++) {
      if ((s->cols == MMA_NEIGHBOURS && elem != 1) || (s->cols == MMA_RUNS && s->nt % 4)) continue;
      Layout want = layout_mma_acc(acc->shape[0], acc->shape[1], s->wm, s->wn, rows, s->cols);
      s->rows = rows;
      if (layout_equal(acc, &want) && s->nt % 2 == 0 && k % s->step == 0 && s->mt > 0) return true;
    }
  lower_error(l, "the accumulator must have the layout of mma.sync, with 16 columns or more per warp and k a multiple of %d", s->step);
  return false;
}

PtxReg product_warp_row(Lower *l, const ProductShape *s) {
  PtxReg wm = s->wm > 1 ? DEF(and_b32, R(l->warp), po_i(s->wm - 1)) : DEF(mov_b32, po_i(0));
  return DEF(mul_lo_s32, R(wm), po_i(s->warp_m));
}

PtxReg product_warp_column(Lower *l, const ProductShape *s) {
  PtxReg wn = s->wn > 1 ? (s->wm > 1 ? DEF(shr_u32, R(l->warp), po_i(__builtin_ctz((unsigned)s->wm))) : l->warp) : DEF(mov_b32, po_i(0));
  return DEF(mul_lo_s32, R(wn), po_i(s->warp_n));
}

/* Of bytes with k outermost: row L%2 | L/8%2 | L/2%2 | L/4%2 | L/16, from the lowest bit on. */
static void byte_rows(Lower *l, Operand *o, PtxReg side, uint32_t side_bits) {
  int32_t pitch = o->tile->layout.pitch[0];
  PtxReg apart = DEF(or_b32, R(DEF(and_b32, R(l->lane), po_i(17))), R(DEF(shr_u32, R(DEF(and_b32, R(l->lane), po_i(8))), po_i(2))));
  PtxReg row = DEF(or_b32, R(apart), R(DEF(shl_b32, R(DEF(and_b32, R(l->lane), po_i(6))), po_i(1))));
  o->thread = DEF(add_s32, R(DEF(mul_lo_s32, R(row), po_i(pitch))), R(side));
  o->bits = pitch & (pitch - 1) ? ~0u : (31u * (uint32_t)pitch) | side_bits;
}

/* Of words with k outermost: row L%4, column L/4. */
static void word_places(Lower *l, Operand *o, PtxReg side, uint32_t side_bits) {
  int32_t row = o->tile->layout.pitch[0] * 4;
  PtxReg column = DEF(shl_b32, R(DEF(shr_u32, R(l->lane), po_i(2))), po_i(2)), k = DEF(and_b32, R(l->lane), po_i(3));
  PtxReg own = DEF(add_s32, R(DEF(mul_lo_s32, R(k), po_i(row))), R(column));
  o->thread = DEF(add_s32, R(own), R(DEF(mul_lo_s32, R(side), po_i(4))));
  o->bits = row & (row - 1) ? ~0u : 3u * (uint32_t)row | 7u * 4u | side_bits * 4u;
}

/* Lane and warp part of the row addresses. side: the warp's first row (A) or column (B); fourths: a product takes every fourth of them. */
static Operand operand_of(Lower *l, const SmemVal *tile, bool is_a, bool fourths, PtxReg side, uint32_t side_bits) {
  bool k_inner = is_a ? !tile->transposed : tile->transposed; /* stored [m][k] or [n][k] */
  int32_t row = tile->layout.pitch[0] * tile->elem_bytes, elem = tile->elem_bytes;
  Operand o = {.tile = tile, .is_a = is_a, .trans = !k_inner, .k_bytes = k_inner ? elem : row, .side_bytes = k_inner ? row : elem};
  o.words = o.trans && elem == 4;
  if (o.trans && elem != 2) {
    (o.words ? word_places : byte_rows)(l, &o, side, side_bits);
    return o;
  }
  PtxReg low8 = DEF(and_b32, R(l->lane), po_i(7)), low16 = DEF(and_b32, R(l->lane), po_i(15));
  PtxReg bit3 = DEF(and_b32, R(DEF(shr_u32, R(l->lane), po_i(3))), po_i(1)), bit4 = DEF(shr_u32, R(l->lane), po_i(4));
  bool plain = is_a == k_inner; /* rows 0..15 in order of lanes, halves by lane/16 */
  PtxReg r = plain     ? low16
             : fourths ? DEF(add_s32, R(DEF(shl_b32, R(low8), po_i(2))), R(bit4))
                       : DEF(add_s32, R(low8), R(DEF(shl_b32, R(bit4), po_i(3))));
  PtxReg half = plain ? bit4 : bit3;
  PtxReg at = DEF(add_s32, R(DEF(mul_lo_s32, R(r), po_i(row))), R(DEF(mul_lo_s32, R(half), po_i(16))));
  o.thread = DEF(add_s32, R(at), R(DEF(mul_lo_s32, R(side), po_i(o.side_bytes))));
  o.bits = (fourths ? 29u : 15u) * (uint32_t)row | 16u | side_bits * (uint32_t)o.side_bytes;
  if (row & (row - 1)) o.bits = ~0u;
  return o;
}

/* Of two neighbours the first, then the second, of rows k and k + 16 of a step: a0 a1 a2 a3, or b0 b1 of two pieces. */
static void sort_bytes(Lower *l, bool is_a, const PtxReg in[4], const PtxReg out[4]) {
  for (int half = 0; half < 2; half++)
    for (int second = 0; second < 2; second++)
      ptx_put(l->ptx, ISA_prmt_b32, R(out[is_a ? 2 * half + second : 2 * second + half]), R(in[2 * half]), R(in[2 * half + 1]),
              po_i(second ? 0x7531 : 0x6420));
}

static PtxReg piece_address(Lower *l, const Operand *o, int side, int k, int64_t *imm) {
  const SmemVal *t = o->tile;
  uint32_t start = (uint32_t)((t->start[0] * t->layout.pitch[0] + t->start[1]) * t->elem_bytes);
  return shared_address(l, t, o->thread, o->bits, start + (uint32_t)(side * o->side_bytes + k * o->k_bytes), imm);
}

/* The first row of the n-th two products' columns. */
static int first_column(const ProductShape *s, int n) { return s->cols == MMA_RUNS ? n / 2 * 32 + n % 2 * 2 : n * 16; }

/* A: 8 rows further on, then 4 of k; B: the other way round. */
static void load_words(Lower *l, const Operand *o, int side, int k, const PtxReg out[4]) {
  for (int i = 0; i < 4; i++) {
    int beside = o->is_a ? i & 1 : i >> 1, later = o->is_a ? i >> 1 : i & 1;
    int64_t imm;
    PtxReg p = piece_address(l, o, side + 8 * beside, k + 4 * later, &imm);
    ptx_put(l->ptx, ISA_ld_shared_b32, R(out[i]), po_mem(p, imm));
  }
}

/* The 16 x 32 bytes at (side, k) into four registers. */
static void load_piece(Lower *l, const Operand *o, int side, int k, const PtxReg out[4]) {
  if (o->words) {
    load_words(l, o, side, k, out);
    return;
  }
  int64_t imm;
  PtxReg p = piece_address(l, o, side, k, &imm);
  if (o->trans && o->tile->elem_bytes == 1) {
    PtxReg pairs[4];
    for (int i = 0; i < 4; i++) pairs[i] = ptx_reg(l->ptx, PTX_R);
    ptx_put(l->ptx, ISA_ldmatrix_x4_trans, po_vec(l->ptx, pairs, 4), po_mem(p, imm));
    sort_bytes(l, o->is_a, pairs, out);
    return;
  }
  ptx_put(l->ptx, o->trans ? ISA_ldmatrix_x4_trans : ISA_ldmatrix_x4, po_vec(l->ptx, out, 4), po_mem(p, imm));
}

/* Registers of one k step: a by 16 rows, then b by 16 columns, four each. */
static int step_regs(const ProductShape *s) { return 4 * (s->mt + s->nt / 2); }

static PtxReg *step_new(Lower *l, const ProductShape *s, bool variable) {
  int n = step_regs(s);
  PtxReg *r = ARENA_ARRAY(l->arena, PASS, PtxReg, n);
  for (int i = 0; i < n; i++) r[i] = variable ? ptx_var(l->ptx, PTX_R) : ptx_reg(l->ptx, PTX_R);
  return r;
}

static void load_step(Lower *l, const Operand *a, const Operand *b, const ProductShape *s, int k, const PtxReg *out) {
  for (int m = 0; m < s->mt; m++) load_piece(l, a, m * 16, k * s->step, &out[4 * m]);
  for (int n = 0; n < s->nt / 2; n++) load_piece(l, b, first_column(s, n), k * s->step, &out[4 * (s->mt + n)]);
}

void product_sums(const ProductShape *s, const Val *acc, int m, int n, PtxReg out[4]) {
  for (int c = 0; c < 4; c++) {
    int within = s->cols == MMA_RUNS ? n / 4 * 16 + (c >> 1) * 8 + (c & 1) * 4 + n % 4 : n * 4 + c;
    out[c] = acc->reg[m * s->nt * 4 + within];
  }
}

/* One m16n8 product over a step of k: one instruction, or two of k 8. */
static void product(Lower *l, const ArchMma *f, PtxReg *acc, const PtxReg a[4], PtxReg b0, PtxReg b1) {
  PtxOpnd d = po_vec(l->ptx, acc, 4);
  if (f->k * tile_dtype_bytes(f->a) == STEP_BYTES) {
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, a, 4), po_vec(l->ptx, (PtxReg[]){b0, b1}, 2), d);
  } else {
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, &a[0], 2), po_vec(l->ptx, &b0, 1), d);
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, &a[2], 2), po_vec(l->ptx, &b1, 1), d);
  }
}

void product_issue(Lower *l, const ArchMma *f, const ProductShape *s, const PtxReg *x, const Val *acc) {
  for (int n = 0; n < s->nt; n++)
    for (int i = 0; i < s->mt; i++) {
      int m = n & 1 ? s->mt - 1 - i : i; /* back and forth: the operand at the turn is used twice running */
      const PtxReg *b = &x[4 * (s->mt + n / 2) + n % 2 * 2];
      PtxReg sums[4];
      product_sums(s, acc, m, n, sums);
      product(l, f, sums, &x[4 * m], b[0], b[1]);
    }
}

/* The products of a step, whose operands have been loaded. */
static void issue_step(Lower *l, const ArchMma *f, const ProductShape *s, const PtxReg *x, const Val *acc) {
  if (f->a == KILN_F32) lower_product_tf32(l, f, s, x, step_regs(s), acc);
  else product_issue(l, f, s, x, acc);
}

static const ArchMma *find_form(Lower *l, kiln_dtype a, kiln_dtype b) {
  for (const ArchMma *f = l->target->arch->mma; f->a; f++)
    if (f->a == a && f->b == b) return f;
  if (a == b) lower_refuse(l, "%s has no mma.sync for %s operands", l->target->name, tile_dtype_name(a));
  else lower_refuse(l, "%s has no mma.sync for operands of %s and %s", l->target->name, tile_dtype_name(a), tile_dtype_name(b));
  return NULL;
}

/* Does the accumulator have rows and columns in the order in which these tiles bring them? */
static bool fits_storage(Lower *l, const ProductShape *s, const SmemVal *a, const SmemVal *b) {
  bool rows = a->transposed, cols = !b->transposed;
  if (s->cols == MMA_RUNS && cols) {
    lower_error(l, "runs of columns are brought from a right operand stored with k innermost; take layout.mma_accumulator(bm, bn, wm, wn)");
    return false;
  }
  if (a->elem_bytes != 1 || (rows == s->rows && cols == (s->cols == MMA_NEIGHBOURS))) return true;
  lower_error(l, "operands of bytes with k %s in a and %s in b want an accumulator whose %s: layout.mma_accumulator(bm, bn, wm, wn, %s, %s)",
              rows ? "outermost" : "innermost", cols ? "outermost" : "innermost", rows || cols ? "neighbours lie together" : "rows are in order",
              rows ? "true" : "false", cols ? "\"neighbours\"" : "nil");
  return false;
}

typedef struct Sides { Operand a, b; } Sides;

static Sides sides_of(Lower *l, const ProductShape *s, const SmemVal *a, const SmemVal *b) {
  PtxReg m = product_warp_row(l, s), n = product_warp_column(l, s);
  return (Sides){operand_of(l, a, true, false, m, (uint32_t)((s->wm - 1) * s->warp_m)),
                 operand_of(l, b, false, s->cols == MMA_RUNS, n, (uint32_t)((s->wn - 1) * s->warp_n))};
}

static bool fits_warp(Lower *l, const ProductShape *s) {
  if (s->mt <= 8 && s->nt <= 32) return true;
  lower_error(l, "a warp holds at most 128 x 256 of the accumulator, here %d x %d; take more warps", s->warp_m, s->warp_n);
  return false;
}

void lower_mma_sync(Lower *l) {
  Val *acc = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  ProductShape s;
  if (a->kind != VAL_SMEM || b->kind != VAL_SMEM) {
    lower_error(l, "mma takes its operands from shared tiles on %s", l->target->name);
    return;
  }
  const ArchMma *f = find_form(l, a->dtype, b->dtype);
  if (!f || !find_shape(l, frag_layout(l, acc->layout), a->smem->elem_bytes, lower_arg_type(l, 1)->shape[1], &s) || !fits_warp(l, &s) ||
      !fits_storage(l, &s, a->smem, b->smem))
    return;
  if (tile_attr_int(l->tiles, l->node, TA_zero, 0))
    for (uint32_t i = 0; i < acc->n; i++) ptx_put(l->ptx, ISA_mov_f32, R(acc->reg[i]), po_i(0));
  if (f->k == 1 && s.cols != MMA_PAIRS) {
    lower_error(l, "%s multiplies f32 by fma, whose accumulator is layout.mma_accumulator(bm, bn, wm, wn)", l->target->name);
    return;
  }
  if (f->k == 1) {
    lower_product_fma(l, &s, acc, a->smem, b->smem, lower_arg_type(l, 1)->shape[1]);
    return;
  }
  Sides x = sides_of(l, &s, a->smem, b->smem);
  PtxReg *now = step_new(l, &s, false);
  load_step(l, &x.a, &x.b, &s, 0, now);
  for (int k = 0; k < s.ksteps; k++) {
    PtxReg *next = NULL;
    if (k + 1 < s.ksteps) load_step(l, &x.a, &x.b, &s, k + 1, next = step_new(l, &s, false));
    issue_step(l, f, &s, now, acc);
    now = next;
  }
}

/* ---- the two halves by themselves ---- */

/* Registers of a step are as many for either size of element. */
void lower_mma_operands(Lower *l) {
  Val *acc = lower_arg(l, 0);
  int elem = tile_dtype_bytes(l->node->type.dtype);
  ProductShape s;
  const ArchMma *f = find_form(l, l->node->type.dtype, tile_operands_right(l->tiles, l->node));
  if (!f || !find_shape(l, frag_layout(l, acc->layout), elem, STEP_BYTES / elem, &s) || !fits_warp(l, &s)) return;
  if (f->k == 1) {
    lower_refuse(l, "%s multiplies %s by fma, which reads its operands as it needs them: take mma", l->target->name, tile_dtype_name(f->a));
    return;
  }
  *lower_result(l) = (Val){.kind = VAL_OPERANDS, .dtype = l->node->type.dtype, .layout = acc->layout, .n = (uint32_t)step_regs(&s),
                           .reg = step_new(l, &s, true)};
}

void lower_mma_fetch(Lower *l) {
  Val *to = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  ProductShape s;
  if (!find_shape(l, frag_layout(l, to->layout), a->smem->elem_bytes, STEP_BYTES / a->smem->elem_bytes, &s)) return;
  if (!fits_storage(l, &s, a->smem, b->smem)) return;
  Sides x = sides_of(l, &s, a->smem, b->smem);
  load_step(l, &x.a, &x.b, &s, (int)tile_attr_int(l->tiles, l->node, TA_step, 0), to->reg);
}

void lower_mma_issue(Lower *l) {
  Val *acc = lower_arg(l, 0), *x = lower_arg(l, 1);
  const TileNode *made = tile_at(l->tiles, tile_arg(l->tiles, l->node, 1));
  const ArchMma *f = find_form(l, x->dtype, tile_operands_right(l->tiles, made));
  int elem = tile_dtype_bytes(x->dtype);
  ProductShape s;
  if (!f || !find_shape(l, frag_layout(l, acc->layout), elem, STEP_BYTES / elem, &s)) return;
  issue_step(l, f, &s, x->reg, acc);
}
