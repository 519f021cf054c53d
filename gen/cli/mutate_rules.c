/* mutate_rules.c - the rules by which a mutant is equivalent. Each holds for every run of the program, and follows from it alone.
 *
 *   unreachable      no path leads to the instruction
 *   dead value       what it computes reaches nothing that others can see (mutate_value.c)
 *   same values      everything that leaves its block is computed as before, up to the order of commutative operations (likewise)
 *   order of a sum   the same, if sums of floats may be taken in any order (likewise): the kernel is as right as it was
 *   repeated after   an order (barrier, fence): on every path from it the same one follows, or the end, and between the two lies
 *                    neither an access nor another order. Barriers only where all threads meet them in step
 *   repeated before  on every path to it the same one, or the beginning; otherwise likewise
 *   covered          a wait for copies: on every path a wait that is as strict follows, and between them neither an access, nor a
 *                    copy, nor an order, nor the end
 *   nothing in flight  a wait or commit: on no path is there a copy that it would wait for, or whose group it would number
 *   nothing to hand on, nothing follows, one lane, registers untouched, same in all lanes
 *                    what the lanes of a warp owe one another (mutate_lanes.c) */
#include "mutate.h"
#include <string.h>

static const MutInstr *at(const MutFlow *f, int i) { return &f->p->instr[f->e->first + i]; }

/* The same order again: the same form with the same operands, for every lane. */
static bool repeats(const MutInstr *x, const MutInstr *y) {
  if (x->id != y->id || x->guard != MUT_NONE || y->guard != MUT_NONE || x->n != y->n) return false;
  for (int i = 0; i < x->n; i++)
    if (x->op[i].n != 1 || y->op[i].n != 1 || x->op[i].e[0].reg || y->op[i].e[0].reg || x->op[i].e[0].name != y->op[i].e[0].name) return false;
  return true;
}

/* Follows every path from an instruction (itself left out) until the judge is satisfied. at_end: is the end of the program, or its
 * beginning, as good? */
bool mutate_on_every_path(const MutFlow *f, int from, bool backwards, bool at_end, MutJudge judge) {
  int n = f->e->n, *stack = cli_alloc(((size_t)n + 2) * sizeof *stack), top = 0;
  bool *seen = cli_alloc((size_t)n + 1), holds = true;
  stack[top++] = from;
  while (top && holds) {
    int i = stack[--top], next[2], count = backwards ? f->pred_first[i + 1] - f->pred_first[i] : mutate_next(f, i, next);
    const int *to = backwards ? f->pred + f->pred_first[i] : next;
    if ((backwards && i == 0) || (!backwards && (at(f, i)->form->flags & ISA_TERMINATOR) && at(f, i)->target == MUT_NONE)) holds &= at_end;
    for (int k = 0; k < count && holds; k++) {
      if (to[k] >= n) {
        holds &= at_end;
        continue;
      }
      if (seen[to[k]] || !f->reached[to[k]]) continue;
      seen[to[k]] = true;
      MutVerdict v = judge(f, from, to[k]);
      holds &= v != MUTATE_VIOLATED;
      if (v == MUTATE_GO_ON) stack[top++] = to[k];
    }
  }
  cli_free(stack);
  cli_free(seen);
  return holds;
}

/* A wait for a thread's own copies may lie in between. Another order may not: it would hand on what this one has brought. */
static MutVerdict judge_after(const MutFlow *f, int i, int k) {
  const MutInstr *from = at(f, i), *here = at(f, k);
  int groups;
  if (repeats(from, here)) return MUTATE_SATISFIED;
  return mutate_touches_memory(here) || (mutate_orders(here) && !mutate_wait(here, &groups)) ? MUTATE_VIOLATED : MUTATE_GO_ON;
}

/* Here not even a wait: it completes accesses of this thread, which the order then publishes. */
static MutVerdict judge_before(const MutFlow *f, int i, int k) {
  const MutInstr *from = at(f, i), *here = at(f, k);
  if (repeats(from, here)) return MUTATE_SATISFIED;
  return mutate_touches_memory(here) || mutate_orders(here) ? MUTATE_VIOLATED : MUTATE_GO_ON;
}

static MutVerdict judge_covered(const MutFlow *f, int i, int k) {
  const MutInstr *from = at(f, i), *here = at(f, k);
  int have, need;
  mutate_wait(from, &need);
  if (mutate_wait(here, &have) && here->guard == MUT_NONE && have <= need) return MUTATE_SATISFIED;
  return mutate_touches_memory(here) || mutate_orders(here) ? MUTATE_VIOLATED : MUTATE_GO_ON;
}

/* A barrier of the whole CTA that is arrived at and waited for in one, or a fence: there is nothing that is counted. */
static bool is_whole(const MutFlow *f, const MutInstr *in) {
  if (in->id == ISA_bar_sync || in->id == ISA_barrier_sync) return in->n == 1 && f->in_step;
  return in->n == 0 && (mutate_is(in, "fence") || mutate_is(in, "membar"));
}

static const char *judge_order(const MutFlow *f, int i) {
  const MutInstr *in = at(f, i);
  if (!repeats(in, in) || !is_whole(f, in)) return NULL;
  if (mutate_on_every_path(f, i, false, true, judge_after)) return "repeated after";
  return mutate_on_every_path(f, i, true, true, judge_before) ? "repeated before" : NULL;
}

/* What the mutant waits for at least; 32: nothing. */
static int groups_left(const Mutant *m, int groups) {
  return m->kind == MUTANT_DELETE ? 32 : groups + (int)m->change;
}

static const char *judge_wait(const MutFlow *f, int i, const Mutant *m, int groups) {
  MutCopies c = f->copies[i];
  int left = groups_left(m, groups);
  uint32_t needed = groups < 0 ? ~0u : groups > 31 ? 0 : ~0u << groups, still = left > 31 ? 0 : ~0u << left;
  if (left < 32 && c.groups >> 31) still &= ~(1u << 31); /* an older group, of any age */
  if ((groups >= 0 || !c.open) && !(c.groups & needed & ~still)) return "nothing in flight";
  return mutate_on_every_path(f, i, false, false, judge_covered) ? "covered" : NULL;
}

static const char *judge_synchronising(const MutFlow *f, int i, const Mutant *m) {
  const MutInstr *in = at(f, i);
  int groups;
  if (m->kind == MUTANT_BYPASS) return mutate_same_in_warp(f, i);
  if (m->kind != MUTANT_DELETE && m->kind != MUTANT_LOOSEN) return NULL;
  if (in->id == ISA_bar_warp_sync) return mutate_lanes_know(f, i);
  if (in->id == ISA_wgmma_fence) return mutate_registers_untouched(f, i);
  if (mutate_wait(in, &groups)) return judge_wait(f, i, m, groups);
  if (in->id == ISA_cp_async_commit_group) return !f->copies[i].open && !f->copies[i].groups ? "nothing in flight" : NULL;
  return m->kind == MUTANT_DELETE && mutate_orders(in) ? judge_order(f, i) : NULL;
}

const char *mutate_equivalent(const MutFlow *f, const Mutant *m) {
  int i = m->instr - f->e->first;
  if (!f->reached[i]) return "unreachable";
  const char *rule = judge_synchronising(f, i, m);
  if (rule || m->kind == MUTANT_DELETE || m->kind == MUTANT_LOOSEN || m->kind == MUTANT_WEAKEN || m->kind == MUTANT_AT_ONCE) return rule;
  MutInstr changed = mutate_changed(f->p, m);
  return mutate_same_values(f, m->instr, &changed);
}
