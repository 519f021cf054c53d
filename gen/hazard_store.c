/* hazard_store.c - bulk stores on their way: how many groups may be left when a slot of a store ring is used again.
 *
 * One thread of a role issues the stores of all its rings, each slot's as a group, and groups end in order. So a slot is free once no
 * more groups are pending than were committed after its own: those of other rings count as well. Each of the last `stages` commits of a
 * ring has an age, the number of groups committed since; NONE where there was no such commit, or a wait has covered it. An acquire
 * waits for the oldest, a drain for all. TileNode.derived of both is that number plus one, 0: nothing to wait for. A drain is heard of by its
 * own thread alone: the others must not write a slot that it covered before a barrier (TileNode.sync_before). What loops and branches may
 * leave is the younger of two ages; loops are walked until nothing changes. */
#include "hazard.h"
#include <string.h>

enum { NONE = 255, DRAINED = 254, OLDEST = 100, MOST_RINGS = 16, MOST_STAGES = 64 }; /* DRAINED: covered, without a barrier since */

typedef struct Ages { uint8_t of[MOST_RINGS][MOST_STAGES]; } Ages; /* youngest first */

typedef struct Stores {
  TileProgram *p;
  Ages ages;
  uint32_t ring[MOST_RINGS];
  int nrings;
  bool failed;
} Stores;

/* The number of a store ring; -1: the ring is none. */
static int ring_number(Stores *s, uint32_t ring) {
  const TileNode *n = &s->p->nodes.at[ring];
  if (n->op != TILE_ring || strcmp(tile_attr_str(s->p, n, TA_filled_by, ""), "store")) return -1;
  for (int k = 0; k < s->nrings; k++)
    if (s->ring[k] == ring) return k;
  if (s->nrings == MOST_RINGS) {
    if (!s->failed) diag_error(s->p->diag, n->loc, "ring: %d store rings are possible in a kernel", MOST_RINGS);
    s->failed = true;
    return -1;
  }
  s->ring[s->nrings] = ring;
  return s->nrings++;
}

static int stages_of(const Stores *s, int ring) {
  int64_t n = tile_attr_int(s->p, &s->p->nodes.at[s->ring[ring]], TA_stages, 1);
  return n < MOST_STAGES ? (int)n : MOST_STAGES;
}

static void commit(Stores *s, int ring) {
  for (int k = 0; k < s->nrings; k++)
    for (int i = 0; i < MOST_STAGES; i++)
      if (s->ages.of[k][i] < OLDEST) s->ages.of[k][i]++;
  uint8_t *own = s->ages.of[ring];
  memmove(own + 1, own, MOST_STAGES - 1);
  own[0] = 0;
}

static void wait(TileNode *n, int left) {
  if (!n->derived || left + 1 < n->derived) n->derived = left + 1;
}

/* All ages from `least` on become `to`; but for NONE, which stays. */
static void replace(Stores *s, int least, uint8_t to) {
  for (int k = 0; k < s->nrings; k++)
    for (int i = 0; i < MOST_STAGES; i++)
      if (s->ages.of[k][i] >= least && s->ages.of[k][i] != NONE) s->ages.of[k][i] = to;
}

static void barrier(Stores *s) { replace(s, DRAINED, NONE); }

/* A wait ends in a barrier of the group (bulk_acquire). */
static void acquire(Stores *s, TileNode *n, int ring) {
  int oldest = s->ages.of[ring][stages_of(s, ring) - 1];
  if (oldest == NONE) return;
  if (oldest == DRAINED) {
    n->sync_before = true;
    barrier(s);
    return;
  }
  wait(n, oldest);
  replace(s, oldest, NONE);
}

/* The first drain of several waits for all rings, as it is the same thread's groups that the others would wait for next. */
static void drain(Stores *s, TileNode *n, int ring) {
  bool pending = false;
  for (int i = 0; i < stages_of(s, ring); i++) pending |= s->ages.of[ring][i] <= OLDEST;
  if (!pending) return;
  wait(n, 0);
  replace(s, 0, DRAINED);
}

static void join(Ages *a, const Ages *b) {
  for (int k = 0; k < MOST_RINGS; k++)
    for (int i = 0; i < MOST_STAGES; i++)
      if (b->of[k][i] < a->of[k][i]) a->of[k][i] = b->of[k][i];
}

/* ---- the walk ---- */

static void walk(Stores *s, const TileRegion *r);

static void walk_loop(Stores *s, const TileNode *n) {
  while (!s->failed) {
    Ages before = s->ages;
    for (int k = 0; k < n->nregions; k++) walk(s, tile_region(s->p, n, k));
    join(&s->ages, &before);
    if (!memcmp(&before, &s->ages, sizeof before)) return;
  }
}

static void walk_if(Stores *s, const TileNode *n) {
  Ages before = s->ages;
  walk(s, tile_region(s->p, n, 0));
  Ages then = s->ages;
  s->ages = before;
  if (n->nregions > 1) walk(s, tile_region(s->p, n, 1));
  join(&s->ages, &then);
}

static void visit(Stores *s, TileNode *n) {
  int ring;
  switch (n->op) {
  case TILE_for: case TILE_while: case TILE_each: case TILE_produce: walk_loop(s, n); return;
  case TILE_if: walk_if(s, n); return;
  case TILE_role:
    memset(&s->ages, NONE, sizeof s->ages); /* its own thread's */
    walk(s, tile_region(s->p, n, 0));
    memset(&s->ages, NONE, sizeof s->ages);
    return;
  case TILE_acquire:
    ring = ring_number(s, tile_arg(s->p, n, 0).i);
    if (ring >= 0) acquire(s, n, ring);
    return;
  case TILE_commit:
    ring = ring_number(s, tile_slot_ring(s->p, tile_arg(s->p, n, 0)).i);
    if (ring >= 0) commit(s, ring);
    return;
  case TILE_drain:
    ring = ring_number(s, tile_arg(s->p, n, 0).i);
    if (ring >= 0) drain(s, n, ring);
    return;
  case TILE_store_slot: /* of the group: what its threads have written is there before the copy */
  case TILE_sync: barrier(s); return;
  default:
    for (int k = 0; k < n->nregions; k++) walk(s, tile_region(s->p, n, k));
  }
}

static void walk(Stores *s, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n && !s->failed; i++) visit(s, &s->p->nodes.at[r->at[i]]);
}

bool hazard_store(TileProgram *p, TileId kernel) {
  Stores s = {.p = p};
  memset(&s.ages, NONE, sizeof s.ages);
  walk(&s, tile_region(p, tile_at(p, kernel), 0));
  return !s.failed;
}
