/* lower_role.c - roles, elected threads, schedulers, and the turns that groups of a role take.
 *
 * A role is a branch that its warps take together: the warp's index comes from a shuffle, so that ptxas knows it to be the same in
 * every lane. Inside, threads, warps and barriers are those of one group of the role. The order in which roles stand is the order of
 * their warps; the last one needs no test. Budgets of registers are asked for at a role's begin, where the whole warpgroup stands. */
#include "lower.h"
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

static const TileRegion *kernel_body(const Lower *l) { return tile_region(l->tiles, tile_at(l->tiles, l->kernel), 0); }

static bool is_last_role(const Lower *l, const TileNode *role) {
  const TileRegion *body = kernel_body(l);
  const TileNode *last = NULL;
  for (uint32_t i = 0; i < body->n; i++)
    if (l->tiles->nodes.at[body->at[i]].op == TILE_role) last = &l->tiles->nodes.at[body->at[i]];
  return role == last;
}

bool lower_has_roles(const Lower *l) {
  const TileRegion *body = kernel_body(l);
  for (uint32_t i = 0; i < body->n; i++)
    if (l->tiles->nodes.at[body->at[i]].op == TILE_role) return true;
  return false;
}

int lower_most_groups(const Lower *l) {
  const TileRegion *body = kernel_body(l);
  int64_t most = 1;
  for (uint32_t i = 0; i < body->n; i++) {
    const TileNode *n = &l->tiles->nodes.at[body->at[i]];
    int64_t groups = n->op == TILE_role ? tile_attr_int(l->tiles, n, TA_groups, 1) : 1;
    if (groups > most) most = groups;
  }
  return (int)most;
}

/* Same in every lane, and known to ptxas to be so. */
PtxReg lower_uniform(Lower *l, PtxReg r) { return DEF(shfl_sync_idx_b32, R(r), po_i(0), po_i(31), po_i(0xffffffffll)); }

/* ---- barriers of a group ---- */

void lower_group_barrier(Lower *l) {
  const RoleScope *s = &l->role;
  if (!s->inside) {
    ptx_put(l->ptx, ISA_bar_sync, po_i(0));
  } else if (s->warps == 1) {
    ptx_put(l->ptx, ISA_bar_warp_sync, po_i(0xffffffffll));
  } else {
    PtxOpnd id = s->groups == 1 ? po_i(s->barrier) : R(DEF(add_s32, R(s->group), po_i(s->barrier)));
    ptx_put(l->ptx, ISA_bar_sync, id, po_i(s->warps * 32));
  }
}

static int take_barriers(Lower *l, int n) { /* tile_check has counted them: at most 16 */
  int first = l->barriers;
  l->barriers += n;
  return first;
}

/* ---- one thread of the group ---- */

/* The statements until lower_single_end are for one thread, always the same one: the elected lane of the group's first warp. */
PtxLabel lower_single_begin(Lower *l) {
  PtxLabel end = ptx_label(l->ptx);
  if (l->role.single) return (PtxLabel){0};
  if (l->role.warps > 1) {
    ptx_guard(l->ptx, DEF(setp_ne_s32, R(l->warp), po_i(0)), false);
    ptx_put(l->ptx, ISA_bra, po_label(end));
  }
  ptx_guard(l->ptx, (PtxReg){0}, false);
  PtxReg lane = ptx_reg(l->ptx, PTX_R), chosen = ptx_reg(l->ptx, PTX_P);
  ptx_put(l->ptx, ISA_elect_sync, po_pair(lane, chosen), po_i(0xffffffffll));
  ptx_guard(l->ptx, chosen, true);
  ptx_put(l->ptx, ISA_bra, po_label(end));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  ptx_scope_begin(l->ptx);
  l->role.single = true;
  return end;
}

void lower_single_end(Lower *l, PtxLabel end) {
  if (!end.id) return;
  l->role.single = false;
  ptx_scope_end(l->ptx);
  ptx_place(l->ptx, end);
  ptx_put(l->ptx, ISA_bar_warp_sync, po_i(0xffffffffll)); /* what comes next may need whole warps */
}

void lower_elect(Lower *l) {
  TileNode *n = l->node;
  PtxLabel end = lower_single_begin(l);
  lower_region(l, tile_region(l->tiles, n, 0));
  lower_single_end(l, end);
}

/* ---- roles ---- */

/* ptxas gives each thread at the start what the register file has for it: setmaxnreg moves away from there. */
static int launch_registers(const Lower *l) {
  int64_t ctas = l->ptx->min_ctas ? l->ptx->min_ctas : 1, regs = 65536 / (l->ptx->threads * ctas) / 8 * 8;
  return regs > 255 ? 255 : (int)regs;
}

static void ask_for_registers(Lower *l, const TileNode *role) {
  int64_t regs = tile_attr_int(l->tiles, role, TA_regs, 0);
  if (!regs) return;
  if (!l->ptx->min_ctas) {
    lower_error(l, "a role's regs needs min_ctas of the kernel: without it the registers at its start are not known");
    return;
  }
  if (regs % 8 || regs < 24 || regs > 256) {
    lower_error(l, "a role's regs is %lld; a multiple of 8 from 24 to 256 is possible", (long long)regs);
    return;
  }
  ptx_put(l->ptx, regs < launch_registers(l) ? ISA_setmaxnreg_dec : ISA_setmaxnreg_inc, po_i(regs));
}

/* Who comes last lets the first group of each order begin. */
static void begin_orders(Lower *l) {
  const TileRegion *body = kernel_body(l);
  for (uint32_t i = 0; i < body->n; i++) {
    const Val *v = &l->val[body->at[i]];
    if (v->kind != VAL_ORDER || v->n != (uint32_t)l->role.groups || l->role.groups < 2) continue;
    ptx_guard(l->ptx, DEF(setp_ne_s32, R(l->role.group), po_i(l->role.groups - 1)), false);
    PtxLabel skip = ptx_label(l->ptx);
    ptx_put(l->ptx, ISA_bra, po_label(skip));
    ptx_guard(l->ptx, (PtxReg){0}, false);
    ptx_put(l->ptx, ISA_bar_arrive, po_i(v->i), po_i(2 * 32 * l->role.warps));
    ptx_place(l->ptx, skip);
  }
}

static void enter_scope(Lower *l, const TileNode *n, int first) {
  RoleScope *s = &l->role;
  PtxReg mine = first ? DEF(sub_s32, R(l->warp), po_i(first)) : l->warp;
  *s = (RoleScope){.inside = true, .warps = (int)tile_attr_int(l->tiles, n, TA_warps, 1), .groups = (int)tile_attr_int(l->tiles, n, TA_groups, 1)};
  if (s->warps > 1) s->barrier = take_barriers(l, s->groups);
  if (s->groups == 1) {
    s->group = DEF(mov_b32, po_i(0));
    l->warp = mine;
  } else {
    s->group = DEF(div_u32, R(mine), po_i(s->warps));
    l->warp = DEF(sub_s32, R(mine), R(DEF(mul_lo_s32, R(s->group), po_i(s->warps))));
  }
  l->tid = DEF(add_s32, R(DEF(shl_b32, R(l->warp), po_i(5))), R(l->lane));
  l->threads = s->warps * 32;
}

void lower_role(Lower *l) {
  TileNode *n = l->node;
  uint32_t index = (uint32_t)(n - l->tiles->nodes.at);
  int total, first = tile_role_first_warp(l->tiles, l->kernel, (TileId){index}, &total);
  PtxReg tid = l->tid, warp = l->warp;
  int threads = l->threads;
  RoleScope outer = l->role;
  bool last = is_last_role(l, n);
  PtxLabel next = ptx_label(l->ptx);
  if (!l->roles_end.id) l->roles_end = ptx_label(l->ptx);
  if (!last) {
    ptx_guard(l->ptx, DEF(setp_ge_s32, R(l->warp), po_i(first + tile_role_warps(l->tiles, n))), false);
    ptx_put(l->ptx, ISA_bra, po_label(next));
    ptx_guard(l->ptx, (PtxReg){0}, false);
  }
  ptx_scope_begin(l->ptx);
  enter_scope(l, n, first);
  ask_for_registers(l, n);
  PtxReg *group = ARENA_NEW(l->arena, KEEP, PtxReg);
  *group = l->role.group;
  *lower_result(l) = (Val){.kind = VAL_SCALAR, .dtype = KILN_I32, .n = 1, .reg = group};
  begin_orders(l);
  lower_region(l, tile_region(l->tiles, n, 0));
  ptx_scope_end(l->ptx);
  if (!last) {
    ptx_put(l->ptx, ISA_bra, po_label(l->roles_end));
    ptx_place(l->ptx, next);
  } else {
    ptx_place(l->ptx, l->roles_end);
  }
  l->tid = tid, l->warp = warp, l->threads = threads, l->role = outer;
}

/* ---- orders: groups take turns on one named barrier each ---- */

void lower_order(Lower *l) {
  int64_t groups = tile_attr_int(l->tiles, l->node, TA_groups, 2);
  *lower_result(l) = (Val){.kind = VAL_ORDER, .n = (uint32_t)groups, .i = take_barriers(l, (int)groups)};
}

static PtxReg turn_of(Lower *l) { return l->node->nargs > 1 ? lower_i32(l, lower_arg(l, 1)) : l->role.group; }

void lower_enter(Lower *l) { /* the group itself and those that pass the turn on to it meet here */
  const Val *o = lower_arg(l, 0);
  ptx_put(l->ptx, ISA_bar_sync, R(DEF(add_s32, R(turn_of(l)), po_i(o->i))), po_i(2 * 32 * l->role.warps));
}

void lower_leave(Lower *l) {
  const Val *o = lower_arg(l, 0);
  PtxReg next = DEF(add_s32, R(turn_of(l)), po_i(1));
  PtxReg around = DEF(setp_eq_s32, R(next), po_i((int64_t)o->n));
  PtxReg to = DEF(selp_b32, po_i(0), R(next), R(around));
  ptx_put(l->ptx, ISA_bar_arrive, R(DEF(add_s32, R(to), po_i(o->i))), po_i(2 * 32 * l->role.warps));
}

/* ---- schedulers ---- */

/* The product of its scalars is the number of tiles. */
void lower_sched(Lower *l) {
  const char *kind = tile_attr_str(l->tiles, l->node, TA_kind, "");
  if (!strcmp(kind, "dynamic")) {
    lower_refuse(l, "dynamic schedulers are not lowered for %s yet; use kind=\"persistent\"", l->target->name);
    return;
  }
  PtxReg total = {0};
  for (int k = 0; k < l->node->nargs; k++) {
    PtxReg n = lower_i32(l, lower_arg(l, k));
    total = total.id ? DEF(mul_lo_s32, R(total), R(n)) : n;
  }
  PtxReg *reg = ARENA_NEW(l->arena, KEEP, PtxReg);
  *reg = total;
  *lower_result(l) = (Val){.kind = VAL_SCHED, .dtype = KILN_I32, .n = 1, .reg = reg, .i = !strcmp(kind, "persistent")};
}

/* Tile after tile of this cluster: from its own index on, in steps of the number of clusters. `start` begins at the group's turn and
 * `step` passes over the turns of the others. A static scheduler gives each cluster its one tile. */
void lower_each(Lower *l) {
  TileNode *n = l->node;
  const Val *sched = lower_arg(l, 0);
  int64_t step = tile_attr_int(l->tiles, n, TA_step, 1);
  PtxReg cluster = DEF(mov_u32_special, po_special(PTX_CTAID_X)), clusters = DEF(mov_u32_special, po_special(PTX_NCTAID_X));
  if (l->cluster > 1) {
    cluster = DEF(div_u32, R(cluster), po_i(l->cluster));
    clusters = DEF(div_u32, R(clusters), po_i(l->cluster));
  }
  PtxReg t = ptx_var(l->ptx, PTX_R), first = cluster;
  if (tile_attr_int(l->tiles, n, TA_start, 0)) first = DEF(add_s32, R(first), R(DEF(mul_lo_s32, R(clusters), R(l->role.group))));
  ptx_put(l->ptx, ISA_mov_b32, R(t), R(first));
  PtxReg by = step > 1 ? DEF(mul_lo_s32, R(clusters), po_i(step)) : clusters;
  PtxLabel top = ptx_label(l->ptx), end = ptx_label(l->ptx);
  ptx_guard(l->ptx, DEF(setp_ge_s32, R(t), R(sched->reg[0])), false);
  ptx_put(l->ptx, ISA_bra, po_label(end));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  if (sched->i) ptx_place(l->ptx, top);
  ptx_scope_begin(l->ptx);
  PtxReg *now = ARENA_NEW(l->arena, KEEP, PtxReg);
  *now = ptx_reg(l->ptx, PTX_R);
  ptx_put(l->ptx, ISA_mov_b32, R(*now), R(t));
  *lower_result(l) = (Val){.kind = VAL_SCALAR, .dtype = KILN_I32, .n = 1, .reg = now};
  lower_region(l, tile_region(l->tiles, n, 0));
  l->node = n;
  l->ptx->loc = n->loc;
  PtxReg again = ptx_reg(l->ptx, PTX_P);
  if (sched->i) {
    ptx_put(l->ptx, ISA_add_s32, R(t), R(t), R(by));
    ptx_put(l->ptx, ISA_setp_lt_s32, R(again), R(t), R(sched->reg[0]));
  }
  ptx_scope_end(l->ptx);
  if (sched->i) {
    ptx_guard(l->ptx, again, false);
    ptx_put(l->ptx, ISA_bra, po_label(top));
    ptx_guard(l->ptx, (PtxReg){0}, false);
  }
  ptx_place(l->ptx, end);
}
