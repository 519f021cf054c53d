/* func.c - device functions while PTX is read: declarations and their parameters, calls, lists of jump targets, what lies on the stack. */
#include "parse.h"
#include <string.h>

enum { MAX_STACK = 1 << 20, MAX_PARAMS = 1024, GAP = 16 };

static bool fail_name(SimParser *p, const SimToken *t, const char *what) {
  return sim_parse_fail(p, t->line, DRV_INVALID_PTX, "%s '%.*s'", what, (int)(t->n > 60 ? 60 : t->n), t->at);
}

static bool skip_statement(SimParser *p) {
  while (p->tok.kind != TOK_END && !sim_lex_punct(p, ';')) sim_lex_next(p);
  return sim_lex_expect(p, ';');
}

/* ---- the stack of a lane: parameters, results, .local arrays, the .param of calls ---- */

static bool on_stack(SimParser *p, const SimDecl *d, uint32_t gap, SimSym **out) {
  SimSym *s = sim_sym_add(p, &d->name, SYM_STACK);
  if (!s) return false;
  s->value = (p->stack_at + d->align - 1) / d->align * d->align;
  s->bytes = d->bytes;
  p->stack_at = s->value + d->bytes + gap;
  if (p->stack_at > MAX_STACK) return sim_parse_fail(p, d->name.line, DRV_INVALID_PTX, "more than %d bytes of local memory", MAX_STACK);
  if (p->fn->stack_bytes < p->stack_at) p->fn->stack_bytes = (uint32_t)p->stack_at;
  size_t have = p->stack_map.n;
  if (p->stack_at > have && !sim_push(&p->stack_map, p->stack_at - have)) return sim_parse_memory(p);
  memset((char *)p->stack_map.at + s->value, 1, d->bytes);
  *out = s;
  return true;
}

/* .local or .param among the statements. The room of a scope with .param alone is used again when the scope has ended. */
bool sim_parse_stack(SimParser *p, bool keeps) {
  SimDecl d;
  SimSym *s;
  if (!sim_parse_decl(p, &d)) return false;
  if (d.open || !d.bytes) return fail_name(p, &d.name, "an array of the stack needs a size:");
  if (!on_stack(p, &d, keeps ? GAP : 0, &s)) return false;
  for (uint32_t i = 0; keeps && i <= p->depth; i++) p->stack_saved[i] = p->stack_at;
  return sim_lex_expect(p, ';');
}

/* ---- declarations ---- */

/* ( .param .b32 a, ... ): all on the stack */
static bool read_formals(SimParser *p, SimParam **out, uint32_t *n) {
  SimBuf list = {0};
  bool ok = true;
  *n = 0;
  if (!sim_lex_take(p, '(')) return true;
  while (ok && !sim_lex_punct(p, ')')) {
    SimDecl d;
    SimSym *s = NULL;
    ok = !list.n || sim_lex_expect(p, ',');
    if (ok && sim_lex_is(p, ".reg"))
      ok = sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "a function's parameters are simulated as .param, not as .reg");
    ok = ok && sim_lex_is(p, ".param") ? (sim_lex_next(p), true) : ok && fail_name(p, &p->tok, "expected .param before");
    ok = ok && sim_parse_decl(p, &d) && (!d.open || fail_name(p, &d.name, "a parameter needs a size:")) && on_stack(p, &d, 0, &s);
    SimParam *e = ok ? sim_push(&list, sizeof *e) : NULL;
    if (ok && !e) ok = sim_parse_memory(p);
    if (ok) *e = (SimParam){(uint32_t)s->value, (uint32_t)d.bytes, (uint32_t)d.align};
    if (ok && SIM_COUNT(&list, SimParam) > MAX_PARAMS) ok = fail_name(p, &d.name, "too many parameters:");
  }
  ok = ok && sim_lex_expect(p, ')');
  if (ok && list.n) {
    *n = SIM_COUNT(&list, SimParam);
    *out = sim_new(list.n);
    if (*out) memcpy(*out, list.at, list.n);
    else *n = 0, ok = sim_parse_memory(p);
  }
  sim_buf_free(&list);
  return ok;
}

static bool same_shape(const SimParam *a, uint32_t na, const SimParam *b, uint32_t nb) {
  bool same = na == nb;
  for (uint32_t i = 0; same && i < na; i++) same = a[i].bytes == b[i].bytes;
  return same;
}

/* The function of that name, made at its first declaration. */
static SimFunction *declare(SimParser *p, const SimToken *name, bool is_extern) {
  SimSym *s = sim_sym_find(p, name->at, name->n);
  if (p->code) return NULL;
  if (s) {
    SimFunction *f = s->kind == SYM_FUNCTION ? SIM_AT(&p->mod->functions, SimFunction *, s->id) : NULL;
    if (!f || f->entry || f->defined) return fail_name(p, name, "declared twice:"), NULL;
    return f;
  }
  SimFunction *f = sim_function_new(p, name);
  if (f && is_extern) f->builtin = (uint8_t)sim_builtin_find(name->at, name->n);
  return f;
}

static void free_params(SimParam **list, uint32_t *n) {
  sim_delete(*list, *n * sizeof **list);
  *list = NULL;
  *n = 0;
}

/* Keeps the shape of the first declaration; a later one must be the same. Offsets are those of the declaration that has the body. */
static bool keep_shape(SimParser *p, SimFunction *f, const SimToken *name, bool first, SimFunction *read) {
  bool same = first || (same_shape(f->params, f->nparams, read->params, read->nparams) &&
                        same_shape(f->results, f->nresults, read->results, read->nresults));
  if (!same) {
    free_params(&read->params, &read->nparams);
    free_params(&read->results, &read->nresults);
    return fail_name(p, name, "declared before with other parameters or results:");
  }
  free_params(&f->params, &f->nparams);
  free_params(&f->results, &f->nresults);
  f->params = read->params, f->nparams = read->nparams;
  f->results = read->results, f->nresults = read->nresults;
  f->stack_bytes = read->stack_bytes;
  return true;
}

/* .func [(results)] name [(parameters)] [directives] followed by ; or a body */
bool sim_parse_func(SimParser *p, bool is_extern, uint64_t shared_next) {
  SimFunction read = {0}; /* parameters and results of this declaration */
  SimToken name;
  p->fn = &read;
  p->stack_at = 0;
  sim_buf_free(&p->stack_map);
  if (!sim_scope_open(p)) return false;
  bool ok = read_formals(p, &read.results, &read.nresults);
  name = p->tok;
  ok = ok && (name.kind == TOK_WORD || fail_name(p, &name, ".func needs a name before"));
  if (ok) sim_lex_next(p);
  ok = ok && read_formals(p, &read.params, &read.nparams);
  uint32_t inside = p->depth;
  p->depth = 0; /* the function itself is a name of the module */
  SimFunction *f = ok ? declare(p, &name, is_extern) : NULL;
  p->depth = inside;
  if (!f) {
    free_params(&read.params, &read.nparams);
    free_params(&read.results, &read.nresults);
    return p->code ? false : sim_parse_memory(p);
  }
  if (!keep_shape(p, f, &name, !f->declared, &read)) return false;
  f->declared = true;
  p->fn = f;
  if (!sim_parse_directives(p)) return false;
  if (sim_lex_take(p, ';')) return sim_scope_close(p);
  f->defined = true;
  f->builtin = BUILTIN_NONE;
  return sim_parse_code(p, shared_next);
}

bool sim_use_function(SimParser *p, uint32_t index, uint32_t line) {
  SimFunction *f = SIM_AT(&p->mod->functions, SimFunction *, index);
  if (!f->used_line) f->used_line = line;
  return true;
}

/* The end of the module: what is called is there; counters of device functions lie one after the other. */
bool sim_link_functions(SimParser *p) {
  SimModule *m = p->mod;
  uint32_t n = SIM_COUNT(&m->functions, SimFunction *), shift = 32, granule = 32;
  bool meets = false, copies = false, async = false;
  for (uint32_t i = 0; i < n; i++) {
    SimFunction *f = SIM_AT(&m->functions, SimFunction *, i);
    if (f->entry) continue;
    if (!f->defined && !f->builtin && f->used_line)
      return sim_parse_fail(p, f->used_line, DRV_INVALID_PTX, "the function '%.80s' is declared and nowhere defined", f->name);
    if (f->builtin == BUILTIN_MALLOC && f->used_line && !sim_heap_open(p->dev)) return sim_parse_memory(p);
    f->code_base = m->func_code;
    f->mem_base = m->func_mem;
    m->func_code += f->ncode;
    m->func_mem += f->nmem;
    if (!f->defined) continue;
    if (f->shift < shift) shift = f->shift;
    if (f->granule < granule) granule = f->granule;
    meets |= f->meets;
    async |= f->uses_async;
    copies |= f->uses_cp_async;
  }
  for (uint32_t i = 0; i < n; i++) { /* an entry may call any of them: memory is watched as finely as the narrowest access of all */
    SimFunction *f = SIM_AT(&m->functions, SimFunction *, i);
    if (!f->entry) continue;
    if (f->shift > shift) f->shift = shift;
    if (f->granule > granule) f->granule = granule;
    f->meets |= meets;
    f->uses_async |= async;
    f->uses_cp_async |= copies;
  }
  return true;
}

/* ---- calls ---- */

/* name, register or number: a piece of the stack, or a value */
static bool read_actual(SimParser *p, SimOpnd *o) {
  memset(o, 0, sizeof *o);
  return sim_parse_operand(p, o) || (p->code ? false : sim_parse_memory(p));
}

static bool read_actuals(SimParser *p, SimBuf *list) { /* after '(' */
  while (!sim_lex_punct(p, ')')) {
    if (list->n && !sim_lex_expect(p, ',')) return false;
    SimOpnd *o = sim_push(list, sizeof *o);
    if (!o) return sim_parse_memory(p);
    if (!read_actual(p, o)) return false;
  }
  return sim_lex_expect(p, ')');
}

/* A piece of the stack, or a register that becomes the next operand of the instruction. bytes 0: not known (indirect calls). */
static bool push_actual(SimParser *p, const SimOpnd *o, bool result, uint32_t bytes, int *operands) {
  SimArg *a = sim_push(&p->args, sizeof *a);
  if (!a) return sim_parse_memory(p);
  if (o->kind == OPND_SYM && o->sym && SIM_AT(&p->syms, SimSym, o->sym).kind == SYM_STACK && !o->imm) {
    const SimSym *s = &SIM_AT(&p->syms, SimSym, o->sym);
    *a = (SimArg){(uint32_t)s->value, (uint32_t)s->bytes, -1};
    return !bytes || bytes == a->bytes || fail_name(p, &o->token, "another size was declared than that of");
  }
  SimArg reg = {.bytes = bytes, .operand = (*operands)++};
  if (o->kind == OPND_REG) {
    const SimVreg *v = &SIM_AT(&p->vregs, SimVreg, o->reg[0]);
    if (v->bits == 1) return fail_name(p, &o->token, "a predicate cannot be passed:");
    if (!reg.bytes) reg.bytes = v->bits / 8u;
    if (reg.bytes * 8 != v->bits && v->kind == VREG_PLAIN) return fail_name(p, &o->token, "another size was declared than that of");
    *a = reg;
    return sim_push_ref(p, o->reg[0], result ? 2 : 1);
  }
  if (result || (o->kind != OPND_INT && o->kind != OPND_FLOAT)) return fail_name(p, &o->token, "expected a .param or a register, not");
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) return fail_name(p, &o->token, "a number whose size is not known:");
  *a = reg;
  return sim_push_ref(p, sim_vreg_immediate(p, &o->token, bytes == 8 ? 'l' : bytes == 4 ? 'r' : 'h'), 1);
}

typedef struct Actuals { SimBuf results, args; SimOpnd callee; } Actuals;

static bool read_call(SimParser *p, Actuals *a) {
  if (sim_lex_take(p, '(') && (!read_actuals(p, &a->results) || !sim_lex_expect(p, ','))) return false;
  if (!read_actual(p, &a->callee)) return false;
  while (sim_lex_take(p, ',')) {
    if (sim_lex_take(p, '(')) {
      if (!read_actuals(p, &a->args)) return false;
    } else { /* .callprototype or .calltargets: what is called is checked when it is called */
      if (p->tok.kind != TOK_WORD) return fail_name(p, &p->tok, "expected a prototype before");
      sim_lex_next(p);
    }
  }
  return sim_lex_expect(p, ';');
}

static bool find_callee(SimParser *p, const SimOpnd *o, SimCall *call, const SimFunction **f, int *operands) {
  *f = NULL;
  if (o->kind == OPND_SYM && o->sym && !o->imm && SIM_AT(&p->syms, SimSym, o->sym).kind == SYM_FUNCTION) {
    call->callee = SIM_AT(&p->syms, SimSym, o->sym).id;
    *f = SIM_AT(&p->mod->functions, SimFunction *, call->callee);
    if ((*f)->entry) return fail_name(p, &o->token, "an entry cannot be called:");
    return sim_use_function(p, call->callee, o->token.line);
  }
  if (o->kind != OPND_REG || SIM_AT(&p->vregs, SimVreg, o->reg[0]).bits != 64) return fail_name(p, &o->token, "no function:");
  call->callee = SIM_FULL;
  call->operand = (*operands)++;
  return sim_push_ref(p, o->reg[0], 1);
}

static bool push_actuals(SimParser *p, const Actuals *a, SimCall *call, const SimFunction *f, int *operands) {
  call->first = SIM_COUNT(&p->args, SimArg);
  call->nargs = SIM_COUNT(&a->args, SimOpnd);
  call->nresults = SIM_COUNT(&a->results, SimOpnd);
  if (f && (call->nargs != f->nparams || call->nresults != f->nresults))
    return sim_parse_fail(p, a->callee.token.line, DRV_INVALID_PTX, "'%.80s' has %u parameters and %u results, the call has %u and %u", f->name,
                          f->nparams, f->nresults, call->nargs, call->nresults);
  for (uint32_t i = 0; i < call->nargs; i++)
    if (!push_actual(p, &SIM_AT(&a->args, SimOpnd, i), false, f ? f->params[i].bytes : 0, operands)) return false;
  for (uint32_t i = 0; i < call->nresults; i++)
    if (!push_actual(p, &SIM_AT(&a->results, SimOpnd, i), true, f ? f->results[i].bytes : 0, operands)) return false;
  return true;
}

bool sim_parse_call(SimParser *p, const SimToken *op, uint32_t guard, bool negated) {
  Actuals a = {0};
  const SimFunction *f;
  int operands = 0;
  bool ok = read_call(p, &a);
  SimInstr *in = ok ? sim_begin_instruction(p, op, isa_form(isa_find(op->at, op->n)), guard, negated) : NULL;
  SimCall *call = in ? sim_push(&p->calls, sizeof *call) : NULL;
  ok = call != NULL || (p->code ? false : sim_parse_memory(p));
  if (ok && SIM_COUNT(&p->calls, SimCall) > UINT16_MAX) ok = sim_parse_fail(p, op->line, DRV_INVALID_PTX, "more than %d calls", UINT16_MAX);
  if (ok) {
    in->sub = (uint16_t)(SIM_COUNT(&p->calls, SimCall) - 1);
    in->handler = (uint16_t)sim_handler_find("call", 4);
    ok = find_callee(p, &a.callee, call, &f, &operands) && push_actuals(p, &a, call, f, &operands);
  }
  sim_buf_free(&a.results);
  sim_buf_free(&a.args);
  return ok;
}

/* ---- labels that stand for something else than a place in the code ---- */

/* name: .branchtargets A, B, ...; */
static bool parse_targets(SimParser *p, const SimToken *name) {
  SimSym *s = sim_sym_add(p, name, SYM_TARGETS);
  if (!s) return false;
  uint32_t at = SIM_COUNT(&p->targets, uint32_t), n = 0;
  s->id = at;
  if (!sim_push(&p->targets, 4)) return sim_parse_memory(p);
  do {
    if (p->tok.kind != TOK_WORD) return fail_name(p, &p->tok, "expected a label before");
    SimJump *j = sim_push(&p->targets, 4) ? sim_push(&p->jumps, sizeof *j) : NULL;
    if (!j) return sim_parse_memory(p);
    *j = (SimJump){at + ++n, p->tok.at, p->tok.n, p->tok.line, (uint8_t)p->depth, JUMP_SLOT};
    sim_lex_next(p);
  } while (sim_lex_take(p, ','));
  SIM_AT(&p->targets, uint32_t, at) = n;
  return sim_lex_expect(p, ';');
}

bool sim_parse_special_label(SimParser *p, const SimToken *name, bool *done) {
  bool targets = sim_lex_is(p, ".branchtargets");
  *done = targets || sim_lex_is(p, ".callprototype") || sim_lex_is(p, ".calltargets");
  if (!*done) return true;
  sim_lex_next(p);
  return targets ? parse_targets(p, name) : skip_statement(p);
}
