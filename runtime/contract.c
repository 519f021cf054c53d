/* contract.c - reads the contract at the head of a .ptx (docs/contract.md). Line by line, each kind of line by one function;
 * whatever the bytes are, the answer is a contract or a message that names the line. */
#include "contract.h"
#include "reader.h"

/* ---- lines: what the file is ---- */

static kiln_status read_once(Reader *r, bool *seen, const char **out, const char *what) {
  Word w;
  if (*seen) return reader_wrong(r, "a second '%s' line", what);
  *seen = true;
  kiln_status s = reader_name(r, &w, what);
  if (!s) s = reader_keep(r, w, out);
  return s ? s : reader_end(r);
}

/* An op's name, or that of what is derived from it: rms_norm.grad. */
static kiln_status read_op(Reader *r) {
  Word w, part;
  if (r->has_op) return reader_wrong(r, "a second 'op' line");
  r->has_op = true;
  kiln_status s = reader_word(r, &w, "op");
  for (size_t at = 0; !s && at <= w.n; at += part.n + 1) {
    const char *dot = memchr(w.at + at, '.', w.n - at);
    part = (Word){w.at + at, dot ? (size_t)(dot - w.at) - at : w.n - at};
    if (!reader_is_name(part) || w.n > CONTRACT_MAX_NAME) s = reader_wrong(r, "'%.*s' is no name of an op", WORD_SHOWN(w));
  }
  if (!s) s = reader_keep(r, w, &r->c->op);
  return s ? s : reader_end(r);
}
static kiln_status read_target(Reader *r) { return read_once(r, &r->has_target, &r->c->target, "target"); }

static kiln_status read_rest(Reader *r, bool *seen, const char **out, const char *what) {
  if (*seen) return reader_wrong(r, "a second '%s' line", what);
  *seen = true;
  while (r->at < r->end && *r->at == ' ') r->at++;
  return reader_keep(r, (Word){r->at, (size_t)(r->end - r->at)}, out);
}

static kiln_status read_schedule(Reader *r) { return read_rest(r, &r->has_schedule, &r->c->schedule, "schedule"); }

static kiln_status read_set(Reader *r) {
  Contract *c = r->c;
  kiln_status s = read_rest(r, &r->has_set, &c->settings, "set");
  for (Word w, key; !s && reader_next(r, &w);) {
    const char *equals = memchr(w.at, '=', w.n);
    if (!equals) return reader_wrong(r, "'%.*s' is no key=value", WORD_SHOWN(w));
    key = (Word){w.at, (size_t)(equals - w.at)};
    Word value = {equals + 1, w.n - key.n - 1};
    if (!reader_is_name(key) || value.n == 0) return reader_wrong(r, "'%.*s' is no key=value", WORD_SHOWN(w));
    for (int i = 0; i < c->nset; i++)
      if (reader_is(key, c->set[i].key)) return reader_wrong(r, "setting '%.*s' stands twice", WORD_SHOWN(key));
    READER_GROW(r, c->set, c->nset, r->cap_set, CONTRACT_MAX_SETTINGS, "settings");
    s = reader_keep(r, key, &c->set[c->nset].key);
    if (!s) s = reader_keep(r, value, &c->set[c->nset].value);
    if (!s) c->nset++;
  }
  return s;
}

static kiln_status read_option(Reader *r) {
  Contract *c = r->c;
  Word key, value, w;
  kiln_status s = reader_name(r, &key, "the option's name");
  if (!s) s = reader_word(r, &value, "the option's value");
  if (s) return s;
  for (int i = 0; i < c->noption; i++)
    if (reader_is(key, c->option[i].key)) return reader_wrong(r, "option '%.*s' stands twice", WORD_SHOWN(key));
  READER_GROW(r, c->option, c->noption, r->cap_option, CONTRACT_MAX_OPTIONS, "options");
  ContractOption *o = &c->option[c->noption];
  s = reader_keep(r, key, &o->key);
  if (!s) s = reader_keep(r, value, &o->value);
  if (!s && reader_next(r, &w)) {
    if (!reader_is(w, "default")) return reader_newer(r, "the word", w);
    s = reader_word(r, &w, "the default");
    if (!s) s = reader_keep(r, w, &o->fallback);
  }
  if (!s) c->noption++;
  return s ? s : reader_end(r);
}

static kiln_status read_collapse(Reader *r) {
  if (r->c->ntensor) return reader_wrong(r, "'collapse' stands after a tensor");
  int first = r->c->ncollapse;
  Word w;
  while (reader_next(r, &w)) {
    if (!reader_is_name(w)) return reader_wrong(r, "'%.*s' is no name", WORD_SHOWN(w));
    if (r->c->ncollapse == CONTRACT_MAX_COLLAPSE) return reader_wrong(r, "more than %d dims to collapse", CONTRACT_MAX_COLLAPSE);
    for (int i = 0; i < r->c->ncollapse; i++)
      if (r->collapse[i].n == w.n && memcmp(r->collapse[i].at, w.at, w.n) == 0) return reader_wrong(r, "'%.*s' stands twice", WORD_SHOWN(w));
    r->collapse[r->c->ncollapse++] = w;
  }
  if (r->c->ncollapse - first < 2) return reader_wrong(r, "'collapse' needs two dims or more");
  r->collapse_line[r->c->ncollapse_list] = r->line;
  r->c->collapse_end[r->c->ncollapse_list++] = (uint8_t)r->c->ncollapse;
  return KILN_OK;
}

/* ---- lines: arguments ---- */

/* A dim or stride: a fresh name binds, anything else must agree. */
static kiln_status read_dim(Reader *r, Word w, SymbolKind kind, ContractDim *out) {
  Contract *c = r->c;
  *out = (ContractDim){.symbol = -1};
  if (kind == SYMBOL_DIM && w.n > 2 && w.at[w.n - 1] == '1' && w.at[w.n - 2] == '|' && w.at[w.n - 3] != '|') {
    out->or_one = true;
    w.n -= 2;
  }
  int known = reader_is_name(w) ? contract_find(c, w.at, w.n) : -1;
  if (reader_is_name(w) && (known < 0 || c->symbol[known].kind == kind)) {
    if (known < 0 && out->or_one) return reader_wrong(r, "'%.*s|1' stands before a tensor that binds %.*s", WORD_SHOWN(w), WORD_SHOWN(w));
    out->binds = known < 0;
    kiln_status s = known < 0 ? reader_symbol(r, w, kind, KILN_I64, 0, &known) : KILN_OK;
    out->symbol = (int16_t)known;
    return s;
  }
  return reader_expr(r, w, false, &out->expr);
}

static kiln_status read_alias(Reader *r, ContractTensor *t) {
  Word w;
  kiln_status s = reader_name(r, &w, "the tensor that it may be");
  if (s) return s;
  int symbol = contract_find(r->c, w.at, w.n);
  if (symbol < 0 || r->c->symbol[symbol].kind != SYMBOL_TENSOR)
    return reader_wrong(r, "alias '%.*s' is no tensor before this line", WORD_SHOWN(w));
  t->alias = (int8_t)r->c->symbol[symbol].index;
  s = reader_word(r, &w, "'exact'");
  return s || reader_is(w, "exact") ? s : reader_newer(r, "the word", w);
}

static kiln_status read_tensor_words(Reader *r, ContractTensor *t) {
  kiln_status s = KILN_OK;
  int64_t number;
  for (Word w; !s && reader_next(r, &w);) {
    if (reader_is(w, "align")) {
      s = reader_number(r, "an alignment in bytes", 1, 4096, &number);
      if (!s && (number & (number - 1))) return reader_wrong(r, "alignment %lld is no power of two", (long long)number);
      t->align_bytes = s ? 1 : (uint32_t)number;
    } else if (reader_is(w, "lead")) {
      s = reader_number(r, "a number of leading dims", 0, t->rank, &number);
      t->lead = s ? 0 : (uint8_t)number;
    } else if (reader_is(w, "at")) {
      s = reader_number(r, "the first dim that may be left out", 0, t->rank - t->lead, &number);
      t->lead_at = s ? 0 : (uint8_t)number;
    } else if (reader_is(w, "alias")) {
      s = read_alias(r, t);
    } else {
      s = reader_newer(r, "the word", w);
    }
  }
  return s;
}

static kiln_status read_tensor(Reader *r) {
  Contract *c = r->c;
  Word name, w, pieces[CONTRACT_MAX_RANK];
  int n;
  kiln_status s = reader_name(r, &name, "the tensor's name");
  if (!s) s = reader_symbol(r, name, SYMBOL_TENSOR, KILN_NO_DTYPE, c->ntensor, NULL);
  if (!s) s = reader_word(r, &w, "in, out or inout");
  if (s) return s;
  READER_GROW(r, c->tensor, c->ntensor, r->cap_tensor, CONTRACT_MAX_TENSORS, "tensors");
  READER_GROW(r, c->item, c->nitem, r->cap_item, CONTRACT_MAX_ITEMS, "lines");
  ContractTensor *t = &c->tensor[c->ntensor];
  t->name = c->symbol[c->nsymbol - 1].name;
  t->in = reader_is(w, "in") || reader_is(w, "inout");
  t->out = reader_is(w, "out") || reader_is(w, "inout");
  t->alias = -1;
  t->align_bytes = 1;
  if (!t->in && !t->out) return reader_wrong(r, "'%.*s' where in, out or inout is expected", WORD_SHOWN(w));
  s = reader_dtype(r, &t->dtype);
  if (!s) s = reader_list(r, "dims", pieces, &n);
  if (s) return s;
  t->rank = (uint8_t)n;
  for (int i = 0; !s && i < n; i++) s = read_dim(r, pieces[i], SYMBOL_DIM, &t->dim[i]);
  Reader mark = *r;
  if (!s && reader_next(r, &w) && reader_is(w, "strides")) {
    s = reader_list(r, "strides", pieces, &n);
    if (!s && n != t->rank) return reader_wrong(r, "%d strides for %d dims", n, t->rank);
    for (int i = 0; !s && i < n; i++) s = read_dim(r, pieces[i], SYMBOL_STRIDE, &t->stride[i]);
  } else if (!s && t->rank) {
    return reader_wrong(r, "'strides' is expected after the dims");
  } else {
    r->at = mark.at;
  }
  if (!s) s = read_tensor_words(r, t);
  if (s) return s;
  c->item[c->nitem++] = (ContractItem){.kind = ITEM_TENSOR, .index = (uint16_t)c->ntensor};
  c->ntensor++;
  return KILN_OK;
}

static kiln_status read_scalar(Reader *r) {
  Contract *c = r->c;
  Word name, w;
  int symbol;
  kiln_status s = reader_name(r, &name, "the scalar's name");
  if (s) return s;
  READER_GROW(r, c->scalar, c->nscalar, r->cap_scalar, CONTRACT_MAX_SCALARS, "scalars");
  READER_GROW(r, c->item, c->nitem, r->cap_item, CONTRACT_MAX_ITEMS, "lines");
  ContractScalar *x = &c->scalar[c->nscalar];
  s = reader_dtype(r, &x->dtype);
  if (s) return s;
  if (!reader_is_real(x->dtype) && x->dtype != KILN_I32 && x->dtype != KILN_I64) return reader_wrong(r, "a scalar is f32, f64, i32 or i64");
  while (reader_next(r, &w)) {
    if (reader_is(w, "call")) {
      x->call = true;
    } else if (reader_is(w, "default")) {
      s = reader_word(r, &w, "the default");
      if (s) return s;
      if (!expr_decimal(w.at, w.n, &x->fallback)) return reader_wrong(r, "default '%.*s' is no number", WORD_SHOWN(w));
      x->has_default = true;
    } else {
      return reader_newer(r, "the word", w);
    }
  }
  if (x->call && x->has_default) return reader_wrong(r, "a call scalar comes with each launch and has no default");
  s = reader_symbol(r, name, x->call ? SYMBOL_CALL : SYMBOL_SCALAR, x->dtype, x->call ? c->ncall : 0, &symbol);
  if (s) return s;
  x->name = c->symbol[symbol].name;
  x->symbol = (uint16_t)symbol;
  c->ncall += x->call;
  c->item[c->nitem++] = (ContractItem){.kind = ITEM_SCALAR, .index = (uint16_t)c->nscalar};
  c->nscalar++;
  return KILN_OK;
}

/* ---- lines: values and conditions ---- */

static kiln_status add_value(Reader *r, Word name, SymbolKind kind, uint8_t dtype) {
  Contract *c = r->c;
  READER_GROW(r, c->item, c->nitem, r->cap_item, CONTRACT_MAX_ITEMS, "lines");
  ContractItem *item = &c->item[c->nitem];
  *item = (ContractItem){.kind = ITEM_VALUE, .dtype = dtype, .fastdiv = kind == SYMBOL_FASTDIV};
  kiln_status s = reader_need_expr(r, "an expression", reader_is_real(dtype), &item->expr);
  int symbol = 0;
  if (!s) s = reader_symbol(r, name, kind, dtype, 0, &symbol); /* after its expression: it cannot use itself */
  if (s) return s;
  item->index = (uint16_t)symbol;
  c->nitem++;
  return reader_end(r);
}

static kiln_status read_derived(Reader *r) {
  Word name, w;
  kiln_status s = reader_name(r, &name, "the value's name");
  Reader mark = *r;
  if (!s) s = reader_word(r, &w, "a type");
  if (s) return s;
  if (reader_is(w, "fastdiv")) return add_value(r, name, SYMBOL_FASTDIV, KILN_I64);
  uint8_t dtype;
  r->at = mark.at;
  s = reader_dtype(r, &dtype);
  if (s) return s;
  if (!reader_is_real(dtype) && dtype != KILN_I32 && dtype != KILN_I64)
    return reader_wrong(r, "a derived value is f32, f64, i32, i64 or fastdiv");
  return add_value(r, name, SYMBOL_DERIVED, dtype);
}

static kiln_status read_let(Reader *r) {
  Word name;
  kiln_status s = reader_name(r, &name, "the value's name");
  return s ? s : add_value(r, name, SYMBOL_LET, KILN_I64);
}

/* The rest of the line. */
static kiln_status read_reason(Reader *r, const char *after, const char **out) {
  while (r->at < r->end && *r->at == ' ') r->at++;
  if (r->end - r->at < 2 || *r->at != '"' || r->end[-1] != '"') return reader_wrong(r, "the reason in double quotes is expected after %s", after);
  return reader_keep(r, (Word){r->at + 1, (size_t)(r->end - r->at - 2)}, out);
}

static kiln_status read_require(Reader *r) {
  Contract *c = r->c;
  READER_GROW(r, c->item, c->nitem, r->cap_item, CONTRACT_MAX_ITEMS, "lines");
  ContractItem *item = &c->item[c->nitem];
  item->kind = ITEM_REQUIRE;
  kiln_status s = reader_need_expr(r, "a condition", false, &item->expr);
  if (!s) s = read_reason(r, "the condition", &item->text);
  if (!s) c->nitem++;
  return s;
}

static kiln_status read_limit(Reader *r) {
  Contract *c = r->c;
  Word name;
  kiln_status s = reader_name(r, &name, "the call scalar's name");
  if (s) return s;
  int symbol = contract_find(c, name.at, name.n);
  if (symbol < 0 || c->symbol[symbol].kind != SYMBOL_CALL || reader_is_real(c->symbol[symbol].dtype))
    return reader_wrong(r, "'%.*s' is no i32 or i64 call scalar before this line", WORD_SHOWN(name));
  if (c->nlimit == CONTRACT_MAX_LIMITS) return reader_wrong(r, "more than %d limits", CONTRACT_MAX_LIMITS);
  READER_GROW(r, c->item, c->nitem, r->cap_item, CONTRACT_MAX_ITEMS, "lines");
  ContractItem *item = &c->item[c->nitem];
  item->kind = ITEM_LIMIT;
  item->index = c->symbol[symbol].index;
  s = reader_need_expr(r, "the least value", false, &item->expr);
  if (!s) s = reader_need_expr(r, "the greatest value", false, &item->high);
  if (!s) s = read_reason(r, "the greatest value", &item->text);
  if (!s) c->nitem++, c->nlimit++;
  return s;
}

static kiln_status read_estimate(Reader *r, Expr *out, const char *what) {
  if (out->n) return reader_wrong(r, "a second '%s' line", what);
  kiln_status s = reader_need_expr(r, "an expression", true, out);
  return s ? s : reader_end(r);
}
static kiln_status read_cost(Reader *r) { return read_estimate(r, &r->c->cost, "cost"); }
static kiln_status read_bytes(Reader *r) { return read_estimate(r, &r->c->bytes, "bytes"); }
static kiln_status read_flop(Reader *r) { return read_estimate(r, &r->c->flop, "flop"); }

static kiln_status read_workspace(Reader *r) {
  Contract *c = r->c;
  Word name, w, pieces[CONTRACT_MAX_RANK];
  int n;
  kiln_status s = reader_name(r, &name, "the workspace's name");
  if (!s) s = reader_symbol(r, name, SYMBOL_WORKSPACE, KILN_NO_DTYPE, c->nworkspace, NULL);
  if (s) return s;
  READER_GROW(r, c->workspace, c->nworkspace, r->cap_workspace, CONTRACT_MAX_WORKSPACES, "workspaces");
  ContractWorkspace *x = &c->workspace[c->nworkspace];
  x->name = c->symbol[c->nsymbol - 1].name;
  s = reader_dtype(r, &x->dtype);
  if (!s) s = reader_list(r, "dims", pieces, &n);
  if (s) return s;
  x->rank = (uint8_t)n;
  for (int i = 0; !s && i < n; i++) s = reader_expr(r, pieces[i], false, &x->dim[i]);
  while (!s && reader_next(r, &w)) {
    if (!reader_is(w, "init")) return reader_newer(r, "the word", w);
    s = reader_word(r, &w, "none or zero");
    if (!s && !reader_is(w, "none") && !reader_is(w, "zero")) return reader_newer(r, "init", w);
    x->zero = reader_is(w, "zero");
  }
  if (!s) c->nworkspace++;
  return s;
}

/* ---- lines: tensor maps ---- */

static kiln_status read_map_list(Reader *r, ContractMap *m, const char *what, Word *pieces) {
  int n;
  kiln_status s = reader_list(r, what, pieces, &n);
  if (s) return s;
  if (n < 1 || n > CONTRACT_MAX_MAP_RANK) return reader_wrong(r, "%d %s; a tensor map has 1 to %d", n, what, CONTRACT_MAX_MAP_RANK);
  if (m->rank && n != m->rank) return reader_wrong(r, "%d %s for a map of %d dims", n, what, m->rank);
  m->rank = (uint8_t)n;
  return KILN_OK;
}

static kiln_status read_map_words(Reader *r, ContractMap *m) {
  static const char *const swizzles[] = {"0", "32", "64", "128"}, *const l2s[] = {"0", "64", "128", "256"},
                           *const fills[] = {"zero", "nan"}, *const rounds[] = {"tf32"};
  Word w, pieces[CONTRACT_MAX_RANK];
  kiln_status s = KILN_OK;
  bool swizzle = false;
  while (!s && reader_next(r, &w)) {
    if (reader_is(w, "dims") && !m->dim[0].n) {
      s = read_map_list(r, m, "dims", pieces);
      for (int i = 0; !s && i < m->rank; i++) s = reader_expr(r, pieces[i], false, &m->dim[i]);
    } else if (reader_is(w, "strides") && !m->stride[0].n) {
      s = read_map_list(r, m, "strides", pieces);
      if (!s && !reader_is(pieces[m->rank - 1], "1")) return reader_wrong(r, "the last stride is '%.*s'; a map's is 1", WORD_SHOWN(pieces[m->rank - 1]));
      for (int i = 0; !s && i < m->rank; i++) s = reader_expr(r, pieces[i], false, &m->stride[i]);
    } else if (reader_is(w, "box") && !m->box[0]) {
      int64_t n;
      s = read_map_list(r, m, "sizes of a box", pieces);
      for (int i = 0; !s && i < m->rank; m->box[i++] = (uint16_t)n)
        if (!expr_integer(pieces[i].at, pieces[i].n, &n) || n < 1 || n > CONTRACT_MAX_BOX)
          return reader_wrong(r, "'%.*s' where a size of the box from 1 to %d is expected", WORD_SHOWN(pieces[i]), CONTRACT_MAX_BOX);
    } else if (reader_is(w, "swizzle") && !swizzle) {
      s = reader_choice(r, "swizzle", swizzles, 4, &m->swizzle);
      swizzle = true;
    } else if (reader_is(w, "l2")) {
      s = reader_choice(r, "l2", l2s, 4, &m->l2);
    } else if (reader_is(w, "fill")) {
      uint8_t fill = 0;
      s = reader_choice(r, "fill", fills, 2, &fill);
      m->nan = fill;
    } else if (reader_is(w, "round") && !m->tf32) {
      uint8_t round;
      s = reader_choice(r, "round", rounds, 1, &round);
      m->tf32 = true;
    } else {
      s = reader_newer(r, "the word", w);
    }
  }
  const char *lacks = !m->dim[0].n ? "dims" : !m->stride[0].n ? "strides" : !m->box[0] ? "box" : !swizzle ? "swizzle" : NULL;
  return s || !lacks ? s : reader_wrong(r, "the map has no '%s'", lacks);
}

/* What the driver asks of a map whatever the sizes. */
static kiln_status check_map(const Reader *r, const ContractMap *m) {
  int inner = m->box[m->rank - 1] * (int)kiln_dtype_bytes((kiln_dtype)m->dtype), span = 16 << m->swizzle;
  bool has_nan = reader_is_real(m->dtype) || m->dtype == KILN_F16 || m->dtype == KILN_BF16;
  if (inner % 16) return reader_wrong(r, "the last dim of the box has %d bytes; a multiple of 16 is expected", inner);
  if (m->swizzle && inner > span) return reader_wrong(r, "the last dim of the box has %d bytes, more than the swizzle's %d", inner, span);
  if (m->tf32 && m->dtype != KILN_F32) return reader_wrong(r, "round tf32 is for f32, not for %s", kiln_dtype_name((kiln_dtype)m->dtype));
  return m->nan && !has_nan ? reader_wrong(r, "fill nan is for f64, f32, f16 and bf16, not for %s", kiln_dtype_name((kiln_dtype)m->dtype))
                            : KILN_OK;
}

static kiln_status read_map(Reader *r) {
  Contract *c = r->c;
  Word name, w;
  kiln_status s = reader_name(r, &name, "the map's name");
  if (!s) s = reader_name(r, &w, "the tensor or workspace that it maps");
  if (s) return s;
  int of = contract_find(c, w.at, w.n);
  const Symbol *memory = of < 0 ? NULL : &c->symbol[of];
  if (!memory || (memory->kind != SYMBOL_TENSOR && memory->kind != SYMBOL_WORKSPACE))
    return reader_wrong(r, "'%.*s' is no tensor or workspace before this line", WORD_SHOWN(w));
  READER_GROW(r, c->map, c->nmap, r->cap_map, CONTRACT_MAX_MAPS, "maps");
  ContractMap *m = &c->map[c->nmap];
  bool tensor = memory->kind == SYMBOL_TENSOR;
  m->kind = tensor ? ARG_TENSOR : ARG_WORKSPACE;
  m->index = memory->index;
  m->dtype = tensor ? c->tensor[m->index].dtype : c->workspace[m->index].dtype;
  s = read_map_words(r, m);
  if (!s) s = check_map(r, m);
  if (!s) s = reader_symbol(r, name, SYMBOL_MAP, KILN_NO_DTYPE, c->nmap, NULL);
  if (s) return s;
  m->name = c->symbol[c->nsymbol - 1].name;
  c->nmap++;
  return KILN_OK;
}

/* ---- lines: steps ---- */

static kiln_status read_three(Reader *r, const char *what, Expr *out) {
  Word list, piece;
  kiln_status s = reader_word(r, &list, what);
  int n = 0;
  while (!s && reader_piece(&list, &piece)) {
    if (n == 3) return reader_wrong(r, "more than three numbers for %s", what);
    s = reader_expr(r, piece, false, &out[n++]);
  }
  return s || n == 3 ? s : reader_wrong(r, "%s needs three numbers X,Y,Z", what);
}

static kiln_status read_attributes(Reader *r, ContractStep *step) {
  Word list, piece;
  kiln_status s = reader_word(r, &list, "attributes");
  while (!s && reader_piece(&list, &piece)) {
    if (reader_is(piece, "pdl"))
      step->pdl = true;
    else if (reader_is(piece, "coresident"))
      step->coresident = true;
    else
      s = reader_newer(r, "attribute", piece);
  }
  return s;
}

static kiln_status read_args(Reader *r, ContractStep *step) {
  Contract *c = r->c;
  ContractArg *args = NULL;
  int capacity = 0, n = 0;
  for (Word w; reader_next(r, &w); n++) {
    int i = contract_find(c, w.at, w.n);
    if (i < 0) return reader_wrong(r, "argument '%.*s' is not defined", WORD_SHOWN(w));
    const Symbol *symbol = &c->symbol[i];
    READER_GROW(r, args, n, capacity, CONTRACT_MAX_ARGS, "arguments");
    ContractArg *a = &args[n];
    *a = (ContractArg){ARG_VALUE, symbol->dtype, symbol->kind == SYMBOL_FASTDIV, (uint16_t)i};
    if (symbol->kind == SYMBOL_TENSOR) a->kind = ARG_TENSOR, a->index = symbol->index;
    if (symbol->kind == SYMBOL_WORKSPACE) a->kind = ARG_WORKSPACE, a->index = symbol->index;
    if (symbol->kind == SYMBOL_MAP) a->kind = ARG_MAP, a->index = symbol->index;
    if (symbol->kind == SYMBOL_CALL) a->kind = ARG_CALL, a->index = symbol->index;
  }
  step->args = args;
  step->nargs = n;
  return KILN_OK;
}

static kiln_status read_step_words(Reader *r, ContractStep *step) {
  Word w, entry = {0};
  kiln_status s = KILN_OK;
  bool args = false;
  while (!s && !args && reader_next(r, &w)) {
    if (reader_is(w, "entry")) {
      s = reader_word(r, &entry, "the entry's name");
      if (!s) s = reader_keep(r, entry, &step->entry);
    } else if (reader_is(w, "grid") && !step->grid[0].n)
      s = read_three(r, "grid", step->grid);
    else if (reader_is(w, "block") && !step->block.n)
      s = reader_need_expr(r, "threads of a block", false, &step->block);
    else if (reader_is(w, "shared") && !step->shared.n)
      s = reader_need_expr(r, "bytes of shared memory", false, &step->shared);
    else if (reader_is(w, "cluster") && !step->cluster[0].n)
      s = read_three(r, "cluster", step->cluster);
    else if (reader_is(w, "when") && !step->when.n)
      s = reader_need_expr(r, "a condition", false, &step->when);
    else if (reader_is(w, "attr"))
      s = read_attributes(r, step);
    else if (reader_is(w, "args")) {
      args = true;
      s = read_args(r, step);
    } else {
      s = reader_newer(r, "the word", w);
    }
  }
  if (s) return s;
  const char *lacks = !step->entry       ? "entry"
                      : !step->grid[0].n ? "grid"
                      : !step->block.n   ? "block"
                      : !step->shared.n  ? "shared"
                      : !args            ? "args"
                                         : NULL;
  return lacks ? reader_wrong(r, "the step has no '%s'", lacks) : KILN_OK;
}

static kiln_status read_step(Reader *r) {
  Contract *c = r->c;
  Word name;
  kiln_status s = reader_name(r, &name, "the step's name");
  if (s) return s;
  READER_GROW(r, c->step, c->nstep, r->cap_step, CONTRACT_MAX_STEPS, "steps");
  for (int i = 0; i < c->nstep; i++)
    if (reader_is(name, c->step[i].name)) return reader_wrong(r, "step '%.*s' stands twice", WORD_SHOWN(name));
  s = reader_keep(r, name, &c->step[c->nstep].name);
  if (!s) s = read_step_words(r, &c->step[c->nstep]);
  if (!s) c->nstep++;
  return s;
}

/* ---- the whole ---- */

static const struct {
  const char *word;
  kiln_status (*read)(Reader *r);
} lines[] = {
    {"op", read_op},         {"target", read_target},       {"set", read_set},
    {"option", read_option}, {"schedule", read_schedule},   {"collapse", read_collapse},
    {"tensor", read_tensor}, {"scalar", read_scalar},       {"derived", read_derived},
    {"let", read_let},       {"workspace", read_workspace}, {"require", read_require},
    {"cost", read_cost},     {"bytes", read_bytes},         {"flop", read_flop},
    {"step", read_step},     {"map", read_map},       {"limit", read_limit},
};

static kiln_status read_version(Reader *r) {
  Word w;
  int64_t version;
  if (!reader_next(r, &w) || !reader_is(w, "kiln")) return reader_wrong(r, "the contract does not begin with '//@ kiln %d'", CONTRACT_VERSION);
  kiln_status s = reader_word(r, &w, "the version");
  if (s) return s;
  if (!expr_integer(w.at, w.n, &version) || version < 1) return reader_wrong(r, "version '%.*s' is no number", WORD_SHOWN(w));
  if (version > CONTRACT_VERSION) return reader_newer(r, "contract version", w);
  return reader_end(r);
}

static kiln_status read_line(Reader *r) {
  Word w;
  kiln_status s = reader_word(r, &w, "the kind of line");
  if (s) return s;
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
    if (reader_is(w, lines[i].word)) return lines[i].read(r);
  return reader_newer(r, "the line", w);
}

/* Merging moves sizes between the dims of the list, so a tensor that has one of them must have each, once. */
static kiln_status check_collapse(Reader *r, int list) {
  const Contract *c = r->c;
  int from = list ? c->collapse_end[list - 1] : 0, to = c->collapse_end[list];
  r->line = r->collapse_line[list];
  for (int t = 0; t < c->ntensor; t++) {
    int count[CONTRACT_MAX_COLLAPSE] = {0}, total = 0;
    for (int i = 0; i < c->tensor[t].rank; i++)
      for (int k = from; k < to; k++)
        if (c->tensor[t].dim[i].symbol == c->collapse[k]) count[k]++, total++;
    for (int k = from; total && k < to; k++)
      if (count[k] != 1)
        return reader_wrong(r, "tensor '%s' has some of the dims to collapse, and %s %d times", c->tensor[t].name,
                     c->symbol[c->collapse[k]].name, count[k]);
  }
  return KILN_OK;
}

/* What no single line can tell. */
static kiln_status check_whole(Reader *r) {
  Contract *c = r->c;
  if (!r->has_op || !r->has_target) return reader_wrong(r, "the contract has no '%s' line", r->has_op ? "target" : "op");
  if (!c->nstep) return reader_wrong(r, "the contract has no step");
  for (int i = 0, list = 0; i < c->ncollapse; i++) {
    if (i == c->collapse_end[list]) list++;
    int symbol = contract_find(c, r->collapse[i].at, r->collapse[i].n);
    if (symbol < 0 || c->symbol[symbol].kind != SYMBOL_DIM) {
      r->line = r->collapse_line[list];
      return reader_wrong(r, "'%.*s' is no dim of a tensor", WORD_SHOWN(r->collapse[i]));
    }
    c->collapse[i] = (int16_t)symbol;
  }
  for (int list = 0; list < c->ncollapse_list; list++) {
    kiln_status s = check_collapse(r, list);
    if (s) return s;
  }
  return KILN_OK;
}

static kiln_status add_builtins(Reader *r) {
  static const struct {
    const char *name;
    uint8_t dtype;
  } builtins[SYMBOL_BUILTINS] = {
      [SYMBOL_SMS] = {"sms", KILN_I64}, [SYMBOL_BW] = {"bw", KILN_F64}, [SYMBOL_TENSOR_RATE] = {"tensor", KILN_F64}};
  kiln_status s = KILN_OK;
  for (int i = 0; !s && i < SYMBOL_BUILTINS; i++)
    s = reader_symbol(r, (Word){builtins[i].name, strlen(builtins[i].name)}, SYMBOL_BUILTIN, builtins[i].dtype, 0, NULL);
  return s;
}

static kiln_status read_lines(Reader *r, const char *text, const char *end) {
  bool begun = false;
  kiln_status s = add_builtins(r);
  for (const char *at = text, *next; !s && at < end; at = next) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    const char *stop = newline ? newline : end;
    next = newline ? newline + 1 : end;
    r->line++;
    if (stop > at && stop[-1] == '\r') stop--;
    while (at < stop && (*at == ' ' || *at == '\t')) at++;
    bool ours = stop - at >= 3 && memcmp(at, "//@", 3) == 0;
    if (!ours && (at == stop || (stop - at >= 2 && memcmp(at, "//", 2) == 0))) continue; /* blank, or somebody's comment */
    if (!ours) break;
    while (stop > at && stop[-1] == ' ') stop--;
    if (stop - at > CONTRACT_MAX_LINE) return reader_wrong(r, "the line is longer than %d bytes", CONTRACT_MAX_LINE);
    for (const char *c = at; c < stop; c++)
      if ((unsigned char)*c < ' ' || *c == 127) return reader_wrong(r, "byte %d of the line is a control character", (int)(c - at) + 1);
    r->at = at + 3;
    r->end = stop;
    Word whole = {r->at, (size_t)(stop - r->at)};
    if (!begun) {
      s = read_version(r);
      begun = true;
    } else if (reader_is(whole, " end")) {
      return check_whole(r);
    } else {
      s = read_line(r);
    }
  }
  if (s) return s;
  if (!begun)
    return error_set(KILN_NO_CONTRACT,
                     "%s has no contract (its head has no line '//@ kiln %d'): kiln did not emit it, or the head was cut off",
                     r->name, CONTRACT_VERSION);
  return error_set(KILN_TRUNCATED, "%s:%d: the contract has no '//@ end': the file was cut off; emit it anew", r->name, r->line);
}

kiln_status contract_read(Contract *out, const char *name, const char *text, size_t bytes) {
  *out = (Contract){.settings = "", .schedule = ""};
  Reader r = {.c = out, .name = name};
  kiln_status s = read_lines(&r, text, text + bytes);
  if (s) contract_free(out);
  return s;
}

int contract_find(const Contract *c, const char *name, size_t bytes) {
  for (int i = 0; i < c->nsymbol; i++)
    if (strncmp(c->symbol[i].name, name, bytes) == 0 && c->symbol[i].name[bytes] == 0) return i;
  return -1;
}

void contract_free(Contract *c) {
  pool_free(&c->pool);
  *c = (Contract){0};
}
