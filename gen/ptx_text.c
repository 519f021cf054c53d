/* ptx_text.c - prints a program. The text of instructions comes from the rows of gen/isa, that of directives from directive.def.
 *
 * Registers are numbered by class in order of appearance, so the bytes depend on the program alone. */
#include "ptx_impl.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIRECTIVE(id, text) static const char text_##id[] = text;
#include "isa/directive.def"
#undef DIRECTIVE

static const char *const reg_type[PTX_CLASSES] = {".pred", ".b16", ".b32", ".b64", ".f32", ".f64"};
static const char *const reg_prefix[PTX_CLASSES] = {"%p", "%h", "%r", "%l", "%f", "%d"};

typedef struct Print {
  const PtxProgram *p;
  Text *out;
  uint32_t *number;              /* by register: its number in its class + 1 */
  uint32_t count[PTX_CLASSES];
  Loc loc;                       /* of the last .loc line */
  uint32_t value_bits;           /* the last f32 immediate that was spelled out, and how */
  char value[24];
} Print;

/* ---- small pieces, without printf: there are a hundred thousand of them ---- */

static void put_unsigned(Text *out, uint64_t v) {
  char digits[24];
  int at = 24;
  do digits[--at] = (char)('0' + v % 10), v /= 10;
  while (v);
  text_put(out, digits + at, (size_t)(24 - at));
}

static void put_hex(Text *out, uint64_t v, int digits) {
  char text[16];
  for (int i = digits; i-- > 0; v >>= 4) text[i] = "0123456789ABCDEF"[v & 15];
  text_put(out, text, (size_t)digits);
}

static void put_reg(Print *s, uint32_t reg) {
  PtxClass c = (PtxClass)s->p->regs.at[reg].cls;
  text_put(s->out, reg_prefix[c], 2);
  put_unsigned(s->out, s->number[reg] - 1);
}

/* Numbers that people count with in decimal, others as the bits that they are. */
static void put_integer(Text *out, int64_t v, int digits) {
  if (v > -(1 << 24) && v < 1 << 24) {
    if (v < 0) text_put(out, "-", 1);
    put_unsigned(out, (uint64_t)(v < 0 ? -v : v));
    return;
  }
  if (v > 0 && v <= UINT32_MAX) digits = 8;
  text_put(out, "0x", 2);
  put_hex(out, (uint64_t)v, digits);
}

static void put_immediate(Text *out, char cls, int64_t v) {
  switch (cls) {
  case 'f': text_put(out, "0f", 2), put_hex(out, (uint64_t)v, 8); break;
  case 'd': text_put(out, "0d", 2), put_hex(out, (uint64_t)v, 16); break;
  case 'l': put_integer(out, v, 16); break;
  default: put_integer(out, v == (int32_t)v ? v : (int64_t)(int32_t)v, 8); break;
  }
}

static void put_address(Print *s, const PtxOpnd *o) {
  text_put(s->out, "[", 1);
  if (o->kind == PTXO_MEM_SYM) text_str(s->out, s->p->syms.at[o->id].name);
  else put_reg(s, o->id);
  if (o->imm) {
    text_put(s->out, o->imm < 0 ? "-" : "+", 1);
    put_unsigned(s->out, (uint64_t)(o->imm < 0 ? -o->imm : o->imm));
  }
}

static void put_operand(Print *s, const IsaOperand *want, const PtxOpnd *o) {
  if (want->brace) text_put(s->out, "{", 1);
  if (o->neg) text_put(s->out, "!", 1);
  switch (o->kind) {
  case PTXO_REG: put_reg(s, o->id); break;
  case PTXO_VEC:
    for (int i = 0; i < o->n; i++) {
      if (i) text_put(s->out, ", ", 2);
      put_reg(s, s->p->vecs.at[o->id + (uint32_t)i]);
    }
    break;
  case PTXO_IMM:
    if (want->kind == ISA_OPND_SINK) text_put(s->out, "_", 1);
    else put_immediate(s->out, want->cls, o->imm);
    break;
  case PTXO_LABEL: text_put(s->out, "$L", 2), put_unsigned(s->out, o->id); break;
  case PTXO_SYM: text_str(s->out, s->p->syms.at[o->id].name); break;
  case PTXO_SPECIAL: text_str(s->out, isa_special((IsaSpecialId)o->id)->text); break;
  default: put_address(s, o); break;
  }
  if (want->brace) text_put(s->out, "}", 1);
  if (want->kind == ISA_OPND_MEM ? !want->opens : want->closes) text_put(s->out, "]", 1);
  if (o->kind == PTXO_REG && o->id2) text_put(s->out, "|", 1), put_reg(s, o->id2);
}

static void spell_value(Print *s, uint32_t bits) {
  float v;
  if (s->value[0] && s->value_bits == bits) return; /* the same one often comes many times */
  memcpy(&v, &bits, sizeof v);
  s->value_bits = bits;
  if (isfinite(v)) snprintf(s->value, sizeof s->value, "%.9g", (double)v);
  else snprintf(s->value, sizeof s->value, "%s%s", signbit(v) ? "-" : "", isnan(v) ? "nan" : "inf");
}

/* The value of f32 immediates, for people. */
static void put_values(Print *s, const IsaForm *f, const PtxInstr *in) {
  const char *before = "  // ";
  for (int k = 0; k < in->nops; k++) {
    const PtxOpnd *o = ptx_operand(s->p, in, k);
    if (o->kind != PTXO_IMM || f->op[k].cls != 'f') continue;
    spell_value(s, (uint32_t)o->imm);
    text_str(s->out, before);
    text_str(s->out, s->value);
    before = ", ";
  }
}

/* ---- lines ---- */

static void put_loc(Print *s, Loc loc) {
  if (!loc.file || (loc.file == s->loc.file && loc.line == s->loc.line && loc.col == s->loc.col)) return;
  s->loc = loc;
  text_fmt(s->out, text_LOC, (unsigned)loc.file, (unsigned)loc.line, (unsigned)loc.col);
}

static void put_instruction(Print *s, const PtxInstr *in) {
  const IsaForm *f = isa_form((IsaId)in->form);
  put_loc(s, in->loc);
  text_put(s->out, "    ", 4);
  if (in->guard) {
    text_put(s->out, in->guard_neg ? "@!" : "@", in->guard_neg ? 2 : 1);
    put_reg(s, in->guard);
    text_put(s->out, " ", 1);
  }
  text_str(s->out, f->opcode);
  for (int k = 0; k < in->nops; k++) {
    text_put(s->out, k ? ", " : " ", k ? 2 : 1);
    put_operand(s, &f->op[k], ptx_operand(s->p, in, k));
  }
  text_put(s->out, ";", 1);
  put_values(s, f, in);
  text_put(s->out, "\n", 1);
}

static void put_line(Print *s, const PtxInstr *in) {
  if (in->form) put_instruction(s, in);
  else if (in->label) text_fmt(s->out, text_LABEL, in->label);
  else text_fmt(s->out, text_NOTE, s->p->notes.at[in->note]);
}

/* ---- declarations ---- */

static void number_reg(Print *s, uint32_t reg) {
  if (!s->number[reg]) s->number[reg] = ++s->count[s->p->regs.at[reg].cls];
}

static void number_regs(Print *s) {
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  for (uint32_t i = 0; i < s->p->code.n; i++) {
    const PtxInstr *in = &s->p->code.at[i];
    if (in->guard) number_reg(s, in->guard);
    for (int k = 0; k < in->nops; k++) {
      int n = ptx_operand_regs(s->p, ptx_operand(s->p, in, k), regs);
      for (int j = 0; j < n; j++) number_reg(s, regs[j]);
    }
  }
}

static void put_entry(Print *s) {
  const PtxProgram *p = s->p;
  const char *comma = "";
  text_fmt(s->out, text_ENTRY, p->entry);
  for (uint32_t i = 1; i < p->syms.n; i++) {
    const PtxSymInfo *sym = &p->syms.at[i];
    if (!sym->is_param) continue;
    if (sym->type) text_fmt(s->out, text_PARAM, comma, sym->type, sym->name);
    else text_fmt(s->out, text_PARAM_BYTES, comma, sym->align, sym->name, sym->bytes);
    comma = ",";
  }
  text_str(s->out, text_PARAMS_END);
  if (p->threads) text_fmt(s->out, text_REQNTID, p->threads);
  if (p->min_ctas) text_fmt(s->out, text_MINNCTA, p->min_ctas);
  if (p->max_regs) text_fmt(s->out, text_MAXNREG, p->max_regs);
  if (p->cluster[0]) text_fmt(s->out, text_CLUSTER, p->cluster[0], p->cluster[1], p->cluster[2]);
}

static void put_declarations(Print *s) {
  const PtxProgram *p = s->p;
  for (int c = 0; c < PTX_CLASSES; c++)
    if (s->count[c]) text_fmt(s->out, text_REG, reg_type[c], reg_prefix[c], s->count[c]);
  for (uint32_t i = 1; i < p->syms.n; i++) {
    const PtxSymInfo *sym = &p->syms.at[i];
    if (!sym->is_param && !sym->is_extern) text_fmt(s->out, text_SHARED, sym->align, sym->name, sym->bytes);
  }
  text_put(s->out, "\n", 1);
}

void ptx_header(Text *out, const Target *t, int version, const Diag *files) {
  text_fmt(out, text_VERSION, version / 10, version % 10);
  text_fmt(out, text_TARGET, t->name);
  text_str(out, text_ADDRESSES);
  for (uint32_t i = 1; i < files->files.n; i++) text_fmt(out, text_FILE, (unsigned)i, files->files.at[i].name);
}

void ptx_externs(const PtxProgram *p, Text *out) {
  for (uint32_t i = 1; i < p->syms.n; i++)
    if (p->syms.at[i].is_extern) text_fmt(out, text_EXTERN, p->syms.at[i].align, p->syms.at[i].name);
}

void ptx_text(PtxProgram *p, Text *out) {
  Print s = {.p = p, .out = out};
  s.number = ARENA_ARRAY(p->arena, PASS, uint32_t, p->regs.n);
  number_regs(&s);
  put_entry(&s);
  text_str(out, text_BODY);
  put_declarations(&s);
  for (uint32_t i = 0; i < p->code.n; i++) put_line(&s, &p->code.at[i]);
  text_str(out, text_BODY_END);
}
