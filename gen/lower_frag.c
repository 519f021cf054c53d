/* lower_frag.c - fragments: declaration, assignment, coordinates, and reductions over registers, lanes and warps. */
#include "lower.h"
#include <math.h>
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

const Layout *frag_layout(Lower *l, uint32_t layout) {
  BUG_IF(layout == 0 || layout >= l->tiles->frag_layouts.n, "fragment without a layout reached lowering");
  return &l->tiles->frag_layouts.at[layout];
}

bool frag_packed(const Layout *l, kiln_dtype t) { /* the first register digit runs along the last dim in steps of one */
  int bytes = t == KILN_BOOL ? 4 : tile_dtype_bytes(t);
  return bytes < 4 && l->rank > 0 && layout_vector(l, l->rank - 1) % (4 / bytes) == 0;
}

uint32_t frag_per_register(const Val *v) { return v->packed ? 4 / (uint32_t)tile_dtype_bytes(v->dtype) : 1; }

Val *frag_new(Lower *l, kiln_dtype t, uint32_t layout, bool variable) {
  const Layout *lay = frag_layout(l, layout);
  Val *v = ARENA_NEW(l->arena, PASS, Val);
  *v = (Val){.kind = VAL_FRAG, .dtype = t, .layout = layout, .packed = frag_packed(lay, t)};
  v->n = (uint32_t)layout_regs(lay) / frag_per_register(v);
  v->reg = ARENA_ARRAY(l->arena, PASS, PtxReg, v->n);
  PtxClass c = v->packed ? PTX_R : dtype_class(t);
  for (uint32_t i = 0; i < v->n; i++) v->reg[i] = variable ? ptx_var(l->ptx, c) : ptx_reg(l->ptx, c);
  return v;
}

static IsaId move_form(const Val *v) {
  switch (v->packed ? PTX_R : dtype_class(v->dtype)) {
  case PTX_F: return ISA_mov_f32;
  case PTX_L: return ISA_mov_b64;
  case PTX_H: return ISA_mov_b16;
  case PTX_P: return ISA_mov_pred;
  default: return ISA_mov_b32;
  }
}

void lower_frag(Lower *l) { *lower_result(l) = *frag_new(l, l->node->type.dtype, l->node->type.layout, true); }

void lower_set(Lower *l) {
  Val *to = lower_arg(l, 0), *from = lower_arg(l, 1);
  if (to->n != from->n || to->packed != from->packed || !layout_equal(frag_layout(l, to->layout), frag_layout(l, from->layout))) {
    lower_error(l, "the value assigned lies differently in registers than the fragment");
    return;
  }
  int first, end, per = to->n ? layout_regs(frag_layout(l, to->layout)) / (int)to->n : 1; /* elements of a register */
  lower_range(l, (int)to->n * per, &first, &end);
  for (int i = first / per; i < end / per; i++) ptx_put(l->ptx, move_form(to), R(to->reg[i]), R(from->reg[i]));
}

void lower_zero(Lower *l) {
  Val *to = lower_arg(l, 0);
  for (uint32_t i = 0; i < to->n; i++) ptx_put(l->ptx, move_form(to), R(to->reg[i]), po_i(0));
}

void lower_fill(Lower *l) {
  Val *to = lower_arg(l, 0), *from = lower_arg(l, 1);
  if (to->packed || to->dtype != from->dtype) {
    lower_error(l, "fill takes a scalar of the fragment's own type, 32 or 64 bits wide");
    return;
  }
  PtxReg value = lower_scalar(l, from);
  for (uint32_t i = 0; i < to->n; i++) ptx_put(l->ptx, move_form(to), R(to->reg[i]), R(value));
}

void lower_read(Lower *l) { *lower_result(l) = *lower_arg(l, 0); }
void lower_rows(Lower *l) { *lower_result(l) = *lower_arg(l, 0); }

/* Part of a fragment: the same registers under another layout. */
Val *frag_piece(Lower *l, const Val *in) {
  const TileNode *n = l->node;
  const Layout *full = frag_layout(l, in->layout), *piece = frag_layout(l, n->type.layout);
  const TileAttr *start = tile_attr(l->tiles, n, TA_start);
  int32_t from[LAYOUT_RANK] = {0};
  for (int d = 0; d < full->rank; d++) from[d] = (int32_t)start->list[d];
  Val *out = lower_result(l);
  *out = (Val){.kind = VAL_FRAG, .dtype = in->dtype, .layout = n->type.layout, .packed = in->packed};
  int per = (int)frag_per_register(in);
  out->n = (uint32_t)(layout_regs(piece) / per);
  out->reg = ARENA_ARRAY(l->arena, PASS, PtxReg, out->n);
  for (uint32_t i = 0; i < out->n && !l->failed; i++) {
    int k = layout_piece_reg(full, piece, from, (int)i * per);
    if (k < 0 || k % per) lower_error(l, "slice: the piece does not lie in the same registers of every thread; cut along whole registers");
    else out->reg[i] = in->reg[k / per];
  }
  return out;
}

/* One digit of lane or warp: (index / below) % extent, times stride. */
static PtxReg digit_part(Lower *l, PtxReg index, int below, int total, int extent, int stride) {
  PtxReg d = index;
  bool power = (below & (below - 1)) == 0 && (extent & (extent - 1)) == 0;
  if (power) {
    if (below > 1) d = DEF(shr_u32, R(d), po_i(__builtin_ctz((unsigned)below)));
    if (below * extent < total) d = DEF(and_b32, R(d), po_i(extent - 1));
  } else {
    if (below > 1) d = DEF(div_u32, R(d), po_i(below));
    if (below * extent < total) d = DEF(rem_u32, R(d), po_i(extent));
  }
  return stride == 1 ? d : DEF(mul_lo_s32, R(d), po_i(stride));
}

/* Bits that a value below `bound` times `stride` may set. */
static uint32_t possible_bits(uint32_t extent, uint32_t stride) {
  if ((extent & (extent - 1)) == 0 && (stride & (stride - 1)) == 0) return (extent - 1) * stride;
  uint32_t top = (extent - 1) * stride, m = 1;
  while (m <= top && m) m <<= 1;
  return m - 1;
}

void frag_positions(Lower *l, const Layout *lay, PtxReg pos[LAYOUT_RANK], uint32_t bits[LAYOUT_RANK]) {
  int below[3] = {1, 1, 1}, total[3] = {0, layout_lanes(lay), layout_warps(lay)};
  memset(pos, 0, sizeof(PtxReg) * LAYOUT_RANK);
  memset(bits, 0, sizeof(uint32_t) * LAYOUT_RANK);
  for (int i = 0; i < lay->nmodes; i++) {
    const LayoutMode *m = &lay->mode[i];
    if (m->where == LM_REG) continue;
    if (m->dim >= 0) {
      PtxReg part = digit_part(l, m->where == LM_LANE ? l->lane : l->warp, below[m->where], total[m->where], m->extent, m->stride);
      uint32_t add = possible_bits((uint32_t)m->extent, (uint32_t)m->stride);
      PtxReg *p = &pos[m->dim];
      *p = p->id ? DEF(add_s32, R(*p), R(part)) : part;
      bool overlap = (bits[m->dim] & add) != 0;
      bits[m->dim] |= add;
      if (overlap) { /* sums may carry: allow one bit more than the widest */
        uint32_t all = bits[m->dim], wide = 1;
        while (wide <= all && wide) wide <<= 1;
        bits[m->dim] = wide * 2 - 1;
      }
    }
    below[m->where] *= m->extent;
  }
  for (int d = 0; d < lay->rank; d++)
    if (!pos[d].id) pos[d] = DEF(mov_b32, po_i(0));
}

void lower_coord(Lower *l) {
  TileNode *n = l->node;
  const Layout *lay = frag_layout(l, n->type.layout);
  int dim = (int)tile_attr_int(l->tiles, n, TA_dim, 0);
  PtxReg pos[LAYOUT_RANK];
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, lay, pos, bits);
  int count = layout_regs(lay);
  Val *out = lower_result(l);
  *out = (Val){.kind = VAL_FRAG, .dtype = KILN_I32, .layout = n->type.layout, .n = (uint32_t)count, .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, count)};
  for (int r = 0; r < count; r++) {
    int32_t at[LAYOUT_RANK];
    layout_reg_coord(lay, r, at);
    out->reg[r] = at[dim] ? DEF(add_s32, R(pos[dim]), po_i(at[dim])) : pos[dim];
  }
}

/* ---- moves within a thread ---- */

static Val *moved(Lower *l, const Val *in) { /* the result: whole, in registers that other values own */
  TileNode *n = l->node;
  if (in->packed) lower_error(l, "'%s' works on elements of 32 bits; convert to f32 first", tile_op_info(n->op)->name);
  Val *out = lower_result(l);
  uint32_t count = (uint32_t)layout_regs(frag_layout(l, n->type.layout));
  if (!l->hi || l->lo == 0)
    *out = (Val){.kind = VAL_FRAG, .dtype = in->dtype, .layout = n->type.layout, .n = count, .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, count)};
  return out;
}

void lower_exchange(Lower *l) {
  const Val *in = lower_arg(l, 0);
  Val *out = moved(l, in);
  int from, to;
  lower_range(l, (int)out->n, &from, &to);
  int run = (int)tile_attr_int(l->tiles, l->node, TA_run, 1);
  for (int r = from; r < to && !l->failed; r++) out->reg[r] = in->reg[r ^ run]; /* a power of two, as layouts have it */
}

void lower_even_odd(Lower *l) {
  const Val *even = lower_arg(l, 0), *odd = lower_arg(l, 1);
  Val *out = moved(l, even);
  int from, to;
  if (odd->packed) lower_error(l, "'even_odd' works on elements of 32 bits; convert to f32 first");
  lower_range(l, (int)out->n, &from, &to);
  int run = (int)tile_attr_int(l->tiles, l->node, TA_run, 1);
  for (int r = from; r < to && !l->failed; r++) out->reg[r] = r / run % 2 ? odd->reg[r] : even->reg[r];
}

void lower_twice(Lower *l) {
  const Val *in = lower_arg(l, 0);
  Val *out = moved(l, in);
  uint32_t run = (uint32_t)tile_attr_int(l->tiles, l->node, TA_run, 1);
  for (uint32_t r = 0; r < out->n && !l->failed; r++) out->reg[r] = in->reg[r / (2 * run) * run + r % run];
}

void lower_repeat(Lower *l) {
  const Val *in = lower_arg(l, 0);
  Val *out = moved(l, in);
  const Layout *lay = frag_layout(l, in->layout);
  int times = (int)tile_attr_int(l->tiles, l->node, TA_times, 1);
  for (uint32_t r = 0; r < out->n && !l->failed; r++) out->reg[r] = in->reg[layout_repeat_reg(lay, times, (int)r)];
}

/* ---- reductions ---- */

static TileOp combine_op(const char *kind) { return strcmp(kind, "max") == 0 ? TILE_max : strcmp(kind, "min") == 0 ? TILE_min : TILE_add; }

/* Pairwise, so that the error grows with the logarithm and the additions are independent. */
static PtxReg combine_tree(Lower *l, TileOp op, PtxReg *r, int n) {
  while (n > 1) {
    int half = (n + 1) / 2;
    for (int i = 0; i + half < n; i++) r[i] = elem_binary(l, op, KILN_F32, r[i], r[i + half]);
    n = half;
  }
  return r[0];
}

static PtxReg shuffle_xor(Lower *l, PtxReg f, int mask) {
  return DEF(shfl_sync_bfly_b32_f32, R(f), po_i(mask), po_i(31), po_i(0xffffffffll));
}

static void reduce_lanes(Lower *l, const Layout *lay, int dim, TileOp op, Val *out) {
  int below = 1;
  for (int i = 0; i < lay->nmodes; i++) {
    const LayoutMode *m = &lay->mode[i];
    if (m->where != LM_LANE) continue;
    if (m->dim == dim)
      for (int step = m->extent / 2; step >= 1; step /= 2)
        for (uint32_t o = 0; o < out->n; o++) out->reg[o] = elem_binary(l, op, KILN_F32, out->reg[o], shuffle_xor(l, out->reg[o], below * step));
    below *= m->extent;
  }
}

/* Where this warp stands among those that share a row (inner) and which rows it has (outer). */
static void warp_groups(Lower *l, const Layout *lay, int dim, PtxReg *inner, PtxReg *outer, int *ninner, int *nouter) {
  int below = 1, total = layout_warps(lay);
  *ninner = *nouter = 1;
  *inner = *outer = (PtxReg){0};
  for (int i = 0; i < lay->nmodes; i++) {
    const LayoutMode *m = &lay->mode[i];
    if (m->where != LM_WARP) continue;
    bool in = m->dim == dim;
    PtxReg part = digit_part(l, l->warp, below, total, m->extent, in ? *ninner : *nouter);
    PtxReg *p = in ? inner : outer;
    *p = p->id ? DEF(add_s32, R(*p), R(part)) : part;
    *(in ? ninner : nouter) *= m->extent;
    below *= m->extent;
  }
}

static bool same_in_all_lanes(const Layout *part) {
  for (int i = 0; i < part->nmodes; i++)
    if (part->mode[i].where == LM_LANE && part->mode[i].dim >= 0) return false;
  return true;
}

/* Reads n consecutive floats, in fours where they go. */
static void load_row(Lower *l, PtxReg base, int64_t at, int n, PtxReg *out) {
  for (int i = 0; i < n;) {
    int w = n - i >= 4 && n % 4 == 0 ? 4 : 1;
    for (int k = 0; k < w; k++) out[i + k] = ptx_reg(l->ptx, PTX_F);
    if (w == 4)
      ptx_put(l->ptx, ISA_ld_shared_v4_f32, po_vec(l->ptx, &out[i], 4), po_mem(base, at + i * 4));
    else
      ptx_put(l->ptx, ISA_ld_shared_f32, R(out[i]), po_mem(base, at + i * 4));
    i += w;
  }
}

typedef struct WarpReduce { /* the part of a reduction that meets in shared memory */
  Val *out;
  TileOp op;
  PtxReg base;              /* of this thread's rows */
  int64_t at, plane;        /* bytes: of the scratch, of one register's values */
  int ninner;               /* warps that share a row; 1: nothing meets */
  bool uniform;
} WarpReduce;

/* Each warp writes its part. */
static WarpReduce put_parts(Lower *l, const Layout *lay, int dim, TileOp op, Val *out) {
  WarpReduce w = {.out = out, .op = op};
  PtxReg inner, outer;
  int nouter;
  Layout part = layout_slice(lay, dim);
  warp_groups(l, lay, dim, &inner, &outer, &w.ninner, &nouter);
  if (w.ninner == 1) return w;
  if (l->role.groups > 1) lower_error(l, "a reduction that crosses warps needs scratch of its own for each group of a role, which is not lowered yet");
  w.uniform = same_in_all_lanes(&part);
  int lanes = w.uniform ? 1 : 32;
  w.plane = 4ll * w.ninner * nouter * lanes;
  w.at = shared_reserve(l, w.plane * out->n, 16);
  PtxReg row = outer.id ? DEF(mul_lo_s32, R(outer), po_i(w.ninner * lanes * 4)) : DEF(mov_b32, po_i(0));
  w.base = DEF(add_s32, R(l->shared_base), R(row));
  if (!w.uniform) w.base = DEF(add_s32, R(w.base), R(DEF(shl_b32, R(l->lane), po_i(2))));
  PtxReg mine = DEF(add_s32, R(w.base), R(DEF(mul_lo_s32, R(inner), po_i(4 * lanes))));
  PtxReg first = w.uniform ? DEF(setp_eq_s32, R(l->lane), po_i(0)) : (PtxReg){0};
  if (w.uniform) ptx_guard(l->ptx, first, false);
  for (uint32_t o = 0; o < out->n; o++) ptx_put(l->ptx, ISA_st_shared_f32, po_mem(mine, w.at + w.plane * o), R(out->reg[o]));
  if (w.uniform) ptx_guard(l->ptx, (PtxReg){0}, false);
  return w;
}

/* After a barrier: each reads the parts of its row in one fixed order. */
static void take_parts(Lower *l, const WarpReduce *w) {
  if (w->ninner == 1) return;
  PtxReg *parts = ARENA_ARRAY(l->arena, PASS, PtxReg, w->ninner);
  for (uint32_t o = 0; o < w->out->n; o++) {
    if (w->uniform) {
      load_row(l, w->base, w->at + w->plane * o, w->ninner, parts);
    } else {
      for (int k = 0; k < w->ninner; k++) {
        parts[k] = ptx_reg(l->ptx, PTX_F);
        ptx_put(l->ptx, ISA_ld_shared_f32, R(parts[k]), po_mem(w->base, w->at + w->plane * o + 128ll * k));
      }
    }
    w->out->reg[o] = combine_tree(l, w->op, parts, w->ninner);
  }
}

/* The result of the reduction at l->node, before anything is added. */
static bool start_reduce(Lower *l) {
  TileNode *n = l->node;
  if (lower_arg(l, 0)->dtype != KILN_F32) {
    lower_error(l, "reductions are made in f32; convert first");
    return false;
  }
  bool whole = n->type.kind == TK_SCALAR; /* of a fragment of one dim */
  uint32_t regs = whole ? 1 : (uint32_t)layout_regs(frag_layout(l, n->type.layout));
  *lower_result(l) = (Val){.kind = whole ? VAL_SCALAR : VAL_FRAG, .dtype = KILN_F32, .layout = n->type.layout, .n = regs,
                           .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, regs)};
  return true;
}

typedef struct Terms { /* what a thread adds */
  const Val *in, *mask;  /* mask: NULL, all count */
  const Layout *lay;
  TileOp op;
  bool is_product;       /* which joins a sum without being made */
  ElemProduct product;
} Terms;

static Terms terms_of(Lower *l) {
  Terms t = {.in = lower_arg(l, 0), .mask = l->node->nargs > 1 ? lower_arg(l, 1) : NULL};
  t.lay = frag_layout(l, t.in->layout);
  t.op = combine_op(tile_attr_str(l->tiles, l->node, TA_kind, "sum"));
  t.is_product = t.op == TILE_add && elem_product(l, tile_arg(l->tiles, l->node, 0), t.lay, &t.product);
  return t;
}

/* Joins elements at[0..n) to `most` running values, and those: products join sums as they come. */
static PtxReg join_terms(Lower *l, const Terms *t, const int *at, int n, int most, PtxReg *group) {
  int have = 0, taken = 0;
  for (int i = 0; i < n; i++) {
    if (have < most || !t->is_product) group[have++] = t->in->reg[at[i]];
    else group[taken % most] = elem_product_add(l, &t->product, t->lay, at[i], group[taken % most]), taken++;
  }
  return combine_tree(l, t->op, group, have);
}

/* Adds the thread's own elements [from, to) of the operand. Where a condition holds for several elements alike, it selects their sum. */
static void reduce_registers(Lower *l, int from, int to) {
  Terms t = terms_of(l);
  Val *out = lower_result(l);
  int dim = (int)tile_attr_int(l->tiles, l->node, TA_dim, 0);
  PtxReg *group = ARENA_ARRAY(l->arena, PASS, PtxReg, to - from + 1), *parts = ARENA_ARRAY(l->arena, PASS, PtxReg, to - from + 1);
  int *at = ARENA_ARRAY(l->arena, PASS, int, to - from + 1);
  for (uint32_t o = 0; o < out->n; o++) {
    int n = 0, count = 0;
    if (out->reg[o].id) parts[n++] = out->reg[o];
    for (int r = from; r < to; r++) {
      if (layout_slice_reg(t.lay, dim, r) != (int)o) continue;
      at[count++] = r;
      bool more = r + 1 < to && layout_slice_reg(t.lay, dim, r + 1) == (int)o;
      if (more && (!t.mask || t.mask->reg[r].id == t.mask->reg[r + 1].id)) continue;
      PtxReg sum = join_terms(l, &t, at, count, t.mask ? 2 : 4, group);
      count = 0;
      if (t.mask) sum = DEF(selp_f32, R(sum), po_f(t.op == TILE_add ? 0.0f : t.op == TILE_max ? -INFINITY : INFINITY), R(t.mask->reg[r]));
      parts[n++] = sum;
    }
    if (n) out->reg[o] = combine_tree(l, t.op, parts, n);
  }
}

/* What threads of a warp share, and what warps have to meet for. */
static WarpReduce reduce_threads(Lower *l) {
  TileNode *n = l->node;
  Val *out = lower_result(l);
  const Layout *lay = frag_layout(l, lower_arg(l, 0)->layout);
  int dim = (int)tile_attr_int(l->tiles, n, TA_dim, 0);
  TileOp op = combine_op(tile_attr_str(l->tiles, n, TA_kind, "sum"));
  reduce_lanes(l, lay, dim, op, out);
  return put_parts(l, lay, dim, op, out);
}

static WarpReduce reduce_in_warp(Lower *l) {
  if (!start_reduce(l)) return (WarpReduce){.ninner = 1};
  reduce_registers(l, 0, layout_regs(frag_layout(l, lower_arg(l, 0)->layout)));
  return reduce_threads(l);
}

void lower_reduce(Lower *l) {
  WarpReduce w = reduce_in_warp(l);
  if (w.ninner > 1) lower_group_barrier(l);
  take_parts(l, &w);
}

enum { MOST_JOINED = 8 };

uint32_t frag_joined(const Lower *l, const TileRegion *r, uint32_t first) {
  const TileNode *n = &l->tiles->nodes.at[r->at[first]];
  int64_t join = n->op == TILE_reduce ? tile_attr_int(l->tiles, n, TA_join, 0) : 0;
  uint32_t count = 1;
  while (join && count < MOST_JOINED && first + count < r->n) {
    const TileNode *m = &l->tiles->nodes.at[r->at[first + count]];
    if (m->op != TILE_reduce || m->sync_before || tile_attr_int(l->tiles, m, TA_join, 0) != join) break;
    count++;
  }
  return count;
}

static TileNode *at_node(Lower *l, const TileRegion *r, uint32_t index) {
  l->node = &l->tiles->nodes.at[r->at[index]];
  l->ptx->loc = l->node->loc;
  return l->node;
}

/* portioned: the threads' own elements are added already. */
static void meet(Lower *l, const TileRegion *r, uint32_t first, uint32_t count, bool portioned) {
  WarpReduce w[MOST_JOINED];
  bool any = false;
  for (uint32_t i = 0; i < count && !l->failed; i++) {
    TileNode *n = at_node(l, r, first + i);
    if (i == 0 && n->sync_before) lower_group_barrier(l);
    w[i] = portioned ? reduce_threads(l) : reduce_in_warp(l);
    any |= w[i].ninner > 1;
  }
  if (l->failed) return;
  if (any) lower_group_barrier(l);
  for (uint32_t i = 0; i < count; i++) take_parts(l, &w[i]);
}

/* Reductions that follow one another and are joined: all parts are written, one barrier, all are read. */
void lower_reduce_joined(Lower *l, const TileRegion *r, uint32_t first, uint32_t count) { meet(l, r, first, count, false); }

bool frag_reduce_start(Lower *l, const TileRegion *r, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    at_node(l, r, first + i);
    if (!start_reduce(l)) return false;
  }
  return true;
}

void frag_reduce_portion(Lower *l, const TileRegion *r, uint32_t first, uint32_t count, int from, int to) {
  for (uint32_t i = 0; i < count; i++) {
    at_node(l, r, first + i);
    reduce_registers(l, from, to);
  }
}

void frag_reduce_meet(Lower *l, const TileRegion *r, uint32_t first, uint32_t count) { meet(l, r, first, count, true); }
