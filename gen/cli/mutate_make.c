/* mutate_make.c - which mutants there are, and their texts. */
#include "mutate.h"
#include <stdlib.h>
#include <string.h>

static const struct { IsaId form, into; } weaker[] = {
#define WEAKER(form, into) {ISA_##form, ISA_##into},
#define LOOSER(form, operand, change)
#include "../isa/weaker.def"
#undef WEAKER
#undef LOOSER
};
static const struct { IsaId form; int operand, change; } looser[] = {
#define WEAKER(form, into)
#define LOOSER(form, operand, change) {ISA_##form, operand, change},
#include "../isa/weaker.def"
#undef WEAKER
#undef LOOSER
};

void mutate_add(MutantList *out, Mutant m) {
  if (out->n == out->room) {
    int room = out->room ? 2 * out->room : 64;
    Mutant *at = cli_alloc((size_t)room * sizeof *at);
    if (out->n) memcpy(at, out->at, (size_t)out->n * sizeof *at);
    cli_free(out->at);
    out->at = at;
    out->room = room;
  }
  out->at[out->n++] = m;
}

static bool has_result(const MutInstr *in) {
  for (int i = 0; i < in->n; i++)
    for (int k = 0; k < in->op[i].n; k++)
      if (mutate_writes(&in->op[i], k)) return true;
  return false;
}

/* The form that moves a register of an operand's class. */
static IsaId move_of(char cls) {
  switch (cls) {
  case 'r': return ISA_mov_b32;
  case 'f': return ISA_mov_f32;
  case 'l': return ISA_mov_b64;
  case 'p': return ISA_mov_pred;
  default: return ISA_NONE;
  }
}

/* Exchanges between lanes: a result and a value of the same class, neither of them in memory. */
static IsaId bypass_of(const MutInstr *in) {
  if (in->n < 2 || in->form->flags & (ISA_READS | ISA_WRITES)) return ISA_NONE;
  const MutOperand *to = &in->op[0], *from = &in->op[1];
  if (to->is->kind != ISA_OPND_REG || from->is->kind != ISA_OPND_REG || to->n != 1 || from->n != 1 || !from->e[0].reg) return ISA_NONE;
  return to->is->cls == from->is->cls && !from->negated ? move_of(to->is->cls) : ISA_NONE;
}

/* A predicate that memory decides about. */
static bool is_test(const MutInstr *in) {
  const MutOperand *to = &in->op[0];
  return in->n > 1 && in->form->flags & ISA_READS && in->op[1].is->kind == ISA_OPND_MEM && to->is->kind == ISA_OPND_REG && to->is->cls == 'p' &&
         to->n == 1;
}

static void add_synchronising(MutantList *out, int entry, int i, const MutInstr *in) {
  Mutant m = {.entry = entry, .instr = i};
  if (!has_result(in)) {
    m.kind = MUTANT_DELETE;
    if (in->form->flags & (ISA_WRITES | ISA_ASYNC)) mutate_add(out, m); /* others are advice, or take time */
  } else if (is_test(in)) {
    m.kind = MUTANT_AT_ONCE;
    m.into = ISA_mov_pred;
    mutate_add(out, m);
  } else if ((m.into = bypass_of(in)) != ISA_NONE) {
    m.kind = MUTANT_BYPASS;
    mutate_add(out, m);
  }
  for (size_t k = 0; k < sizeof weaker / sizeof weaker[0]; k++) {
    if (weaker[k].form != in->id) continue;
    m.kind = MUTANT_WEAKEN;
    m.into = weaker[k].into;
    mutate_add(out, m);
  }
  for (size_t k = 0; k < sizeof looser / sizeof looser[0]; k++) {
    if (looser[k].form != in->id || looser[k].operand >= in->n || (in->op[looser[k].operand].n && in->op[looser[k].operand].e[0].reg)) continue;
    m.kind = MUTANT_LOOSEN;
    m.operand = looser[k].operand;
    m.change = looser[k].change;
    mutate_add(out, m);
  }
}

void mutate_synchronising(const MutProgram *p, MutantList *out) {
  for (int e = 0; e < p->nentries; e++)
    for (int i = p->entry[e].first; p->entry[e].known && i < p->entry[e].first + p->entry[e].n; i++) {
      const MutInstr *in = &p->instr[i];
      if (in->form->flags & ISA_SYNC && !(in->form->flags & ISA_TERMINATOR)) add_synchronising(out, e, i, in);
    }
}

/* ---- addresses and vectors ---- */

static int type_bytes(const char *opcode) { /* of the last word that is a type */
  int bytes = 0;
  for (const char *s = opcode; *s; s += strcspn(s, "."), s += *s == '.') {
    size_t n = strcspn(s, ".");
    if (!strchr("busf", *s) || n < 2) continue;
    char *end;
    long bits = strtol(s + (s[0] == 'b' && s[1] == 'f' ? 2 : 1), &end, 10);
    if (end == s + n && bits >= 8) bytes = (int)bits / 8;
    else if (*end == 'x' && bits >= 8) bytes = (int)bits / 8 * (end[1] - '0');
  }
  return bytes;
}

/* Bytes that one lane's address stands for: what is moved, or the row of a matrix. An address moved by less would be misaligned. */
static int64_t unit_of(const MutInstr *in) {
  int64_t elements = 1;
  for (int i = 0; i < in->n; i++) {
    if (in->op[i].is->fixed) return in->op[i].offset; /* a copy says how many */
    if (in->op[i].is->brace) elements = in->op[i].n;
  }
  return in->form->flags & ISA_COLLECTIVE ? 16 : elements * type_bytes(in->form->opcode);
}

void mutate_others(const MutProgram *p, Random *r, MutantList *out) {
  for (int e = 0; e < p->nentries; e++)
    for (int i = p->entry[e].first; p->entry[e].known && i < p->entry[e].first + p->entry[e].n; i++) {
      const MutInstr *in = &p->instr[i];
      for (int k = 0; k < in->n; k++) {
        const MutOperand *o = &in->op[k];
        Mutant m = {.entry = e, .instr = i, .operand = k};
        if (o->is->kind == ISA_OPND_MEM && o->is->cls != 'p' && !o->is->opens && unit_of(in) > 0) { /* parameters go by name */
          m.kind = MUTANT_SHIFT;
          m.change = unit_of(in);
          mutate_add(out, m);
        } else if (o->is->brace && o->n > 1) {
          m.kind = MUTANT_SWAP;
          m.a = (int)random_below(r, o->n);
          m.b = (m.a + 1 + (int)random_below(r, o->n - 1u)) % o->n;
          mutate_add(out, m);
        }
      }
    }
}

/* ---- what becomes of it ---- */

MutInstr mutate_changed(const MutProgram *p, const Mutant *m) {
  MutInstr in = p->instr[m->instr];
  MutOperand *o = &in.op[m->operand];
  switch (m->kind) {
  case MUTANT_BYPASS:
  case MUTANT_WEAKEN:
    in.id = m->into;
    in.form = isa_form(in.id);
    if (m->kind == MUTANT_BYPASS) in.n = 2;
    for (int i = 0; i < in.n; i++) in.op[i].is = &in.form->op[i];
    break;
  case MUTANT_LOOSEN:
  case MUTANT_SHIFT: o->offset += m->change; break;
  case MUTANT_SWAP:
    o->swap[0] = (uint8_t)m->a;
    o->swap[1] = (uint8_t)m->b;
    break;
  case MUTANT_DELETE:
  case MUTANT_AT_ONCE: break;
  }
  return in;
}

static size_t put_span(char *to, const MutProgram *p, MutSpan s) {
  memcpy(to, p->text + s.at, s.bytes);
  return s.bytes;
}

/* What stands in place of a part of the text: from its first byte on; part: what is replaced. */
static size_t write_change(const MutProgram *p, const Mutant *m, MutSpan *part, char *to, size_t room) {
  const MutInstr *in = &p->instr[m->instr];
  const MutOperand *o = &in->op[m->operand];
  switch (m->kind) {
  case MUTANT_DELETE: *part = in->all; return 0;
  case MUTANT_BYPASS:
    *part = (MutSpan){in->opcode.at, in->all.at + in->all.bytes - in->opcode.at};
    return (size_t)snprintf(to, room, "%s %s, %s;", isa_form(m->into)->opcode, p->name[in->op[0].e[0].name], p->name[in->op[1].e[0].name]);
  case MUTANT_AT_ONCE:
    *part = (MutSpan){in->opcode.at, in->all.at + in->all.bytes - in->opcode.at};
    return (size_t)snprintf(to, room, "%s %s, 1;", isa_form(m->into)->opcode, p->name[in->op[0].e[0].name]);
  case MUTANT_WEAKEN:
    *part = in->opcode;
    return (size_t)snprintf(to, room, "%s", isa_form(m->into)->opcode);
  case MUTANT_LOOSEN: *part = o->all; return (size_t)snprintf(to, room, "%lld", (long long)(o->offset + m->change));
  case MUTANT_SHIFT: {
    const char *base = o->symbol != MUT_NONE ? p->name[o->symbol] : o->n ? p->name[o->e[0].name] : "";
    *part = o->all;
    return (size_t)snprintf(to, room, "[%s%s%lld]", base, *base ? "+" : "", (long long)(o->offset + m->change));
  }
  case MUTANT_SWAP: {
    MutSpan x = o->e[m->a].span, y = o->e[m->b].span;
    if (x.at > y.at) x = o->e[m->b].span, y = o->e[m->a].span;
    *part = (MutSpan){x.at, y.at + y.bytes - x.at};
    size_t n = put_span(to, p, y);
    n += put_span(to + n, p, (MutSpan){x.at + x.bytes, y.at - x.at - x.bytes});
    return n + put_span(to + n, p, x);
  }
  }
  return 0;
}

char *mutate_apply(const MutProgram *p, const Mutant *m) {
  MutSpan part = {0};
  size_t room = p->instr[m->instr].all.bytes + 512; /* what it consists of, and an opcode and a number at most */
  char *change = cli_alloc(room);
  size_t n = write_change(p, m, &part, change, room), used = part.at;
  char *text = cli_alloc(p->bytes + n + part.bytes + 1);
  memcpy(text, p->text, part.at);
  memcpy(text + used, change, n);
  used += n;
  for (uint32_t i = 0; i < part.bytes; i++) /* lines stay where they are */
    if (p->text[part.at + i] == '\n' && m->kind != MUTANT_SWAP) text[used++] = '\n';
  memcpy(text + used, p->text + part.at + part.bytes, p->bytes - part.at - part.bytes);
  cli_free(change);
  return text;
}

void mutate_describe(const MutProgram *p, const Mutant *m, char *text, size_t bytes) {
  const MutInstr *in = &p->instr[m->instr];
  const MutOperand *o = &in->op[m->operand];
  size_t n = (size_t)snprintf(text, bytes, "%.*s ", (int)(in->all.bytes > 110 ? 110 : in->all.bytes), p->text + in->all.at);
  for (char *s = text; *s; s++)
    if (*s == '\n') *s = ' ';
  if (n >= bytes) return;
  switch (m->kind) {
  case MUTANT_DELETE: snprintf(text + n, bytes - n, "deleted"); break;
  case MUTANT_BYPASS: snprintf(text + n, bytes - n, "each lane keeps its own"); break;
  case MUTANT_AT_ONCE: snprintf(text + n, bytes - n, "true at once"); break;
  case MUTANT_WEAKEN: snprintf(text + n, bytes - n, "as %s", isa_form(m->into)->opcode); break;
  case MUTANT_LOOSEN: snprintf(text + n, bytes - n, "with %lld", (long long)(o->offset + m->change)); break;
  case MUTANT_SHIFT: snprintf(text + n, bytes - n, "%.*s %lld bytes further", (int)o->all.bytes, p->text + o->all.at, (long long)m->change); break;
  case MUTANT_SWAP: snprintf(text + n, bytes - n, "%s and %s swapped", p->name[o->e[m->a].name], p->name[o->e[m->b].name]); break;
  }
}
