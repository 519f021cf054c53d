/* run.c - the evaluator's execution: a thread runs until it meets others (barrier, collective) or ends; when nobody can go on alone,
 * those who stand together are served. */
#include "text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024, LANES = 32 };
typedef enum State { RUNS, WAITS, ENDED } State; /* WAITS: at code[pc], a barrier or a collective */

typedef struct Thread { int pc; State state; long executed; uint64_t *reg; } Thread;

typedef struct Run {
  const Program *p;
  const EvalLaunch *l;
  unsigned cta;
  Thread thread[MAX_THREADS];
  uint64_t *regs;
  uint8_t *shared;
  char *why;
  size_t bytes;
  bool failed;
} Run;

static bool fail(Run *r, const EvalInstr *i, const char *fmt, ...) {
  char text[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (!r->failed) snprintf(r->why, r->bytes, "line %d: %s: %s", i->line, i->opcode, text);
  r->failed = true;
  return false;
}

static uint64_t cut(uint64_t v, int bits) { return bits >= 64 ? v : v & (((uint64_t)1 << bits) - 1); }
static int width(const Run *r, int reg) { return r->p->reg[reg].bits; }
static void set(const Run *r, Thread *t, int reg, uint64_t v) { t->reg[reg] = cut(v, width(r, reg)); }

static uint64_t value_of(const Thread *t, const EvalOperand *o) {
  if (o->kind == OP_INTEGER || o->kind == OP_SYMBOL) return o->value;
  uint64_t v = t->reg[o->reg[0]];
  return o->negated ? v ^ 1 : v;
}

/* ---- memory ---- */

static uint8_t *place(Run *r, const EvalInstr *i, uint64_t address, size_t bytes) {
  const EvalLaunch *l = r->l;
  if (i->access.space == 's' && address + bytes <= r->p->shared_bytes) return r->shared + address;
  for (int k = 0; k < l->nbuffers && i->access.space == 'g'; k++)
    if (address >= l->buffers[k].base && address - l->buffers[k].base + bytes <= l->buffers[k].bytes) return l->buffers[k].at + (address - l->buffers[k].base);
  fail(r, i, "%zu bytes at 0x%llx are nowhere", bytes, (unsigned long long)address);
  return NULL;
}

static uint64_t extend(const Access *a, uint64_t v) {
  if (a->is_signed && a->bits < 64 && (v >> (a->bits - 1) & 1)) v |= ~(uint64_t)0 << a->bits;
  return v;
}

static uint64_t combine(const Access *a, uint64_t old, uint64_t b, uint64_t c) {
  uint64_t limit = cut(b, a->bits);
  int64_t so = (int64_t)extend(&(Access){.bits = a->bits, .is_signed = true}, old), sb = (int64_t)extend(&(Access){.bits = a->bits, .is_signed = true}, limit);
  bool less = a->is_signed ? so < sb : old < limit;
  switch (a->op[0] << 8 | a->op[1]) {
  case 'a' << 8 | 'd': return old + b;
  case 'm' << 8 | 'i': return less ? old : b;
  case 'm' << 8 | 'a': return less ? b : old;
  case 'a' << 8 | 'n': return old & b;
  case 'o' << 8 | 'r': return old | b;
  case 'x' << 8 | 'o': return old ^ b;
  case 'c' << 8 | 'a': return old == limit ? c : old;
  case 'i' << 8 | 'n': return old >= limit ? 0 : old + 1;
  case 'd' << 8 | 'e': return old == 0 || old > limit ? limit : old - 1;
  default: return b; /* exch */
  }
}

static bool do_atomic(Run *r, Thread *t, const EvalInstr *i) {
  const Access *a = &i->access;
  const EvalOperand *o = i->op + (a->load ? 1 : 0);
  uint64_t old = 0, v;
  uint8_t *at = place(r, i, o->value + (o->reg[0] >= 0 ? t->reg[o->reg[0]] : 0), (size_t)a->bits / 8);
  if (!at) return false;
  memcpy(&old, at, (size_t)a->bits / 8);
  v = combine(a, old, value_of(t, &o[1]), o + 2 < i->op + i->nops ? value_of(t, &o[2]) : 0);
  memcpy(at, &v, (size_t)a->bits / 8);
  if (a->load) set(r, t, i->op[0].reg[0], old);
  return true;
}

static bool do_access(Run *r, Thread *t, const EvalInstr *i) {
  const Access *a = &i->access;
  if (a->atomic) return do_atomic(r, t, i);
  const EvalOperand *data = &i->op[a->load ? 0 : 1], *mem = &i->op[a->load ? 1 : 0];
  uint64_t address = mem->value + (mem->reg[0] >= 0 ? t->reg[mem->reg[0]] : 0);
  size_t bytes = (size_t)a->bits / 8;
  if (a->space == 'p') return set(r, t, data->reg[0], extend(a, cut(r->l->params[address / 8] >> address % 8 * 8, a->bits))), true;
  uint8_t *at = place(r, i, address, bytes * (size_t)a->count);
  if (!at) return false;
  if (address % (bytes * (size_t)a->count)) return fail(r, i, "0x%llx is not aligned", (unsigned long long)address);
  for (int k = 0; k < a->count; k++) {
    uint64_t v = 0;
    if (a->load) {
      memcpy(&v, at + bytes * (size_t)k, bytes);
      set(r, t, data->reg[k], extend(a, v));
    } else {
      v = data->kind == OP_INTEGER ? data->value : t->reg[data->reg[k]];
      memcpy(at + bytes * (size_t)k, &v, bytes);
    }
  }
  return true;
}

/* ---- one thread by itself ---- */

static bool do_special(Run *r, Thread *t, const EvalInstr *i) {
  unsigned me = (unsigned)(t - r->thread), lane = me % LANES;
  const EvalOperand *o = &i->op[1];
  uint64_t v = 0;
  if (o->kind != OP_SPECIAL) return set(r, t, i->op[0].reg[0], value_of(t, o)), true; /* a name's address; cvta of global memory */
  const struct { const char *name; uint64_t value; } known[] = {
    {"%tid.x", me}, {"%tid.y", 0}, {"%tid.z", 0}, {"%ntid.x", r->l->block}, {"%ntid.y", 1}, {"%ntid.z", 1}, {"%ctaid.x", r->cta}, {"%ctaid.y", 0},
    {"%ctaid.z", 0}, {"%nctaid.x", r->l->grid}, {"%nctaid.y", 1}, {"%nctaid.z", 1}, {"%laneid", lane}, {"%lanemask_eq", (uint64_t)1 << lane},
    {"%lanemask_lt", ((uint64_t)1 << lane) - 1}, {"%lanemask_le", ((uint64_t)2 << lane) - 1}, {"%lanemask_gt", ~(((uint64_t)2 << lane) - 1)},
    {"%lanemask_ge", ~(((uint64_t)1 << lane) - 1)}};
  size_t k = 0, n = sizeof known / sizeof *known;
  while (k < n && strcmp(known[k].name, o->name) != 0) k++;
  if (k == n) return fail(r, i, "no special register %s", o->name);
  v = known[k].value;
  return set(r, t, i->op[0].reg[0], v), true;
}

static int source_bits(const Run *r, const EvalInstr *i, const EvalOperand *o, int k) {
  (void)i;
  return o->kind == OP_INTEGER ? 64 : width(r, o->reg[k]);
}

static void do_meaning(Run *r, Thread *t, const EvalInstr *i) {
  Operation op = {0};
  const EvalOperand *d = &i->op[0];
  op.ndst = d->n;
  for (int k = 0; k < d->n; k++) op.dst_bits[k] = width(r, d->reg[k]);
  for (int n = 1; n < i->nops; n++) {
    const EvalOperand *o = &i->op[n];
    int many = o->kind == OP_VECTOR ? o->n : 1;
    for (int k = 0; k < many && op.nsrc < 8; k++, op.nsrc++) {
      op.src[op.nsrc] = many > 1 ? t->reg[o->reg[k]] : value_of(t, o);
      op.src_bits[op.nsrc] = source_bits(r, i, o, k);
    }
  }
  meaning_apply(&i->meaning, &op);
  for (int k = 0; k < d->n; k++) set(r, t, d->reg[k], op.dst[k]);
}

/* Until it must wait or has ended. */
static void run_thread(Run *r, Thread *t) {
  while (t->state == RUNS && !r->failed) {
    if (t->pc == r->p->ncode) {
      t->state = ENDED;
      return;
    }
    const EvalInstr *i = &r->p->code[t->pc];
    if (t->executed++ > r->l->limit) {
      fail(r, i, "more than %ld instructions", r->l->limit);
      return;
    }
    bool taken = i->guard < 0 || (t->reg[i->guard] & 1) != i->guard_negated;
    int next = t->pc + 1;
    if (taken) switch (i->action) {
      case ACT_MEANING: do_meaning(r, t, i); break;
      case ACT_ACCESS: do_access(r, t, i); break;
      case ACT_BRANCH: next = (int)i->op[0].value; break;
      case ACT_RETURN: t->state = ENDED; break;
      case ACT_SPECIAL: do_special(r, t, i); break;
      case ACT_NOTHING: break;
      case ACT_BARRIER:
      case ACT_COLLECTIVE:
        t->state = WAITS;
        return;
    }
    t->pc = next;
  }
}

/* ---- several threads together ---- */

static void go_on(Thread *t) {
  t->pc++;
  t->state = RUNS;
}

/* Every thread of the CTA that has not ended waits at a barrier: they meet. */
static bool serve_barrier(Run *r) {
  unsigned n = r->l->block, count = 0, alive = 0;
  const EvalInstr *i = NULL;
  for (unsigned k = 0; k < n; k++) {
    Thread *t = &r->thread[k];
    if (t->state == ENDED) continue;
    if (t->state != WAITS || r->p->code[t->pc].action != ACT_BARRIER || (i && i != &r->p->code[t->pc])) return false;
    i = &r->p->code[t->pc];
    alive++;
    if (i->nops > 1) count += (unsigned)value_of(t, &i->op[2]) & 1;
  }
  if (!i) return false;
  uint64_t v = strstr(i->opcode, ".popc") ? count : strstr(i->opcode, ".and") ? count == alive : count > 0;
  for (unsigned k = 0; k < n; k++) {
    if (r->thread[k].state == ENDED) continue;
    if (i->nops > 1) set(r, &r->thread[k], i->op[0].reg[0], v);
    go_on(&r->thread[k]);
  }
  return true;
}

typedef struct Group { Thread *lane[LANES]; unsigned mask; const EvalInstr *i; } Group; /* lane[k]: NULL if not of them */

static void do_shuffle(Run *r, const Group *g) {
  const EvalInstr *i = g->i;
  uint64_t result[LANES], source[LANES];
  bool inside[LANES];
  for (unsigned k = 0; k < LANES; k++) source[k] = g->lane[k] ? value_of(g->lane[k], &i->op[1]) : 0;
  for (unsigned k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    int b = (int)(value_of(g->lane[k], &i->op[2]) & 31), c = (int)value_of(g->lane[k], &i->op[3]), bound = c & 31, segment = c >> 8 & 31;
    int first = (int)k & segment, last = first | (bound & ~segment & 31), j; /* of k's segment: lowest lane, and the clamp */
    if (strstr(i->opcode, ".up.")) j = (int)k - b, inside[k] = j >= last;
    else if (strstr(i->opcode, ".down.")) j = (int)k + b, inside[k] = j <= last;
    else if (strstr(i->opcode, ".bfly.")) j = (int)k ^ b, inside[k] = j <= last;
    else j = first | (b & ~segment & 31), inside[k] = j <= last;
    if (!inside[k]) j = (int)k;
    result[k] = source[j & 31];
  }
  for (unsigned k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    set(r, g->lane[k], i->op[0].reg[0], result[k]);
    if (i->op[0].kind == OP_PAIR) set(r, g->lane[k], i->op[0].reg[1], inside[k]);
  }
}

static void do_vote(Run *r, const Group *g) {
  unsigned ballot = 0;
  for (unsigned k = 0; k < LANES; k++)
    if (g->lane[k]) ballot |= (unsigned)(value_of(g->lane[k], &g->i->op[1]) & 1) << k;
  bool all = ballot == g->mask, any = ballot != 0;
  uint64_t v = strstr(g->i->opcode, ".ballot") ? ballot : strstr(g->i->opcode, ".all") ? all : strstr(g->i->opcode, ".any") ? any : all || !any;
  for (unsigned k = 0; k < LANES; k++)
    if (g->lane[k]) set(r, g->lane[k], g->i->op[0].reg[0], v);
}

static void do_match(Run *r, const Group *g) {
  uint64_t v[LANES] = {0};
  bool same = true;
  int first = -1;
  for (unsigned k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    v[k] = cut(value_of(g->lane[k], &g->i->op[1]), strstr(g->i->opcode, ".b64") ? 64 : 32);
    if (first < 0) first = (int)k;
    same = same && v[k] == v[first];
  }
  for (unsigned k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    unsigned who = 0;
    for (unsigned j = 0; j < LANES; j++) who |= (unsigned)(g->lane[j] && v[j] == v[k]) << j;
    if (strstr(g->i->opcode, ".all.")) who = same ? g->mask : 0;
    set(r, g->lane[k], g->i->op[0].reg[0], who);
    if (g->i->op[0].kind == OP_PAIR) set(r, g->lane[k], g->i->op[0].reg[1], same);
  }
}

static void do_redux(Run *r, const Group *g) {
  Access a = {.bits = 32, .is_signed = strstr(g->i->opcode, ".s32") != NULL};
  const char *op = g->i->opcode + strlen("redux.sync.");
  snprintf(a.op, sizeof a.op, "%.2s", op);
  uint64_t v = 0;
  bool first = true;
  for (unsigned k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    uint64_t x = cut(value_of(g->lane[k], &g->i->op[1]), 32);
    v = first ? x : cut(combine(&a, v, x, 0), 32);
    first = false;
  }
  for (unsigned k = 0; k < LANES; k++)
    if (g->lane[k]) set(r, g->lane[k], g->i->op[0].reg[0], v);
}

static void do_elect(Run *r, const Group *g) {
  int leader = __builtin_ctz(g->mask);
  for (int k = 0; k < LANES; k++) {
    if (!g->lane[k]) continue;
    set(r, g->lane[k], g->i->op[0].reg[0], (uint64_t)leader);
    set(r, g->lane[k], g->i->op[0].reg[1], k == leader);
  }
}

static void do_collective(Run *r, const Group *g) {
  const char *s = g->i->opcode;
  if (s[0] == 's') do_shuffle(r, g);
  else if (s[0] == 'v') do_vote(r, g);
  else if (s[0] == 'm') do_match(r, g);
  else if (s[0] == 'r') do_redux(r, g);
  else if (s[0] == 'e') do_elect(r, g);
  else if (s[0] == 'a')
    for (unsigned k = 0; k < LANES; k++)
      if (g->lane[k]) set(r, g->lane[k], g->i->op[0].reg[0], g->mask);
}

/* The member mask: the last operand; activemask: whoever waits there. */
static unsigned members(const Run *r, const Thread *t, unsigned waiting) {
  const EvalInstr *i = &r->p->code[t->pc];
  return i->opcode[0] == 'a' ? waiting : (unsigned)value_of(t, &i->op[i->nops - 1]);
}

/* The threads of a warp that wait where its first waiting one does, if all whom its mask names are there. */
static bool serve_collective(Run *r, unsigned warp) {
  unsigned n = r->l->block - warp * LANES < LANES ? r->l->block - warp * LANES : LANES;
  for (unsigned k = 0; k < n; k++) {
    Thread *first = &r->thread[warp * LANES + k];
    if (first->state != WAITS || r->p->code[first->pc].action != ACT_COLLECTIVE) continue;
    Group g = {.i = &r->p->code[first->pc]};
    unsigned waiting = 0, alive = 0;
    for (unsigned j = 0; j < n; j++) {
      Thread *t = &r->thread[warp * LANES + j];
      alive |= (unsigned)(t->state != ENDED) << j;
      waiting |= (unsigned)(t->state == WAITS && t->pc == first->pc) << j;
    }
    unsigned wanted = members(r, first, waiting) & alive;
    if (wanted & ~waiting) continue;
    for (unsigned j = 0; j < n; j++)
      if (wanted >> j & 1) g.lane[j] = &r->thread[warp * LANES + j];
    g.mask = wanted;
    do_collective(r, &g);
    for (unsigned j = 0; j < n; j++)
      if (g.lane[j]) go_on(g.lane[j]);
    return true;
  }
  return false;
}

static bool run_cta(Run *r) {
  unsigned n = r->l->block, warps = (n + LANES - 1) / LANES;
  memset(r->shared, 0xff, r->p->shared_bytes);
  for (unsigned k = 0; k < n; k++) r->thread[k] = (Thread){.reg = r->regs + (size_t)k * MAX_REGS};
  for (bool moved = true; moved && !r->failed;) {
    for (unsigned k = 0; k < n; k++) run_thread(r, &r->thread[k]);
    moved = false;
    for (unsigned w = 0; w < warps && !r->failed; w++) moved |= serve_collective(r, w);
    if (!moved) moved = serve_barrier(r);
  }
  for (unsigned k = 0; k < n && !r->failed; k++)
    if (r->thread[k].state != ENDED) return fail(r, &r->p->code[r->thread[k].pc], "thread %u waits for ever", k);
  return !r->failed;
}

bool evaluate(const char *text, const EvalLaunch *l, char *why, size_t bytes) {
  static Program p;
  static Run r;
  if (l->block == 0 || l->block > MAX_THREADS) return snprintf(why, bytes, "a block of %u threads", l->block), false;
  if (!text_read(text, &p, why, bytes)) return false;
  r = (Run){.p = &p, .l = l, .why = why, .bytes = bytes};
  r.regs = calloc((size_t)l->block * MAX_REGS, sizeof *r.regs);
  r.shared = malloc(p.shared_bytes + 1);
  bool ok = r.regs && r.shared;
  if (!ok) snprintf(why, bytes, "out of memory");
  for (r.cta = 0; ok && r.cta < l->grid; r.cta++) ok = run_cta(&r);
  free(r.regs);
  free(r.shared);
  return ok;
}
