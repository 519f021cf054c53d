/* lower_bulk.c - tensor maps, rings whose slots are filled by bulk copies under mbarriers, and rings that bulk copies empty.
 *
 * A slot of a filled ring has two mbarriers. `full`: one arrival, by the thread that starts the copies and says how many bytes to
 * expect; the copies count them down. `empty`: one arrival of each warp that has read the slot. Who fills waits for the parity before
 * the one that it is in, so that a fresh ring is empty. Position and parity are variables of each thread; a role has its own, as its
 * threads walk only their end.
 * With multicast, each CTA of a cluster (or of so many neighbours in it) fetches its share of a field's rows and delivers it to all, at
 * the same place; a slot is empty when the readers of all those CTAs have said so to each of them.
 * A store ring has no barriers: one thread starts the copies, and waits until all but the youngest have read their slots. */
#include "lower.h"
#include <stdio.h>
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

/* ---- maps ---- */

/* FRONT_TENSOR_map, shortened where it is long, and numbered where another has that name. */
static const char *map_name(Lower *l, const ViewVal *v) {
  char name[96];
  const char *front = tile_attr_str(l->tiles, l->node, TA_name, "");
  int used = snprintf(name, sizeof name, "%.16s%s%.36s_map", front, *front ? "_" : "", v->tensor);
  for (int n = 1, i = 0; i < l->nmaps; i++)
    if (strcmp(l->map[i]->name, name) == 0) {
      snprintf(name + used, sizeof name - (size_t)used, "%d", ++n);
      i = -1; /* that one may be taken, too */
    }
  return arena_str(l->arena, KEEP, name, strlen(name));
}

/* Which dims of the view the map's are, by the names of their sizes. */
static bool map_dims(Lower *l, MapVal *m) {
  const char *names = tile_attr_str(l->tiles, l->node, TA_dims, "");
  bool taken[TILE_RANK] = {false};
  m->rank = 0;
  while (*names && m->rank < TILE_RANK) {
    size_t n = strcspn(names, ",");
    int found = -1;
    for (int d = 0; d < m->view->rank && found < 0; d++)
      if (strlen(m->view->size[d]) == n && !memcmp(m->view->size[d], names, n) && !taken[d]) found = d;
    if (found < 0) {
      lower_error(l, "map: the view of '%s' has no size '%.*s'; dims names the sizes of the view", m->view->tensor, (int)n, names);
      return false;
    }
    taken[found] = true;
    m->dim[m->rank++] = found;
    names += n + (names[n] == ',');
  }
  int64_t unit;
  if (m->rank != m->view->rank) lower_error(l, "map: dims names %d of the %d dims of '%s'; a map has all of them", m->rank, m->view->rank, m->view->tensor);
  else if (!lower_is_const(m->view->stride[m->dim[m->rank - 1]], &unit) || unit != 1)
    lower_error(l, "map: the innermost dim of '%s' has no stride of 1; bulk copies read runs of it", m->view->tensor);
  return !l->failed;
}

static void put_list(Text *out, const char *what, const char *const *names, const MapVal *m) {
  text_fmt(out, " %s [", what);
  for (int d = 0; d < m->rank; d++) text_fmt(out, "%s%s", d ? "," : "", names[m->dim[d]]);
  text_str(out, "]");
}

/* What the contract says of the map. */
static void describe_map(Lower *l, MapVal *m) {
  Text out;
  text_init(&out, l->arena, KEEP);
  text_fmt(&out, "map %s %s", m->name, m->view->tensor);
  put_list(&out, "dims", m->view->size, m);
  put_list(&out, "strides", m->view->stride, m);
  text_str(&out, " box [");
  for (int d = 0; d < m->rank; d++) text_fmt(&out, "%s%d", d ? "," : "", (int)m->box[d]);
  text_fmt(&out, "] swizzle %d l2 %d", m->swizzle, (int)tile_attr_int(l->tiles, l->node, TA_l2, 128));
  if (!strcmp(tile_attr_str(l->tiles, l->node, TA_fill, "zero"), "nan")) text_str(&out, " fill nan");
  if (tile_attr(l->tiles, l->node, TA_round)) text_str(&out, " round tf32");
  m->line = out.at;
}

void lower_map(Lower *l) {
  const Val *view = lower_arg(l, 0);
  MapVal *m = ARENA_NEW(l->arena, KEEP, MapVal);
  m->view = view->view;
  m->swizzle = (int)tile_attr_int(l->tiles, l->node, TA_swizzle, 0);
  for (int d = 0; d < TILE_RANK; d++) m->box[d] = l->node->type.shape[d];
  if (!map_dims(l, m)) return;
  if (l->nmaps == LOWER_MAPS) {
    lower_error(l, "map: a kernel has at most %d maps", LOWER_MAPS);
    return;
  }
  m->name = map_name(l, m->view);
  describe_map(l, m);
  PtxSym s = ptx_param(l->ptx, m->name, NULL, 128, 64);
  *VEC_PUSH(l->arena, KEEP, &l->params) = s;
  *VEC_PUSH(l->arena, KEEP, &l->param_names) = m->name;
  m->address = DEF(cvta_param_u64, R(DEF(mov_u64_symbol, po_sym(s))));
  l->map[l->nmaps++] = m;
  ptx_guard(l->ptx, DEF(setp_eq_s32, R(l->tid), po_i(0)), false);
  ptx_put(l->ptx, ISA_prefetch_tensormap, po_mem(m->address, 0));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  *lower_result(l) = (Val){.kind = VAL_MAP, .dtype = view->dtype, .map = m};
}

/* ---- declarations of rings ---- */

static PtxReg variable(Lower *l, int64_t first) {
  PtxReg r = ptx_var(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_mov_b32, R(r), po_i(first));
  return r;
}

/* Arrivals that empty a slot: each warp of the roles that the ring names, "math/1" being one group of the role. */
static int count_releases(Lower *l) {
  const char *by = tile_attr_str(l->tiles, l->node, TA_emptied_by, "");
  const TileRegion *body = tile_region(l->tiles, tile_at(l->tiles, l->kernel), 0);
  int warps = 0;
  if (!lower_has_roles(l)) return l->threads / 32;
  while (*by) {
    size_t n = strcspn(by, ", "), name = strcspn(by, "/, ");
    for (uint32_t i = 0; i < body->n; i++) {
      const TileNode *r = &l->tiles->nodes.at[body->at[i]];
      const char *called = r->op == TILE_role ? tile_attr_str(l->tiles, r, TA_name, "") : "";
      if (strlen(called) != name || memcmp(called, by, name)) continue;
      int64_t groups = name < n ? by[name + 1] - '0' : tile_attr_int(l->tiles, r, TA_groups, 1);
      warps += (int)(groups * tile_attr_int(l->tiles, r, TA_warps, 1));
    }
    by += n;
    by += strspn(by, ", ");
  }
  return warps;
}

static void init_barriers(Lower *l, RingVal *r) {
  PtxLabel others = ptx_label(l->ptx);
  int releases = count_releases(l) * (r->multicast ? r->among : 1);
  ptx_guard(l->ptx, DEF(setp_ne_s32, R(l->tid), po_i(0)), false);
  ptx_put(l->ptx, ISA_bra, po_label(others));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  for (int k = 0; k < r->stages; k++) {
    ptx_put(l->ptx, ISA_mbarrier_init, po_mem(l->shared_base, r->full + 8 * k), po_i(1));
    ptx_put(l->ptx, ISA_mbarrier_init, po_mem(l->shared_base, r->empty + 8 * k), po_i(releases));
  }
  ptx_put_n(l->ptx, ISA_fence_mbarrier_init, 0, NULL);
  ptx_place(l->ptx, others);
  if (l->cluster > 1) {
    ptx_put_n(l->ptx, ISA_barrier_cluster_arrive_release_aligned, 0, NULL);
    ptx_put_n(l->ptx, ISA_barrier_cluster_wait_acquire_aligned, 0, NULL);
  } else {
    ptx_put(l->ptx, ISA_bar_sync, po_i(0));
  }
}

void bulk_ring(Lower *l, RingVal *r) {
  const char *multicast = tile_attr_str(l->tiles, l->node, TA_multicast, "");
  r->fill_at = variable(l, 0);
  if (tile_attr(l->tiles, l->node, TA_op)) {
    lower_refuse(l, "ring: stores that combine with memory (op) are not lowered yet; store the tile itself");
    return;
  }
  if (r->kind == RING_STORE) {
    r->per_group = tile_attr_int(l->tiles, l->node, TA_per_group, 0) != 0;
    return;
  }
  r->multicast = *multicast ? multicast : NULL;
  r->among = (int)tile_attr_int(l->tiles, l->node, TA_among, l->cluster);
  r->full = shared_reserve(l, 16ll * r->stages, 16);
  r->empty = r->full + 8ll * r->stages;
  r->wait_at = variable(l, 0);
  r->fill_bar = variable(l, 0);
  r->wait_bar = variable(l, 0);
  r->fill_phase = variable(l, 1); /* the slots are empty: the phase before the first has passed */
  r->wait_phase = variable(l, 0);
  init_barriers(l, r);
}

/* ---- going around ---- */

static PtxReg copy_now(Lower *l, PtxReg variable_) {
  PtxReg now = ptx_reg(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_mov_b32, R(now), R(variable_));
  return now;
}

/* The slot that the variables stand at; they move on, and around the end the parity changes. */
static void take_slot(Lower *l, RingVal *r, bool fill) {
  SlotVal *s = ARENA_NEW(l->arena, PASS, SlotVal);
  PtxReg at = fill ? r->fill_at : r->wait_at, bar = fill ? r->fill_bar : r->wait_bar, phase = fill ? r->fill_phase : r->wait_phase;
  *s = (SlotVal){.ring = r, .at = copy_now(l, at), .bar = copy_now(l, bar)};
  ptx_put(l->ptx, ISA_add_s32, R(at), R(at), po_i(r->slot_bytes));
  ptx_put(l->ptx, ISA_add_s32, R(bar), R(bar), po_i(8));
  PtxReg around = ptx_reg(l->ptx, PTX_P), turn = ptx_reg(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_setp_eq_s32, R(around), R(bar), po_i(8ll * r->stages));
  ptx_put(l->ptx, ISA_selp_b32, R(at), po_i(0), R(at), R(around));
  ptx_put(l->ptx, ISA_selp_b32, R(bar), po_i(0), R(bar), R(around));
  ptx_put(l->ptx, ISA_selp_b32, R(turn), po_i(1), po_i(0), R(around));
  ptx_put(l->ptx, ISA_xor_b32, R(phase), R(phase), R(turn));
  *lower_result(l) = (Val){.kind = VAL_SLOT, .slot = s};
}

static void spin(Lower *l, PtxReg address, int64_t offset, PtxReg parity) {
  PtxLabel again = ptx_label(l->ptx);
  PtxReg done = ptx_var(l->ptx, PTX_P);
  ptx_place(l->ptx, again);
  ptx_put(l->ptx, ISA_mbarrier_try_wait_parity, R(done), po_mem(address, offset), R(parity));
  ptx_guard(l->ptx, done, true);
  ptx_put(l->ptx, ISA_bra, po_label(again));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

static void wait_barrier(Lower *l, RingVal *r, bool fill) {
  PtxReg bar = fill ? r->fill_bar : r->wait_bar, phase = fill ? r->fill_phase : r->wait_phase, at = ptx_reg(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_add_s32, R(at), R(l->shared_base), R(bar));
  spin(l, at, fill ? r->empty : r->full, phase);
}

void bulk_wait(Lower *l, RingVal *r) {
  wait_barrier(l, r, false);
  take_slot(l, r, false);
}

void lower_skip(Lower *l) {
  RingVal *r = lower_arg(l, 0)->ring;
  if (r->kind != RING_BULK) {
    lower_refuse(l, "skip needs a ring filled by tma; this one is filled by other means");
    return;
  }
  bool fill = l->node->derived != 0;
  PtxReg at = fill ? r->fill_at : r->wait_at, bar = fill ? r->fill_bar : r->wait_bar, phase = fill ? r->fill_phase : r->wait_phase;
  PtxReg slot = ptx_reg(l->ptx, PTX_R), left = ptx_reg(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_shr_u32, R(slot), R(bar), po_i(3));
  PtxReg to = DEF(add_s32, R(slot), R(lower_i32(l, lower_arg(l, 1))));
  PtxReg rounds = DEF(div_u32, R(to), po_i(r->stages));
  ptx_put(l->ptx, ISA_sub_s32, R(left), R(to), R(DEF(mul_lo_s32, R(rounds), po_i(r->stages))));
  ptx_put(l->ptx, ISA_mul_lo_s32, R(at), R(left), po_i(r->slot_bytes));
  ptx_put(l->ptx, ISA_shl_b32, R(bar), R(left), po_i(3));
  ptx_put(l->ptx, ISA_xor_b32, R(phase), R(phase), R(DEF(and_b32, R(rounds), po_i(1))));
}

/* ---- filling ---- */

/* As many groups of the thread that stores may be left as hazard_store.c found. */
static bool wait_stores(Lower *l) {
  if (!l->node->derived) return false;
  PtxLabel end = lower_single_begin(l);
  ptx_put(l->ptx, ISA_cp_bulk_wait_group_read, po_i(l->node->derived - 1));
  lower_single_end(l, end);
  return true;
}

void bulk_acquire(Lower *l, RingVal *r) {
  if (r->kind == RING_BULK) {
    wait_barrier(l, r, true);
    take_slot(l, r, true);
    return;
  }
  if (wait_stores(l)) lower_group_barrier(l); /* all hear of it */
  SlotVal *s = ARENA_NEW(l->arena, PASS, SlotVal);
  PtxReg at = copy_now(l, r->fill_at);
  if (r->per_group && l->role.groups > 1) at = DEF(add_s32, R(at), R(DEF(mul_lo_s32, R(l->role.group), po_i((int64_t)r->slot_bytes * r->stages))));
  *s = (SlotVal){.ring = r, .at = at};
  ptx_put(l->ptx, ISA_add_s32, R(r->fill_at), R(r->fill_at), po_i(r->slot_bytes));
  PtxReg around = ptx_reg(l->ptx, PTX_P);
  ptx_put(l->ptx, ISA_setp_eq_s32, R(around), R(r->fill_at), po_i((int64_t)r->slot_bytes * r->stages));
  ptx_put(l->ptx, ISA_selp_b32, R(r->fill_at), po_i(0), R(r->fill_at), R(around));
  *lower_result(l) = (Val){.kind = VAL_SLOT, .slot = s};
}

typedef struct Boxes {     /* a field as boxes of a map: `rows` by `panels` of them */
  const MapVal *map;
  SmemVal *field;
  PtxReg coord[TILE_RANK]; /* .b32, in the map's order */
  int rows, panels;
  int64_t row_bytes, panel_bytes; /* from one box to the next */
} Boxes;

static bool find_boxes(Lower *l, Boxes *b, const SlotVal *slot) {
  const Val *memory = lower_arg(l, 1);
  const char *name = tile_attr_str(l->tiles, l->node, TA_field, "");
  *b = (Boxes){.field = ring_field(l, slot, name)};
  if (!b->field) return false;
  if (memory->kind != VAL_MAP) {
    lower_error(l, "field '%s' is copied as a whole, which takes a map; declare one over the view", name);
    return false;
  }
  b->map = memory->map;
  const SmemLayout *s = &b->field->layout;
  int last = b->map->rank - 1, panel = s->panel ? s->panel : s->shape[1];
  if (b->map->swizzle != layout_swizzle_bytes(s) || b->map->box[last] != panel) {
    lower_error(l, "the map's boxes are %d elements wide with a swizzle of %d bytes, the field lies in panels of %d with %d; make them equal",
                (int)b->map->box[last], b->map->swizzle, panel, layout_swizzle_bytes(s));
    return false;
  }
  int box_rows = last > 0 ? b->map->box[last - 1] : 1;
  b->rows = s->shape[0] / box_rows;
  b->panels = s->shape[1] / panel;
  b->row_bytes = (int64_t)box_rows * s->pitch[0] * b->field->elem_bytes;
  b->panel_bytes = (int64_t)s->shape[0] * panel * b->field->elem_bytes;
  for (int d = 0; d <= last; d++) b->coord[d] = lower_i32(l, lower_arg(l, 2 + b->map->dim[d]));
  return true;
}

/* Coordinates of a box, innermost first, as the instruction takes them. */
static PtxOpnd box_coords(Lower *l, const Boxes *b, PtxReg row_box, int row, int panel) {
  PtxReg c[TILE_RANK];
  int last = b->map->rank - 1;
  for (int d = 0; d <= last; d++) {
    PtxReg at = b->coord[d];
    if (d == last && panel) at = DEF(add_s32, R(at), po_i((int64_t)panel * b->map->box[last]));
    if (d == last - 1 && row) at = DEF(add_s32, R(at), po_i((int64_t)row * b->map->box[d]));
    if (d == last - 1 && row_box.id) at = DEF(add_s32, R(at), R(DEF(mul_lo_s32, R(row_box), po_i(b->map->box[d]))));
    c[last - d] = at;
  }
  return po_vec(l->ptx, c, last + 1);
}

static const IsaId load_form[5] = {ISA_tma_load_1d, ISA_tma_load_2d, ISA_tma_load_3d,
                                   ISA_tma_load_4d, ISA_tma_load_5d};
static const IsaId multicast_form[5] = {ISA_tma_load_1d_multicast, ISA_tma_load_2d_multicast,
                                        ISA_tma_load_3d_multicast, ISA_tma_load_4d_multicast,
                                        ISA_tma_load_5d_multicast};
static const IsaId store_form[5] = {ISA_tma_store_1d, ISA_tma_store_2d, ISA_tma_store_3d,
                                    ISA_tma_store_4d, ISA_tma_store_5d};

static bool is_multicast(const RingVal *r, const char *field) {
  const char *m = r->multicast;
  size_t n = strlen(field);
  while (m && *m) {
    size_t len = strcspn(m, ", ");
    if (len == n && !memcmp(m, field, n)) return true;
    m += len;
    m += strspn(m, ", ");
  }
  return false;
}

static PtxReg rank_in_cluster(Lower *l) { return DEF(mov_u32_special, po_special(PTX_CLUSTER_CTARANK)); }

/* This CTA's number among those that bring a multicast field to one another; *first: the rank of their first, {0}: 0. */
static PtxReg rank_among(Lower *l, const RingVal *r, PtxReg *first) {
  PtxReg rank = rank_in_cluster(l);
  *first = (PtxReg){0};
  if (r->among == l->cluster) return rank;
  *first = DEF(mul_lo_s32, R(DEF(div_u32, R(rank), po_i(r->among))), po_i(r->among));
  return DEF(sub_s32, R(rank), R(*first));
}

static PtxReg sharers(Lower *l, const RingVal *r) { /* as a mask of ranks */
  PtxReg first;
  rank_among(l, r, &first);
  int64_t mask = (1ll << r->among) - 1;
  if (!first.id) return DEF(mov_b16, po_i(mask));
  return DEF(cvt_u16_u32, R(DEF(shl_b32, R(DEF(mov_b32, po_i(mask))), R(first))));
}

static void put_load(Lower *l, const Boxes *b, const SlotVal *slot, PtxReg row_box, int row, int panel) {
  PtxReg to = DEF(add_s32, R(b->field->base), po_i(b->field->offset + row * b->row_bytes + panel * b->panel_bytes));
  PtxReg bar = DEF(add_s32, R(l->shared_base), R(slot->bar));
  PtxOpnd coords = box_coords(l, b, row_box, row, panel);
  int form = b->map->rank - 1;
  if (!row_box.id) {
    ptx_put(l->ptx, load_form[form], po_mem(to, 0), po_mem(b->map->address, 0), coords, po_mem(bar, slot->ring->full));
    return;
  }
  to = DEF(add_s32, R(to), R(DEF(mul_lo_s32, R(row_box), po_i(b->row_bytes))));
  ptx_put(l->ptx, multicast_form[form], po_mem(to, 0), po_mem(b->map->address, 0), coords, po_mem(bar, slot->ring->full),
          R(sharers(l, slot->ring)));
}

void bulk_fill(Lower *l, const SlotVal *slot) {
  Boxes b;
  if (!find_boxes(l, &b, slot)) return;
  PtxLabel end = lower_single_begin(l);
  bool shared = is_multicast(slot->ring, tile_attr_str(l->tiles, l->node, TA_field, ""));
  if (shared && b.rows != slot->ring->among) {
    lower_error(l, "a multicast field is fetched in one share of rows by each CTA: %d boxes of rows for %d CTAs", b.rows, slot->ring->among);
    return;
  }
  PtxReg first, mine = shared ? rank_among(l, slot->ring, &first) : (PtxReg){0};
  for (int panel = 0; panel < b.panels; panel++) {
    if (shared) put_load(l, &b, slot, mine, 0, panel);
    for (int row = 0; row < b.rows && !shared; row++) put_load(l, &b, slot, (PtxReg){0}, row, panel);
  }
  lower_single_end(l, end);
}

void bulk_commit(Lower *l, const SlotVal *slot) {
  PtxLabel end = lower_single_begin(l);
  if (slot->ring->kind == RING_STORE) {
    ptx_put_n(l->ptx, ISA_cp_bulk_commit_group, 0, NULL);
  } else {
    PtxReg bar = DEF(add_s32, R(l->shared_base), R(slot->bar));
    ptx_put(l->ptx, ISA_mbarrier_arrive_expect_tx_sink, po_mem(bar, slot->ring->full), po_i(slot->ring->bytes));
  }
  lower_single_end(l, end);
}

/* ---- emptying ---- */

/* A lane of each warp says so, once all have read: to its own CTA, or lane k to the k-th of the CTAs that it shares with. */
void bulk_release(Lower *l, const SlotVal *slot) {
  const RingVal *r = slot->ring;
  if (l->role.single) {
    lower_error(l, "release: stands inside elect; every warp that reads the slots releases them");
    return;
  }
  ptx_put(l->ptx, ISA_bar_warp_sync, po_i(0xffffffffll));
  PtxReg bar = DEF(add_s32, R(l->shared_base), R(slot->bar));
  PtxReg mine = DEF(setp_lt_u32, R(l->lane), po_i(r->multicast ? r->among : 1));
  if (!r->multicast) {
    ptx_guard(l->ptx, mine, false);
    ptx_put(l->ptx, ISA_mbarrier_arrive_sink, po_mem(bar, r->empty));
    ptx_guard(l->ptx, (PtxReg){0}, false);
    return;
  }
  PtxReg at = DEF(add_s32, R(bar), po_i(r->empty));
  PtxReg remote = ptx_reg(l->ptx, PTX_R), first;
  rank_among(l, r, &first);
  PtxReg to = first.id ? DEF(add_s32, R(first), R(l->lane)) : l->lane;
  ptx_guard(l->ptx, mine, false); /* the other lanes' numbers are no CTAs of the cluster */
  ptx_put(l->ptx, ISA_mapa_shared_cluster_u32, R(remote), R(at), R(to));
  ptx_put(l->ptx, ISA_mbarrier_arrive_remote, po_mem(remote, 0));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

/* The slot before one, and the parity of its phase: around the beginning that changes. */
static void step_back(Lower *l, const RingVal *r, PtxReg *bar, PtxReg *phase) {
  PtxReg first = DEF(setp_eq_s32, R(*bar), po_i(0)), end = DEF(selp_b32, po_i(8ll * r->stages), R(*bar), R(first));
  *bar = DEF(add_s32, R(end), po_i(-8));
  *phase = DEF(xor_b32, R(*phase), R(DEF(selp_b32, po_i(0), po_i(1), R(first))));
}

/* Every slot that was filled is empty again: the ring is walked once around, or, where the last ones tell of those before, some steps back. */
static void drain_filled(Lower *l, RingVal *r) {
  int n = (int)tile_attr_int(l->tiles, l->node, TA_n, r->stages);
  PtxLabel end = lower_single_begin(l);
  PtxReg bar = r->fill_bar, phase = r->fill_phase;
  for (int k = 0; k < n && n < r->stages; k++) { /* a slot's last filling is what the next one would wait for: one round later, so the other parity */
    step_back(l, r, &bar, &phase);
    spin(l, DEF(add_s32, R(l->shared_base), R(bar)), r->empty, phase);
  }
  for (int k = 0; k < r->stages && n >= r->stages; k++) {
    wait_barrier(l, r, true);
    take_slot(l, r, true);
  }
  lower_single_end(l, end);
}

void bulk_drain(Lower *l, RingVal *r) {
  if (r->kind == RING_BULK) {
    drain_filled(l, r);
    return;
  }
  wait_stores(l);
}

/* ---- store rings ---- */

void lower_put_slot(Lower *l) {
  const SlotVal *slot = lower_arg(l, 0)->slot;
  SmemVal *field = ring_field(l, slot, tile_attr_str(l->tiles, l->node, TA_field, ""));
  if (!field) return;
  if (l->node->nargs > 2 || slot->ring->kind != RING_STORE) {
    lower_refuse(l, "put_slot: whole fields of rings filled by store are lowered; pieces and rings filled by threads are not yet");
    return;
  }
  shared_put(l, lower_arg(l, 1), field);
}

/* What the group's threads have written becomes visible to bulk copies; then one thread starts them. */
void lower_store_slot(Lower *l) {
  const SlotVal *slot = lower_arg(l, 0)->slot;
  Boxes b;
  if (!find_boxes(l, &b, slot)) return;
  ptx_put_n(l->ptx, ISA_fence_proxy_async_shared_cta, 0, NULL);
  lower_group_barrier(l);
  PtxLabel end = lower_single_begin(l);
  for (int panel = 0; panel < b.panels; panel++)
    for (int row = 0; row < b.rows; row++) {
      PtxReg from = DEF(add_s32, R(b.field->base), po_i(b.field->offset + row * b.row_bytes + panel * b.panel_bytes));
      ptx_put(l->ptx, store_form[b.map->rank - 1], po_mem(b.map->address, 0), box_coords(l, &b, (PtxReg){0}, row, panel), po_mem(from, 0));
    }
  lower_single_end(l, end);
}
