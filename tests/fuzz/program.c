/* program.c - see program.h. Every form of gen/isa for which the evaluator has a meaning is used; what is undefined in PTX is not
 * written: registers are written before they are read, shared memory is exchanged between barriers, shuffles read members. */
#include "program.h"
#include "evaluator/evaluator.h"
#include "isa/isa.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void choices_begin(Choices *c, const uint8_t *data, size_t bytes) {
  *c = (Choices){data, bytes, 0x9e3779b97f4a7c15ull};
  for (size_t i = 0; i < bytes; i++) c->state = (c->state ^ data[i]) * 0x100000001b3ull;
}

static uint64_t next(Choices *c) { /* splitmix64 */
  uint64_t z = c->state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

uint32_t choose(Choices *c, uint32_t below) {
  uint32_t v = 0;
  if (c->left < 2) return (uint32_t)(next(c) >> 32) % below;
  for (int i = 0; i < 2; i++, c->left--) v = v << 8 | *c->data++;
  return v % below;
}

uint64_t choose_bits(Choices *c) { return next(c) ^ choose(c, 65536); }

/* ---- pools: registers that arithmetic may read and write ---- */

static const struct { char letter; int n, bits; const char *type; } pools[] = {
  {'p', 6, 1, "pred"}, {'h', 8, 16, "b16"}, {'r', 12, 32, "b32"}, {'l', 8, 64, "b64"}, {'f', 8, 32, "f32"}, {'d', 6, 64, "f64"}};
enum { POOLS = sizeof pools / sizeof *pools };

/* Reserved: %r100 mask, %r101 tid, %r102 own shared address, %r103.. counters of loops, %r110 .. scratch, %l100.. addresses, %p100.. */
enum { MAX_DEPTH = 3 };

typedef struct Maker {
  FuzzProgram *p;
  Choices *c;
  int labels, statements;
  int depth;       /* open branches and loops */
  bool uniform;    /* every thread of the CTA comes here */
  bool converged;  /* %r100+... holds the members of the warp who come here together */
  bool full;       /* those are all 32 lanes */
  int mask;        /* which %r100+mask */
} Maker;

static void put(Maker *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(Maker *m, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(m->p->text + m->p->length, PROGRAM_TEXT - m->p->length, fmt, ap);
  va_end(ap);
  if (n > 0 && m->p->length + (size_t)n < PROGRAM_TEXT) m->p->length += (size_t)n;
}

static uint32_t any(Maker *m, uint32_t below) { return choose(m->c, below); }

static int pool_of(char letter) {
  for (int i = 0; i < POOLS; i++)
    if (pools[i].letter == letter) return i;
  return -1;
}

static void put_register(Maker *m, char letter) { put(m, "%%%c%u", letter, any(m, (uint32_t)pools[pool_of(letter)].n)); }

/* Numbers that arithmetic stumbles over, and any others. */
static uint64_t special_bits(Choices *c, int bits, bool is_float) {
  static const uint32_t f32[] = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                 0x7fffffff, 0x33800000, 0x477fefff, 0x477ff000, 0x38800000, 0x387fffff, 0x4f000000, 0xcf000000, 0x5f800000, 0x3f000000};
  static const uint64_t f64[] = {0, 1ull << 63, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7fefffffffffffff,
                                 0x7ff0000000000000, 0xfff0000000000000, 0x7fffffffffffffff, 0x41dfffffffe00000, 0xc1e0000000000000, 0x36a0000000000000};
  static const uint16_t f16[] = {0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x3c00, 0xbc00, 0x7bff, 0x7c00, 0xfc00, 0x7fff, 0x3f80, 0x7f80, 0x7f7f, 0x0080};
  uint32_t kind = choose(c, 4);
  if (kind == 0) return choose_bits(c);
  if (!is_float) return kind == 1 ? choose(c, 70) : kind == 2 ? 0 - (uint64_t)choose(c, 5) : (uint64_t)1 << choose(c, (uint32_t)bits);
  if (bits == 16) return f16[choose(c, sizeof f16 / sizeof *f16)];
  if (kind == 3) { /* of moderate size, so that sums and products say something */
    double x = ((double)choose(c, 65536) - 32768) / (double)(1 << choose(c, 16));
    float y = (float)x;
    uint64_t v = 0;
    if (bits == 64) memcpy(&v, &x, 8);
    else memcpy(&v, &y, 4);
    return v;
  }
  return bits == 64 ? f64[choose(c, sizeof f64 / sizeof *f64)] : f32[choose(c, sizeof f32 / sizeof *f32)];
}

static void put_immediate(Maker *m, char letter) {
  int bits = pools[pool_of(letter)].bits;
  bool is_float = letter == 'f' || letter == 'd';
  uint64_t v = special_bits(m->c, bits, is_float);
  if (letter == 'f') put(m, "0f%08x", (unsigned)v);
  else if (letter == 'd') put(m, "0d%016llx", (unsigned long long)v);
  else if (letter == 'p') put(m, "%u", (unsigned)v & 1);
  else if (bits == 64) put(m, any(m, 2) ? "0x%llx" : "%lld", (unsigned long long)v);
  else if (bits == 32) put(m, any(m, 2) ? "0x%x" : "%d", (unsigned)v);
  else put(m, "%d", (int)(int16_t)v);
}

static void put_guard(Maker *m) {
  put(m, "  ");
  if (any(m, 6) == 0) {
    put(m, any(m, 2) ? "@!" : "@");
    put_register(m, 'p');
    put(m, " ");
  }
}

/* ---- arithmetic: any row that both sides know ---- */

static bool usable(const IsaForm *f) {
  Meaning meaning;
  if (!(f->flags & ISA_PURE) || (f->flags & ISA_APPROX) || f->nops == 0 || !meaning_find(f->opcode, &meaning)) return false;
  for (int i = 0; i < f->nops; i++) {
    const IsaOperand *o = &f->op[i];
    if (o->kind != ISA_OPND_REG && o->kind != ISA_OPND_IMM) return false;
    if (o->kind == ISA_OPND_REG && (pool_of(o->cls) < 0 || (o->reads && o->writes))) return false;
    if (o->kind == ISA_OPND_IMM && meaning.what != W_LOP3) return false;
  }
  for (const char *s = f->sm; *s; s += strcspn(s, " ") + strspn(s + strcspn(s, " "), " ")) { /* does sm_100a have it? */
    char *end;
    long sm = strtol(s, &end, 10);
    if (*end == 'a' || *end == 'f' ? sm == 100 : sm <= 100) return true;
  }
  return false;
}

static const IsaForm **find_forms(int *count) {
  static const IsaForm *forms[ISA_COUNT];
  static int n;
  if (!n)
    for (int id = 1; id < ISA_COUNT; id++)
      if (usable(isa_form((IsaId)id))) forms[n++] = isa_form((IsaId)id);
  *count = n;
  return forms;
}

static void put_operand(Maker *m, const IsaOperand *o) {
  if (o->kind == ISA_OPND_IMM) {
    put(m, "%u", any(m, 256));
    return;
  }
  if (o->negatable && any(m, 2)) put(m, "!");
  if (o->brace) {
    for (int i = 0; i < o->count; i++) {
      put(m, i ? ", " : "{");
      if (o->writes) put(m, "%%%c%d", o->cls, i); /* each of its own */
      else put_register(m, o->cls);
    }
    put(m, "}");
    return;
  }
  if (!o->writes && o->imm_ok && any(m, 4) == 0) {
    put_immediate(m, o->cls);
    return;
  }
  put_register(m, o->cls);
  if (o->pair_pred) put(m, "|%%p%u", any(m, (uint32_t)pools[0].n));
}

static void put_arithmetic(Maker *m) {
  int n;
  const IsaForm *f = find_forms(&n)[0];
  f = find_forms(&n)[any(m, (uint32_t)n)];
  put_guard(m);
  put(m, "%s ", f->opcode);
  for (int i = 0; i < f->nops; i++) {
    put(m, i ? ", " : "");
    put_operand(m, &f->op[i]);
  }
  put(m, ";\n");
}

/* ---- memory ---- */

typedef struct Width { const char *suffix; char letter; int count, bytes; } Width;
static const Width loads[] = {{"u8", 'r', 1, 1}, {"s8", 'r', 1, 1}, {"u16", 'r', 1, 2}, {"s16", 'r', 1, 2}, {"b16", 'h', 1, 2}, {"b32", 'r', 1, 4},
                              {"b64", 'l', 1, 8}, {"f32", 'f', 1, 4}, {"f64", 'd', 1, 8}, {"v2.b32", 'r', 2, 8}, {"v4.b32", 'r', 4, 16},
                              {"v2.f32", 'f', 2, 8}, {"v4.f32", 'f', 4, 16},
                              {"v2.b16", 'h', 2, 4}, {"v4.b16", 'h', 4, 8}, {"v2.b64", 'l', 2, 16}, {"v2.f64", 'd', 2, 16}};
enum { WIDTHS = sizeof loads / sizeof *loads };

/* A width for which the table has the row, loaded or stored; NULL: try another. */
static const Width *any_width(Maker *m, const char *prefix, char *opcode, size_t bytes) {
  const Width *w = &loads[any(m, WIDTHS)];
  int n = snprintf(opcode, bytes, "%s.%s", prefix, w->suffix);
  for (IsaId id = isa_find(opcode, (uint32_t)n); id != ISA_NONE; id = isa_next(id)) {
    const IsaForm *f = isa_form(id);
    const IsaOperand *o = &f->op[prefix[0] == 'l' ? 0 : 1];
    if (f->nops == 2 && o->kind == ISA_OPND_REG && o->cls == w->letter && o->count == w->count) return w;
  }
  return NULL;
}

static void put_value(Maker *m, const Width *w, bool written) {
  if (w->count == 1) {
    put_register(m, w->letter);
    return;
  }
  for (int i = 0; i < w->count; i++) {
    put(m, i ? ", " : "{");
    if (written) put(m, "%%%c%d", w->letter, i + 1);
    else put_register(m, w->letter);
  }
  put(m, "}");
}

/* in[any register modulo its size], aligned */
static void put_load(Maker *m) {
  static const char *const prefixes[] = {"ld.global", "ld.global.nc", "ld.global.ca", "ld.global.cg", "ld.global.cs", "ld.global.L1::no_allocate"};
  char opcode[64];
  const Width *w = any_width(m, prefixes[any(m, 6)], opcode, sizeof opcode);
  if (!w) return;
  put(m, "  and.b32 %%r110, ");
  put_register(m, 'r');
  put(m, ", %d;\n  cvt.u64.u32 %%l110, %%r110;\n  add.s64 %%l110, %%l110, %%l100;\n", (PROGRAM_IN_BYTES / 2 - 1) & -w->bytes);
  put_guard(m);
  put(m, "%s ", opcode);
  put_value(m, w, true);
  put(m, ", [%%l110+%d];\n", (int)any(m, PROGRAM_IN_BYTES / 2 / 16) * 16);
}

/* one's own slot of the output, which holds nothing else in its upper half; written, and sometimes read again */
static void put_store(Maker *m) {
  char opcode[64];
  const Width *w = any_width(m, "st.global", opcode, sizeof opcode);
  int at = PROGRAM_SLOT_BYTES / 2 + (int)any(m, PROGRAM_SLOT_BYTES / 2 / 16) * 16;
  if (!w) return;
  put_guard(m);
  put(m, "%s [%%l101+%d], ", opcode, at);
  put_value(m, w, false);
  put(m, ";\n");
}

/* A cell that all threads change by one commutative operation, or one's own by any, whose old value is taken */
static void put_atomic(Maker *m) {
  static const struct { const char *op, *type; char letter; } ops[] = {
    {"add", "u32", 'r'}, {"min", "u32", 'r'}, {"max", "u32", 'r'}, {"min", "s32", 'r'}, {"max", "s32", 'r'}, {"and", "b32", 'r'}, {"or", "b32", 'r'},
    {"xor", "b32", 'r'}, {"add", "u64", 'l'}, {"min", "u64", 'l'}, {"max", "s64", 'l'}, {"and", "b64", 'l'}, {"or", "b64", 'l'}, {"xor", "b64", 'l'},
    {"exch", "b32", 'r'}, {"cas", "b32", 'r'}, {"inc", "u32", 'r'}, {"dec", "u32", 'r'}, {"exch", "b64", 'l'}, {"cas", "b64", 'l'}};
  uint32_t k = any(m, 20);
  bool own = k >= 14 || any(m, 2), shared = any(m, 2);
  char opcode[64];
  int n = snprintf(opcode, sizeof opcode, "%s.%s.%s.%s", own ? "atom" : "red", shared && !own ? "shared" : "global", ops[k].op, ops[k].type);
  if (isa_find(opcode, (uint32_t)n) == ISA_NONE) return;
  put_guard(m);
  put(m, "%s ", opcode);
  if (own) {
    put_register(m, ops[k].letter);
    put(m, ", [%%l101+%d], ", PROGRAM_SLOT_BYTES / 2 + (int)any(m, PROGRAM_SLOT_BYTES / 2 / 16) * 16);
  } else if (shared) put(m, "[cells_of_cta+%u], ", k * 8);
  else put(m, "[%%l102+%u], ", k * 8);
  put_register(m, ops[k].letter);
  if (k == 15 || k == 19) {
    put(m, ", ");
    put_register(m, ops[k].letter);
  }
  put(m, ";\n");
}

/* Sixteen bytes per thread in shared memory, read by another thread after a barrier, and left alone after one more. */
static void put_exchange(Maker *m) {
  char store[64], load[64];
  const Width *to = any_width(m, "st.shared", store, sizeof store), *from = any_width(m, "ld.shared", load, sizeof load);
  if (!to || !from) return;
  put(m, "  st.shared.b64 [%%r102], %%l1;\n  st.shared.b64 [%%r102+8], %%l2;\n  %s [%%r102], ", store);
  put_value(m, to, false);
  put(m, ";\n  %s;\n", any(m, 2) ? "bar.sync 0" : "bar.sync 1");
  put(m, "  add.s32 %%r110, %%r101, %u;\n  rem.u32 %%r110, %%r110, %u;\n  mad.lo.s32 %%r110, %%r110, 16, %%r105;\n", any(m, 256), m->p->block);
  put_guard(m);
  put(m, "%s ", load);
  put_value(m, from, true);
  put(m, ", [%%r110+%u];\n  bar.sync 0;\n", any(m, (uint32_t)(16 / from->bytes)) * (unsigned)from->bytes);
}

static void put_reduction(Maker *m) {
  static const char *const ops[] = {"and.pred", "or.pred", "popc.u32"};
  uint32_t k = any(m, 3);
  put(m, "  bar.red.%s ", ops[k]);
  put_register(m, k == 2 ? 'r' : 'p');
  put(m, ", 0, %s", any(m, 2) ? "!" : "");
  put_register(m, 'p');
  put(m, ";\n");
}

/* ---- collectives: members are those of %r(100 + mask) ---- */

static void put_mask(Maker *m) {
  if (m->full && any(m, 2)) put(m, "-1");
  else put(m, "%%r%d", 120 + m->mask);
}

static void put_shuffle(Maker *m) {
  static const char *const ways[] = {"up", "down", "bfly", "idx"};
  static const int segments[] = {0, 0, 0x1000, 0x1800, 0x1c00, 0x1e00};
  uint32_t way = any(m, 4), clamp = any(m, 3) ? (way ? 31 : 0) : any(m, 32);
  put(m, "  shfl.sync.%s.b32 ", ways[way]);
  put_register(m, 'r');
  if (any(m, 2)) put(m, "|%%p%u", any(m, (uint32_t)pools[0].n));
  put(m, ", ");
  put_register(m, 'r');
  put(m, ", ");
  if (any(m, 2)) put(m, "%u", any(m, 32));
  else put_register(m, 'r');
  put(m, ", %d, ", segments[any(m, 6)] | (int)clamp);
  put_mask(m);
  put(m, ";\n");
}

static void put_collective(Maker *m) {
  static const char *const votes[] = {"vote.sync.all.pred", "vote.sync.any.pred", "vote.sync.uni.pred", "vote.sync.ballot.b32"};
  static const char *const reduxes[] = {"add.s32", "add.u32", "min.s32", "min.u32", "max.s32", "max.u32", "and.b32", "or.b32", "xor.b32"};
  uint32_t k = any(m, 4), v = any(m, 4);
  if (m->full && any(m, 2)) {
    put_shuffle(m);
    return;
  }
  if (k == 0) {
    put(m, "  %s ", votes[v]);
    put_register(m, v == 3 ? 'r' : 'p');
    put(m, ", %s", any(m, 2) ? "!" : "");
    put_register(m, 'p');
  } else if (k == 1) {
    put(m, "  match.any.sync.b32 ");
    put_register(m, 'r');
    put(m, ", ");
    put_register(m, 'r');
  } else if (k == 2) {
    put(m, "  match.all.sync.b32 ");
    put_register(m, 'r');
    put(m, "|%%p%u, ", any(m, (uint32_t)pools[0].n));
    put_register(m, 'r');
  } else {
    put(m, "  redux.sync.%s ", reduxes[any(m, 9)]);
    put_register(m, 'r');
    put(m, ", ");
    put_register(m, 'r');
  }
  put(m, ", ");
  put_mask(m);
  put(m, ";\n");
}

/* ---- control ---- */

static void put_block(Maker *m, int statements);

/* Threads part by a predicate; where the warp came together, its members are counted anew for each side. */
static void put_branch(Maker *m) {
  Maker before = *m;
  int label = m->labels++, n = 1 + (int)any(m, 5), p = (int)any(m, (uint32_t)pools[0].n);
  bool other = any(m, 2);
  m->depth++;
  if (m->uniform && any(m, 3) == 0) { /* a condition that is the same for the CTA */
    put(m, "  setp.eq.u32 %%p%d, %%r106, %u;\n  @!%%p%d bra $else_%d;\n", 100 + m->depth, any(m, 2), 100 + m->depth, label);
  } else {
    m->uniform = m->full = false;
    put(m, "  mov.pred %%p%d, %%p%d;\n", 100 + m->depth, p);
    if (m->converged) put(m, "  vote.sync.ballot.b32 %%r%d, %%p%d, %%r%d;\n", 120 + m->depth, 100 + m->depth, 120 + before.mask);
    if (m->converged && other) put(m, "  vote.sync.ballot.b32 %%r%d, !%%p%d, %%r%d;\n", 130 + m->depth, 100 + m->depth, 120 + before.mask);
    m->mask = m->depth;
    put(m, "  @!%%p%d bra $else_%d;\n", 100 + m->depth, label);
  }
  put_block(m, n);
  if (other) {
    put(m, "  bra $end_%d;\n$else_%d:\n", label, label);
    if (!m->uniform) m->mask = m->depth + 10;
    put_block(m, n);
    put(m, "$end_%d:\n", label);
  } else put(m, "$else_%d:\n", label);
  m->depth = before.depth, m->uniform = before.uniform, m->full = before.full, m->mask = before.mask, m->converged = before.converged;
}

/* Up to four rounds, as many for all, or by a register of each thread: then nobody comes together inside. */
static void put_loop(Maker *m) {
  Maker before = *m;
  int label = m->labels++, n = 1 + (int)any(m, 5), counter = 111 + m->depth;
  m->depth++;
  if (any(m, 2)) put(m, "  mov.b32 %%r%d, %u;\n", counter, 1 + any(m, 4));
  else {
    put(m, "  and.b32 %%r%d, ", counter);
    put_register(m, 'r');
    put(m, ", 3;\n");
    m->uniform = m->full = m->converged = false;
  }
  put(m, "$loop_%d:\n", label);
  put_block(m, n);
  put(m, "  sub.s32 %%r%d, %%r%d, 1;\n  setp.gt.s32 %%p%d, %%r%d, 0;\n  @%%p%d bra $loop_%d;\n", counter, counter, 100 + m->depth, counter,
      100 + m->depth, label);
  m->depth = before.depth, m->uniform = before.uniform, m->full = before.full, m->mask = before.mask, m->converged = before.converged;
}

static void put_statement(Maker *m) {
  uint32_t k = any(m, 100);
  m->statements--;
  if (k < 62) put_arithmetic(m);
  else if (k < 68) put_load(m);
  else if (k < 73) put_store(m);
  else if (k < 78) put_atomic(m);
  else if (k < 84) m->uniform ? put_exchange(m) : put_arithmetic(m);
  else if (k < 86) m->uniform ? put_reduction(m) : put_arithmetic(m);
  else if (k < 92) m->converged ? put_collective(m) : put_arithmetic(m);
  else if (m->depth == MAX_DEPTH) put_arithmetic(m);
  else if (k < 97) put_branch(m);
  else put_loop(m);
}

static void put_block(Maker *m, int statements) {
  for (int i = 0; i < statements && m->statements > 0 && m->p->length < PROGRAM_TEXT / 2; i++) put_statement(m);
}

/* ---- the whole ---- */

static void put_head(Maker *m) {
  put(m, ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry k(\n  .param .u64 in,\n  .param .u64 out,\n  .param .u64 cells\n)\n{\n");
  for (int i = 0; i < POOLS; i++) put(m, "  .reg .%s %%%c<150>;\n", pools[i].type, pools[i].letter);
  put(m, "  .shared .align 16 .b8 tile[%u];\n  .shared .align 16 .b8 cells_of_cta[%d];\n", m->p->block * 16, PROGRAM_CELLS * 8);
  put(m, "  activemask.b32 %%r120;\n  mov.u32 %%r101, %%tid.x;\n  mov.u32 %%r106, %%ctaid.x;\n  mov.u32 %%r107, %%ntid.x;\n  mov.u32 %%r105, tile;\n"
         "  mad.lo.s32 %%r102, %%r101, 16, %%r105;\n  mad.lo.s32 %%r108, %%r106, %%r107, %%r101;\n"
         "  ld.param.b64 %%l100, [in];\n  ld.param.b64 %%l101, [out];\n  ld.param.b64 %%l102, [cells];\n"
         "  mad.wide.u32 %%l101, %%r108, %d, %%l101;\n  rem.u32 %%r110, %%r108, 37;\n  mul.wide.u32 %%l104, %%r110, 40;\n  add.s64 %%l104, %%l104, %%l100;\n",
      PROGRAM_SLOT_BYTES);
  put(m, "  shl.b32 %%r110, %%r101, 3;\n  mov.u32 %%r109, cells_of_cta;\n  add.s32 %%r109, %%r109, %%r110;\n  setp.lt.u32 %%p100, %%r101, %d;\n"
         "  setp.eq.u32 %%p99, %%r101, 0;\n  mov.b64 %%l103, -1;\n", PROGRAM_CELLS);
  for (int i = 0; i < PROGRAM_CELLS; i++) put(m, "  @%%p99 st.shared.b64 [cells_of_cta+%d], %%l103;\n", i * 8);
  put(m, "  bar.sync 0;\n");
}

/* Every register of the pools begins with bits of the input: its place differs by thread and register. */
static void put_first_values(Maker *m) {
  for (int i = 1; i < POOLS; i++)
    for (int k = 0; k < pools[i].n; k++)
      put(m, "  ld.global.%c%d %%%c%d, [%%l104+%d];\n", pools[i].letter == 'f' || pools[i].letter == 'd' ? 'f' : 'b', pools[i].bits, pools[i].letter, k,
          (i * 104 + k * 24) % 512 & -8);
  for (int k = 0; k < pools[0].n; k++) put(m, "  and.b32 %%r110, %%r%d, %d;\n  setp.ne.s32 %%p%d, %%r110, 0;\n", k, 1 << k, k);
}

static void put_last_values(Maker *m) {
  int at = 0;
  for (int k = 0; k < pools[0].n; k++) put(m, "  selp.b32 %%r110, 1, 0, %%p%d;\n  st.global.b32 [%%l101+%d], %%r110;\n", k, at), at += 4;
  for (int i = POOLS - 1; i > 0; i--)
    for (int k = 0; k < pools[i].n; k++) {
      int bytes = pools[i].bits / 8;
      at = (at + bytes - 1) & -bytes;
      put(m, "  st.global.%c%d [%%l101+%d], %%%c%d;\n", pools[i].letter == 'f' || pools[i].letter == 'd' ? 'f' : 'b', pools[i].bits, at, pools[i].letter, k);
      at += bytes;
    }
  put(m, "  bar.sync 0;\n  @%%p100 ld.shared.b64 %%l103, [%%r109];\n"
         "  cvt.u64.u32 %%l105, %%r106;\n  mad.lo.s64 %%l102, %%l105, %d, %%l102;\n  mad.wide.u32 %%l102, %%r101, 8, %%l102;\n"
         "  @%%p100 st.global.b64 [%%l102+%d], %%l103;\n  ret;\n}\n",
      PROGRAM_CELLS * 8, PROGRAM_CELLS * 8);
}

void program_make(FuzzProgram *p, Choices *c) {
  static const unsigned blocks[] = {32, 32, 32, 64, 96, 128, 1, 7, 33, 50};
  p->length = 0;
  p->text[0] = 0;
  p->block = blocks[choose(c, 10)];
  p->grid = 1 + (choose(c, 4) == 0);
  Maker m = {.p = p, .c = c, .uniform = true, .converged = true, .full = p->block % 32 == 0, .statements = 120};
  for (int i = 0; i < PROGRAM_IN_BYTES;) { /* what a word is depends on where it lies, so that each kind meets special numbers */
    static const struct { int bytes; bool is_float; } kinds[] = {{8, true}, {8, false}, {4, true}, {4, false}, {2, true}};
    uint32_t k = choose(c, 5);
    for (int n = 0; n < 8 && i < PROGRAM_IN_BYTES; n += kinds[k].bytes, i += kinds[k].bytes) {
      uint64_t v = special_bits(c, kinds[k].bytes * 8, kinds[k].is_float);
      memcpy(p->in + i, &v, (size_t)kinds[k].bytes);
    }
  }
  put_head(&m);
  put_first_values(&m);
  put_block(&m, 10 + (int)choose(c, 50));
  put_last_values(&m);
}
