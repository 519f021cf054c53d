/* parse.c - modules and entries: directives, declarations, statements. Any input ends in a module or in one message. */
#include "parse.h"
#include "alloc.h"
#include <stdio.h>
#include <string.h>

enum { MAX_INSTRUCTIONS = 1 << 22, MAX_TEXT = 1 << 28 };

static bool fail_token(SimParser *p, const char *what) {
  if (p->tok.kind == TOK_END) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "%s, the text ends", what);
  return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "%s, not '%.*s'", what, (int)(p->tok.n > 60 ? 60 : p->tok.n), p->tok.at);
}

static bool take_word(SimParser *p, const char *word) {
  if (!sim_lex_is(p, word)) return false;
  sim_lex_next(p);
  return true;
}

static bool take_int(SimParser *p, uint64_t *v, uint64_t max, const char *what) {
  *v = 0;
  if (p->tok.kind != TOK_INT) return fail_token(p, what);
  *v = p->tok.value;
  if (*v > max) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "%s: %llu is too large", what, (unsigned long long)*v);
  sim_lex_next(p);
  return true;
}

static void skip_line(SimParser *p) { /* what is left of the token's line */
  uint32_t line = p->tok.line;
  while (p->tok.kind != TOK_END && p->tok.line == line) sim_lex_next(p);
}

/* ---- header ---- */

static bool parse_version(SimParser *p) {
  SimToken t = p->tok;
  unsigned major = 0, minor = 0;
  double d;
  if (t.kind != TOK_FLOAT || t.hex) return fail_token(p, ".version needs a number like 8.0");
  memcpy(&d, &t.value, 8);
  if (!(d >= 1 && d < 100)) return fail_token(p, ".version needs a number like 8.0");
  major = (unsigned)d;
  minor = (unsigned)(d * 10 + 0.5) % 10;
  p->mod->version = (int)(major * 10 + minor);
  p->have_version = true;
  sim_lex_next(p);
  if (p->mod->version > 90)
    return sim_parse_fail(p, t.line, DRV_UNSUPPORTED_PTX_VERSION, ".version %u.%u is newer than 9.0", major, minor);
  return true;
}

static bool parse_target(SimParser *p) {
  do {
    if (p->tok.kind != TOK_WORD) return fail_token(p, ".target needs an architecture like sm_80");
    SimToken t = p->tok;
    if (!p->have_target) {
      if (t.n >= sizeof p->mod->target || !sim_target_allows(t.at, t.n, "1"))
        return fail_token(p, ".target needs an architecture like sm_80");
      memcpy(p->mod->target, t.at, t.n);
      p->have_target = true;
      if (!sim_target_loads(t.at, t.n, p->dev->target))
        return sim_parse_fail(p, t.line, DRV_NO_BINARY_FOR_GPU, ".target %s does not run on this device (%s)", p->mod->target,
                              p->dev->target->name);
    }
    sim_lex_next(p);
  } while (sim_lex_take(p, ','));
  return true;
}

static bool parse_file(SimParser *p) {
  uint64_t index;
  if (!take_int(p, &index, 4096, ".file needs an index")) return false;
  if (p->tok.kind != TOK_STRING) return fail_token(p, ".file needs a name in quotes");
  while (SIM_COUNT(&p->mod->files, char *) <= index)
    if (!sim_push(&p->mod->files, sizeof(char *))) return sim_parse_memory(p);
  char **slot = &SIM_AT(&p->mod->files, char *, index);
  char *name = sim_copy_text(p->tok.at, p->tok.n);
  if (!name) return sim_parse_memory(p);
  if (*slot) sim_delete(*slot, strlen(*slot) + 1);
  *slot = name;
  sim_lex_next(p);
  uint64_t ignored;
  while (sim_lex_take(p, ','))
    if (!take_int(p, &ignored, UINT64_MAX, ".file: a number")) return false;
  return true;
}

/* .section .debug_str { ... }: balanced braces are passed over */
static bool skip_section(SimParser *p) {
  while (p->tok.kind != TOK_END && !sim_lex_punct(p, '{')) sim_lex_next(p);
  int depth = 0;
  do {
    if (p->tok.kind == TOK_END) return fail_token(p, "expected '}'");
    if (sim_lex_punct(p, '{')) depth++;
    if (sim_lex_punct(p, '}')) depth--;
    sim_lex_next(p);
  } while (depth);
  return true;
}

/* ---- declarations ---- */

static bool parse_reg(SimParser *p) {
  uint8_t type, bits;
  if (p->tok.kind != TOK_WORD || !sim_type_word(p->tok.at, p->tok.n, &type, &bits)) return fail_token(p, ".reg needs a type");
  sim_lex_next(p);
  do {
    if (p->tok.kind != TOK_WORD) return fail_token(p, ".reg needs a name");
    SimToken name = p->tok;
    sim_lex_next(p);
    bool range = sim_lex_take(p, '<');
    uint64_t count = 0;
    if (range && (!take_int(p, &count, 100000000, "a register range needs a count") || !sim_lex_expect(p, '>'))) return false;
    uint32_t v = range ? 0 : sim_vreg_new(p, VREG_PLAIN, bits == 1 ? 0 : bits == 64 ? 8 : 4, 0);
    if (!range && !v) return false;
    SimSym *s = sim_sym_add(p, &name, range ? SYM_RANGE : SYM_REG);
    if (!s) return false;
    s->type = type;
    s->bits = bits;
    s->value = count;
    s->id = v;
    if (v) {
      SIM_AT(&p->vregs, SimVreg, v).type = type;
      SIM_AT(&p->vregs, SimVreg, v).bits = bits;
    }
  } while (sim_lex_take(p, ','));
  return sim_lex_expect(p, ';');
}

/* [.align N] .type name [ '[' count ']' ]... */
bool sim_parse_decl(SimParser *p, SimDecl *d) {
  *d = (SimDecl){.align = 0, .count = 1};
  if (take_word(p, ".align") && !take_int(p, &d->align, 65536, ".align needs a number")) return false;
  if (p->tok.kind != TOK_WORD || !sim_type_word(p->tok.at, p->tok.n, &d->type, &d->bits) || d->type == 'p')
    return fail_token(p, "expected a type");
  sim_lex_next(p);
  if (take_word(p, ".ptr")) { /* .ptr .global .align 16: advice only */
    while (p->tok.kind == TOK_WORD && *p->tok.at == '.') {
      uint64_t ignored;
      if (take_word(p, ".align") ? !take_int(p, &ignored, 1 << 20, ".align needs a number") : (sim_lex_next(p), false)) return false;
    }
  }
  if (p->tok.kind != TOK_WORD) return fail_token(p, "expected a name");
  d->name = p->tok;
  sim_lex_next(p);
  while (sim_lex_take(p, '[')) {
    uint64_t n = 0;
    if (sim_lex_punct(p, ']')) d->open = true;
    else if (!take_int(p, &n, 1u << 31, "an array needs a size")) return false;
    else if (d->count && n > (1ull << 32) / d->count) return fail_token(p, "an array of less than 4 GB was expected");
    else d->count *= n;
    if (!sim_lex_expect(p, ']')) return false;
  }
  uint64_t elem = d->bits / 8;
  if (!d->align) d->align = elem;
  if (d->align & (d->align - 1)) return sim_parse_fail(p, d->name.line, DRV_INVALID_PTX, ".align needs a power of two");
  d->bytes = d->open ? 0 : d->count * elem;
  return true;
}

static uint64_t round_up(uint64_t v, uint64_t align) { return (v + align - 1) / align * align; }

/* Shared arrays get their addresses as they are declared; those of module scope lie before the entry's own. */
static bool parse_shared(SimParser *p, bool is_extern, uint64_t *next, uint32_t *align) {
  SimDecl d;
  if (!sim_parse_decl(p, &d)) return false;
  SimSym *s = sim_sym_add(p, &d.name, is_extern || d.open ? SYM_DYNAMIC : SYM_SHARED);
  if (!s) return false;
  s->bytes = d.bytes;
  s->align = (uint32_t)d.align;
  if (s->kind == SYM_SHARED) {
    *next = round_up(*next, d.align);
    s->value = p->dev->target->shared_first + *next;
    *next += d.bytes;
    if (*next > p->dev->target->shared_sm)
      return sim_parse_fail(p, d.name.line, DRV_INVALID_PTX, "shared arrays take %llu bytes, an SM has %u", (unsigned long long)*next,
                            p->dev->target->shared_sm);
  } else if (*align < d.align) {
    *align = (uint32_t)d.align;
  }
  return sim_lex_expect(p, ';');
}

/* The address of an array or function: name, generic(name), with +N behind it. */
static bool read_address(SimParser *p, uint64_t *v) {
  bool generic = take_word(p, "generic");
  if (generic && !sim_lex_expect(p, '(')) return false;
  SimToken t = p->tok;
  SimSym *s = t.kind == TOK_WORD ? sim_sym_find(p, t.at, t.n) : NULL;
  if (p->code) return false;
  if (!s || (s->kind != SYM_GLOBAL && s->kind != SYM_FUNCTION && s->kind != SYM_SHARED))
    return fail_token(p, "expected a number, or the name of an array or function");
  if (s->kind == SYM_FUNCTION && !sim_use_function(p, s->id, t.line)) return false;
  *v = s->value + (generic && s->kind == SYM_SHARED ? SIM_SHARED_BASE : 0);
  sim_lex_next(p);
  if (generic && !sim_lex_expect(p, ')')) return false;
  while (sim_lex_punct(p, '+') || sim_lex_punct(p, '-')) {
    bool minus = sim_lex_take(p, '-');
    uint64_t n;
    if (!minus) sim_lex_next(p);
    if (!take_int(p, &n, UINT64_MAX, "an offset")) return false;
    *v += minus ? 0 - n : n;
  }
  return true;
}

/* One element: a number, an address, or a byte of one: MASK(address), whose bits say which. */
static bool read_element(SimParser *p, uint64_t elem, uint64_t *v) {
  bool minus = sim_lex_take(p, '-');
  SimToken t = p->tok;
  if (t.kind == TOK_WORD && !minus) return read_address(p, v);
  if (t.kind != TOK_INT && t.kind != TOK_FLOAT) return fail_token(p, "expected a number, or the name of an array or function");
  *v = t.value;
  sim_lex_next(p);
  if (t.kind == TOK_INT && t.value && !minus && sim_lex_take(p, '(')) {
    if (!read_address(p, v) || !sim_lex_expect(p, ')')) return false;
    *v = (*v & t.value) >> __builtin_ctzll(t.value);
  } else if (t.kind == TOK_FLOAT && !t.single && elem == 4) {
    double x;
    memcpy(&x, v, 8);
    float f = (float)(minus ? -x : x);
    uint32_t bits;
    memcpy(&bits, &f, 4);
    *v = bits;
  } else if (minus) {
    *v = t.kind == TOK_INT ? 0 - *v : *v ^ (t.single ? 0x80000000ull : 0x8000000000000000ull);
  }
  return true;
}

/* Braces may be nested, one pair for each row of an array of several dimensions. */
static bool parse_initialiser(SimParser *p, const SimDecl *d, SimAlloc *a) {
  uint64_t at = 0, elem = d->bits / 8, v;
  int depth = 0;
  do {
    while (sim_lex_take(p, '{')) depth++;
    if (!depth || !sim_lex_punct(p, '}')) {
      if (!read_element(p, elem, &v)) return false;
      if (at + elem > d->bytes) return fail_token(p, "no more numbers than the array has places");
      memcpy(a->host + at, &v, elem);
      at += elem;
    }
    while (depth && sim_lex_take(p, '}')) depth--;
  } while (depth && sim_lex_take(p, ','));
  return depth ? sim_lex_expect(p, '}') : !p->code;
}

/* .global or .const at module scope: an allocation, zero where no initialiser says otherwise */
static bool parse_global(SimParser *p, bool constant) {
  SimDecl d;
  if (!sim_parse_decl(p, &d)) return false;
  if (d.open || d.bytes == 0 || d.bytes > 1u << 28) return sim_parse_fail(p, d.name.line, DRV_INVALID_PTX, "a module's array needs a size");
  SimVar *var = sim_push(&p->mod->vars, sizeof *var);
  if (!var) return sim_parse_memory(p);
  var->name = sim_copy_text(d.name.at, d.name.n);
  if (!var->name || sim_memory_alloc(&p->dev->memory, d.bytes, &var->address)) {
    if (var->name) sim_delete(var->name, strlen(var->name) + 1);
    p->mod->vars.n -= sizeof *var;
    return sim_parse_memory(p);
  }
  var->bytes = d.bytes;
  SimSym *s = sim_sym_add(p, &d.name, SYM_GLOBAL);
  if (!s) return false;
  s->value = var->address;
  s->bytes = d.bytes;
  SimAlloc *a = sim_memory_find(&p->dev->memory, s->value);
  a->constant = constant;
  memset(a->host, 0, d.bytes);
  sim_memory_mark(a, a->base, d.bytes);
  sim_memory_settle(a);
  if (sim_lex_take(p, '=') && !parse_initialiser(p, &d, a)) return false;
  return sim_lex_expect(p, ';');
}

/* ---- an entry ---- */

static bool parse_params(SimParser *p) {
  SimFunction *f = p->fn;
  uint64_t at = 0;
  SimBuf list = {0};
  bool ok = true;
  if (!sim_lex_take(p, '(')) return true;
  while (ok && !sim_lex_punct(p, ')')) {
    SimDecl d;
    ok = (!list.n || sim_lex_expect(p, ',')) && (take_word(p, ".param") || fail_token(p, "expected .param")) && sim_parse_decl(p, &d);
    if (!ok) break;
    at = round_up(at, d.align);
    SimSym *s = sim_sym_add(p, &d.name, SYM_PARAM);
    SimParam *e = s ? sim_push(&list, sizeof *e) : NULL;
    if (!e) {
      ok = p->code ? false : sim_parse_memory(p);
      break;
    }
    s->value = at;
    s->bytes = d.bytes;
    *e = (SimParam){(uint32_t)at, (uint32_t)d.bytes, (uint32_t)d.align};
    at += d.bytes;
    if (at > 32764) ok = sim_parse_fail(p, d.name.line, DRV_INVALID_PTX, "parameters take more than 32764 bytes");
  }
  ok = ok && sim_lex_expect(p, ')');
  f->nparams = SIM_COUNT(&list, SimParam);
  f->param_bytes = (uint32_t)at;
  if (ok && f->nparams) {
    f->params = sim_new(list.n);
    if (f->params) memcpy(f->params, list.at, list.n);
    else ok = sim_parse_memory(p);
  }
  sim_buf_free(&list);
  return ok;
}

static bool parse_dims(SimParser *p, uint32_t out[3]) {
  uint64_t product = 1;
  for (int i = 0; i < 3; i++) {
    uint64_t v = 1;
    if (i == 0 || sim_lex_take(p, ',')) {
      if (!take_int(p, &v, 1024, "a block size of at most 1024 was expected")) return false;
    }
    if (v == 0 || (product *= v) > 1024) return fail_token(p, "a block of 1 to 1024 threads was expected");
    out[i] = (uint32_t)v;
  }
  return true;
}

static bool take_number(SimParser *p, uint32_t *out, uint32_t most) {
  uint64_t v;
  if (!take_int(p, &v, most, "a number")) return false;
  *out = (uint32_t)v;
  return true;
}

bool sim_parse_directives(SimParser *p) {
  uint64_t ignored;
  for (;;) {
    bool ok = true;
    if (take_word(p, ".reqntid")) ok = parse_dims(p, p->fn->reqntid);
    else if (take_word(p, ".maxntid")) ok = parse_dims(p, p->fn->maxntid);
    else if (take_word(p, ".minnctapersm")) ok = take_number(p, &p->fn->minnctapersm, 1024);
    else if (take_word(p, ".maxnctapersm")) ok = take_int(p, &ignored, 1024, "a number");
    else if (take_word(p, ".maxnreg")) ok = take_number(p, &p->fn->maxnreg, 1u << 20);
    else if (take_word(p, ".reqnctapercluster")) ok = parse_dims(p, p->fn->reqcluster);
    else if (take_word(p, ".maxclusterrank")) ok = take_number(p, &p->fn->maxrank, 1024);
    else if (take_word(p, ".explicitcluster")) ok = true; /* the launch may give the shape too: it is compared then */
    else if (take_word(p, ".noreturn")) ok = true;
    else if (take_word(p, ".pragma")) {
      if (p->tok.kind != TOK_STRING) return fail_token(p, ".pragma needs a text in quotes");
      sim_lex_next(p);
      ok = sim_lex_expect(p, ';');
    } else {
      return true;
    }
    if (!ok) return false;
  }
}

static bool parse_inlined_at(SimParser *p, uint64_t *file, uint64_t *line) { /* , function_name LABEL, inlined_at FILE LINE COLUMN */
  uint32_t at = p->tok.line;
  uint64_t column;
  while (p->tok.kind != TOK_END && p->tok.line == at && !sim_lex_is(p, "inlined_at")) sim_lex_next(p);
  if (p->tok.line != at || !take_word(p, "inlined_at")) return true;
  if (!take_int(p, file, 4096, "inlined_at needs a file") || !take_int(p, line, UINT32_MAX, "inlined_at needs a line")) return false;
  return p->tok.kind != TOK_INT || p->tok.line != at || take_int(p, &column, UINT32_MAX, "inlined_at needs a column");
}

/* What is inlined from another file than the kernel's first (a toolkit's header) counts as the place that called it. */
static bool parse_loc(SimParser *p) {
  uint64_t file, line, column, caller_file = 0, caller_line = 0;
  uint32_t at = p->tok.line;
  if (!take_int(p, &file, 4096, ".loc needs a file") || !take_int(p, &line, UINT32_MAX, ".loc needs a line")) return false;
  if (p->tok.kind == TOK_INT && p->tok.line == at && !take_int(p, &column, UINT32_MAX, ".loc needs a column")) return false;
  if (sim_lex_punct(p, ',') && p->tok.line == at) {
    if (!parse_inlined_at(p, &caller_file, &caller_line)) return false;
    if (p->tok.line == at) skip_line(p);
  }
  if (!p->own_file) p->own_file = (uint16_t)file;
  bool elsewhere = caller_file && file != p->own_file;
  p->src_file = (uint16_t)(elsewhere ? caller_file : file);
  p->src_line = (uint32_t)(elsewhere ? caller_line : line);
  return true;
}

static bool parse_label(SimParser *p, const SimToken *name) {
  SimSym *s = sim_sym_add(p, name, SYM_LABEL);
  if (!s) return false;
  s->id = SIM_COUNT(&p->code_buf, SimInstr);
  return true;
}

static bool parse_guarded(SimParser *p) { /* after '@' */
  bool negated = sim_lex_take(p, '!');
  SimToken t = p->tok;
  uint32_t v = t.kind == TOK_WORD ? sim_vreg_named(p, t.at, t.n) : 0;
  if (p->code) return false;
  if (!v || SIM_AT(&p->vregs, SimVreg, v).bits != 1) return fail_token(p, "a guard needs a predicate");
  sim_lex_next(p);
  SimToken op = p->tok;
  if (op.kind != TOK_WORD) return fail_token(p, "expected an instruction");
  sim_lex_next(p);
  return sim_parse_instruction(p, &op, v, negated);
}

static bool parse_statement(SimParser *p, uint64_t *shared_next, uint32_t base_depth) {
  if (sim_lex_take(p, '{')) return sim_scope_open(p);
  if (sim_lex_punct(p, '}')) {
    bool ok = sim_scope_close(p);
    if (p->depth >= base_depth) sim_lex_next(p); /* the last brace is the entry's: its caller reads it */
    return ok;
  }
  if (sim_lex_take(p, '@')) return parse_guarded(p);
  if (p->tok.kind != TOK_WORD) return fail_token(p, "expected a statement");
  if (p->tok.n > 5 && memcmp(p->tok.at, ".reg.", 5) == 0) { /* no blank before the type */
    p->at = p->tok.at + 4;
    p->tok.n = 4;
  }
  SimToken t = p->tok;
  sim_lex_next(p);
  if (sim_lex_take(p, ':')) {
    bool done;
    return sim_parse_special_label(p, &t, &done) && (done || parse_label(p, &t));
  }
  if (*t.at != '.') return sim_parse_instruction(p, &t, 0, false);
#define IS(word) (t.n == sizeof word - 1 && memcmp(t.at, word, t.n) == 0)
  if (IS(".reg")) return parse_reg(p);
  if (IS(".shared")) return parse_shared(p, false, shared_next, &p->fn->shared_align);
  if (IS(".extern") && take_word(p, ".shared")) return parse_shared(p, true, shared_next, &p->fn->shared_align);
  if (IS(".local")) return sim_parse_stack(p, true);
  if (IS(".param")) return sim_parse_stack(p, false);
  if (IS(".loc")) return parse_loc(p);
  if (IS(".pragma")) {
    if (p->tok.kind != TOK_STRING) return fail_token(p, ".pragma needs a text in quotes");
    sim_lex_next(p);
    return sim_lex_expect(p, ';');
  }
#undef IS
  return sim_parse_fail(p, t.line, DRV_INVALID_PTX, "'%.*s' is not simulated inside an entry", (int)(t.n > 60 ? 60 : t.n), t.at);
}

static void reset_function(SimParser *p) {
  sim_buf_free(&p->code_buf);
  sim_buf_free(&p->vregs);
  sim_buf_free(&p->refs);
  sim_buf_free(&p->first_ref);
  sim_buf_free(&p->jumps);
  sim_buf_free(&p->calls);
  sim_buf_free(&p->args);
  sim_buf_free(&p->targets);
  sim_buf_free(&p->stack_map);
  sim_buf_free(&p->const_next);
  memset(p->const_bucket, 0, sizeof p->const_bucket);
  memset(p->sink, 0, sizeof p->sink);
  p->carry = 0;
  memset(p->special, 0, sizeof p->special);
  p->src_line = 0;
  p->src_file = 0;
  p->own_file = 0;
}

static bool parse_body(SimParser *p, uint64_t shared_next) {
  uint32_t base = p->depth;
  while (!p->code && p->depth >= base) {
    if (p->tok.kind == TOK_END) return fail_token(p, "expected '}'");
    if (!parse_statement(p, &shared_next, base)) return false;
    if (SIM_COUNT(&p->code_buf, SimInstr) > MAX_INSTRUCTIONS)
      return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "more than %d instructions", MAX_INSTRUCTIONS);
  }
  p->fn->shared_static = (uint32_t)shared_next;
  return !p->code;
}

SimFunction *sim_function_new(SimParser *p, const SimToken *name) {
  SimFunction **slot = sim_push(&p->mod->functions, sizeof *slot);
  SimFunction *f = slot ? sim_new(sizeof *f) : NULL;
  if (!f) return sim_parse_memory(p), NULL;
  *slot = f;
  f->module = p->mod;
  f->shared_align = 1;
  f->shift = f->granule = 2;
  f->name = sim_copy_text(name->at, name->n);
  if (!f->name) return sim_parse_memory(p), NULL;
  SimSym *s = sim_sym_add(p, name, SYM_FUNCTION);
  if (!s) return NULL;
  s->id = SIM_COUNT(&p->mod->functions, SimFunction *) - 1;
  s->value = SIM_CODE_BASE + (uint64_t)SIM_CODE_STEP * (s->id + 1);
  return f;
}

/* The scope that holds the parameters was opened before and is closed by the body's last brace. */
bool sim_parse_code(SimParser *p, uint64_t shared_next) {
  bool ok = sim_push(&p->vregs, sizeof(SimVreg)) && sim_push(&p->const_next, 4);
  if (!ok) sim_parse_memory(p);
  ok = ok && sim_lex_expect(p, '{') && parse_body(p, shared_next) && sim_flow_finish(p) && sim_lex_expect(p, '}');
  reset_function(p);
  return ok;
}

static bool parse_entry(SimParser *p, uint64_t shared_next, uint32_t shared_align) {
  if (p->tok.kind != TOK_WORD) return fail_token(p, ".entry needs a name");
  SimToken name = p->tok;
  sim_lex_next(p);
  SimFunction *f = p->fn = sim_function_new(p, &name);
  if (!f) return false;
  f->entry = f->declared = f->defined = true;
  f->shared_align = shared_align;
  f->max_dynamic = p->dev->target->shared_static > 48 * 1024 ? 48 * 1024 : p->dev->target->shared_static;
  p->stack_at = 0;
  sim_buf_free(&p->stack_map);
  return sim_scope_open(p) && parse_params(p) && sim_parse_directives(p) && sim_parse_code(p, shared_next);
}

/* A device function's own shared arrays become the module's: every entry may call it. */
static bool parse_func(SimParser *p, bool is_extern, uint64_t *shared_next, uint32_t *shared_align) {
  if (!sim_parse_func(p, is_extern, *shared_next)) return false;
  if (p->fn->shared_static > *shared_next)
    for (uint32_t i = 0; i < SIM_COUNT(&p->mod->functions, SimFunction *); i++)
      if (SIM_AT(&p->mod->functions, SimFunction *, i)->entry)
        return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "'%.80s' has shared arrays and stands behind an entry; declare them at module scope",
                              p->fn->name);
  if (p->fn->shared_static > *shared_next) *shared_next = p->fn->shared_static;
  if (p->fn->shared_align > *shared_align) *shared_align = p->fn->shared_align;
  return true;
}

static bool parse_module(SimParser *p) {
  uint64_t shared_next = 0;
  uint32_t shared_align = 1;
  bool is_extern = false;
  sim_lex_next(p);
  while (!p->code && p->tok.kind != TOK_END) {
    if (sim_lex_take(p, ';')) continue;
    bool ok;
    if (take_word(p, ".version")) ok = parse_version(p);
    else if (take_word(p, ".target")) ok = parse_target(p);
    else if (take_word(p, ".address_size")) {
      uint64_t bits;
      ok = take_int(p, &bits, 64, ".address_size needs a number") && (bits == 64 || fail_token(p, ".address_size 64 is simulated alone"));
    } else if (take_word(p, ".file")) ok = parse_file(p);
    else if (take_word(p, ".section")) ok = skip_section(p);
    else if (take_word(p, ".visible") || take_word(p, ".weak")) ok = true;
    else if (take_word(p, ".extern")) {
      is_extern = true;
      continue;
    } else if (!p->have_version || !p->have_target) ok = fail_token(p, "the text must begin with .version and .target");
    else if (take_word(p, ".shared")) ok = parse_shared(p, is_extern, &shared_next, &shared_align);
    else if (take_word(p, ".global")) ok = parse_global(p, false);
    else if (take_word(p, ".const")) ok = parse_global(p, true);
    else if (take_word(p, ".entry")) ok = parse_entry(p, shared_next, shared_align);
    else if (take_word(p, ".func")) ok = parse_func(p, is_extern, &shared_next, &shared_align);
    else ok = fail_token(p, "expected a directive that is simulated");
    is_extern = false;
    if (!ok) return false;
  }
  if (!p->code && (!p->have_version || !p->have_target)) return fail_token(p, "the text must begin with .version and .target");
  return !p->code && sim_link_functions(p);
}

SimModule *sim_parse_module(SimDevice *dev, const char *text, DrvResult *code, char *log, size_t log_bytes) {
  SimParser *p = sim_new(sizeof *p);
  SimModule *m = p ? sim_new(sizeof *m) : NULL;
  uint32_t *bucket = m ? sim_new(SIM_BUCKETS * sizeof *bucket) : NULL;
  size_t n = strlen(text);
  bool ok = false;
  log[0] = 0;
  *code = DRV_OUT_OF_MEMORY;
  if (bucket) {
    *p = (SimParser){.dev = dev, .mod = m, .at = text, .end = text + n, .line = 1, .log = log, .log_bytes = log_bytes, .bucket = bucket};
    m->dev = dev;
    if (n > MAX_TEXT) sim_parse_fail(p, 0, DRV_INVALID_PTX, "the text is longer than %d bytes", MAX_TEXT);
    ok = !p->code && parse_module(p);
    *code = p->code;
    if (!ok && !p->code) *code = DRV_INVALID_PTX;
    reset_function(p);
    sim_buf_free(&p->syms);
  }
  if (!ok && !log[0]) snprintf(log, log_bytes, "out of memory while reading PTX");
  sim_delete(bucket, SIM_BUCKETS * sizeof *bucket);
  sim_delete(p, sizeof *p);
  if (!ok && m) sim_module_free(m);
  return ok ? m : NULL;
}

static void free_function(SimFunction *f) {
  if (f->name) sim_delete(f->name, strlen(f->name) + 1);
  sim_delete(f->code, f->code_cap * sizeof *f->code);
  sim_delete(f->pool, f->npool * sizeof *f->pool);
  sim_delete(f->tracks, f->ntracks * sizeof *f->tracks);
  sim_delete(f->track_regs, f->ntrack_regs * sizeof *f->track_regs);
  sim_delete(f->fills, f->nfills * 2 * sizeof *f->fills);
  sim_delete(f->specials, f->nspecials * 2 * sizeof *f->specials);
  sim_delete(f->params, f->nparams * sizeof *f->params);
  sim_delete(f->results, f->nresults * sizeof *f->results);
  sim_delete(f->calls, f->ncalls * sizeof *f->calls);
  sim_delete(f->args, f->nargs * sizeof *f->args);
  sim_delete(f->targets, f->ntargets * sizeof *f->targets);
  sim_delete(f->stack_map, f->stack_bytes);
  sim_delete(f, sizeof *f);
}

void sim_module_free(SimModule *m) {
  for (uint32_t i = 0; i < SIM_COUNT(&m->functions, SimFunction *); i++)
    if (SIM_AT(&m->functions, SimFunction *, i)) free_function(SIM_AT(&m->functions, SimFunction *, i));
  for (uint32_t i = 0; i < SIM_COUNT(&m->vars, SimVar); i++) {
    SimVar *v = &SIM_AT(&m->vars, SimVar, i);
    sim_memory_free(&m->dev->memory, v->address);
    sim_delete(v->name, strlen(v->name) + 1);
  }
  for (uint32_t i = 0; i < SIM_COUNT(&m->files, char *); i++) {
    char *s = SIM_AT(&m->files, char *, i);
    if (s) sim_delete(s, strlen(s) + 1);
  }
  sim_buf_free(&m->functions);
  sim_buf_free(&m->vars);
  sim_buf_free(&m->files);
  sim_delete(m, sizeof *m);
}
