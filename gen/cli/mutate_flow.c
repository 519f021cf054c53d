/* mutate_flow.c - see mutate_flow.h. */
#include "mutate_flow.h"
#include "cli.h"
#include <string.h>

static const MutInstr *at(const MutFlow *f, int i) { return &f->p->instr[f->e->first + i]; }

int mutate_next(const MutFlow *f, int i, int next[2]) {
  const MutInstr *in = at(f, i);
  int n = 0;
  bool ends = in->form->flags & ISA_TERMINATOR, always = in->guard == MUT_NONE;
  if (in->target != MUT_NONE) next[n++] = in->target - f->e->first;
  if (!ends || !always) next[n++] = i + 1;
  return n;
}

/* ---- what an instruction does ---- */

bool mutate_is(const MutInstr *in, const char *mnemonic) {
  size_t n = strlen(mnemonic);
  return strncmp(in->form->opcode, mnemonic, n) == 0 && (in->form->opcode[n] == '.' || in->form->opcode[n] == 0);
}

bool mutate_begins(const MutInstr *in, const char *words) {
  const char *s = in->form->opcode;
  for (; *words && (*s == *words || (*s == '.' && *words == ' ')); s++) words++;
  return !*words && (*s == '.' || !*s);
}

bool mutate_has(const MutInstr *in, const char *word) {
  size_t n = strlen(word);
  for (const char *s = in->form->opcode; *s; s += strcspn(s, "."), s += *s == '.')
    if (strcspn(s, ".") == n && memcmp(s, word, n) == 0) return true;
  return false;
}

bool mutate_touches_memory(const MutInstr *in) {
  if ((in->form->flags & ISA_ASYNC) && (in->form->flags & (ISA_READS | ISA_WRITES))) return true; /* by a descriptor, perhaps */
  for (int i = 0; i < in->n; i++) {
    if (in->op[i].is->kind != ISA_OPND_MEM) continue;
    char space = in->op[i].is->cls;
    if (space == 'g' || space == 's' || space == 'k' || space == 'a') return in->form->flags & (ISA_READS | ISA_WRITES | ISA_ASYNC | ISA_SYNC);
  }
  return false;
}

static bool has_address(const MutInstr *in) {
  for (int i = 0; i < in->n; i++)
    if (in->op[i].is->kind == ISA_OPND_MEM) return true;
  return false;
}

bool mutate_orders(const MutInstr *in) {
  uint16_t f = in->form->flags;
  return (f & ISA_SYNC) && (f & ISA_READS) && (f & ISA_WRITES) && !has_address(in);
}

bool mutate_wait(const MutInstr *in, int *groups) {
  if (in->id == ISA_cp_async_wait_all) return *groups = -1, true;
  if (in->id != ISA_cp_async_wait_group) return false;
  int64_t n = in->op[0].offset;
  *groups = n < 0 || n > 31 ? 31 : (int)n;
  return true;
}

static bool starts_copy(const MutInstr *in) { return (in->form->flags & ISA_ASYNC) && (in->form->flags & ISA_WRITES); }

/* ---- graph ---- */

static void find_reached(MutFlow *f) {
  int n = f->e->n, *stack = cli_alloc(((size_t)n + 2) * sizeof *stack), top = 0, next[2];
  if (n) stack[top++] = 0, f->reached[0] = true;
  while (top) {
    int i = stack[--top];
    for (int k = mutate_next(f, i, next); k-- > 0;) {
      if (next[k] >= n || f->reached[next[k]]) continue;
      f->reached[next[k]] = true;
      stack[top++] = next[k];
    }
  }
  cli_free(stack);
}

static void list_preds(MutFlow *f) {
  int n = f->e->n, next[2];
  for (int i = 0; i < n; i++)
    for (int k = mutate_next(f, i, next); k-- > 0;)
      if (next[k] < n) f->pred_first[next[k] + 1]++;
  for (int i = 0; i < n; i++) f->pred_first[i + 1] += f->pred_first[i];
  f->pred = cli_alloc(((size_t)f->pred_first[n] + 1) * sizeof *f->pred);
  int *used = cli_alloc(((size_t)n + 1) * sizeof *used);
  for (int i = 0; i < n; i++)
    for (int k = mutate_next(f, i, next); k-- > 0;)
      if (next[k] < n) f->pred[f->pred_first[next[k]] + used[next[k]]++] = i;
  cli_free(used);
}

static void list_blocks(MutFlow *f) {
  int n = f->e->n;
  for (int i = 0; i < n; i++) {
    bool first = i == 0 || at(f, i)->joins || at(f, i - 1)->target != MUT_NONE || at(f, i - 1)->form->flags & ISA_TERMINATOR;
    if (first) f->block_first[f->nblocks++] = i;
    f->block[i] = f->nblocks - 1;
  }
  f->block_first[f->nblocks] = n;
}

/* ---- registers that are read later ---- */

static void note(uint64_t *set, int name, bool in) {
  if (in) set[name / 64] |= (uint64_t)1 << name % 64;
  else set[name / 64] &= ~((uint64_t)1 << name % 64);
}

/* Backwards over one instruction. A guarded write leaves the old value in some lanes. */
static void before(const MutInstr *in, uint64_t *live) {
  for (int i = 0; i < in->n && in->guard == MUT_NONE; i++)
    for (int k = 0; k < in->op[i].n; k++)
      if (mutate_writes(&in->op[i], k)) note(live, mutate_element(&in->op[i], k)->name, false);
  for (int i = 0; i < in->n; i++)
    for (int k = 0; k < in->op[i].n; k++)
      if (mutate_reads(&in->op[i], k)) note(live, mutate_element(&in->op[i], k)->name, true);
  if (in->guard != MUT_NONE) note(live, in->guard, true);
}

static void find_live(MutFlow *f) {
  size_t words = (size_t)f->words;
  uint64_t *in = cli_alloc((size_t)f->nblocks * words * 8 + 8), *now = cli_alloc(words * 8 + 8);
  for (bool changed = true; changed;) {
    changed = false;
    for (int b = f->nblocks - 1; b >= 0; b--) {
      int last = f->block_first[b + 1] - 1, next[2];
      uint64_t *out = f->live_out + (size_t)b * words;
      for (int k = mutate_next(f, last, next); k-- > 0;)
        for (size_t w = 0; next[k] < f->e->n && w < words; w++) out[w] |= in[(size_t)f->block[next[k]] * words + w];
      memcpy(now, out, words * 8);
      for (int i = last; i >= f->block_first[b]; i--) before(at(f, i), now);
      if (memcmp(now, in + (size_t)b * words, words * 8) == 0) continue;
      memcpy(in + (size_t)b * words, now, words * 8);
      changed = true;
    }
  }
  cli_free(in);
  cli_free(now);
}

bool mutate_live_out(const MutFlow *f, int block, int name) {
  return f->live_out[(size_t)block * (size_t)f->words + (size_t)name / 64] >> name % 64 & 1;
}

/* ---- copies in flight ---- */

static MutCopies after(const MutInstr *in, MutCopies c) {
  int groups;
  if (starts_copy(in)) {
    c.open = true;
  } else if (in->id == ISA_cp_async_commit_group && in->guard == MUT_NONE) {
    c.groups = (c.groups & 1u << 31) | c.groups << 1 | c.open;
    c.open = false;
  } else if (in->id == ISA_cp_async_commit_group) { /* perhaps */
    c.groups |= c.groups << 1 | c.open;
  } else if (mutate_wait(in, &groups) && in->guard == MUT_NONE) {
    if (groups < 0) c = (MutCopies){0};
    else if (groups < 31) c.groups &= (1u << groups) - 1;
  }
  return c;
}

static void find_copies(MutFlow *f) {
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < f->e->n; i++) {
      MutCopies c = after(at(f, i), f->copies[i]);
      int next[2];
      for (int k = mutate_next(f, i, next); k-- > 0;) {
        if (next[k] >= f->e->n || !f->reached[i]) continue;
        MutCopies *to = &f->copies[next[k]], was = *to;
        to->groups |= c.groups;
        to->open |= c.open;
        changed |= was.groups != to->groups || was.open != to->open;
      }
    }
  }
}

/* ---- do all threads meet the same barriers? ---- */

/* The threads that a value is the same for: those of a CTA, or the lanes of a warp. */
typedef enum { OF_CTA, OF_WARP } Among;

/* The only instruction that writes a register; NULL: there are several, or none. */
static const MutInstr *only_writer(const MutFlow *f, int name) {
  const MutInstr *found = NULL;
  for (int i = 0; i < f->e->n; i++)
    for (int k = 0; k < at(f, i)->n; k++)
      for (int j = 0; j < at(f, i)->op[k].n; j++) {
        if (!mutate_writes(&at(f, i)->op[k], j) || mutate_element(&at(f, i)->op[k], j)->name != name) continue;
        if (found) return NULL;
        found = at(f, i);
      }
  return found;
}

static bool reads_special(const MutFlow *f, const MutInstr *in, const char *name) {
  return in && in->guard == MUT_NONE && in->n == 2 && in->op[1].is->kind == ISA_OPND_SPECIAL && strcmp(f->p->name[in->op[1].e[0].name], name) == 0;
}

static bool for_all_lanes(const MutOperand *members) { return !members->e[0].reg && (uint32_t)members->offset == 0xffffffffu; }

/* Where lanes differ though the value does not: the number of the warp in a row of threads, and what a lane gives to all others. */
static bool is_same_in_warp(const MutFlow *f, const bool *varies, const MutInstr *in) {
  if (in->guard != MUT_NONE) return false;
  if (in->id == ISA_shr_u32 && in->op[1].e[0].reg && !in->op[2].e[0].reg && in->op[2].offset >= 5)
    return f->e->in_a_row && reads_special(f, only_writer(f, in->op[1].e[0].name), "%tid.x");
  if (in->id == ISA_shfl_sync_idx_b32 && for_all_lanes(&in->op[4])) {
    bool whole = !in->op[3].e[0].reg && in->op[3].offset == 31;
    return whole && (!in->op[2].e[0].reg || !varies[in->op[2].e[0].name]);
  }
  return false;
}

/* The same in every one of these threads, whenever it is read between two writes: made of parameters and constants. */
static bool is_uniform(const MutFlow *f, const bool *varies, const MutInstr *in, Among among) {
  static const char *const same[] = {"%ctaid.", "%nctaid.", "%ntid.", "%clusterid.", "%nclusterid.", "%cluster_ctarank", "%cluster_nctarank"};
  if (among == OF_WARP && is_same_in_warp(f, varies, in)) return true;
  if (!(in->form->flags & ISA_PURE) || (in->form->flags & ISA_COLLECTIVE)) return false;
  if (in->guard != MUT_NONE && varies[in->guard]) return false;
  for (int i = 0; i < in->n; i++) {
    const MutOperand *o = &in->op[i];
    for (int k = 0; k < o->n; k++)
      if (mutate_reads(o, k) && varies[mutate_element(o, k)->name]) return false;
    bool known = o->is->kind != ISA_OPND_SPECIAL;
    for (size_t k = 0; !known && k < sizeof same / sizeof same[0]; k++) known = strncmp(f->p->name[o->e[0].name], same[k], strlen(same[k])) == 0;
    if (!known) return false;
  }
  return true;
}

/* Blocks on the ways from a block's end, without those in `closed` and what lies behind them; true: the end is among them. */
static bool spread(const MutFlow *f, int block, const bool *closed, bool *seen) {
  int *stack = cli_alloc(((size_t)f->nblocks + 1) * sizeof *stack), top = 0, next[2];
  bool end = false;
  memset(seen, 0, (size_t)f->nblocks);
  stack[top++] = block;
  while (top) {
    int b = stack[--top], last = f->block_first[b + 1] - 1, count = mutate_next(f, last, next);
    const MutInstr *in = at(f, last);
    end |= count == 0 || (in->form->flags & ISA_TERMINATOR && in->target == MUT_NONE);
    for (int k = 0; k < count; k++) {
      if (next[k] >= f->e->n) {
        end = true;
        continue;
      }
      int to = f->block[next[k]];
      if (closed[to] || seen[to]) continue;
      seen[to] = true;
      stack[top++] = to;
    }
  }
  cli_free(stack);
  return end;
}

/* Between a branch that threads take differently and where all its ways have met again: what is written there varies. */
static void mark_parted(const MutFlow *f, int branch_block, bool *parted) {
  size_t n = (size_t)f->nblocks + 1;
  bool *closed = cli_alloc(n), *meets = cli_alloc(n), *seen = cli_alloc(n);
  for (int b = 0; b < f->nblocks; b++) { /* a block that no way to the end avoids */
    closed[b] = true;
    meets[b] = !spread(f, branch_block, closed, seen);
    closed[b] = false;
  }
  spread(f, branch_block, meets, seen);
  for (int b = 0; b < f->nblocks; b++) parted[b] |= seen[b];
  cli_free(closed);
  cli_free(meets);
  cli_free(seen);
}

/* A block that waits until memory holds what it waits for: whoever comes in goes out by the same way. */
static bool is_spin(const MutFlow *f, int b) {
  const MutInstr *last = at(f, f->block_first[b + 1] - 1);
  return last->target != MUT_NONE && last->target - f->e->first == f->block_first[b];
}

static void find_varying(const MutFlow *f, Among among, bool *varies, bool *parted) {
  bool *done = cli_alloc((size_t)f->nblocks + 1);
  for (bool changed = true; changed;) {
    changed = false;
    for (int b = 0; b < f->nblocks; b++) {
      const MutInstr *last = at(f, f->block_first[b + 1] - 1);
      if (done[b] || last->guard == MUT_NONE || !(last->form->flags & ISA_TERMINATOR) || !varies[last->guard]) continue;
      done[b] = true;
      if (among == OF_CTA || !is_spin(f, b)) mark_parted(f, b, parted);
    }
    for (int i = 0; i < f->e->n; i++) {
      const MutInstr *in = at(f, i);
      bool uniform = !parted[f->block[i]] && is_uniform(f, varies, in, among);
      for (int k = 0; k < in->n && !uniform; k++)
        for (int j = 0; j < in->op[k].n; j++) {
          if (!mutate_writes(&in->op[k], j)) continue;
          bool *v = &varies[mutate_element(&in->op[k], j)->name];
          changed |= !*v;
          *v = true;
        }
    }
  }
  cli_free(done);
}

static bool is_barrier(const MutInstr *in) {
  return (mutate_is(in, "bar") || mutate_is(in, "barrier")) && in->id != ISA_bar_warp_sync;
}

/* The one barrier (or the end, e->n) that every path from an instruction meets first; MUT_NONE: there are several. */
static int first_barrier(const MutFlow *f, int from) {
  int n = f->e->n, *stack = cli_alloc(((size_t)n + 2) * sizeof *stack), top = 0, found = -2;
  bool *seen = cli_alloc((size_t)n + 1);
  stack[top++] = from;
  while (top) {
    int i = stack[--top], next[2], count = mutate_next(f, i, next);
    if (count == 0 || (at(f, i)->form->flags & ISA_TERMINATOR && at(f, i)->target == MUT_NONE)) next[count++] = n;
    for (int k = 0; k < count; k++) {
      bool meets = next[k] >= n || is_barrier(at(f, next[k]));
      if (meets) found = found == -2 || found == next[k] ? next[k] : MUT_NONE;
      else if (!seen[next[k]]) seen[next[k]] = true, stack[top++] = next[k];
    }
  }
  cli_free(stack);
  cli_free(seen);
  return found == -2 ? n : found;
}

/* Threads may part at a branch that is not the same for all, if they meet again before, or at, one barrier. */
static bool find_in_step(const MutFlow *f) {
  bool *varies = cli_alloc((size_t)f->p->nnames + 1), *parted = cli_alloc((size_t)f->nblocks + 1), in_step = true;
  find_varying(f, OF_CTA, varies, parted);
  for (int i = 0; i < f->e->n && in_step; i++) {
    const MutInstr *in = at(f, i);
    if (!f->reached[i] || in->guard == MUT_NONE || !varies[in->guard]) continue;
    if (is_barrier(in)) in_step = false;
    else if (in->form->flags & ISA_TERMINATOR) in_step = first_barrier(f, i) != MUT_NONE;
  }
  cli_free(varies);
  cli_free(parted);
  return in_step;
}

/* ---- which instructions does one and the same lane of a warp execute alone? ---- */

/* The instruction before `i` of its block that writes a predicate is an election among all lanes: which always chooses the same. */
static bool is_elected(const MutFlow *f, int i, int predicate) {
  for (int k = i - 1; k >= f->block_first[f->block[i]]; k--) {
    const MutInstr *in = at(f, k);
    for (int o = 0; o < in->n; o++)
      for (int j = 0; j < in->op[o].n; j++)
        if (mutate_writes(&in->op[o], j) && mutate_element(&in->op[o], j)->name == predicate)
          return in->id == ISA_elect_sync && in->guard == MUT_NONE && for_all_lanes(&in->op[1]);
  }
  return false;
}

static bool by_one(const MutFlow *f, int from, int to) { /* on the way from one instruction to the next */
  const MutInstr *in = at(f, from);
  if (in->guard != MUT_NONE && in->form->flags & ISA_TERMINATOR && in->target != MUT_NONE && in->target - f->e->first != from + 1) {
    bool holds = (to == in->target - f->e->first) != in->guard_not; /* the predicate does, on this way */
    if (holds && is_elected(f, from, in->guard)) return true;
  }
  return f->one_lane[from];
}

static void find_one_lane(MutFlow *f) {
  memset(f->one_lane, 1, (size_t)f->e->n);
  if (f->e->n) f->one_lane[0] = false;
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < f->e->n; i++) {
      bool one = f->one_lane[i];
      for (int k = f->pred_first[i]; one && k < f->pred_first[i + 1]; k++) one = !f->reached[f->pred[k]] || by_one(f, f->pred[k], i);
      changed |= one != f->one_lane[i];
      f->one_lane[i] = one;
    }
  }
}

void mutate_flow_make(MutFlow *f, const MutProgram *p, const MutEntry *e) {
  size_t n = (size_t)e->n;
  memset(f, 0, sizeof *f);
  f->p = p;
  f->e = e;
  f->words = p->nnames / 64 + 1;
  f->reached = cli_alloc(n + 1);
  f->pred_first = cli_alloc((n + 2) * sizeof *f->pred_first);
  f->block = cli_alloc((n + 1) * sizeof *f->block);
  f->block_first = cli_alloc((n + 2) * sizeof *f->block_first);
  f->copies = cli_alloc((n + 1) * sizeof *f->copies);
  find_reached(f);
  list_preds(f);
  list_blocks(f);
  f->live_out = cli_alloc(((size_t)f->nblocks + 1) * (size_t)f->words * 8);
  find_live(f);
  find_copies(f);
  f->in_step = find_in_step(f);
  f->lanes_vary = cli_alloc((size_t)p->nnames + 1);
  f->apart = cli_alloc((size_t)f->nblocks + 1);
  f->one_lane = cli_alloc(n + 1);
  find_varying(f, OF_WARP, f->lanes_vary, f->apart);
  find_one_lane(f);
}

void mutate_flow_free(MutFlow *f) {
  cli_free(f->reached);
  cli_free(f->pred_first);
  cli_free(f->pred);
  cli_free(f->block);
  cli_free(f->block_first);
  cli_free(f->live_out);
  cli_free(f->copies);
  cli_free(f->lanes_vary);
  cli_free(f->apart);
  cli_free(f->one_lane);
}
