/* tile_text.c - the text form of the tile IR, written.
 *
 *   file 1 "kiln/ops/rms_norm.lua"                        what @1:41 at a statement's end means
 *   kernel name="rms_norm" threads=256 {
 *     x = view tensor="x" rank=2 dtype=bf16 align=16      a value is bound to a name; names end with their region
 *     row = cta axis=0
 *     a = load x, row, 0 shape=[1,4096]  @1:41            operands, then attributes, then the place in the script
 *   }
 *
 * A number among the operands is a `const` made on the spot: 3 is an i32, 1.5 or inf an f32, others say so: 3:i64.
 * `^sync` and `^derived=N` are what the hazard pass noted. Comments begin with --; the type comments are for people only.
 * What tile_parse reads here prints to the same bytes again. */
#include "tile_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static uint32_t hash_name(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return h;
}

enum { BUCKETS = sizeof((TileNames *)0)->bucket / sizeof(uint32_t) };

TileBinding *tile_names_find(TileNames *t, const char *name, size_t n) {
  uint32_t h = hash_name(name, n);
  for (uint32_t i = t->bucket[h % BUCKETS]; i; i = t->all.at[i - 1].before) {
    TileBinding *b = &t->all.at[i - 1];
    if (b->hash == h && strlen(b->name) == n && !memcmp(b->name, name, n)) return b;
  }
  return NULL;
}

void tile_names_add(TileNames *t, const char *name, TileId id, uint32_t line) {
  uint32_t h = hash_name(name, strlen(name));
  TileBinding *b = VEC_PUSH(t->arena, PASS, &t->all);
  *b = (TileBinding){.name = name, .hash = h, .before = t->bucket[h % BUCKETS], .id = id, .line = line};
  t->bucket[h % BUCKETS] = t->all.n;
}

void tile_names_cut(TileNames *t, uint32_t count) {
  while (t->all.n > count) {
    const TileBinding *b = &t->all.at[--t->all.n];
    t->bucket[b->hash % BUCKETS] = b->before;
  }
}

bool tile_name_reserved(const char *name, size_t n) {
  static const char *const words[] = {"else", "do", "file", "inf", "nan"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i]) == n && !memcmp(words[i], name, n)) return true;
  /* flags of operations whose first operand may be absent: there, a name and a flag look alike */
  for (int op = 1; op < TILE_OPS; op++) {
    const TileOpInfo *info = tile_op_info((TileOp)op);
    TileAttrSpec spec;
    if (!info->args[0] || !info->args[1] || !strchr("?*", info->args[1])) continue;
    for (const char *rest = info->attrs; tile_spec_next(&rest, &spec);) {
      const char *key = tile_attr_name(spec.key);
      if (spec.kind == 'b' && strlen(key) == n && !memcmp(key, name, n)) return true;
    }
  }
  return false;
}

/* ---- printing ---- */

typedef struct Printer {
  const TileProgram *p;
  Text *out;
  TileNames names;
  const char **name;   /* by node */
  uint16_t *file;      /* by Diag.files index: the number printed, 0: not used */
  uint8_t *used;       /* by node: something reads its value */
  uint32_t next_value; /* of unnamed values */
  uint32_t depth;
} Printer;

static void print_indent(Printer *s) {
  for (uint32_t i = 0; i < s->depth; i++) text_str(s->out, "  ");
}

/* The fewest digits that read back as the same double. */
static void print_number(Text *out, double v) {
  char digits[40];
  if (isnan(v)) {
    text_str(out, "nan");
    return;
  }
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, v);
    if (strtod(digits, NULL) == v) break;
  }
  if (!isinf(v) && fabs(v) < 1e15 && v == floor(v)) snprintf(digits, sizeof digits, "%.0f", v);
  text_str(out, digits);
}

static void print_literal(Text *out, int dtype, double v) {
  size_t before = out->n;
  print_number(out, v);
  if (dtype == KILN_F32) {
    if (!strpbrk(out->at + before, ".en")) text_str(out, ".0");
  } else if (dtype != KILN_I32 || strpbrk(out->at + before, ".en")) {
    text_fmt(out, ":%s", tile_dtype_name(dtype));
  }
}

static void print_string(Text *out, const char *s) {
  text_str(out, "\"");
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\')
      text_fmt(out, "\\%c", c);
    else if (c == '\n')
      text_str(out, "\\n");
    else if (c < 0x20 || c >= 0x7f)
      text_fmt(out, "\\x%02x", c);
    else
      text_put(out, s, 1);
  }
  text_str(out, "\"");
}

static bool is_inline(const TileNode *n) { return n->op == TILE_const && !n->name; }

static void print_operand(Printer *s, uint32_t id) {
  const TileNode *n = &s->p->nodes.at[id];
  if (is_inline(n))
    print_literal(s->out, n->type.dtype, tile_attr_num(s->p, n, TA_value, 0));
  else
    text_str(s->out, s->name[id] ? s->name[id] : "?");
}

static void print_attr(Text *out, const TileAttr *a) {
  text_fmt(out, " %s", tile_attr_name((TileAttrKey)a->key));
  if (a->kind == 'b') return;
  text_str(out, "=");
  switch (a->kind) {
  case 'i': text_fmt(out, "%lld", (long long)a->i); break;
  case 'n': print_number(out, a->n); break;
  case 's': print_string(out, a->s); break;
  case 'd': text_str(out, tile_dtype_name((int)a->i)); break;
  default:
    for (int64_t i = 0; i < a->i; i++) text_fmt(out, "%s%lld", i ? "," : "[", (long long)a->list[i]);
    text_str(out, a->i ? "]" : "[]");
  }
}

/* Attributes in the order of the row. A layout that a pass completed is printed as if the script had given it. */
static void print_attrs(Printer *s, const TileNode *n) {
  const char *specs = tile_op_info((TileOp)n->op)->attrs;
  TileAttrSpec spec;
  while (tile_spec_next(&specs, &spec)) {
    const TileAttr *a = tile_attr(s->p, n, spec.key);
    if (a) {
      print_attr(s->out, a);
    } else if (spec.key == TA_layout && n->type.kind == TK_FRAG && n->type.layout && !(n->op == TILE_frag && n->nargs)) {
      char modes[512];
      layout_print(&s->p->frag_layouts.at[n->type.layout], modes, sizeof modes);
      text_fmt(s->out, " layout=\"%s\"", modes);
    }
  }
}

/* What a value would like to be called: what the builder said, or what it stands for in the contract. */
static const char *wished_name(const Printer *s, const TileNode *n) {
  if (n->name) return n->name;
  if (n->op == TILE_view) return tile_attr_str(s->p, n, TA_tensor, NULL);
  bool named = n->op == TILE_param || n->op == TILE_workspace || n->op == TILE_smem || n->op == TILE_tmem;
  return named ? tile_attr_str(s->p, n, TA_name, NULL) : NULL;
}

/* The name of a value, unique among those in sight. */
static const char *choose_name(Printer *s, const TileNode *n) {
  Arena *a = s->p->arena;
  const char *wish = wished_name(s, n);
  if (!wish || !*wish) {
    for (;;) {
      char *name = arena_printf(a, PASS, "v%u", ++s->next_value);
      if (!tile_names_find(&s->names, name, strlen(name))) return name;
    }
  }
  char *name = arena_str(a, PASS, wish, strlen(wish));
  for (char *c = name; *c; c++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", *c)) *c = '_';
  if (*name >= '0' && *name <= '9') name = arena_printf(a, PASS, "_%s", name);
  if (!tile_name_reserved(name, strlen(name)) && !tile_names_find(&s->names, name, strlen(name))) return name;
  for (unsigned k = 2;; k++) {
    char *other = arena_printf(a, PASS, "%s_%u", name, k);
    if (!tile_names_find(&s->names, other, strlen(other))) return other;
  }
}

static void print_place(Printer *s, const TileNode *n) {
  if (n->sync_before) text_str(s->out, " ^sync");
  if (n->derived) text_fmt(s->out, " ^derived=%d", (int)n->derived);
  if (!n->loc.file || n->loc.file >= s->p->diag->files.n || !s->file[n->loc.file]) return;
  text_fmt(s->out, " @%u:%u", s->file[n->loc.file], n->loc.line);
  if (n->loc.col) text_fmt(s->out, ":%u", n->loc.col);
}

static void print_type(Printer *s, const TileNode *n) {
  const TileType *t = &n->type;
  bool tile = t->kind == TK_FRAG || t->kind == TK_SMEM || t->kind == TK_TMEM;
  if (!tile || n->op == TILE_frag || n->op == TILE_smem || n->op == TILE_tmem) return;
  text_fmt(s->out, "  -- %s[", tile_dtype_name(t->dtype));
  for (int d = 0; d < t->rank; d++) text_fmt(s->out, "%s%d", d ? "," : "", (int)t->shape[d]);
  text_str(s->out, "]");
}

static void print_region(Printer *s, const TileRegion *r);

static bool prints_nothing(const TileProgram *p, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++)
    if (!is_inline(&p->nodes.at[r->at[i]])) return false;
  return true;
}

static void print_node(Printer *s, uint32_t id) {
  const TileNode *n = &s->p->nodes.at[id];
  if (is_inline(n)) return;
  print_indent(s);
  uint32_t outside = s->names.all.n, scope = outside;
  bool counter_unused = n->nregions && !n->name && !s->used[id];
  if (n->type.kind != TK_NONE && !counter_unused) {
    s->name[id] = choose_name(s, n);
    tile_names_add(&s->names, s->name[id], (TileId){id}, 0);
    scope = s->names.all.n;
    text_fmt(s->out, "%s = ", s->name[id]);
  }
  text_str(s->out, tile_op_info((TileOp)n->op)->name);
  for (int k = 0; k < n->nargs; k++) {
    text_str(s->out, k ? ", " : " ");
    print_operand(s, tile_arg(s->p, n, k).i);
  }
  print_attrs(s, n);
  print_place(s, n);
  for (int k = 0; k < n->nregions; k++) {
    const TileRegion *r = tile_region(s->p, n, k);
    if (k == 1 && n->op == TILE_if && prints_nothing(s->p, r)) break;
    text_str(s->out, k == 0 ? " {\n" : n->op == TILE_if ? " else {\n" : " do {\n");
    print_region(s, r);
    print_indent(s);
    text_str(s->out, "}");
    tile_names_cut(&s->names, scope);
  }
  if (n->nregions)
    tile_names_cut(&s->names, outside); /* a counter is known inside only */
  else
    print_type(s, n);
  text_str(s->out, "\n");
}

static void print_region(Printer *s, const TileRegion *r) {
  s->depth++;
  for (uint32_t i = 0; i < r->n; i++) print_node(s, r->at[i]);
  s->depth--;
}

/* Files are numbered by their first statement in the text, so that the numbers survive reading back. */
static void number_files(Printer *s, const TileRegion *r, uint16_t *count) {
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &s->p->nodes.at[r->at[i]];
    uint16_t f = n->loc.file;
    if (!is_inline(n) && f && f != s->p->text_file && f < s->p->diag->files.n && !s->file[f]) {
      s->file[f] = ++*count;
      text_fmt(s->out, "file %u ", *count);
      print_string(s->out, s->p->diag->files.at[f].name);
      text_str(s->out, "\n");
    }
    for (int k = 0; k < n->nregions; k++) number_files(s, tile_region(s->p, n, k), count);
  }
}

void tile_print(const TileProgram *p, Text *out) {
  Printer *s = ARENA_NEW(p->arena, PASS, Printer);
  s->p = p;
  s->out = out;
  s->names.arena = p->arena;
  s->name = ARENA_ARRAY(p->arena, PASS, const char *, p->nodes.n);
  s->file = ARENA_ARRAY(p->arena, PASS, uint16_t, p->diag->files.n + 1);
  s->used = ARENA_ARRAY(p->arena, PASS, uint8_t, p->nodes.n);
  for (uint32_t i = 0; i < p->args.n; i++) s->used[p->args.at[i]] = 1;
  uint16_t files = 0;
  number_files(s, &p->top, &files);
  for (uint32_t i = 0; i < p->top.n; i++) {
    if (i || files) text_str(out, "\n");
    print_node(s, p->top.at[i]);
  }
}
