/* mutate_lanes.c - rules about what the lanes of a warp owe one another. See mutate_rules.c.
 *
 * bar.warp.sync hands to each lane what the others have done and know. It is of no consequence if between the barriers around it
 *
 *   nothing to hand on   before it, no lane has done or learnt anything that the others have not: there were only waits that all lanes
 *                        execute, products of the whole warp, and arrivals, which touch no data
 *   nothing follows      after it, no lane does anything that could rely on it: there are only waits, or the program ends
 *   one lane             whatever is done before and after it, the same lane does: the one that elect.sync chooses (always the same of
 *                        the same members)
 *
 *   registers untouched  wgmma.fence orders registers alone: since the one before it, nothing but products has touched theirs
 *   same in all lanes    an exchange of a value that all lanes have */
#include "mutate.h"

static const MutInstr *at(const MutFlow *f, int i) { return &f->p->instr[f->e->first + i]; }

/* Do all lanes of each warp execute it, together? */
static bool by_all(const MutFlow *f, int i) { return at(f, i)->guard == MUT_NONE && !f->apart[f->block[i]] && !f->one_lane[i]; }

/* A barrier at which every lane of a warp that has one arrives, and learns what the others have done. */
static bool joins_lanes(const MutFlow *f, int i) {
  const MutInstr *in = at(f, i);
  if (!by_all(f, i) || mutate_begins(in, "barrier cluster")) return false;
  if (in->id == ISA_bar_warp_sync) return !in->op[0].e[0].reg && (uint32_t)in->op[0].offset == 0xffffffffu;
  return in->id == ISA_bar_sync || in->id == ISA_barrier_sync || in->id == ISA_barrier_sync_aligned;
}

static MutVerdict judge_arrival(const MutFlow *f, int from, int i) {
  const MutInstr *in = at(f, i);
  (void)from;
  if (!mutate_begins(in, "barrier cluster arrive")) return MUTATE_GO_ON;
  return mutate_has(in, "relaxed") || !by_all(f, i) ? MUTATE_VIOLATED : MUTATE_SATISFIED;
}

/* Likewise, for what comes after it: a wait for the cluster, at whose barrier every lane has arrived and released. */
static bool has_joined(const MutFlow *f, int i) {
  if (joins_lanes(f, i)) return true;
  return by_all(f, i) && mutate_begins(at(f, i), "barrier cluster wait") && mutate_on_every_path(f, i, true, false, judge_arrival);
}

typedef enum { DOES_NOTHING, WAITS, ARRIVES, OF_WARP_AS_ONE, DOES } Deed;

static bool is_wait(const MutInstr *in) { return mutate_begins(in, "mbarrier try_wait") || mutate_begins(in, "mbarrier test_wait"); }

/* What an instruction means for other threads. */
static Deed deed_of(const MutInstr *in) {
  if (in->id == ISA_cp_bulk_commit_group || in->id == ISA_elect_sync || in->id == ISA_prefetch_tensormap || mutate_is(in, "setmaxnreg")) return DOES_NOTHING;
  if (mutate_begins(in, "ld global nc")) return DOES_NOTHING; /* of memory that nobody writes */
  if (mutate_is(in, "shfl") || mutate_is(in, "vote") || mutate_is(in, "match") || mutate_is(in, "redux")) return DOES_NOTHING; /* values alone */
  if (is_wait(in)) return WAITS;
  if (mutate_begins(in, "mbarrier arrive") || in->id == ISA_bar_arrive) return ARRIVES;
  if (mutate_is(in, "wgmma")) return OF_WARP_AS_ONE;
  return mutate_touches_memory(in) || in->form->flags & ISA_SYNC ? DOES : DOES_NOTHING;
}

static MutVerdict judge_before(const MutFlow *f, int from, int i) {
  if (i != from && has_joined(f, i)) return MUTATE_SATISFIED;
  switch (i == from ? DOES_NOTHING : deed_of(at(f, i))) {
  case DOES_NOTHING:
  case ARRIVES: return MUTATE_GO_ON;
  case WAITS:
  case OF_WARP_AS_ONE: return by_all(f, i) ? MUTATE_GO_ON : MUTATE_VIOLATED;
  default: return MUTATE_VIOLATED;
  }
}

static MutVerdict judge_after(const MutFlow *f, int from, int i) {
  if (i != from && joins_lanes(f, i)) return MUTATE_SATISFIED;
  Deed d = i == from ? DOES_NOTHING : deed_of(at(f, i));
  return d == DOES_NOTHING || d == WAITS ? MUTATE_GO_ON : MUTATE_VIOLATED;
}

static MutVerdict judge_one_lane(const MutFlow *f, int from, int i) {
  return i == from || deed_of(at(f, i)) == DOES_NOTHING || f->one_lane[i] ? MUTATE_GO_ON : MUTATE_VIOLATED;
}

static MutVerdict judge_one_after(const MutFlow *f, int from, int i) {
  return i != from && joins_lanes(f, i) ? MUTATE_SATISFIED : judge_one_lane(f, from, i);
}

static MutVerdict judge_one_before(const MutFlow *f, int from, int i) {
  return i != from && has_joined(f, i) ? MUTATE_SATISFIED : judge_one_lane(f, from, i);
}

const char *mutate_lanes_know(const MutFlow *f, int i) {
  if (!joins_lanes(f, i) || !f->e->in_a_row) return NULL;
  if (mutate_on_every_path(f, i, false, true, judge_after)) return "nothing follows";
  if (mutate_on_every_path(f, i, true, true, judge_before)) return "nothing to hand on";
  bool one = mutate_on_every_path(f, i, false, true, judge_one_after) && mutate_on_every_path(f, i, true, true, judge_one_before);
  return one ? "one lane" : NULL;
}

/* ---- registers of products ---- */

static bool is_product(const MutInstr *in) { return mutate_begins(in, "wgmma mma_async"); }

/* The vectors of a product: its accumulator, and A where that comes from registers. */
static bool is_held(const MutFlow *f, int name) {
  for (int i = 0; i < f->e->n; i++)
    for (int k = 0; is_product(at(f, i)) && k < at(f, i)->n; k++)
      for (int j = 0; at(f, i)->op[k].is->brace && j < at(f, i)->op[k].n; j++)
        if (at(f, i)->op[k].e[j].reg && at(f, i)->op[k].e[j].name == name) return true;
  return false;
}

static MutVerdict judge_registers(const MutFlow *f, int from, int i) {
  const MutInstr *in = at(f, i);
  if (i != from && in->id == ISA_wgmma_fence) return by_all(f, i) ? MUTATE_SATISFIED : MUTATE_VIOLATED;
  if (is_product(in)) return MUTATE_GO_ON;
  if (in->guard != MUT_NONE && is_held(f, in->guard)) return MUTATE_VIOLATED;
  for (int k = 0; k < in->n; k++)
    for (int j = 0; j < in->op[k].n; j++)
      if (in->op[k].e[j].reg && is_held(f, in->op[k].e[j].name)) return MUTATE_VIOLATED;
  return MUTATE_GO_ON;
}

const char *mutate_registers_untouched(const MutFlow *f, int i) {
  return mutate_on_every_path(f, i, true, false, judge_registers) ? "registers untouched" : NULL;
}

/* ---- exchanges ---- */

const char *mutate_same_in_warp(const MutFlow *f, int i) {
  const MutInstr *in = at(f, i);
  if (!mutate_is(in, "shfl") || !by_all(f, i) || !f->e->in_a_row || !in->op[1].e[0].reg || f->lanes_vary[in->op[1].e[0].name]) return NULL;
  return "same in all lanes";
}
