/* lower_wgmma.c - products by warpgroups, asynchronous: operands lie in shared memory and are described, or A in registers.
 *
 * A descriptor is 64 bits: the address, two distances and the swizzle, the addresses and distances in units of 16 bytes.
 *
 *   stored with k innermost   a row of the panel is W bytes of k; 8 rows lie together, `stride` leads to the next 8;
 *                             16-byte pieces of a row are exchanged within W, so that k advances by its bytes
 *   stored with k outermost   a row of the panel is W bytes of m or n; 8 rows of k lie together, `stride` leads to the next 8 of k,
 *                             `lead` to the next panel
 * Only the address part changes from step to step; a step takes 32 bytes of k, or 16 rows of it. */
#include "lower.h"
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

enum { STEP_BYTES = 32, GROUP_ROWS = 64 };

typedef struct Described {  /* an operand */
  PtxReg desc;              /* .b64: of its first step */
  bool trans;               /* stored with k outermost */
  int64_t panel_steps;      /* steps within a panel */
  int64_t step, panel;      /* what a step, and the next panel, add to the descriptor */
  int64_t side;             /* what 64 rows of A add */
} Described;

static const char *layout_fault(const SmemVal *t, bool is_a, bool k_inner) {
  int width = layout_swizzle_bytes(&t->layout);
  if (!width || t->layout.shift != 3) return "has no swizzle of bulk copies";
  if (t->elem_bytes != 2 && !k_inner) return "is stored with k outermost, which warpgroup products take for types of 16 bits alone";
  if (t->start[0] || t->start[1]) return "begins inside another tile";
  return is_a && !k_inner && t->layout.shape[1] % 64 ? "has rows of no multiple of 64" : NULL;
}

static bool describe(Lower *l, const SmemVal *t, bool is_a, Described *d) {
  bool k_inner = is_a ? !t->transposed : t->transposed;
  const char *fault = layout_fault(t, is_a, k_inner);
  if (fault) {
    lower_error(l, "operand %s of the product %s: let it be a slot of a ring that is filled by tma", is_a ? "a" : "b", fault);
    return false;
  }
  int width = layout_swizzle_bytes(&t->layout), mode = width == 128 ? 1 : width == 64 ? 2 : 3;
  int64_t panel_bytes = t->layout.panel ? (int64_t)t->layout.shape[0] * width : 0;
  int64_t lead = k_inner ? 16 : panel_bytes ? panel_bytes : 16, stride = 8ll * width;
  PtxReg at = DEF(add_s32, R(t->base), po_i(t->offset));
  PtxReg low = DEF(or_b32, R(DEF(shr_u32, R(DEF(and_b32, R(at), po_i(0x3ffff))), po_i(4))), po_i(lead / 16 << 16));
  PtxReg half[2] = {low, DEF(mov_b32, po_i((int32_t)(uint32_t)(stride / 16 | (int64_t)mode << 30)))};
  *d = (Described){.trans = !k_inner, .desc = DEF(mov_b64_pack, po_vec(l->ptx, half, 2))};
  if (k_inner) {
    d->panel_steps = width / STEP_BYTES;
    d->step = STEP_BYTES / 16;
    d->panel = panel_bytes / 16;
    d->side = (int64_t)GROUP_ROWS * width / 16;
  } else {
    d->panel_steps = 1 << 20;
    d->step = (int64_t)STEP_BYTES / t->elem_bytes * width / 16;
    d->side = GROUP_ROWS * t->elem_bytes / width * panel_bytes / 16; /* 64 elements of m: whole panels of 128 bytes or narrower */
  }
  return true;
}

static PtxOpnd at_step(Lower *l, const Described *d, int64_t step, int64_t block) {
  int64_t add = step / d->panel_steps * d->panel + step % d->panel_steps * d->step + block * d->side;
  return R(add ? DEF(add_s64, R(d->desc), po_i(add)) : d->desc);
}

/* The form for these types and 8 columns; those for more follow it (gen/isa/wgmma.def). */
static IsaId find_form(Lower *l, kiln_dtype a, kiln_dtype b, bool in_registers) {
  static const struct { uint8_t a, b; uint16_t form, rs; } forms[] = {
    {KILN_F16, KILN_F16, ISA_wgmma_f32_f16_f16_n8, ISA_wgmma_f32_f16_f16_reg_n8},
    {KILN_BF16, KILN_BF16, ISA_wgmma_f32_bf16_bf16_n8, ISA_wgmma_f32_bf16_bf16_reg_n8},
    {KILN_F32, KILN_F32, ISA_wgmma_f32_tf32_tf32_n8, ISA_wgmma_f32_tf32_tf32_reg_n8},
    {KILN_E4M3, KILN_E4M3, ISA_wgmma_f32_e4m3_e4m3_n8, ISA_wgmma_f32_e4m3_e4m3_reg_n8},
    {KILN_E4M3, KILN_E5M2, ISA_wgmma_f32_e4m3_e5m2_n8, ISA_wgmma_f32_e4m3_e5m2_reg_n8},
    {KILN_E5M2, KILN_E4M3, ISA_wgmma_f32_e5m2_e4m3_n8, ISA_wgmma_f32_e5m2_e4m3_reg_n8},
    {KILN_E5M2, KILN_E5M2, ISA_wgmma_f32_e5m2_e5m2_n8, ISA_wgmma_f32_e5m2_e5m2_reg_n8},
  };
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    if (forms[i].a == a && forms[i].b == b) return (IsaId)(in_registers ? forms[i].rs : forms[i].form);
  lower_refuse(l, "%s has no warpgroup product of %s and %s", l->target->name, tile_dtype_name(a), tile_dtype_name(b));
  return ISA_NONE;
}

static bool check_accumulator(Lower *l, const Val *acc, int *blocks, int *n) {
  const Layout *lay = frag_layout(l, acc->layout);
  Layout want = layout_wgmma_acc(lay->shape[0], lay->shape[1]);
  *n = lay->shape[1];
  *blocks = lay->shape[0] / GROUP_ROWS;
  if (acc->dtype == KILN_F32 && lay->shape[0] % GROUP_ROWS == 0 && *n % 8 == 0 && *n <= 256 && layout_equal(lay, &want) && l->threads == 128) return true;
  lower_error(l, "the accumulator of a warpgroup product is f32 [m, n], m a multiple of 64, n a multiple of 8 up to 256, in the layout of the "
              "warpgroup's 4 warps; here %d x %d on %d threads", (int)lay->shape[0], *n, l->threads);
  return false;
}

/* Registers that other instructions have written are the products' from here on. */
static void open_group(Lower *l) {
  if (!l->products) ptx_put_n(l->ptx, ISA_wgmma_fence, 0, NULL);
  l->products = true;
}

typedef struct Product {
  IsaId form;
  const Described *a, *b;
  const Val *regs;          /* A in registers, in place of `a` */
  const Val *acc;
  int n, blocks;
  int64_t steps;
  bool trans;               /* the type has bits for it */
} Product;

/* One step of k of one block of 64 rows. */
static void put_product(Lower *l, const Product *p, int64_t step, int block, bool accumulate) {
  PtxOpnd ops[ISA_MAX_OPERANDS];
  int n = 0;
  ops[n++] = po_vec(l->ptx, &p->acc->reg[block * p->n / 2], p->n / 2);
  if (p->regs) ops[n++] = po_vec(l->ptx, &p->regs->reg[4 * (block * p->steps + step)], 4);
  else ops[n++] = at_step(l, p->a, step, block);
  ops[n++] = at_step(l, p->b, step, 0);
  ops[n++] = po_i(accumulate);
  ops[n++] = po_i(1);
  ops[n++] = po_i(1);
  if (p->trans && !p->regs) ops[n++] = po_i(p->a->trans);
  if (p->trans) ops[n++] = po_i(p->b->trans);
  ptx_put_n(l->ptx, (IsaId)(p->form + p->n / 8 - 1), n, ops);
}

static void put_products(Lower *l, Product *p, kiln_dtype dtype, int32_t k) {
  bool zero = tile_attr_int(l->tiles, l->node, TA_zero, 0) != 0;
  int step_elems = STEP_BYTES / tile_dtype_bytes(dtype);
  if (k % step_elems) {
    lower_error(l, "a warpgroup product of %s takes k in steps of %d; here %d", tile_dtype_name(dtype), step_elems, (int)k);
    return;
  }
  p->steps = k / step_elems;
  p->trans = tile_dtype_bytes(dtype) == 2;
  open_group(l);
  for (int64_t step = 0; step < p->steps; step++)
    for (int block = 0; block < p->blocks; block++) put_product(l, p, step, block, !zero || step);
}

void lower_mma_groups(Lower *l) {
  Val *acc = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  if (!l->groups) {
    lower_mma_sync(l);
    return;
  }
  if (tile_attr_int(l->tiles, l->node, TA_split, 0)) {
    lower_error(l, "mma: warpgroup products read f32 from shared memory as it is; split is for products by warps");
    return;
  }
  Described da, db;
  Product p = {.acc = acc, .a = &da, .b = &db, .form = find_form(l, a->dtype, b->dtype, false)};
  if (!p.form || !check_accumulator(l, acc, &p.blocks, &p.n) || !describe(l, a->smem, true, &da) || !describe(l, b->smem, false, &db)) return;
  put_products(l, &p, a->dtype, lower_arg_type(l, 1)->shape[1]);
}

/* f32 in registers as tf32, rounded to nearest; in shared memory its lower 13 bits are not read, which truncates. */
static Val rounded(Lower *l, const Val *a) {
  Val v = *a;
  v.reg = ARENA_ARRAY(l->arena, PASS, PtxReg, a->n);
  for (uint32_t i = 0; i < a->n; i++) v.reg[i] = DEF(cvt_rna_tf32_f32, R(a->reg[i]));
  return v;
}

void lower_mma_rs(Lower *l) {
  Val *acc = lower_arg(l, 0), *a = lower_arg(l, 1), *b = lower_arg(l, 2);
  const TileType *t = lower_arg_type(l, 1);
  if (!l->groups) {
    lower_error(l, "mma_rs: is asynchronous; close its group by mma_commit, and wait for it by mma_wait");
    return;
  }
  Layout want = layout_wgmma_a(t->shape[0], t->shape[1], tile_dtype_bytes(a->dtype));
  if (!layout_equal(frag_layout(l, a->layout), &want)) {
    lower_error(l, "mma_rs: a lies in the layout of a warpgroup's operand, [m, k] over its 4 warps with the elements of a register side by side");
    return;
  }
  Described db;
  Val words = a->dtype == KILN_F32 ? rounded(l, a) : *a;
  Product p = {.acc = acc, .regs = &words, .b = &db, .form = find_form(l, a->dtype, b->dtype, true)};
  if (!p.form || !check_accumulator(l, acc, &p.blocks, &p.n) || !describe(l, b->smem, false, &db)) return;
  put_products(l, &p, a->dtype, t->shape[1]);
}

void lower_mma_commit(Lower *l) {
  if (!l->products) lower_error(l, "mma_commit: no product has been issued since the group before was closed");
  ptx_put_n(l->ptx, ISA_wgmma_commit_group, 0, NULL);
  l->products = false;
}

void lower_mma_wait(Lower *l) { ptx_put(l->ptx, ISA_wgmma_wait_group, po_i(tile_attr_int(l->tiles, l->node, TA_n, 0))); }
