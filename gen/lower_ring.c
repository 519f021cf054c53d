/* lower_ring.c - rings without mbarriers: slots filled by cp.async groups, or through registers where the target has none.
 *
 * Every thread of the CTA takes part. A wait lets as many groups stay in flight as hazard counted (TileNode.derived), then a
 * CTA barrier makes the slot visible to all; that same barrier says that the slots released before it are free. */
#include "arch/arch.h"
#include "lower.h"
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

static void split_fields(Lower *l, RingVal *r, const char *text) {
  r->nfields = 0;
  while (*text && r->nfields < RING_FIELDS) {
    size_t n = strcspn(text, ",");
    r->field[r->nfields++] = arena_str(l->arena, KEEP, text, n);
    text += n;
    if (*text == ',') text++;
  }
}

static PtxReg zero_variable(Lower *l) {
  PtxReg r = ptx_var(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_mov_b32, R(r), po_i(0));
  return r;
}

/* What fills the ring decides how it works, and whether the target can do that. */
static bool find_kind(Lower *l, RingVal *r) {
  const char *how = tile_attr_str(l->tiles, l->node, TA_filled_by, "");
  r->kind = !strcmp(how, "tma") ? RING_BULK : !strcmp(how, "store") ? RING_STORE : RING_GROUPS;
  if (!strcmp(how, "mma")) lower_refuse(l, "rings filled by mma need tensor memory, which is not lowered yet");
  else if (r->kind != RING_GROUPS && !l->target->arch->row[TILE_map].lower)
    lower_refuse(l, "%s has no bulk copies (sm_90a has): fill the ring by cp.async or threads", l->target->name);
  else if (r->kind == RING_GROUPS && lower_has_roles(l))
    lower_refuse(l, "a ring between roles is filled by tma; one filled by %s has a barrier of all threads in it", how);
  return !l->failed;
}

void lower_ring(Lower *l) {
  TileNode *n = l->node;
  RingVal *r = ARENA_NEW(l->arena, PASS, RingVal);
  r->stages = (int)tile_attr_int(l->tiles, n, TA_stages, 1);
  r->node = (uint32_t)(n - l->tiles->nodes.at);
  split_fields(l, r, tile_attr_str(l->tiles, n, TA_fields, ""));
  if (!find_kind(l, r)) return;
  if (r->nfields != n->nargs || r->stages < 1) {
    lower_error(l, "a ring names one field per tile of its slot and has at least one stage; here %d names for %d tiles, %d stages",
                r->nfields, n->nargs, r->stages);
    return;
  }
  int64_t at[RING_FIELDS], slot = 0;
  for (int k = 0; k < r->nfields; k++) {
    const SmemLayout *lay = &lower_arg(l, k)->smem->layout;
    at[k] = (slot + lay->align - 1) / lay->align * lay->align;
    slot = at[k] + lay->bytes;
    r->bytes += lay->bytes;
  }
  r->slot_bytes = (int32_t)((slot + 1023) / 1024 * 1024);
  int groups = tile_attr_int(l->tiles, n, TA_per_group, 0) ? lower_most_groups(l) : 1;
  int64_t base = shared_reserve(l, (int64_t)r->slot_bytes * r->stages * groups, 1024);
  for (int k = 0; k < r->nfields; k++) {
    SmemVal *tile = lower_arg(l, k)->smem; /* the prototype is also slot 0, so that a later tile can share its bytes */
    tile->root = r->node;
    tile->offset = base + at[k];
    tile->room = (int64_t)r->slot_bytes * r->stages - at[k];
    r->tile[k] = *tile;
  }
  *lower_result(l) = (Val){.kind = VAL_RING, .ring = r};
  if (r->kind != RING_GROUPS) {
    bulk_ring(l, r);
    return;
  }
  r->fill_at = zero_variable(l);
  r->wait_at = zero_variable(l);
}

/* The slot that stands at *at; the variable moves on to the next, around the end. */
static void take_slot(Lower *l, RingVal *r, PtxReg at) {
  SlotVal *s = ARENA_NEW(l->arena, PASS, SlotVal);
  s->ring = r;
  if (r->stages == 1) {
    s->at = DEF(mov_b32, po_i(0));
  } else {
    s->at = ptx_reg(l->ptx, PTX_R);
    ptx_put(l->ptx, ISA_mov_b32, R(s->at), R(at));
    PtxReg next = DEF(add_s32, R(s->at), po_i(r->slot_bytes));
    PtxReg last = DEF(setp_eq_s32, R(next), po_i((int64_t)r->slot_bytes * r->stages));
    ptx_put(l->ptx, ISA_selp_b32, R(at), po_i(0), R(next), R(last));
  }
  *lower_result(l) = (Val){.kind = VAL_SLOT, .slot = s};
}

void lower_acquire(Lower *l) {
  RingVal *r = lower_arg(l, 0)->ring;
  if (r->kind == RING_GROUPS) take_slot(l, r, r->fill_at);
  else bulk_acquire(l, r);
}

void lower_wait_async(Lower *l) {
  RingVal *r = lower_arg(l, 0)->ring;
  if (r->kind != RING_GROUPS) {
    bulk_wait(l, r);
    return;
  }
  ptx_put(l->ptx, ISA_cp_async_wait_group, po_i(l->node->derived));
  ptx_put(l->ptx, ISA_bar_sync, po_i(0));
  take_slot(l, r, r->wait_at);
}

void lower_wait_staged(Lower *l) {
  RingVal *r = lower_arg(l, 0)->ring;
  ptx_put(l->ptx, ISA_bar_sync, po_i(0));
  take_slot(l, r, r->wait_at);
}

static Val slot_value(Lower *l, SlotVal slot) {
  SlotVal *s = ARENA_NEW(l->arena, PASS, SlotVal);
  *s = slot;
  return (Val){.kind = VAL_SLOT, .slot = s};
}

static void copy_offset(Lower *l, PtxReg to, PtxReg from) {
  if (from.id) ptx_put(l->ptx, ISA_mov_b32, R(to), R(from));
}

static PtxReg offset_now(Lower *l, PtxReg at) { /* of a carrier, in a register of its own */
  PtxReg now = at.id ? ptx_reg(l->ptx, PTX_R) : (PtxReg){0};
  copy_offset(l, now, at);
  return now;
}

static SlotVal slot_now(Lower *l, const SlotVal *carrier) {
  return (SlotVal){carrier->ring, offset_now(l, carrier->at), offset_now(l, carrier->bar)};
}

void lower_carry(Lower *l) {
  const SlotVal *first = lower_arg(l, 0)->slot;
  SlotVal carrier = {.ring = first->ring, .at = ptx_var(l->ptx, PTX_R)};
  if (first->bar.id) carrier.bar = ptx_var(l->ptx, PTX_R);
  copy_offset(l, carrier.at, first->at);
  copy_offset(l, carrier.bar, first->bar);
  *lower_result(l) = slot_value(l, carrier);
}

void lower_swap(Lower *l) {
  const SlotVal *carrier = lower_arg(l, 0)->slot, *next = lower_arg(l, 1)->slot;
  *lower_result(l) = slot_value(l, slot_now(l, carrier));
  copy_offset(l, carrier->at, next->at);
  copy_offset(l, carrier->bar, next->bar);
}

void lower_take(Lower *l) { *lower_result(l) = slot_value(l, slot_now(l, lower_arg(l, 0)->slot)); }

void lower_release(Lower *l) {
  const SlotVal *slot = lower_arg(l, 0)->slot;
  if (slot->ring->kind == RING_BULK) bulk_release(l, slot); /* else the barrier of a later wait tells the others */
}

void lower_commit_async(Lower *l) {
  const SlotVal *slot = lower_arg(l, 0)->slot;
  if (slot->ring->kind == RING_GROUPS) ptx_put_n(l->ptx, ISA_cp_async_commit_group, 0, NULL);
  else bulk_commit(l, slot);
}

void lower_drain_async(Lower *l) {
  RingVal *r = lower_arg(l, 0)->ring;
  if (r->kind == RING_GROUPS) ptx_put(l->ptx, ISA_cp_async_wait_group, po_i(0));
  else bulk_drain(l, r);
}

void lower_drain_staged(Lower *l) { (void)l; /* nothing is in flight: stores are the commit's */ }

SmemVal *ring_field(Lower *l, const SlotVal *s, const char *name) {
  const RingVal *r = s->ring;
  for (int k = 0; k < r->nfields; k++) {
    if (strcmp(r->field[k], name) != 0) continue;
    SmemVal *t = ARENA_NEW(l->arena, PASS, SmemVal);
    *t = r->tile[k];
    t->base = DEF(add_s32, R(t->base), R(s->at));
    return t;
  }
  lower_error(l, "the ring's slot has no field '%s'", name);
  return NULL;
}

void lower_field(Lower *l) {
  SlotVal slot = *lower_arg(l, 0)->slot;
  if (lower_arg_type(l, 0)->kind == TK_CARRY) slot = slot_now(l, &slot);
  SmemVal *t = ring_field(l, &slot, tile_attr_str(l->tiles, l->node, TA_name, ""));
  *lower_result(l) = (Val){.kind = VAL_SMEM, .dtype = l->node->type.dtype, .smem = t};
}

/* ---- fills ---- */

typedef struct Fill {       /* a tile of a view on its way into a slot */
  SmemVal *to;
  const ViewVal *from;
  Layout layout;            /* which thread copies which pieces */
  ViewCursor cursor;
  PtxReg pos[LAYOUT_RANK];  /* .b32: the thread's part of the coordinates in the tile; {0}: none */
  PtxReg thread;            /* linear shared offset of the thread's part */
  uint32_t bits;
  int vec, pieces;
} Fill;

static int largest_piece(const ViewVal *v, const ViewCursor *c, const SmemLayout *s, bool whole) {
  if (c->step[1].id || c->step_bytes[1] != v->elem_bytes) return 1;
  int vec = 1;
  while (vec * 2 * v->elem_bytes <= 16 && (v->align / v->elem_bytes) % (vec * 2) == 0 && s->shape[1] % (vec * 2) == 0 &&
         ((!whole && !v->half) || v->multiple % (vec * 2) == 0))
    vec *= 2;
  return vec;
}

/* The way of a tile of the view (operand 1, at the coordinates behind it) into `to`. */
static bool fill_plan(Lower *l, Fill *f, SmemVal *to) {
  bool whole = l->target->arch->row[TILE_fill_slot].lower == lower_fill_staged; /* staged pieces are inside or outside; cp.async fills the rest of one */
  Val *view = lower_arg(l, 1);
  if (view->kind != VAL_VIEW) {
    lower_error(l, "slots are filled from views on %s", l->target->name);
    return false;
  }
  f->to = to;
  f->from = view->view;
  const SmemLayout *s = &f->to->layout;
  ViewCursor shape = {.rank = 2};
  int64_t unit;
  if (lower_is_const(f->from->stride[f->from->rank - 1], &unit)) shape.step_bytes[1] = unit * f->from->elem_bytes;
  f->vec = largest_piece(f->from, &shape, s, whole);
  int per_row = s->shape[1] / f->vec, threads = l->threads;
  int row_threads = per_row < threads ? per_row : threads;
  if (threads % row_threads || per_row % row_threads || (s->shape[0] * row_threads) % threads) {
    lower_error(l, "%d threads cannot share a tile of %d x %d in pieces of %d; take a larger tile or fewer warps", threads, s->shape[0], s->shape[1], f->vec);
    return false;
  }
  f->layout = layout_rowwise(s->shape[0], s->shape[1], threads / 32, row_threads, f->vec);
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, &f->layout, f->pos, bits);
  if (f->from->half && tile_attr_int(l->tiles, l->node, TA_whole, 0)) { /* as it lies: a copy reads whole sectors where its bytes stay neighbours */
    ViewVal *plain = ARENA_NEW(l->arena, PASS, ViewVal);
    *plain = *f->from;
    plain->half = NULL;
    f->from = plain;
  }
  f->cursor = view_cursor(l, f->from, 2, 2, f->pos, bits);
  int32_t pitch = s->pitch[0] * f->to->elem_bytes;
  f->thread = DEF(add_s32, R(DEF(mul_lo_s32, R(f->pos[0]), po_i(pitch))), R(DEF(mul_lo_s32, R(f->pos[1]), po_i(f->to->elem_bytes))));
  f->bits = bits[0] * (uint32_t)pitch | bits[1] * (uint32_t)f->to->elem_bytes;
  if (pitch & (pitch - 1)) f->bits = ~0u;
  f->pieces = layout_regs(&f->layout) / f->vec;
  return true;
}

static void piece_at(const Fill *f, int piece, int32_t at[LAYOUT_RANK]) { layout_reg_coord(&f->layout, piece * f->vec, at); }

/* ---- walks ---- */

/* A fill whose pointer moves. What lies beyond the end of the dim along which it moves is told by a number that goes down: of copies that
 * are still inside, where a thread's pieces all begin at one place along the dim and are inside or outside as a whole; else of elements. */
typedef struct WalkVal {
  Fill fill;
  int dim, step;
  PtxReg step_bytes;          /* .b64; {0}: a constant */
  PtxReg copies;              /* .b32 variable; {0}: by elements */
  PtxReg left;                /* .b64 variable, without the thread's part */
  PtxReg pointer, room;       /* variables: where it stands, and what there is of the tile's other dim */
  PtxReg place;               /* .b32: the thread's part */
} WalkVal;

static void assign(Lower *l, PtxClass c, PtxReg *variable, PtxReg value) {
  if (!variable->id) *variable = ptx_var(l->ptx, c);
  ptx_put(l->ptx, c == PTX_L ? ISA_mov_b64 : ISA_mov_b32, R(*variable), R(value));
}

static bool begins_at_once(const Fill *f, int dim) {
  for (int k = 0; k < f->pieces; k++) {
    int32_t at[LAYOUT_RANK];
    piece_at(f, k, at);
    if (at[dim]) return false;
  }
  return dim == 0 || f->from->multiple % f->vec == 0;
}

/* The walk's variables, for a beginning at the node's coordinates from operand `first` on. */
static void walk_from(Lower *l, WalkVal *w, int first, const ViewCursor *at) {
  const Fill *f = &w->fill;
  ViewCursor *c = &w->fill.cursor;
  int d = c->dim[w->dim];
  PtxReg left = DEF(sub_s64, R(lower_size(l, f->from->size[d])), R(lower_i64(l, lower_arg(l, first + d))));
  if (begins_at_once(f, w->dim)) { /* rounded up; a loop that counts in 32 bits comes no further */
    PtxReg own = w->place.id ? DEF(sub_s64, R(left), R(DEF(cvt_s64_s32, R(w->place)))) : left;
    PtxReg copies = DEF(div_s64, R(DEF(add_s64, R(own), po_i(w->step - 1))), po_i(w->step));
    assign(l, PTX_R, &w->copies, DEF(cvt_u32_u64, R(DEF(max_s64, R(DEF(min_s64, R(copies), po_i(INT32_MAX))), po_i(0)))));
  } else {
    assign(l, PTX_L, &w->left, left);
  }
  assign(l, PTX_R, &w->room, at->room[!w->dim]);
  assign(l, PTX_L, &w->pointer, at->pointer);
  c->room[!w->dim] = w->room;
  c->pointer = w->pointer;
}

void lower_walk(Lower *l) {
  WalkVal *w = ARENA_NEW(l->arena, PASS, WalkVal);
  RingVal *r = lower_arg(l, 0)->ring;
  Fill *f = &w->fill;
  int field = 0; /* there is one: tile_infer */
  while (strcmp(r->field[field], tile_attr_str(l->tiles, l->node, TA_field, ""))) field++;
  if (!fill_plan(l, f, &r->tile[field])) return;
  if (f->from->half) {
    lower_error(l, "walk: the view's halves take turns; its tiles do not follow one another in memory");
    return;
  }
  w->dim = (int)tile_attr_int(l->tiles, l->node, TA_dim, 0);
  w->step = (int)tile_attr_int(l->tiles, l->node, TA_step, 1);
  w->place = f->pos[w->dim];
  ViewCursor at = f->cursor;
  walk_from(l, w, 2, &at);
  if (at.step[w->dim].id) w->step_bytes = DEF(mul_lo_s64, R(at.step[w->dim]), po_i(w->step));
  *lower_result(l) = (Val){.kind = VAL_WALK, .dtype = l->node->type.dtype, .walk = w};
}

void lower_rewalk(Lower *l) {
  WalkVal *w = lower_arg(l, 0)->walk;
  const uint32_t bits[LAYOUT_RANK] = {0}; /* of views whose halves take turns, which have no walks */
  ViewCursor at = view_cursor(l, w->fill.from, 1, 2, w->fill.pos, bits);
  walk_from(l, w, 1, &at);
}

/* Where it stands now, as a fill. */
static void walk_begin(Lower *l, const WalkVal *w, Fill *f) {
  *f = w->fill;
  if (w->copies.id) {
    f->cursor.whole[w->dim] = DEF(setp_gt_s32, R(w->copies), po_i(0));
    return;
  }
  PtxReg low = DEF(cvt_u32_u64, R(DEF(max_s64, R(DEF(min_s64, R(w->left), po_i(1 << 30))), po_i(0))));
  f->cursor.room[w->dim] = w->place.id ? DEF(sub_s32, R(low), R(w->place)) : low;
}

static void walk_on(Lower *l, const WalkVal *w) {
  PtxReg pointer = w->fill.cursor.pointer;
  PtxOpnd by = w->step_bytes.id ? R(w->step_bytes) : po_i(w->step * w->fill.cursor.step_bytes[w->dim]);
  ptx_put(l->ptx, ISA_add_s64, R(pointer), R(pointer), by);
  if (w->copies.id) ptx_put(l->ptx, ISA_add_s32, R(w->copies), R(w->copies), po_i(-1));
  else ptx_put(l->ptx, ISA_add_s64, R(w->left), R(w->left), po_i(-w->step));
}

static const WalkVal *walk_of(Lower *l) { return lower_arg(l, 1)->kind == VAL_WALK ? lower_arg(l, 1)->walk : NULL; }

static bool fill_begin(Lower *l, Fill *f) {
  SmemVal *to = ring_field(l, lower_arg(l, 0)->slot, tile_attr_str(l->tiles, l->node, TA_field, ""));
  if (!to) return false;
  if (!walk_of(l)) return fill_plan(l, f, to);
  walk_begin(l, walk_of(l), f);
  f->to = to;
  return true;
}

static void fill_end(Lower *l) {
  if (walk_of(l)) walk_on(l, walk_of(l));
}

/* ---- pieces ---- */

static PtxReg fill_target(Lower *l, Fill *f, const int32_t *at, int64_t *imm) {
  uint32_t offset = (uint32_t)((at[0] * f->to->layout.pitch[0] + at[1]) * f->to->elem_bytes);
  return shared_address(l, f->to, f->thread, f->bits, offset, imm);
}

static PtxReg room_from(Lower *l, PtxReg room, int32_t at) { return at ? DEF(sub_s32, R(room), po_i(at)) : room; }

/* Bytes of a piece that lie inside the tensor: 0 .. vec*elem. Where the size is a multiple of pieces it is all or nothing, which
 * the hardware takes as a predicate. */
static PtxReg bytes_inside(Lower *l, Fill *f, const int32_t *at) {
  int whole = f->vec * f->from->elem_bytes;
  if (f->from->multiple % f->vec == 0) return DEF(selp_b32, po_i(whole), po_i(0), R(view_inside(l, &f->cursor, at)));
  /* cut to the piece before it is multiplied: room may be 2^30 elements */
  PtxReg elems = DEF(max_s32, R(DEF(min_s32, R(room_from(l, f->cursor.room[1], at[1])), po_i(f->vec))), po_i(0));
  PtxReg bytes = DEF(mul_lo_s32, R(elems), po_i(f->from->elem_bytes));
  PtxReg row = f->cursor.whole[0].id ? f->cursor.whole[0] : DEF(setp_gt_s32, R(f->cursor.room[0]), po_i(at[0]));
  return DEF(selp_b32, R(bytes), po_i(0), R(row));
}

/* Loads a piece into registers, zero where it is outside. */
static void load_piece(Lower *l, Fill *f, const int32_t *at, StagedCopy *c) {
  int64_t imm;
  c->bytes = f->vec * f->from->elem_bytes;
  c->address = fill_target(l, f, at, &c->imm);
  PtxReg p = view_pointer(l, &f->cursor, at, &imm), ok = view_inside(l, &f->cursor, at);
  int words = c->bytes / 4;
  bool byte = c->bytes == 1;
  if (words == 0) {
    c->reg[0] = ptx_var(l->ptx, byte ? PTX_R : PTX_H);
    ptx_put(l->ptx, byte ? ISA_mov_b32 : ISA_mov_b16, R(c->reg[0]), po_i(0));
  }
  for (int k = 0; k < words; k++) {
    c->reg[k] = ptx_var(l->ptx, PTX_R);
    ptx_put(l->ptx, ISA_mov_b32, R(c->reg[k]), po_i(0));
  }
  ptx_guard(l->ptx, ok, false);
  if (words == 0)
    ptx_put(l->ptx, byte ? ISA_ld_global_u8 : ISA_ld_global_b16, R(c->reg[0]), po_mem(p, imm));
  else
    ptx_put(l->ptx, words == 4 ? ISA_ld_global_v4_b32 : words == 2 ? ISA_ld_global_v2_b32 : ISA_ld_global_b32,
            words > 1 ? po_vec(l->ptx, c->reg, words) : R(c->reg[0]), po_mem(p, imm));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

static void store_piece(Lower *l, const StagedCopy *c) {
  int words = c->bytes / 4;
  if (words == 0)
    ptx_put(l->ptx, c->bytes == 1 ? ISA_st_shared_u8 : ISA_st_shared_b16, po_mem(c->address, c->imm), R(c->reg[0]));
  else
    ptx_put(l->ptx, words == 4 ? ISA_st_shared_v4_b32 : words == 2 ? ISA_st_shared_v2_b32 : ISA_st_shared_b32, po_mem(c->address, c->imm),
            words > 1 ? po_vec(l->ptx, c->reg, words) : R(c->reg[0]));
}

/* Pieces too small for cp.async (1 or 2 bytes at any alignment): loaded and stored at once, a few at a time. */
static void fill_directly(Lower *l, Fill *f) {
  StagedCopy batch[8];
  for (int first = 0; first < f->pieces; first += 8) {
    int n = f->pieces - first < 8 ? f->pieces - first : 8;
    int32_t at[LAYOUT_RANK];
    for (int k = 0; k < n; k++) {
      piece_at(f, first + k, at);
      load_piece(l, f, at, &batch[k]);
    }
    for (int k = 0; k < n; k++) store_piece(l, &batch[k]);
  }
}

void lower_fill_async(Lower *l) {
  Fill f;
  if (lower_arg(l, 0)->slot->ring->kind == RING_BULK) {
    bulk_fill(l, lower_arg(l, 0)->slot);
    return;
  }
  if (!fill_begin(l, &f)) return;
  int bytes = f.vec * f.from->elem_bytes;
  if (bytes < 4) {
    fill_directly(l, &f);
    fill_end(l);
    return;
  }
  IsaId form = bytes == 16 ? ISA_cp_async_cg_16_zfill : bytes == 8 ? ISA_cp_async_ca_8_zfill : ISA_cp_async_ca_4_zfill;
  for (int k = 0; k < f.pieces; k++) {
    int32_t at[LAYOUT_RANK];
    int64_t from_imm, to_imm;
    piece_at(&f, k, at);
    PtxReg to = fill_target(l, &f, at, &to_imm), size = bytes_inside(l, &f, at), from = view_pointer(l, &f.cursor, at, &from_imm);
    ptx_put(l->ptx, form, po_mem(to, to_imm), po_mem(from, from_imm), po_i(bytes), R(size));
  }
  fill_end(l);
}

void lower_fill_staged(Lower *l) {
  Fill f;
  if (!fill_begin(l, &f)) return;
  for (int k = 0; k < f.pieces; k++) {
    int32_t at[LAYOUT_RANK];
    StagedCopy *c = ARENA_NEW(l->arena, PASS, StagedCopy);
    piece_at(&f, k, at);
    load_piece(l, &f, at, c);
    c->slot = lower_arg(l, 0)->slot->at.id;
    c->next = l->staged;
    l->staged = c;
  }
  fill_end(l);
}

/* The copies wait in registers, so the commit must stand where the fills stand: a token that was carried is another's. */
void lower_commit_staged(Lower *l) {
  uint32_t slot = lower_arg(l, 0)->slot->at.id;
  bool found = false;
  for (StagedCopy **c = &l->staged; *c;) {
    if ((*c)->slot != slot) { /* of another ring */
      c = &(*c)->next;
      continue;
    }
    store_piece(l, *c);
    *c = (*c)->next;
    found = true;
  }
  if (!found) lower_error(l, "%s copies through registers: a slot is filled and committed under one token, which is not carried in between", l->target->name);
}
