/* hazard_flight.c - products in flight: proves that nobody touches what they use, or refuses.
 *
 * Asynchronous products work on their accumulator, on an operand in registers, and on slots of rings, until a wait covers their
 * group. Each of these has an age: 1 in a group that is still open, 2 in the youngest that is closed, and so on; 0: not in use. A
 * commit makes all of them older, mma_wait n ends those older than the n youngest groups. A fragment in use is not read or written,
 * a slot in use is not released. What loops and branches may leave is the younger of two ages; loops are walked until nothing
 * changes. The same walk finds which end of its ring a skip passes over. */
#include "hazard.h"
#include <string.h>

enum { OLDEST = 100 };

typedef struct Flight {
  TileProgram *p;
  bool groups;        /* the kernel's products are asynchronous */
  uint8_t *age;       /* by node: fragments, slot tokens, carriers */
  const TileNode *role;
  bool failed;
} Flight;

static void refuse(Flight *f, const TileNode *n, const char *text, uint32_t line) {
  if (!f->failed) diag_error(f->p->diag, n->loc, text, tile_op_info((TileOp)n->op)->name, line);
  f->failed = true;
}

static unsigned line_of(const Flight *f, uint32_t id) { return f->p->nodes.at[id].loc.line; }

/* The fragment whose registers the value shows, or the token whose slot the tile lies in. */
static uint32_t owner_of(const TileProgram *p, uint32_t id) {
  for (;;) {
    const TileNode *n = &p->nodes.at[id];
    bool view = n->op == TILE_slice || n->op == TILE_read || n->op == TILE_part || n->op == TILE_trans || n->op == TILE_rows || n->op == TILE_field;
    if (!view) return id;
    id = tile_arg(p, n, 0).i;
  }
}

static bool any_open(const Flight *f) {
  for (uint32_t i = 1; i < f->p->nodes.n; i++)
    if (f->age[i] == 1) return true;
  return false;
}

static void need_closed(Flight *f, const TileNode *n) {
  if (any_open(f)) refuse(f, n, "%s: products issued before are not committed; close their group with mma_commit first", 0);
}

/* ---- single statements ---- */

static void use_operand(Flight *f, const TileNode *n, int k) {
  uint32_t owner = owner_of(f->p, tile_arg(f->p, n, k).i);
  TileKind kind = (TileKind)f->p->nodes.at[owner].type.kind;
  if (kind == TK_SMEM)
    refuse(f, n, "%s: an operand of an asynchronous product lies in a plain shared tile (line %u); let it be a field of a ring filled by tma",
           line_of(f, owner));
  f->age[owner] = 1;
}

static void issue(Flight *f, const TileNode *n) {
  if (!f->groups) return; /* complete when they are issued */
  for (int k = 0; k < 3; k++) use_operand(f, n, k);
}

static void commit(Flight *f) {
  for (uint32_t i = 1; i < f->p->nodes.n; i++)
    if (f->age[i] && f->age[i] < OLDEST) f->age[i]++;
}

static void wait(Flight *f, const TileNode *n) {
  int64_t left = tile_attr_int(f->p, n, TA_n, 0);
  need_closed(f, n);
  for (uint32_t i = 1; i < f->p->nodes.n; i++)
    if (f->age[i] >= left + 2) f->age[i] = 0;
}

static void check_touch(Flight *f, const TileNode *n) {
  for (int k = 0; k < n->nargs; k++) {
    uint32_t owner = owner_of(f->p, tile_arg(f->p, n, k).i);
    if (f->p->nodes.at[owner].type.kind == TK_FRAG && f->age[owner])
      refuse(f, n, "%s: the fragment of line %u is in use by products in flight; mma_wait for them first", line_of(f, owner));
  }
}

static void hand_on(Flight *f, uint32_t id) {
  const TileNode *n = &f->p->nodes.at[id];
  uint32_t first = tile_arg(f->p, n, 0).i;
  switch (n->op) {
  case TILE_carry: f->age[id] = f->age[first]; break;
  case TILE_swap:
    f->age[id] = f->age[first];
    f->age[first] = f->age[tile_arg(f->p, n, 1).i];
    break;
  default: /* take */
    f->age[id] = f->age[first];
    f->age[first] = 0;
  }
}

/* The role that empties the ring passes over full slots, any other over empty ones. */
static void find_end(Flight *f, TileNode *n) {
  const char *by = tile_attr_str(f->p, tile_at(f->p, tile_arg(f->p, n, 0)), TA_emptied_by, "");
  const char *name = f->role ? tile_attr_str(f->p, f->role, TA_name, "") : "";
  size_t len = strlen(name);
  n->derived = 1;
  while (*by && len) {
    if (!strncmp(by, name, len) && strchr("/, ", by[len])) n->derived = 0; /* strchr finds the end of the text, too */
    by += strcspn(by, ", ");
    by += strspn(by, ", ");
  }
}

/* ---- the walk ---- */

static void walk(Flight *f, const TileRegion *r);

static uint8_t *save(Flight *f) {
  uint8_t *copy = ARENA_ARRAY(f->p->arena, PASS, uint8_t, f->p->nodes.n);
  memcpy(copy, f->age, f->p->nodes.n);
  return copy;
}

static void join(Flight *f, const uint8_t *other) { /* the younger of both */
  for (uint32_t i = 0; i < f->p->nodes.n; i++)
    if (other[i] && (!f->age[i] || other[i] < f->age[i])) f->age[i] = other[i];
}

static void walk_loop(Flight *f, const TileNode *n) {
  need_closed(f, n);
  while (!f->failed) {
    uint8_t *before = save(f);
    for (int k = 0; k < n->nregions; k++) walk(f, tile_region(f->p, n, k));
    if (!f->failed) need_closed(f, n);
    join(f, before);
    if (!memcmp(before, f->age, f->p->nodes.n)) return;
  }
}

static void walk_if(Flight *f, const TileNode *n) {
  need_closed(f, n);
  uint8_t *before = save(f);
  walk(f, tile_region(f->p, n, 0));
  uint8_t *then = save(f);
  memcpy(f->age, before, f->p->nodes.n);
  if (n->nregions > 1) walk(f, tile_region(f->p, n, 1));
  if (!f->failed) need_closed(f, n);
  join(f, then);
}

static void walk_role(Flight *f, const TileNode *n) {
  f->role = n;
  walk(f, tile_region(f->p, n, 0));
  for (uint32_t i = 1; i < f->p->nodes.n && !f->failed; i++)
    if (f->age[i]) refuse(f, n, "%s: ends while products are in flight on what line %u has; mma_wait for them", line_of(f, i));
  f->role = NULL;
}

static void visit(Flight *f, uint32_t id) {
  TileNode *n = &f->p->nodes.at[id];
  switch (n->op) {
  case TILE_mma: case TILE_mma_rs: issue(f, n); return;
  case TILE_mma_commit: commit(f); return;
  case TILE_mma_wait: wait(f, n); return;
  case TILE_carry: case TILE_swap: case TILE_take: hand_on(f, id); return;
  case TILE_skip: find_end(f, n); return;
  case TILE_release:
    if (f->age[tile_arg(f->p, n, 0).i])
      refuse(f, n, "%s: products in flight may still read the slot of line %u; mma_wait for them first", line_of(f, tile_arg(f->p, n, 0).i));
    return;
  case TILE_for: case TILE_while: case TILE_each: case TILE_produce: walk_loop(f, n); return;
  case TILE_if: walk_if(f, n); return;
  case TILE_role: walk_role(f, n); return;
  case TILE_wait: case TILE_acquire: f->age[id] = 0; return; /* a slot of its own each time around */
  default:
    check_touch(f, n);
    if (n->type.kind == TK_FRAG && n->op != TILE_frag && n->op != TILE_read && n->op != TILE_slice && f->age[id])
      refuse(f, n, "%s: the products of the iteration before (line %u) may still read its registers; mma_wait for them first", n->loc.line);
    for (int k = 0; k < n->nregions; k++) walk(f, tile_region(f->p, n, k));
  }
}

static void walk(Flight *f, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n && !f->failed; i++) visit(f, r->at[i]);
}

bool hazard_flight(TileProgram *p, TileId kernel) {
  Flight f = {.p = p, .groups = tile_has_groups(p, kernel), .age = ARENA_ARRAY(p->arena, PASS, uint8_t, p->nodes.n)};
  walk(&f, tile_region(p, tile_at(p, kernel), 0));
  return !f.failed;
}
