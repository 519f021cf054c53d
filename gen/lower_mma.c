/* lower_mma.c - products of shared tiles by mma.sync: each warp brings its part by ldmatrix, 16 of k at a time.
 *
 * Which lane gives which row address to ldmatrix follows from the operand's storage; with L the lane:
 *   A stored [m][k]: row L%16,               k 8*(L/16)            ldmatrix.x4        a0..a3 of a 16x16 piece
 *   A stored [k][m]: row L%8 + 8*(L/16),     m 8*((L/8)%2)         ldmatrix.x4.trans
 *   B stored [n][k]: row L%8 + 8*(L/16),     k 8*((L/8)%2)         ldmatrix.x4        b0 b1 of two pieces of 8 columns
 *   B stored [k][n]: row L%16,               n 8*(L/16)            ldmatrix.x4.trans
 * The next 16 of k are loaded before the products of these are issued. */
#include "arch/arch.h"
#include "lower.h"

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

typedef struct Operand {     /* A or B of one warp */
  const SmemVal *tile;
  bool trans;                /* stored with k outermost */
  PtxReg thread;             /* linear offset of the lane's row address */
  uint32_t bits;
  int32_t k_bytes, side_bytes; /* linear bytes per element of k, and of m or n */
} Operand;

typedef struct Shape { int mt, nt, ksteps, wm, wn, warp_m, warp_n; } Shape; /* products per warp; warps; rows and columns per warp */

static bool find_shape(Lower *l, const Layout *acc, int k, Shape *s) {
  *s = (Shape){.wm = 1, .wn = 1};
  for (int i = 0; i < acc->nmodes; i++)
    if (acc->mode[i].where == LM_WARP) *(acc->mode[i].dim == 0 ? &s->wm : &s->wn) *= acc->mode[i].extent;
  s->warp_m = acc->shape[0] / s->wm;
  s->warp_n = acc->shape[1] / s->wn;
  s->mt = s->warp_m / 16;
  s->nt = s->warp_n / 8;
  s->ksteps = k / 16;
  Layout want = layout_mma_acc(acc->shape[0], acc->shape[1], s->wm, s->wn);
  if (layout_equal(acc, &want) && s->nt % 2 == 0 && k % 16 == 0 && s->mt > 0) return true;
  lower_error(l, "the accumulator must have the layout of mma.sync, with 16 columns or more per warp and k a multiple of 16");
  return false;
}

/* Lane and warp part of the row addresses. side: the warp's first row (A) or column (B). */
static Operand operand_of(Lower *l, const SmemVal *tile, bool is_a, PtxReg side, uint32_t side_bits) {
  bool k_inner = is_a ? !tile->transposed : tile->transposed; /* stored [m][k] or [n][k] */
  int32_t row = tile->layout.pitch[0] * tile->elem_bytes, elem = tile->elem_bytes;
  Operand o = {.tile = tile, .trans = !k_inner, .k_bytes = k_inner ? elem : row, .side_bytes = k_inner ? row : elem};
  PtxReg low8 = DEF(and_b32, R(l->lane), po_i(7)), low16 = DEF(and_b32, R(l->lane), po_i(15));
  PtxReg bit3 = DEF(and_b32, R(DEF(shr_u32, R(l->lane), po_i(3))), po_i(1)), bit4 = DEF(shr_u32, R(l->lane), po_i(4));
  bool plain = is_a == k_inner; /* rows 0..15 in order of lanes, halves by lane/16 */
  PtxReg r = plain ? low16 : DEF(add_s32, R(low8), R(DEF(shl_b32, R(bit4), po_i(3))));
  PtxReg half = plain ? bit4 : bit3;
  PtxReg at = DEF(add_s32, R(DEF(mul_lo_s32, R(r), po_i(row))), R(DEF(mul_lo_s32, R(half), po_i(8 * elem))));
  o.thread = DEF(add_s32, R(at), R(DEF(mul_lo_s32, R(side), po_i(o.side_bytes))));
  o.bits = 15u * (uint32_t)row | 8u * (uint32_t)elem | side_bits * (uint32_t)o.side_bytes;
  if (row & (row - 1)) o.bits = ~0u;
  return o;
}

/* The 16x16 piece at (side, k) into four registers. */
static void load_piece(Lower *l, const Operand *o, int side, int k, const PtxReg out[4]) {
  const SmemVal *t = o->tile;
  uint32_t start = (uint32_t)((t->start[0] * t->layout.pitch[0] + t->start[1]) * t->elem_bytes);
  int64_t imm;
  PtxReg p = shared_address(l, t, o->thread, o->bits, start + (uint32_t)(side * o->side_bytes + k * o->k_bytes), &imm);
  ptx_put(l->ptx, o->trans ? ISA_ldmatrix_x4_trans : ISA_ldmatrix_x4, po_vec(l->ptx, out, 4), po_mem(p, imm));
}

/* Registers of one k step: a by 16 rows, then b by 16 columns, four each. */
static int step_regs(const Shape *s) { return 4 * (s->mt + s->nt / 2); }

static PtxReg *step_new(Lower *l, const Shape *s, bool variable) {
  int n = step_regs(s);
  PtxReg *r = ARENA_ARRAY(l->arena, PASS, PtxReg, n);
  for (int i = 0; i < n; i++) r[i] = variable ? ptx_var(l->ptx, PTX_R) : ptx_reg(l->ptx, PTX_R);
  return r;
}

static void load_step(Lower *l, const Operand *a, const Operand *b, const Shape *s, int k, const PtxReg *out) {
  for (int m = 0; m < s->mt; m++) load_piece(l, a, m * 16, k * 16, &out[4 * m]);
  for (int n = 0; n < s->nt / 2; n++) load_piece(l, b, n * 16, k * 16, &out[4 * (s->mt + n)]);
}

/* One m16n8 product over 16 of k: one instruction, or two of k 8. */
static void product(Lower *l, const ArchMma *f, PtxReg *acc, const PtxReg a[4], PtxReg b0, PtxReg b1) {
  PtxOpnd d = po_vec(l->ptx, acc, 4);
  if (f->k == 16) {
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, a, 4), po_vec(l->ptx, (PtxReg[]){b0, b1}, 2), d);
  } else {
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, &a[0], 2), po_vec(l->ptx, &b0, 1), d);
    ptx_put(l->ptx, f->form, d, po_vec(l->ptx, &a[2], 2), po_vec(l->ptx, &b1, 1), d);
  }
}

static void issue_step(Lower *l, const ArchMma *f, const Shape *s, const PtxReg *x, const Val *acc) {
  for (int n = 0; n < s->nt; n++)
    for (int i = 0; i < s->mt; i++) {
      int m = n & 1 ? s->mt - 1 - i : i; /* back and forth: the operand at the turn is used twice running */
      const PtxReg *b = &x[4 * (s->mt + n / 2) + n % 2 * 2];
      product(l, f, &acc->reg[(m * s->nt + n) * 4], &x[4 * m], b[0], b[1]);
    }
}

static const ArchMma *find_form(Lower *l, kiln_dtype t) {
  for (const ArchMma *f = l->target->arch->mma; f->dtype; f++)
    if (f->dtype == t) return f;
  lower_refuse(l, "%s has no mma.sync for %s operands", l->target->name, tile_dtype_name(t));
  return NULL;
}

typedef struct Sides { Operand a, b; } Sides;

static Sides sides_of(Lower *l, const Shape *s, const SmemVal *a, const SmemVal *b) {
  PtxReg wm = s->wm > 1 ? DEF(and_b32, R(l->warp), po_i(s->wm - 1)) : DEF(mov_b32, po_i(0));
  PtxReg wn = s->wn > 1 ? (s->wm > 1 ? DEF(shr_u32, R(l->warp), po_i(__builtin_ctz((unsigned)s->wm))) : l->warp) : DEF(mov_b32, po_i(0));
  return (Sides){operand_of(l, a, true, DEF(mul_lo_s32, R(wm), po_i(s->warp_m)), (uint32_t)((s->wm - 1) * s->warp_m)),
                 operand_of(l, b, false, DEF(mul_lo_s32, R(wn), po_i(s->warp_n)), (uint32_t)((s->wn - 1) * s->warp_n))};
}

static bool fits_warp(Lower *l, const Shape *s) {
  if (s->mt <= 8 && s->nt <= 32) return true;
  lower_error(l, "a warp holds at most 128 x 256 of the accumulator, here %d x %d; take more warps", s->warp_m, s->warp_n);
  return false;
}

void lower_mma_sync(Lower *l) {
  Val *acc = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  Shape s;
  if (a->kind != VAL_SMEM || b->kind != VAL_SMEM) {
    lower_error(l, "mma takes its operands from shared tiles on %s", l->target->name);
    return;
  }
  const ArchMma *f = find_form(l, a->dtype);
  if (!f || !find_shape(l, frag_layout(l, acc->layout), lower_arg_type(l, 1)->shape[1], &s) || !fits_warp(l, &s)) return;
  if (tile_attr_int(l->tiles, l->node, TA_zero, 0))
    for (uint32_t i = 0; i < acc->n; i++) ptx_put(l->ptx, ISA_mov_f32, R(acc->reg[i]), po_i(0));
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

void lower_mma_operands(Lower *l) {
  Val *acc = lower_arg(l, 0);
  Shape s;
  if (!find_shape(l, frag_layout(l, acc->layout), 16, &s) || !fits_warp(l, &s)) return;
  *lower_result(l) = (Val){.kind = VAL_OPERANDS, .dtype = l->node->type.dtype, .layout = acc->layout, .n = (uint32_t)step_regs(&s),
                           .reg = step_new(l, &s, true)};
}

void lower_mma_fetch(Lower *l) {
  Val *to = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  Shape s;
  if (!find_shape(l, frag_layout(l, to->layout), 16, &s)) return;
  Sides x = sides_of(l, &s, a->smem, b->smem);
  load_step(l, &x.a, &x.b, &s, (int)tile_attr_int(l->tiles, l->node, TA_step, 0), to->reg);
}

void lower_mma_issue(Lower *l) {
  Val *acc = lower_arg(l, 0), *x = lower_arg(l, 1);
  const ArchMma *f = find_form(l, x->dtype);
  Shape s;
  if (!f || !find_shape(l, frag_layout(l, acc->layout), 16, &s)) return;
  issue_step(l, f, &s, x->reg, acc);
}
