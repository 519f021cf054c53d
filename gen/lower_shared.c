/* lower_shared.c - shared tiles: where they lie, addresses under a swizzle, loads and stores of fragments.
 *
 * A swizzle is linear over exclusive or. So where the thread's part and the constant part of an offset have no bit in common,
 * swizzle(thread + constant) = swizzle(thread) ^ swizzle(constant): the first is computed once, the second is a number, and what
 * of it cannot meet the first's bits goes into the instruction's immediate. */
#include "lower.h"
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

static uint32_t swizzle_mask(const SmemLayout *s) { return ((1u << s->bits) - 1) << s->base; }
static uint32_t swizzled(const SmemLayout *s, uint32_t at) { return at ^ ((at >> s->shift) & swizzle_mask(s)); }

static PtxReg swizzle_register(Lower *l, const SmemLayout *s, PtxReg at) {
  PtxReg moved = DEF(and_b32, R(DEF(shr_u32, R(at), po_i(s->shift))), po_i((int64_t)swizzle_mask(s)));
  return DEF(xor_b32, R(at), R(moved));
}

PtxReg shared_address(Lower *l, const SmemVal *s, PtxReg thread, uint32_t bits, uint32_t constant, int64_t *imm) {
  const SmemLayout *lay = &s->layout;
  if (!lay->bits) {
    *imm = s->offset + constant;
    return DEF(add_s32, R(s->base), R(thread));
  }
  if (bits & constant) { /* a carry is possible: compute it whole */
    *imm = s->offset;
    PtxReg at = DEF(add_s32, R(thread), po_i(constant));
    return DEF(add_s32, R(s->base), R(swizzle_register(l, lay, at)));
  }
  uint32_t reach = bits | ((bits >> lay->shift) & swizzle_mask(lay)), moved = swizzled(lay, constant);
  PtxReg at = swizzle_register(l, lay, thread);
  if (moved & reach) at = DEF(xor_b32, R(at), po_i(moved & reach));
  *imm = s->offset + (moved & ~reach);
  return DEF(add_s32, R(s->base), R(at));
}

static SmemLayout layout_of(Lower *l, const TileNode *n) { /* completed by layout_complete.c */
  BUG_IF(!n->type.layout || n->type.layout >= l->tiles->smem_layouts.n, "shared tile without a layout reached lowering");
  return l->tiles->smem_layouts.at[n->type.layout];
}

static bool is_slot_tile(const Lower *l, uint32_t node) {
  for (uint32_t i = 1; i < l->tiles->nodes.n; i++) {
    const TileNode *n = &l->tiles->nodes.at[i];
    if (n->op != TILE_ring) continue;
    for (int k = 0; k < n->nargs; k++)
      if (tile_arg(l->tiles, n, k).i == node) return true;
  }
  return false;
}

/* Storage for the tile; a slot's tile gets it from its ring, an alias from the tile or ring whose bytes it shares. */
void lower_smem(Lower *l) {
  TileNode *n = l->node;
  SmemVal *s = ARENA_NEW(l->arena, PASS, SmemVal);
  uint32_t index = (uint32_t)(n - l->tiles->nodes.at);
  *s = (SmemVal){.root = index, .base = l->shared_base, .layout = layout_of(l, n), .elem_bytes = tile_dtype_bytes(n->type.dtype)};
  if (n->nargs) {
    const Val *on = lower_arg(l, 0);
    const SmemVal *first = on->kind == VAL_RING ? &on->ring->tile[0] : on->smem;
    s->root = first->root;
    s->offset = first->offset;
    s->room = first->room;
    if (s->layout.bytes > first->room)
      lower_error(l, "this tile has %d bytes, the tile whose memory it shares has room for %lld", s->layout.bytes, (long long)first->room);
  } else if (!is_slot_tile(l, index)) {
    s->offset = shared_reserve(l, s->layout.bytes, s->layout.align);
    s->room = s->layout.bytes;
  }
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = n->type.dtype, .smem = s};
}

static SmemVal *copy_of(Lower *l, const SmemVal *from) {
  SmemVal *s = ARENA_NEW(l->arena, PASS, SmemVal);
  *s = *from;
  return s;
}

void lower_slice(Lower *l) {
  if (lower_arg(l, 0)->kind == VAL_FRAG) {
    frag_piece(l, lower_arg(l, 0));
    return;
  }
  SmemVal *s = copy_of(l, lower_arg(l, 0)->smem);
  const TileAttr *start = tile_attr(l->tiles, l->node, TA_start);
  for (int d = 0; d < 2 && d < (int)start->i; d++) s->start[s->transposed ? 1 - d : d] += (int32_t)start->list[d];
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = l->node->type.dtype, .smem = s};
}

void lower_part(Lower *l) {
  SmemVal *s = copy_of(l, lower_arg(l, 0)->smem);
  int dim = (int)tile_attr_int(l->tiles, l->node, TA_dim, 0), size = (int)tile_attr_int(l->tiles, l->node, TA_size, 1);
  int stored = s->transposed ? 1 - dim : dim;
  int64_t bytes = (int64_t)size * s->layout.pitch[stored] * s->elem_bytes;
  if (s->layout.panel && stored == 1) {
    if (size % s->layout.panel) {
      lower_error(l, "a piece of %d columns does not begin where a panel does (every %d)", size, (int)s->layout.panel);
      return;
    }
    bytes *= s->layout.shape[0]; /* whole panels */
  }
  uint32_t period = s->layout.bits ? 1u << (s->layout.base + s->layout.shift + s->layout.bits) : 1;
  if (bytes % period) {
    lower_error(l, "a piece of %lld bytes does not begin where the swizzle repeats (every %u bytes); take larger pieces", (long long)bytes, period);
    return;
  }
  PtxReg by = DEF(mul_lo_s32, R(lower_i32(l, lower_arg(l, 1))), po_i(bytes));
  s->base = DEF(add_s32, R(s->base), R(by));
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = l->node->type.dtype, .smem = s};
}

void lower_trans(Lower *l) {
  SmemVal *s = copy_of(l, lower_arg(l, 0)->smem);
  s->transposed = !s->transposed;
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = l->node->type.dtype, .smem = s};
}

void lower_peer(Lower *l) {
  SmemVal *s = copy_of(l, lower_arg(l, 0)->smem);
  s->base = DEF(mapa_shared_cluster_u32, R(s->base), R(lower_i32(l, lower_arg(l, 1))));
  s->remote = true;
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = l->node->type.dtype, .smem = s};
}

/* ---- fragments ---- */

typedef struct SharedCursor {
  PtxReg thread;      /* linear byte offset of the thread's part */
  uint32_t bits;
  int32_t pitch[2];   /* bytes, of the tile's own (maybe exchanged) dims */
  uint32_t start;     /* linear bytes of slice and constant coordinates */
  int rank;
  ViewVal walk;       /* half: the columns are gone through in another order than they lie in, and `thread` is without the column */
  PtxReg column;
  bool aligned;
} SharedCursor;

static uint32_t scaled_bits(uint32_t bits, int32_t by) { /* bits of a value times a number */
  if ((by & (by - 1)) == 0) return bits * (uint32_t)by;
  uint32_t top = bits * (uint32_t)by, m = 1;
  while (m <= top && m) m <<= 1;
  return m - 1;
}

static SharedCursor shared_cursor(Lower *l, const SmemVal *s, const Layout *lay, int first_coord) {
  SharedCursor c = {.rank = lay->rank};
  PtxReg pos[LAYOUT_RANK];
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, lay, pos, bits);
  if (lower_halves(l, &c.walk)) {
    c.column = pos[lay->rank - 1];
    c.aligned = !(bits[lay->rank - 1] & (2 * (uint32_t)c.walk.run - 1));
  }
  c.start = (uint32_t)((s->start[0] * s->layout.pitch[0] + s->start[1] * s->layout.pitch[1]) * s->elem_bytes);
  for (int d = 0; d < 2; d++) {
    int t = d - (2 - lay->rank); /* tile dim on memory dim d; a 1-D fragment lies along the last */
    int32_t pitch = s->layout.pitch[s->transposed ? 1 - d : d] * s->elem_bytes;
    const Val *at = first_coord < 0 ? NULL : lower_arg(l, first_coord + d);
    if (!at) {
      /* from the beginning */
    } else if (at->kind == VAL_CONST)
      c.start += (uint32_t)at->i * (uint32_t)pitch;
    else
      lower_error(l, "coordinates of shared tiles are constants; use part() for a run-time piece");
    if (t < 0) continue;
    c.pitch[t] = pitch;
    if (c.walk.half && d == 1) continue;
    PtxReg add = DEF(mul_lo_s32, R(pos[t]), po_i(pitch));
    c.thread = c.thread.id ? DEF(add_s32, R(c.thread), R(add)) : add;
    c.bits |= scaled_bits(bits[t], pitch);
  }
  return c;
}

/* The address of the `vec` elements from `at` on of a thread's own. Where the walk leaves the tile (its blocks need not be whole), *inside
 * says so, and the address is that of the tile's last elements: beyond the end of any row that ends before them. */
static PtxReg element_address(Lower *l, const SmemVal *s, const SharedCursor *c, const int32_t *at, int vec, int64_t *imm, PtxReg *inside) {
  uint32_t flat = c->start;
  int last = c->rank - 1, moved = c->walk.half ? last : c->rank;
  for (int t = 0; t < moved; t++) flat += (uint32_t)(at[t] * c->pitch[t]);
  if (!c->walk.half) return shared_address(l, s, c->thread, c->bits, flat, imm);
  PtxReg column = turned_column(l, &c->walk, c->column, at[last], c->aligned), most = {0};
  if (inside) *inside = DEF(setp_lt_s32, R(column), po_i(s->layout.shape[1]));
  else most = DEF(min_s32, R(column), po_i(s->layout.shape[1] - vec));
  PtxReg bytes = DEF(mul_lo_s32, R(inside ? column : most), po_i(s->elem_bytes));
  return shared_address(l, s, c->thread.id ? DEF(add_s32, R(c->thread), R(bytes)) : bytes, ~0u, flat, imm);
}

/* Elements per access: contiguous in registers and in memory, and not torn by the swizzle (which moves 16 bytes). */
static int vector_elems(const Layout *lay, const SmemVal *s) {
  if (s->transposed) return 1;
  int n = layout_vector(lay, lay->rank - 1), vec = 1;
  int row_bytes = s->layout.pitch[0] * s->elem_bytes;
  while (vec * 2 * s->elem_bytes <= 16 && n % (vec * 2) == 0 && row_bytes % (vec * 2 * s->elem_bytes) == 0) vec *= 2;
  return vec;
}

static IsaId remote_form(kiln_dtype t, int words) {
  if (t == KILN_F32) return words == 4 ? ISA_ld_shared_cluster_v4_f32 : words == 2 ? ISA_ld_shared_cluster_v2_f32 : ISA_ld_shared_cluster_f32;
  return words == 4 ? ISA_ld_shared_cluster_v4_b32 : words == 2 ? ISA_ld_shared_cluster_v2_b32 : ISA_ld_shared_cluster_b32;
}

static IsaId shared_form(bool load, kiln_dtype t, int words) {
  if (t == KILN_F32) {
    if (load) return words == 4 ? ISA_ld_shared_v4_f32 : words == 2 ? ISA_ld_shared_v2_f32 : ISA_ld_shared_f32;
    return words == 4 ? ISA_st_shared_v4_f32 : words == 2 ? ISA_st_shared_v2_f32 : ISA_st_shared_f32;
  }
  if (load) return words == 4 ? ISA_ld_shared_v4_b32 : words == 2 ? ISA_ld_shared_v2_b32 : ISA_ld_shared_b32;
  return words == 4 ? ISA_st_shared_v4_b32 : words == 2 ? ISA_st_shared_v2_b32 : ISA_st_shared_b32;
}

/* Elements that share a register, read one by one. */
static void load_joined(Lower *l, const Val *frag, const SmemVal *s, const SharedCursor *c, int r) {
  const Layout *lay = frag_layout(l, frag->layout);
  bool byte = s->elem_bytes == 1;
  int per = (int)frag_per_register(frag);
  PtxReg x[4];
  for (int k = 0; k < per; k++) {
    int32_t at[LAYOUT_RANK];
    int64_t imm;
    layout_reg_coord(lay, r + k, at);
    PtxReg p = element_address(l, s, c, at, 1, &imm, NULL);
    x[k] = ptx_reg(l->ptx, byte ? PTX_R : PTX_H);
    ptx_put(l->ptx, byte ? ISA_ld_shared_u8 : ISA_ld_shared_b16, R(x[k]), po_mem(p, imm));
  }
  PtxReg all = byte ? byte_join(l, x) : DEF(mov_b32_pack, po_vec(l->ptx, x, 2));
  ptx_put(l->ptx, ISA_mov_b32, R(frag->reg[r / per]), R(all));
}

/* One walk for both directions: the accesses differ only in the order of operands. */
static void shared_access(Lower *l, const Val *frag, const SmemVal *s, int first_coord, bool load) {
  const Layout *lay = frag_layout(l, frag->layout);
  if (s->elem_bytes > 4 || frag->dtype == KILN_BOOL) {
    lower_error(l, "fragments of this type do not go through shared memory yet; numbers of 8, 16 and 32 bits do");
    return;
  }
  if (s->layout.panel) {
    lower_error(l, "a tile in several panels is for bulk copies and products; threads write and read tiles of one panel (128 bytes of columns)");
    return;
  }
  SharedCursor c = shared_cursor(l, s, lay, first_coord);
  int vec = vector_elems(lay, s), from, to;
  while (c.walk.half && vec > c.walk.run) vec /= 2;
  PtxReg mine = load ? (PtxReg){0} : owner_predicate(l, lay);
  if (s->elem_bytes < 4 && (!frag->packed || vec * s->elem_bytes < 4)) vec = 1;
  lower_range(l, layout_regs(lay), &from, &to);
  bool joined = load && s->elem_bytes < 4 && vec == 1 && frag->packed && !s->remote;
  for (int r = from, step; r < to; r += step) {
    int32_t at[LAYOUT_RANK];
    int64_t imm;
    step = vec;
    if (joined) {
      step = (int)frag_per_register(frag);
      load_joined(l, frag, s, &c, r);
      continue;
    }
    layout_reg_coord(lay, r, at);
    PtxReg ok = {0}, p = element_address(l, s, &c, at, vec, &imm, load ? NULL : &ok);
    if (mine.id) ok = ok.id ? DEF(and_pred, R(ok), R(mine)) : mine;
    ptx_guard(l->ptx, ok, false);
    if (s->elem_bytes < 4 && vec == 1) {
      if (frag->packed) {
        lower_error(l, "a fragment of packed elements cannot be turned through shared memory one by one; convert to f32 first");
        return;
      }
      bool byte = s->elem_bytes == 1;
      if (load)
        ptx_put(l->ptx, s->remote ? (byte ? ISA_ld_shared_cluster_u8 : ISA_ld_shared_cluster_b16) : byte ? ISA_ld_shared_u8 : ISA_ld_shared_b16,
                R(frag->reg[r]), po_mem(p, imm));
      else
        ptx_put(l->ptx, byte ? ISA_st_shared_u8 : ISA_st_shared_b16, po_mem(p, imm), R(frag->reg[r]));
      continue;
    }
    int words = vec * s->elem_bytes / 4;
    const PtxReg *reg = &frag->reg[r * s->elem_bytes / 4];
    PtxOpnd data = words > 1 ? po_vec(l->ptx, reg, words) : R(reg[0]);
    if (load)
      ptx_put(l->ptx, s->remote ? remote_form(frag->dtype, words) : shared_form(true, frag->dtype, words), data, po_mem(p, imm));
    else
      ptx_put(l->ptx, shared_form(false, frag->dtype, words), po_mem(p, imm), data);
  }
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

/* Accumulators of a warpgroup, packed to 16 bits, and its operands in registers, by four matrices of 8 x 8 at a time: lane L brings the
 * address of row L%16 of its warp's 16 rows, columns 8*(L/16) on; the matrices are those of registers (row half, column half) 00 10 01 11,
 * as they lie. */
static bool move_matrices(Lower *l, const Val *frag, const SmemVal *s, bool load) {
  const Layout *lay = frag_layout(l, frag->layout);
  Layout want = layout_wgmma_acc(lay->shape[0], lay->shape[1]);
  if (!frag->packed || s->elem_bytes != 2 || s->transposed || s->remote || lay->shape[1] % 16 || !layout_equal(lay, &want)) return false;
  if (s->layout.panel || s->start[0] || s->start[1] || !target_runs(l->target, isa_form(load ? ISA_ldmatrix_x4 : ISA_stmatrix_x4)->sm)) return false;
  int32_t pitch = s->layout.pitch[0] * 2, blocks = lay->shape[0] / 64, groups = lay->shape[1] / 16;
  PtxReg row = DEF(add_s32, R(DEF(shl_b32, R(l->warp), po_i(4))), R(DEF(and_b32, R(l->lane), po_i(15))));
  PtxReg half = DEF(shl_b32, R(DEF(shr_u32, R(l->lane), po_i(4))), po_i(4));
  PtxReg thread = DEF(add_s32, R(DEF(mul_lo_s32, R(row), po_i(pitch))), R(half));
  uint32_t bits = scaled_bits(63, pitch) | 16;
  for (int32_t b = 0; b < blocks; b++)
    for (int32_t g = 0; g < groups; g++) {
      int64_t imm;
      PtxReg at = shared_address(l, s, thread, bits, (uint32_t)(b * 64 * pitch + g * 32), &imm);
      PtxOpnd regs = po_vec(l->ptx, &frag->reg[(b * groups + g) * 4], 4);
      if (load) ptx_put(l->ptx, ISA_ldmatrix_x4, regs, po_mem(at, imm));
      else ptx_put(l->ptx, ISA_stmatrix_x4, po_mem(at, imm), regs);
    }
  return true;
}

/* Else as a store at the tile's first element, with the fragment in place of the node's own operands. */
void shared_put(Lower *l, const Val *frag, const SmemVal *s) {
  if (!move_matrices(l, frag, s, false)) shared_access(l, frag, s, -1, false);
}

static bool is_origin(Lower *l, int first_coord) {
  for (int d = 0; d < 2; d++) {
    const Val *at = lower_arg(l, first_coord + d);
    if (at && (at->kind != VAL_CONST || at->i)) return false;
  }
  return true;
}

void shared_load(Lower *l, Val *frag, const SmemVal *s, int first_coord) {
  if (!is_origin(l, first_coord) || l->portion || !move_matrices(l, frag, s, true)) shared_access(l, frag, s, first_coord, true);
}
void shared_store(Lower *l, const Val *frag, const SmemVal *s, int first_coord) { shared_access(l, frag, s, first_coord, false); }
