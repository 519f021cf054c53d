/* hazard.c - proves the order of accesses to shared memory, or refuses.
 *
 * Plain shared tiles: between a write and a later read (or write) by other threads there must be a CTA barrier, and between a
 * read and a later write; where none stands, the node is marked and lowering puts one before it (TileNode.sync_before). A thread's own
 * elements need none: accesses that all go by one layout, to the tile as a whole or to its pieces of one size (Place.by). The same
 * holds for a tensor that one kernel both stores and loads; that two of its stores do not meet, is the author's affair.
 * What another CTA of the cluster reads (peer) was written before a cluster_sync, and is not written again before the next.
 * Rings of bulk copies have mbarriers, and tile_ring.c's proof that every token is used in order; asynchronous products are followed in
 * hazard_flight.c. Roles are walked one by one: nothing is inferred from one about another.
 * Rings without mbarriers: slots are taken, committed and given back in order, and one is committed before the next is acquired.
 * Counted along every path: copies committed and not waited for (a wait may leave all but the oldest in flight:
 * TileNode.derived), slots acquired and not released (never more than the stages: the ring would wait for itself), and whether a
 * slot was released since the last barrier (an acquire needs one then). Tiles that share a ring's bytes are touched only while no
 * slot is in use. Loops must leave the counts as they found them; their bodies are walked until nothing changes. */
#include "hazard.h"
#include <string.h>

typedef struct Place {  /* a shared tile, a ring, or the scratch of a reduction; indexed by node */
  bool written, read;   /* by some thread since the last barrier */
  bool shown, seen;     /* written here, read from another CTA, since the last barrier of the cluster */
  uint32_t by;          /* the access since the last barrier that all others are like, each thread having its own elements; or MIXED */
  bool released;        /* RING: a slot was released that some thread may still be reading: no barrier since its last read */
  int32_t pending;      /* RING: committed, not waited for */
  int32_t held;         /* RING: acquired, not released */
  int32_t open;         /* RING: acquired, not committed: 0 or 1 */
} Place;

#define MIXED UINT32_MAX

typedef struct Hazard {
  TileProgram *tiles;
  Place *place;
  uint32_t nplaces;
  uint32_t *root;       /* by node: what root_of found; 0: not asked yet */
  bool changed;         /* a mark was set in this walk */
  bool failed;
} Hazard;

static void refuse(Hazard *h, const TileNode *n, const char *text, int a, int b) {
  if (!h->failed) diag_error(h->tiles->diag, n->loc, text, a, b);
  h->failed = true;
}

static uint32_t ring_of_tile(const TileProgram *p, uint32_t tile) {
  for (uint32_t i = 1; i < p->nodes.n; i++)
    if (p->nodes.at[i].op == TILE_ring)
      for (int k = 0; k < p->nodes.at[i].nargs; k++)
        if (tile_arg(p, &p->nodes.at[i], k).i == tile) return i;
  return 0;
}

static uint32_t ring_of_slot(const TileProgram *p, TileId slot) { return tile_slot_ring(p, slot).i; }

static uint32_t first_view(const TileProgram *p, uint32_t view) { /* of the same tensor */
  const char *tensor = tile_attr_str(p, &p->nodes.at[view], TA_tensor, "");
  for (uint32_t i = 1; i < view; i++)
    if (p->nodes.at[i].op == TILE_view && strcmp(tile_attr_str(p, &p->nodes.at[i], TA_tensor, ""), tensor) == 0) return i;
  return view;
}

/* The node whose bytes a tile lies in: a shared tile, a ring, the first view of a tensor; 0: none of them. */
static uint32_t find_root(const TileProgram *p, TileId id) {
  for (;;) {
    const TileNode *n = tile_at(p, id);
    if (n->op == TILE_slice || n->op == TILE_part || n->op == TILE_trans || n->op == TILE_peer) {
      id = tile_arg(p, n, 0);
    } else if (n->op == TILE_field) {
      return ring_of_slot(p, tile_arg(p, n, 0));
    } else if (n->op == TILE_ring) {
      return id.i;
    } else if (n->op == TILE_smem) {
      if (n->nargs) {
        id = tile_arg(p, n, 0);
        continue;
      }
      uint32_t ring = ring_of_tile(p, id.i);
      return ring ? ring : id.i;
    } else {
      return n->op == TILE_view ? first_view(p, id.i) : 0;
    }
  }
}

static bool is_bulk(const Hazard *h, uint32_t ring) { /* filled or emptied by bulk copies */
  const char *how = tile_attr_str(h->tiles, &h->tiles->nodes.at[ring], TA_filled_by, "");
  return h->tiles->nodes.at[ring].op == TILE_ring && (!strcmp(how, "tma") || !strcmp(how, "store"));
}

static uint32_t root_of(Hazard *h, TileId id) {
  if (!h->root[id.i]) h->root[id.i] = find_root(h->tiles, id);
  return is_bulk(h, h->root[id.i]) ? 0 : h->root[id.i]; /* handed on by mbarriers: nothing for a barrier to do */
}

static bool uses_bulk_ring(const Hazard *h, const TileNode *n) {
  TileId first = tile_arg(h->tiles, n, 0);
  switch (n->op) {
  case TILE_acquire: case TILE_wait: case TILE_drain: return is_bulk(h, first.i);
  case TILE_commit: case TILE_release: return is_bulk(h, ring_of_slot(h->tiles, first));
  default: return false;
  }
}

/* Does the tile lie in a slot of a ring, reached by its token? */
static bool is_slot_tile(const TileProgram *p, TileId id) {
  const TileNode *n = tile_at(p, id);
  while (n->op == TILE_slice || n->op == TILE_part || n->op == TILE_trans || n->op == TILE_peer) n = tile_at(p, tile_arg(p, n, 0));
  return n->op == TILE_field;
}

static void barrier(Hazard *h) {
  for (uint32_t i = 0; i < h->nplaces; i++) h->place[i].written = h->place[i].read = h->place[i].released = false;
}

static void cluster_barrier(Hazard *h) {
  barrier(h);
  for (uint32_t i = 0; i < h->nplaces; i++) h->place[i].shown = h->place[i].seen = false;
}

static bool is_peer(const TileProgram *p, TileId id) { /* a tile of another CTA of the cluster, or a part of one */
  const TileNode *n = tile_at(p, id);
  while (n->op == TILE_slice || n->op == TILE_part || n->op == TILE_trans) n = tile_at(p, tile_arg(p, n, 0));
  return n->op == TILE_peer;
}

static void need_barrier(Hazard *h, TileNode *n) {
  if (!n->sync_before) {
    n->sync_before = true;
    h->changed = true;
  }
  barrier(h);
}

/* A tile that has a ring's bytes without being a slot's: those bytes must be nobody's then. */
static bool is_alias(Hazard *h, const TileNode *n, TileId memory, uint32_t root) {
  const Place *ring = &h->place[root];
  if (h->tiles->nodes.at[root].op != TILE_ring || is_slot_tile(h->tiles, memory)) return false;
  if (ring->held || ring->pending)
    refuse(h, n, "this tile shares its bytes with a ring of which %d slots are held and %d copies under way; release the slots and "
           "drain the ring before", ring->held, ring->pending);
  return true;
}

static const TileType *frag_of(const TileProgram *p, const TileNode *n) { /* of a load or store */
  return n->op == TILE_load ? &n->type : &tile_at(p, tile_arg(p, n, 1))->type;
}

/* Does the access give each thread elements of its own: of a whole tile, or of a whole piece of one? Walks in another order read some
 * element more than once where blocks are not whole, and what lies like accumulators of a warpgroup is read by the warp (ldmatrix). */
static bool is_own(const TileProgram *p, const TileNode *n) {
  if (n->op != TILE_load && n->op != TILE_store) return false;
  const TileNode *memory = tile_at(p, tile_arg(p, n, 0)), *tile = memory->op == TILE_part ? tile_at(p, tile_arg(p, memory, 0)) : memory;
  const TileType *frag = frag_of(p, n);
  if (tile->op != TILE_smem || tile->nargs || frag->rank != 2 || *tile_attr_str(p, n, TA_halves, "")) return false;
  for (int k = n->op == TILE_load ? 1 : 2; k < n->nargs; k++) {
    const TileNode *at = tile_at(p, tile_arg(p, n, k));
    if (at->op != TILE_const || tile_attr_num(p, at, TA_value, 0) != 0) return false;
  }
  const Layout *lay = &p->frag_layouts.at[frag->layout];
  Layout acc = layout_wgmma_acc(lay->shape[0], lay->shape[1]);
  for (int i = 0; i < lay->nmodes; i++)
    if (lay->mode[i].dim < 0) return false;
  return lay->shape[0] == memory->type.shape[0] && lay->shape[1] == memory->type.shape[1] && !layout_equal(lay, &acc);
}

/* Is each element of their tile the same thread's under both accesses, whichever pieces they are of? */
static bool is_alike(const TileProgram *p, uint32_t a, uint32_t b) {
  if (a == MIXED || b == MIXED) return false;
  const TileNode *x = &p->nodes.at[a], *y = &p->nodes.at[b];
  const TileNode *mx = tile_at(p, tile_arg(p, x, 0)), *my = tile_at(p, tile_arg(p, y, 0));
  if (mx->op != my->op || frag_of(p, x)->layout != frag_of(p, y)->layout) return false;
  return mx->op != TILE_part || tile_attr_int(p, mx, TA_dim, 0) == tile_attr_int(p, my, TA_dim, 0);
}

static bool is_touched(const Place *a) { return a->written || a->read; }

/* What the accesses of both are like. */
static uint32_t by_both(const TileProgram *p, const Place *a, const Place *b) {
  if (!is_touched(a) || !is_touched(b)) return is_touched(a) ? a->by : is_touched(b) ? b->by : 0;
  return is_alike(p, a->by, b->by) ? a->by : MIXED;
}

/* A mark where the access, after those since the last barrier, may meet elements of other threads; `conflicts`: one of them writes. */
static void meet(Hazard *h, TileNode *n, uint32_t root, bool conflicts) {
  Place *at = &h->place[root], this = {.read = true, .by = MIXED};
  if (h->tiles->nodes.at[root].op == TILE_smem && is_own(h->tiles, n)) this.by = (uint32_t)(n - h->tiles->nodes.at);
  if (conflicts && !is_alike(h->tiles, at->by, this.by)) need_barrier(h, n);
  at->by = by_both(h->tiles, at, &this);
}

static void on_read(Hazard *h, TileNode *n, TileId memory) {
  uint32_t r = root_of(h, memory);
  if (!r) return;
  if (is_peer(h->tiles, memory)) {
    if (h->place[r].shown) refuse(h, n, "a tile of another CTA is read that was written since the last cluster_sync; put one in between", 0, 0);
    h->place[r].seen = true;
    return;
  }
  bool alias = is_alias(h, n, memory, r);
  meet(h, n, r, h->place[r].written);
  h->place[r].read = true;
  h->place[r].released |= alias; /* an acquire hands out the bytes that are being read */
}

static void on_write(Hazard *h, TileNode *n, TileId memory) {
  uint32_t r = root_of(h, memory);
  if (!r) return;
  bool shared = h->tiles->nodes.at[r].op != TILE_view;
  is_alias(h, n, memory, r);
  if (h->place[r].seen) refuse(h, n, "the tile may still be read by other CTAs of the cluster; put a cluster_sync in between", 0, 0);
  meet(h, n, r, (h->place[r].written && shared) || h->place[r].read);
  h->place[r].written = h->place[r].shown = true;
}

static bool crosses_warps(const TileProgram *p, const TileNode *n) { /* does the reduction meet in shared memory? */
  const TileType *t = &tile_at(p, tile_arg(p, n, 0))->type;
  const Layout *l = &p->frag_layouts.at[t->layout];
  int dim = (int)tile_attr_int(p, n, TA_dim, 0);
  for (int i = 0; i < l->nmodes; i++)
    if (l->mode[i].where == LM_WARP && l->mode[i].dim == dim) return true;
  return false;
}

static void on_reduce(Hazard *h, TileNode *n) {
  if (!crosses_warps(h->tiles, n)) return;
  Place *scratch = &h->place[n - h->tiles->nodes.at];
  if (scratch->read) need_barrier(h, n);
  barrier(h); /* the reduction's own */
  scratch->read = true;
}

static void on_acquire(Hazard *h, TileNode *n, Place *ring) {
  int stages = (int)tile_attr_int(h->tiles, tile_at(h->tiles, tile_arg(h->tiles, n, 0)), TA_stages, 1);
  if (ring->held >= stages)
    refuse(h, n, "acquire: all %d slots of the ring are taken (%d not released), so this would wait for ever; release one before, or "
           "add a stage", stages, ring->held);
  if (ring->open)
    refuse(h, n, "acquire: the slot acquired before is not committed yet (%d of %d slots held); slots are filled and committed one by "
           "one", ring->held, stages);
  if (ring->released || ring->written) need_barrier(h, n);
  ring->held++;
  ring->open++;
}

static void on_commit(Place *ring) {
  ring->open--;
  ring->pending++;
}

static void on_wait(Hazard *h, TileNode *n, Place *ring) {
  if (ring->pending < 1) refuse(h, n, "wait: no committed slot is left to wait for (%d committed, %d held); commit one before", ring->pending, ring->held);
  n->derived = ring->pending - 1;
  ring->pending--;
  barrier(h);
}

static void walk(Hazard *h, const TileRegion *r);

static Place *save(Hazard *h) {
  Place *copy = ARENA_ARRAY(h->tiles->arena, PASS, Place, h->nplaces);
  memcpy(copy, h->place, sizeof(Place) * h->nplaces);
  return copy;
}

/* What may hold after either path; the counts must agree. */
static void join(Hazard *h, const TileNode *n, const Place *other) {
  for (uint32_t i = 0; i < h->nplaces; i++) {
    Place *a = &h->place[i];
    const Place *b = &other[i];
    if (a->pending != b->pending || a->held != b->held || a->open != b->open)
      refuse(h, n, "the ring's slots do not come out even: %d more committed, %d more acquired on one path than on the other",
             a->pending - b->pending, a->held - b->held);
    a->by = by_both(h->tiles, b, a);
    a->written |= b->written;
    a->read |= b->read;
    a->shown |= b->shown;
    a->seen |= b->seen;
    a->released |= b->released;
  }
}

/* Every round but the last sets a mark, or leaves a place in a state that it had not before: so it ends. */
static void walk_loop(Hazard *h, TileNode *n) {
  while (!h->failed) {
    bool outer = h->changed;
    Place *before = save(h);
    h->changed = false;
    for (int k = 0; k < n->nregions; k++) walk(h, tile_region(h->tiles, n, k));
    join(h, n, before);
    bool again = h->changed || memcmp(before, h->place, sizeof(Place) * h->nplaces) != 0;
    h->changed |= outer;
    if (!again) return;
  }
}

static void walk_if(Hazard *h, TileNode *n) {
  Place *before = save(h);
  walk(h, tile_region(h->tiles, n, 0));
  Place *then = save(h);
  memcpy(h->place, before, sizeof(Place) * h->nplaces);
  if (n->nregions > 1) walk(h, tile_region(h->tiles, n, 1));
  join(h, n, then);
}

static void walk_role(Hazard *h, TileNode *n) {
  Place *before = save(h);
  walk(h, tile_region(h->tiles, n, 0));
  memcpy(h->place, before, sizeof(Place) * h->nplaces);
}

static void visit(Hazard *h, TileNode *n) {
  TileProgram *p = h->tiles;
  TileId first = tile_arg(p, n, 0);
  if (uses_bulk_ring(h, n)) return;
  switch (n->op) {
  case TILE_role: walk_role(h, n); break;
  case TILE_load: case TILE_load_like: case TILE_load1: case TILE_gather: on_read(h, n, first); break;
  case TILE_store: case TILE_store1: on_write(h, n, first); break;
  case TILE_fill_slot: {
    const TileNode *from = tile_at(p, tile_arg(p, n, 1));
    on_read(h, n, from->op == TILE_walk ? tile_arg(p, from, 1) : tile_arg(p, n, 1));
    break;
  }
  case TILE_reduce: on_reduce(h, n); break;
  case TILE_sync: case TILE_store_slot: barrier(h); break; /* a store begins once all have written their part of the slot */
  case TILE_cluster_sync:
    for (uint32_t i = 0; i < h->nplaces && tile_attr_int(p, n, TA_relaxed, 0); i++)
      if (h->place[i].shown || h->place[i].seen)
        refuse(h, n, "a relaxed cluster_sync tells the other CTAs nothing, and this role has written shared memory or read theirs; leave out relaxed", 0, 0);
    cluster_barrier(h);
    break;
  case TILE_mma:
  case TILE_mma_fetch:
    on_read(h, n, tile_arg(p, n, 1));
    on_read(h, n, tile_arg(p, n, 2));
    break;
  case TILE_acquire: on_acquire(h, n, &h->place[first.i]); break;
  case TILE_commit: on_commit(&h->place[ring_of_slot(p, first)]); break;
  case TILE_wait: on_wait(h, n, &h->place[first.i]); break;
  case TILE_release: {
    Place *ring = &h->place[ring_of_slot(p, first)];
    ring->held--;
    ring->released |= ring->read;
    break;
  }
  case TILE_drain: /* what landed is seen by the others only after a barrier */
    h->place[first.i].pending = 0;
    h->place[first.i].held = 0;
    h->place[first.i].written = true;
    break;
  case TILE_for: case TILE_while: case TILE_each: case TILE_produce: walk_loop(h, n); break;
  case TILE_if: walk_if(h, n); break;
  default:
    for (int k = 0; k < n->nregions; k++) walk(h, tile_region(p, n, k));
  }
}

static void walk(Hazard *h, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n && !h->failed; i++) visit(h, &h->tiles->nodes.at[r->at[i]]);
}

bool tile_hazard(TileProgram *p) {
  Hazard h = {.tiles = p, .nplaces = p->nodes.n, .root = ARENA_ARRAY(p->arena, PASS, uint32_t, p->nodes.n)};
  for (uint32_t k = 0; k < p->top.n && !h.failed; k++) {
    h.place = ARENA_ARRAY(p->arena, PASS, Place, h.nplaces);
    walk(&h, tile_region(p, &p->nodes.at[p->top.at[k]], 0));
    if (!h.failed && !(hazard_flight(p, (TileId){p->top.at[k]}) && hazard_store(p, (TileId){p->top.at[k]}))) h.failed = true;
  }
  return !h.failed;
}
