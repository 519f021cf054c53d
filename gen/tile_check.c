/* tile_check.c - what tile_node cannot see: whole-program rules of the tile IR.
 *
 *   definitions   a value is used where its region is open, after its definition
 *   scopes        what several threads must execute together does not stand where only some of them come
 *   roles         at the kernel's top level; their warps fill the block; budgets fit the register file
 *   barriers      sixteen named ones in all
 *   rings         tile_ring.c
 *
 * Asynchronous hazards (fragments touched while in flight, deadlock of rings) are hazard's. */
#include "tile_impl.h"
#include <stdlib.h>
#include <string.h>

typedef struct Around { /* where a statement stands: node ids, 0 none */
  uint32_t parent, kernel, role, elect, divergent;
  int region;
} Around;

typedef struct Checker {
  TileProgram *p;
  uint8_t *visible;  /* by node: its value may be used here */
  uint32_t *role_of; /* by node: the role that executes it, 0: every warp */
  bool has_roles;
  int64_t ctas; /* of the cluster */
} Checker;

#define FAIL(c, n, ...) diag_error((c)->p->diag, (n)->loc, __VA_ARGS__)

static const TileNode *node_at(const Checker *c, uint32_t id) { return &c->p->nodes.at[id]; }
static const char *op_name(const TileNode *n) { return tile_op_info((TileOp)n->op)->name; }
static const char *role_name(const Checker *c, uint32_t role) { return tile_attr_str(c->p, node_at(c, role), TA_name, "?"); }

/* ---- roles ---- */

int tile_role_warps(const TileProgram *p, const TileNode *role) {
  return (int)(tile_attr_int(p, role, TA_warps, 1) * tile_attr_int(p, role, TA_groups, 1));
}

int tile_role_first_warp(const TileProgram *p, TileId kernel, TileId role, int *total) {
  const TileRegion *body = tile_region(p, tile_at(p, kernel), 0);
  int64_t next = 0, first = -1;
  for (uint32_t i = 0; i < body->n; i++) {
    const TileNode *n = &p->nodes.at[body->at[i]];
    if (n->op != TILE_role) continue;
    int64_t align = tile_attr_int(p, n, TA_align, 1);
    next = (next + align - 1) / align * align;
    if (body->at[i] == role.i) first = next;
    next += tile_role_warps(p, n);
  }
  if (total) *total = (int)next;
  return (int)first;
}

/* setmaxnreg acts on four warps at once, so the roles within one warpgroup have one budget. */
static void check_budgets(Checker *c, uint32_t kernel, const TileRegion *body) {
  int64_t registers = 0, of_group[256] = {0}, anywhere = tile_attr_int(c->p, node_at(c, kernel), TA_regs, 0);
  uint32_t holder[256] = {0};
  bool budgeted = false;
  for (uint32_t i = 0; i < body->n; i++) {
    const TileNode *n = node_at(c, body->at[i]);
    if (n->op != TILE_role) continue;
    int first = tile_role_first_warp(c->p, (TileId){kernel}, (TileId){body->at[i]}, NULL), warps = tile_role_warps(c->p, n);
    int64_t regs = tile_attr_int(c->p, n, TA_regs, 0);
    budgeted |= regs > 0;
    for (int g = first / 4; g <= (first + warps - 1) / 4 && g < 256; g++) {
      if (holder[g] && of_group[g] != regs)
        FAIL(c, n,
             "role \"%s\" has regs %lld, role \"%s\" in the same warpgroup (warps %d to %d) %lld; four warps share one budget: "
             "give them equal regs, or align the role to 4 warps",
             role_name(c, body->at[i]), (long long)regs, role_name(c, holder[g]), 4 * g, 4 * g + 3, (long long)of_group[g]);
      if (!holder[g]) registers += (regs ? regs : anywhere) * 128;
      holder[g] = body->at[i];
      of_group[g] = regs;
    }
  }
  int64_t file = 64 * 1024 / tile_attr_int(c->p, node_at(c, kernel), TA_min_ctas, 1);
  if (budgeted && registers > file)
    FAIL(c, node_at(c, kernel),
         "the roles' registers add up to %lld (regs x 128 per warpgroup); the register file leaves %lld for a CTA: lower a "
         "role's regs or warps",
         (long long)registers, (long long)file);
}

static void check_roles(Checker *c, uint32_t kernel, const TileRegion *body) {
  int total;
  for (uint32_t i = 0; i < body->n; i++)
    for (uint32_t j = 0; j < i && node_at(c, body->at[i])->op == TILE_role; j++)
      if (node_at(c, body->at[j])->op == TILE_role && !strcmp(role_name(c, body->at[i]), role_name(c, body->at[j])))
        FAIL(c, node_at(c, body->at[i]), "two roles are called \"%s\"", role_name(c, body->at[i]));
  tile_role_first_warp(c->p, (TileId){kernel}, (TileId){0}, &total);
  int64_t threads = tile_attr_int(c->p, node_at(c, kernel), TA_threads, 0);
  if (total * 32 != threads) {
    FAIL(c, node_at(c, kernel), "the roles take %d warps, %d threads; the kernel has threads=%lld", total, total * 32,
         (long long)threads);
    return; /* the numbers below would mean nothing */
  }
  check_budgets(c, kernel, body);
}

/* ---- named barriers: id 0 is the CTA's, roles of several warps need one for each group that synchronises ---- */

enum { NAMED_BARRIERS = 16 };

static bool synchronises(const TileProgram *p, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &p->nodes.at[r->at[i]];
    if ((n->op == TILE_sync && !n->nargs) || n->op == TILE_reduce || n->op == TILE_put_slot) return true;
    for (int k = 0; k < n->nregions; k++)
      if (synchronises(p, tile_region(p, n, k))) return true;
  }
  return false;
}

static int count_barriers(const Checker *c, const TileRegion *r) {
  int count = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = node_at(c, r->at[i]);
    if (n->op == TILE_barrier) count++;
    if (n->op == TILE_order) count += (int)tile_attr_int(c->p, n, TA_groups, 2);
    if (n->op == TILE_role && tile_attr_int(c->p, n, TA_warps, 1) > 1 && synchronises(c->p, tile_region(c->p, n, 0)))
      count += (int)tile_attr_int(c->p, n, TA_groups, 1);
    for (int k = 0; k < n->nregions; k++) count += count_barriers(c, tile_region(c->p, n, k));
  }
  return count;
}

/* ---- scopes ---- */

static bool touches_fragment(const Checker *c, const TileNode *n) {
  if (n->type.kind == TK_FRAG) return true;
  for (int k = 0; k < n->nargs; k++)
    if (tile_at(c->p, tile_arg(c->p, n, k))->type.kind == TK_FRAG) return true;
  return false;
}

static bool is_control(const TileNode *n) { return n->op == TILE_for || n->op == TILE_while || n->op == TILE_if; }

static void check_single(Checker *c, const TileNode *n, const Around *at) {
  unsigned line = node_at(c, at->elect)->loc.line;
  if (touches_fragment(c, n)) {
    FAIL(c, n,
         "%s: a fragment lies in the registers of many threads; inside elect (line %u) only one thread is there: move it out",
         op_name(n), line);
    return;
  }
  bool together = n->op == TILE_sync || n->op == TILE_cluster_sync || n->op == TILE_elect || n->op == TILE_each || n->op == TILE_produce ||
                  tile_op_info((TileOp)n->op)->scope == 'G';
  if (together) {
    FAIL(c, n, "%s: needs every thread of its group; inside elect (line %u) only one is there: move it out", op_name(n), line);
    return;
  }
  if (n->op != TILE_fill_slot) return;
  const char *how = tile_attr_str(c->p, tile_at(c->p, tile_slot_ring(c->p, tile_arg(c->p, n, 0))), TA_filled_by, "");
  if (strcmp(how, "tma"))
    FAIL(c, n,
         "fill_slot: copies of a ring filled by %s are shared out over all threads; inside elect (line %u) only one is there",
         how, line);
}

static void check_divergent(Checker *c, const TileNode *n, const Around *at) {
  char scope = tile_op_info((TileOp)n->op)->scope;
  if (is_control(n) || n->op == TILE_yield || (scope == 'T' && n->op != TILE_skip)) return;
  bool value = scope == '-' && tile_op_is((TileOp)n->op, 'P');
  if (value || n->op == TILE_frag) return;
  FAIL(c, n, "%s: inside a divergent if (line %u), where only some threads come; move it out, or make the condition uniform",
       op_name(n), node_at(c, at->divergent)->loc.line);
}

static void check_warpgroup(Checker *c, const TileNode *n, const Around *at) {
  if (!at->role) {
    int64_t threads = tile_attr_int(c->p, node_at(c, at->kernel), TA_threads, 0);
    if (threads % 128)
      FAIL(c, n, "%s: works on groups of 4 warps; the kernel's %lld threads are no whole groups of 128", op_name(n),
           (long long)threads);
    return;
  }
  const TileNode *role = node_at(c, at->role);
  int64_t warps = tile_attr_int(c->p, role, TA_warps, 1);
  int first = tile_role_first_warp(c->p, (TileId){at->kernel}, (TileId){at->role}, NULL);
  if (warps % 4 || first % 4)
    FAIL(c, n,
         "%s: works on groups of 4 warps; role \"%s\" has groups of %lld warps from warp %d on: give it warps=4 and align=4",
         op_name(n), role_name(c, at->role), (long long)warps, first);
}

static void check_pair(Checker *c, const TileNode *n) {
  bool pair = tile_attr_int(c->p, n, TA_pair, 0) || tile_attr_int(c->p, n, TA_leader, 0);
  if (pair && c->ctas % 2)
    FAIL(c, n, "%s: %s needs CTA pairs; the kernel's cluster has %lld CTA: cluster=[2,1,1]", op_name(n),
         n->op == TILE_elect ? "leader" : "pair", (long long)c->ctas);
  if (n->op == TILE_ring && *tile_attr_str(c->p, n, TA_multicast, "") && c->ctas < 2)
    FAIL(c, n, "ring: multicast needs a cluster; the kernel has none: cluster=[2,1,1]");
}

/* ---- clusters ---- */

static void check_among(Checker *c, const TileNode *n) {
  int64_t among = tile_attr_int(c->p, n, TA_among, 0);
  if (among && c->ctas % among)
    FAIL(c, n, "ring: multicast among %lld CTAs; the cluster's %lld do not divide so", (long long)among, (long long)c->ctas);
}

/* What another CTA holds is read, and lies in a shared tile that is no slot: slots are handed on by barriers of their own. */
static void check_peers(Checker *c, const TileNode *n) {
  bool reads = n->op == TILE_load || n->op == TILE_load_like || n->op == TILE_slice || n->op == TILE_part || n->op == TILE_trans;
  if (n->op == TILE_peer) {
    if (c->ctas < 2) FAIL(c, n, "peer: the kernel has no cluster: cluster=[2,1,1]");
    const TileNode *of = tile_at(c->p, tile_arg(c->p, n, 0));
    while (of->op == TILE_slice || of->op == TILE_part || of->op == TILE_trans) of = tile_at(c->p, tile_arg(c->p, of, 0));
    if (of->op != TILE_smem) FAIL(c, n, "peer: takes a shared tile or a part of one, not a slot's and not a peer's");
  }
  for (int k = 0; k < n->nargs && !reads; k++) {
    const TileNode *of = tile_at(c->p, tile_arg(c->p, n, k));
    while (of->op == TILE_slice || of->op == TILE_part || of->op == TILE_trans) of = tile_at(c->p, tile_arg(c->p, of, 0));
    if (of->op == TILE_peer) FAIL(c, n, "%s: a tile of another CTA (line %u) is read by load only", op_name(n), of->loc.line);
  }
}

static int count_cluster_syncs(const TileProgram *p, const TileRegion *r) {
  int count = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &p->nodes.at[r->at[i]];
    count += n->op == TILE_cluster_sync;
    for (int k = 0; k < n->nregions; k++) count += count_cluster_syncs(p, tile_region(p, n, k));
  }
  return count;
}

/* Every thread of the cluster comes to a cluster_sync, so each role has as many. */
static void check_cluster_syncs(Checker *c, uint32_t kernel, const TileRegion *body) {
  int all = count_cluster_syncs(c->p, body), of_role = -1;
  const TileNode *first = NULL;
  if (all && c->ctas < 2) FAIL(c, node_at(c, kernel), "cluster_sync: the kernel has no cluster: cluster=[2,1,1]");
  for (uint32_t i = 0; i < body->n; i++) {
    const TileNode *n = node_at(c, body->at[i]);
    if (n->op != TILE_role) continue;
    int here = count_cluster_syncs(c->p, tile_region(c->p, n, 0));
    if (first && here != of_role)
      FAIL(c, n, "role \"%s\" has %d cluster_sync, role \"%s\" has %d; every thread of the cluster must come to each", role_name(c, body->at[i]), here,
           tile_attr_str(c->p, first, TA_name, "?"), of_role);
    if (!first) first = n, of_role = here;
  }
}

/* ---- single statements that depend on their place ---- */

static void check_order_use(Checker *c, const TileNode *n, const Around *at) {
  int64_t groups = tile_attr_int(c->p, tile_at(c->p, tile_arg(c->p, n, 0)), TA_groups, 2);
  int64_t have = at->role ? tile_attr_int(c->p, node_at(c, at->role), TA_groups, 1) : 1;
  if (n->nargs < 2 && have != groups)
    FAIL(c, n,
         "%s: the order is for %lld groups, %s%s has %lld; say which group's turn it is as second operand, or make the numbers "
         "equal",
         op_name(n), (long long)groups, at->role ? "role " : "", at->role ? role_name(c, at->role) : "the kernel",
         (long long)have);
}

static bool ends_in_yield(const Checker *c, const TileRegion *r) { return r->n && node_at(c, r->at[r->n - 1])->op == TILE_yield; }

static void check_yield(Checker *c, const TileNode *n, const Around *at) {
  const TileNode *parent = node_at(c, at->parent);
  if (parent->op != TILE_while || at->region != 0) {
    FAIL(c, n, "yield: ends the condition of a while; nothing else has a value to give");
    return;
  }
  const TileRegion *r = tile_region(c->p, parent, 0);
  if (node_at(c, r->at[r->n - 1]) != n) FAIL(c, n, "yield: is the last statement of its region");
  const TileType *t = n->nargs == 1 ? &tile_at(c->p, tile_arg(c->p, n, 0))->type : NULL;
  if (!t || t->dtype != KILN_BOOL) FAIL(c, n, "yield: gives one predicate, whether to go on");
}

/* Rings and what synchronises exist once for the whole run of a kernel or role; in a loop or branch they would be made anew. */
static void check_declaration(Checker *c, const TileNode *n, const Around *at) {
  bool once = n->op == TILE_ring || n->op == TILE_order || n->op == TILE_barrier || n->op == TILE_sched || n->op == TILE_tmem ||
              n->op == TILE_semaphore;
  uint16_t parent = node_at(c, at->parent)->op;
  if (once && parent != TILE_kernel && parent != TILE_role)
    FAIL(c, n, "%s: declared inside %s; it stands at the top of the kernel or of a role", op_name(n),
         op_name(node_at(c, at->parent)));
}

static void check_place(Checker *c, uint32_t id, const Around *at) {
  const TileNode *n = node_at(c, id);
  if (at->elect) check_single(c, n, at);
  if (at->divergent) check_divergent(c, n, at);
  if (tile_op_info((TileOp)n->op)->scope == 'G' || (n->op == TILE_order && at->role)) check_warpgroup(c, n, at);
  check_pair(c, n);
  check_peers(c, n);
  if (n->op == TILE_ring) check_among(c, n);
  check_declaration(c, n, at);
  switch (n->op) {
  case TILE_role:
    if (node_at(c, at->parent)->op != TILE_kernel)
      FAIL(c, n, "role: stands inside %s; roles stand at the kernel's top level", op_name(node_at(c, at->parent)));
    return;
  case TILE_yield: check_yield(c, n, at); return;
  case TILE_while:
    if (!ends_in_yield(c, tile_region(c->p, n, 0))) FAIL(c, n, "while: its first region ends in yield of the condition");
    return;
  case TILE_enter:
  case TILE_leave: check_order_use(c, n, at); return;
  case TILE_each:
    if (tile_attr_int(c->p, n, TA_start, 0) && !at->role)
      FAIL(c, n, "each: start begins at the group's index; there is no role here");
    return;
  default: return;
  }
}

/* ---- the walk ---- */

static void walk_region(Checker *c, const TileRegion *r, Around at);

static void walk_node(Checker *c, uint32_t id, const Around *at) {
  const TileNode *n = node_at(c, id);
  c->role_of[id] = at->role;
  for (int k = 0; k < n->nargs; k++) {
    uint32_t arg = tile_arg(c->p, n, k).i;
    if (c->visible[arg]) continue;
    const TileNode *def = node_at(c, arg);
    FAIL(c, n,
         "%s: operand %d is a value of line %u (%s), whose region has ended: define it further out, or keep it in a variable",
         op_name(n), k + 1, def->loc.line, op_name(def));
  }
  check_place(c, id, at);
  Around inside = *at;
  inside.parent = id;
  if (n->op == TILE_role) inside.role = id;
  if (n->op == TILE_elect) inside.elect = id;
  if (n->op == TILE_if && tile_attr_int(c->p, n, TA_divergent, 0)) inside.divergent = id;
  if (n->nregions) { /* counter, tile, group: values of the inside only */
    c->visible[id] = 1;
    for (int k = 0; k < n->nregions; k++) {
      inside.region = k;
      walk_region(c, tile_region(c->p, n, k), inside);
    }
    c->visible[id] = 0;
  } else {
    c->visible[id] = 1;
  }
}

static void walk_region(Checker *c, const TileRegion *r, Around at) {
  for (uint32_t i = 0; i < r->n; i++) walk_node(c, r->at[i], &at);
  for (uint32_t i = 0; i < r->n; i++) c->visible[r->at[i]] = 0;
}

static void check_kernel(Checker *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  const TileRegion *body = tile_region(c->p, n, 0);
  const TileAttr *cluster = tile_attr(c->p, n, TA_cluster);
  c->ctas = 1;
  for (int64_t i = 0; cluster && i < cluster->i; i++) c->ctas *= cluster->list[i];
  c->has_roles = false;
  for (uint32_t i = 0; i < body->n; i++) c->has_roles |= node_at(c, body->at[i])->op == TILE_role;
  if (c->has_roles) check_roles(c, id, body);
  check_cluster_syncs(c, id, body);
  int barriers = 1 + count_barriers(c, body);
  if (barriers > NAMED_BARRIERS)
    FAIL(c, n,
         "%d named barriers are needed (1 for the CTA, one per group of an order, per barrier, and per group of a role that "
         "synchronises); there are %d",
         barriers, NAMED_BARRIERS);
  walk_region(c, body, (Around){.parent = id, .kernel = id});
}

bool tile_check(TileProgram *p) {
  int errors = p->diag->errors;
  Checker c = {.p = p};
  c.visible = ARENA_ARRAY(p->arena, PASS, uint8_t, p->nodes.n);
  c.role_of = ARENA_ARRAY(p->arena, PASS, uint32_t, p->nodes.n);
  for (uint32_t i = 0; i < p->top.n; i++) {
    for (uint32_t j = 0; j < i; j++)
      if (!strcmp(tile_attr_str(p, node_at(&c, p->top.at[i]), TA_name, ""),
                  tile_attr_str(p, node_at(&c, p->top.at[j]), TA_name, "")))
        FAIL(&c, node_at(&c, p->top.at[i]), "two kernels are called \"%s\"",
             tile_attr_str(p, node_at(&c, p->top.at[i]), TA_name, ""));
    int before = p->diag->errors;
    check_kernel(&c, p->top.at[i]);
    if (p->diag->errors == before) tile_check_rings(p, c.role_of, (TileId){p->top.at[i]});
  }
  return p->diag->errors == errors;
}
