/* tile.c - the tile IR's store: the table of operations, building nodes, reading them.
 *
 * tile_node checks what one node can know: arity, operand classes, attributes; tile_infer (tile_infer.c) then gives the type.
 * What needs the surroundings is tile_check's. */
#include "tile.h"
#include "tile_impl.h"
#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- the tables ---- */

static const TileOpInfo op_table[TILE_OPS] = {
    [TILE_NONE] = {"none", "", "", "-", "", "", 0, '-'},
#define TILE(id, args, attrs, regions, result, scope, flags, doc) \
  [TILE_##id] = {#id, args, attrs, result, flags, doc, regions, scope},
#include "tile.def"
#undef TILE
};

static const char *const attr_names[TA_COUNT] = {
#define TILE_ATTR(name) [TA_##name] = #name,
#include "tile_attr.def"
#undef TILE_ATTR
};

static const struct {
  const char *name;
  int bytes;
} dtype_table[] = {
    [KILN_NO_DTYPE] = {"none", 0}, [KILN_F64] = {"f64", 8},   [KILN_F32] = {"f32", 4},   [KILN_F16] = {"f16", 2},
    [KILN_BF16] = {"bf16", 2},     [KILN_E4M3] = {"e4m3", 1}, [KILN_E5M2] = {"e5m2", 1}, [KILN_I64] = {"i64", 8},
    [KILN_I32] = {"i32", 4},       [KILN_I16] = {"i16", 2},   [KILN_I8] = {"i8", 1},     [KILN_U8] = {"u8", 1},
    [KILN_BOOL] = {"bool", 1},
};
enum { DTYPES = sizeof dtype_table / sizeof dtype_table[0] };

const char *tile_dtype_name(int dtype) { return dtype >= 0 && dtype < DTYPES ? dtype_table[dtype].name : "?"; }
int tile_dtype_bytes(int dtype) { return dtype >= 0 && dtype < DTYPES ? dtype_table[dtype].bytes : 0; }

kiln_dtype tile_dtype_find(const char *name) {
  for (int i = 1; i < DTYPES; i++)
    if (!strcmp(dtype_table[i].name, name)) return (kiln_dtype)i;
  return KILN_NO_DTYPE;
}

const TileOpInfo *tile_op_info(TileOp op) { return &op_table[(unsigned)op < TILE_OPS ? op : TILE_NONE]; }

TileOp tile_op_find(const char *name) {
  for (int op = 1; op < TILE_OPS; op++)
    if (!strcmp(op_table[op].name, name)) return (TileOp)op;
  return TILE_NONE;
}

bool tile_op_is(TileOp op, char flag) { return strchr(tile_op_info(op)->flags, flag) != NULL; }

const char *tile_attr_name(TileAttrKey key) { return (unsigned)key < TA_COUNT ? attr_names[key] : "?"; }

bool tile_spec_next(const char **spec, TileAttrSpec *out) {
  const char *s = *spec + strspn(*spec, " ");
  if (!*s) return false;
  size_t n = strcspn(s, ":");
  out->key = TA_COUNT;
  for (int k = 0; k < TA_COUNT && out->key == TA_COUNT; k++)
    if (strlen(attr_names[k]) == n && !memcmp(attr_names[k], s, n)) out->key = (TileAttrKey)k;
  BUG_IF(out->key == TA_COUNT || s[n] != ':', "a row of tile.def names an attribute that tile_attr.def lacks");
  out->kind = s[n + 1];
  out->optional = s[n + 2] == '?';
  *spec = s + n + 2 + out->optional;
  return true;
}

/* ---- words for messages ---- */

static const char *const kind_names[] = {
    [TK_NONE] = "nothing",
    [TK_SCALAR] = "a scalar",
    [TK_FRAG] = "a fragment",
    [TK_VIEW] = "a global view",
    [TK_MAP] = "a map view",
    [TK_SMEM] = "a shared tile",
    [TK_TMEM] = "a tensor-memory tile",
    [TK_RING] = "a ring",
    [TK_SLOT] = "a slot token",
    [TK_ORDER] = "an order",
    [TK_BARRIER] = "a barrier",
    [TK_SEMAPHORE] = "a semaphore",
    [TK_SCHED] = "a scheduler",
    [TK_VAR] = "a scalar variable",
    [TK_CARRY] = "a token carrier",
    [TK_OPERANDS] = "operand registers",
    [TK_WALK] = "a walk",
};
const char *tile_kind_name(int kind) { return kind_names[kind]; }

static void put_shape(Text *t, const TileType *type) {
  text_str(t, "[");
  for (int d = 0; d < type->rank; d++) text_fmt(t, "%s%d", d ? "," : "", (int)type->shape[d]);
  text_str(t, "]");
}

const char *tile_type_text(const TileProgram *p, const TileType *type) {
  Text t;
  text_init(&t, p->arena, PASS);
  switch (type->kind) {
  case TK_SCALAR: text_fmt(&t, "a %s scalar", tile_dtype_name(type->dtype)); break;
  case TK_VAR: text_fmt(&t, "a %s variable", tile_dtype_name(type->dtype)); break;
  case TK_VIEW: text_fmt(&t, "a global view of %s with %d dims", tile_dtype_name(type->dtype), type->rank); break;
  case TK_FRAG:
  case TK_SMEM:
  case TK_TMEM:
  case TK_MAP:
    text_fmt(&t, "%s %s", kind_names[type->kind], tile_dtype_name(type->dtype));
    put_shape(&t, type);
    if (type->along) text_fmt(&t, " along dim %d", type->along - 1);
    break;
  default: text_str(&t, kind_names[type->kind]);
  }
  return t.at;
}

/* Operand classes of tile.def, in words. */
static const char *letter_words(char letter) {
  switch (letter) {
  case 's': return "a scalar";
  case 'f': return "a fragment";
  case 'e': return "a scalar or a fragment";
  case 'v': return "a global view";
  case 'm': return "a map view";
  case 't': return "a shared tile";
  case 'u': return "a shared tile or a ring";
  case 'x': return "a tensor-memory tile";
  case 'a': return "an accumulator (a mutable fragment or a tensor-memory tile)";
  case 'r': return "a ring";
  case 'k': return "a slot token";
  case 'h': return "a token carrier";
  case 'K': return "a slot token or a token carrier";
  case 'O': return "operand registers";
  case 'o': return "an order";
  case 'b': return "a barrier";
  case 'q': return "a semaphore";
  case 'c': return "a scheduler";
  case 'V': return "a scalar variable";
  case 'F': return "memory or a walk through it";
  case 'w': return "a walk";
  case 'M': return "memory (a global view, a map view, a shared or a tensor-memory tile)";
  case 'T': return "a shared or a tensor-memory tile";
  case 'A': return "a fragment, a shared or a tensor-memory tile";
  default: return "?";
  }
}

static bool letter_takes(char letter, const TileType *t) {
  switch (letter) {
  case 's': return t->kind == TK_SCALAR;
  case 'f': return t->kind == TK_FRAG;
  case 'e': return t->kind == TK_SCALAR || t->kind == TK_FRAG;
  case 'v': return t->kind == TK_VIEW;
  case 'm': return t->kind == TK_MAP;
  case 't': return t->kind == TK_SMEM;
  case 'u': return t->kind == TK_SMEM || t->kind == TK_RING;
  case 'x': return t->kind == TK_TMEM;
  case 'a': return t->kind == TK_TMEM || (t->kind == TK_FRAG && t->is_mutable);
  case 'r': return t->kind == TK_RING;
  case 'k': return t->kind == TK_SLOT;
  case 'h': return t->kind == TK_CARRY;
  case 'K': return t->kind == TK_SLOT || t->kind == TK_CARRY;
  case 'O': return t->kind == TK_OPERANDS;
  case 'o': return t->kind == TK_ORDER;
  case 'b': return t->kind == TK_BARRIER;
  case 'q': return t->kind == TK_SEMAPHORE;
  case 'c': return t->kind == TK_SCHED;
  case 'V': return t->kind == TK_VAR;
  case 'w': return t->kind == TK_WALK;
  case 'F': return t->kind == TK_WALK || letter_takes('M', t);
  case 'M': return t->kind == TK_VIEW || t->kind == TK_MAP || t->kind == TK_SMEM || t->kind == TK_TMEM;
  case 'T': return t->kind == TK_SMEM || t->kind == TK_TMEM;
  case 'A': return t->kind == TK_FRAG || t->kind == TK_SMEM || t->kind == TK_TMEM;
  default: return false;
  }
}

/* ---- building ---- */

enum { DEFAULT_MAX_NODES = 200000, MOST_LIST = 16 };

void tile_init(TileProgram *p, Arena *a, Diag *d) {
  memset(p, 0, sizeof *p);
  p->arena = a;
  p->diag = d;
  p->max_nodes = DEFAULT_MAX_NODES;
  VEC_PUSH(a, KEEP, &p->nodes);
  VEC_PUSH(a, KEEP, &p->frag_layouts);
  VEC_PUSH(a, KEEP, &p->smem_layouts);
}

uint32_t tile_layout_intern(TileProgram *p, const Layout *l) {
  for (uint32_t i = 1; i < p->frag_layouts.n; i++)
    if (layout_equal(&p->frag_layouts.at[i], l)) return i;
  *VEC_PUSH(p->arena, KEEP, &p->frag_layouts) = *l;
  return p->frag_layouts.n - 1;
}

/* Operand classes of the row against what came. '?' one or none, '*' any number, each taking as long as the class fits. */
static bool check_args(TileProgram *p, const TileOpInfo *info, const TileId *args, int nargs, Loc loc) {
  int k = 0;
  for (const char *s = info->args; *s; s++) {
    char letter = *s, many = s[1] == '?' || s[1] == '*' ? *++s : 0;
    do {
      if (k == nargs) {
        if (many) break;
        diag_error(p->diag, loc, "%s: operand %d is missing; expected %s", info->name, k + 1, letter_words(letter));
        return false;
      }
      const TileType *t = &p->nodes.at[args[k].i].type;
      if (!letter_takes(letter, t)) {
        if (many && (s[1] || k == nargs)) break; /* the next class may take it */
        const char *what =
            letter == 'a' && t->kind == TK_FRAG ? "a fragment that is not mutable: declare it by frag" : tile_type_text(p, t);
        diag_error(p->diag, loc, "%s: operand %d is %s; expected %s", info->name, k + 1, what, letter_words(letter));
        return false;
      }
      k++;
    } while (many == '*');
  }
  if (k == nargs) return true;
  diag_error(p->diag, loc, "%s: takes %d operand%s here, %d given", info->name, k, k == 1 ? "" : "s", nargs);
  return false;
}

static const char *const kind_words[128] = {['i'] = "an integer",         ['n'] = "a number",      ['s'] = "a string",
                                            ['l'] = "a list of integers", ['b'] = "true or false", ['d'] = "a dtype"};

/* The attribute in the kind that the row asks for; integers and integral numbers change into one another. */
static bool convert_attr(TileProgram *p, const TileOpInfo *info, TileAttrSpec spec, const TileAttr *from, TileAttr *to, Loc loc) {
  *to = (TileAttr){.key = (uint8_t)spec.key, .kind = spec.kind};
  const char *name = attr_names[spec.key];
  bool fits = from->kind == spec.kind;
  double v = from->kind == 'n' ? from->n : 0;
  if (spec.kind == 'n' && from->kind == 'i') {
    to->n = (double)from->i;
    return true;
  }
  if (strchr("ib", spec.kind) && from->kind == 'n' && v >= -9e15 && v <= 9e15 && v == floor(v)) {
    to->i = (int64_t)v;
    fits = true;
  } else if (strchr("ib", spec.kind) && strchr("ib", from->kind)) {
    to->i = from->i;
    fits = true;
  }
  if (fits && spec.kind == 'b') fits = to->i == 0 || to->i == 1;
  if (fits && spec.kind == 'd') {
    to->i = from->i;
    fits = from->i > KILN_NO_DTYPE && from->i < DTYPES;
  }
  if (fits && spec.kind == 's') fits = from->s != NULL;
  if (fits && spec.kind == 'l') fits = from->i >= 0 && from->i <= MOST_LIST && (from->i == 0 || from->list);
  if (!fits) {
    diag_error(p->diag, loc, "%s: attribute '%s' must be %s", info->name, name, kind_words[(int)spec.kind]);
    return false;
  }
  if (spec.kind == 'n') to->n = from->n;
  if (spec.kind == 's') to->s = arena_str(p->arena, KEEP, from->s, strlen(from->s));
  if (spec.kind == 'l') {
    int64_t *list = ARENA_ARRAY(p->arena, KEEP, int64_t, from->i ? from->i : 1);
    for (int64_t i = 0; i < from->i; i++) list[i] = from->list[i];
    to->i = from->i;
    to->list = list;
  }
  return true;
}

static bool refuse_unknown_attrs(TileProgram *p, const TileOpInfo *info, const TileAttr *attrs, int nattrs, Loc loc) {
  for (int i = 0; i < nattrs; i++) {
    const char *specs = info->attrs;
    TileAttrSpec spec;
    bool known = false;
    while (!known && tile_spec_next(&specs, &spec)) known = spec.key == attrs[i].key;
    const char *name = tile_attr_name((TileAttrKey)attrs[i].key);
    if (!known) {
      diag_error(p->diag, loc, "%s: has no attribute '%s'; it takes: %s", info->name, name, *info->attrs ? info->attrs : "none");
      return false;
    }
    for (int j = 0; j < i; j++)
      if (attrs[j].key == attrs[i].key) {
        diag_error(p->diag, loc, "%s: attribute '%s' is given twice", info->name, name);
        return false;
      }
  }
  return true;
}

/* Attributes are stored in the order of the row, so that equal programs print equal; a flag that is off is not stored. */
static bool put_attrs(TileProgram *p, const TileOpInfo *info, const TileAttr *attrs, int nattrs, TileNode *n) {
  if (!refuse_unknown_attrs(p, info, attrs, nattrs, n->loc)) return false;
  n->attrs = p->attrs.n;
  const char *specs = info->attrs;
  TileAttrSpec spec;
  while (tile_spec_next(&specs, &spec)) {
    const TileAttr *given = NULL;
    for (int i = 0; i < nattrs; i++)
      if (attrs[i].key == spec.key) given = &attrs[i];
    if (!given) {
      if (spec.optional) continue;
      diag_error(p->diag, n->loc, "%s: attribute '%s' (%s) is missing", info->name, attr_names[spec.key],
                 kind_words[(int)spec.kind]);
      return false;
    }
    TileAttr a;
    if (!convert_attr(p, info, spec, given, &a, n->loc)) return false;
    if (a.kind == 'b' && !a.i) continue;
    *VEC_PUSH(p->arena, KEEP, &p->attrs) = a;
    n->nattrs++;
  }
  return true;
}

/* Kernels stand at the top, everything else in an open region. */
static TileRegion *find_place(TileProgram *p, TileOp op, Loc loc) {
  if (op == TILE_kernel) {
    if (!p->open.n) return &p->top;
    diag_error(p->diag, loc, "kernel: stands inside another statement; kernels stand side by side");
    return NULL;
  }
  if (p->open.n) return &p->regions.at[p->open.at[p->open.n - 1]];
  diag_error(p->diag, loc, "%s: stands outside of a kernel", tile_op_info(op)->name);
  return NULL;
}

static bool args_present(TileProgram *p, const TileOpInfo *info, const TileId *args, int nargs, Loc loc) {
  for (int k = 0; k < nargs; k++) {
    if (args[k].i > 0 && args[k].i < p->nodes.n) continue;
    /* 0 is what a failed call returned; its error stands already */
    if (!p->diag->errors) diag_error(p->diag, loc, "%s: operand %d is missing", info->name, k + 1);
    return false;
  }
  return true;
}

TileId tile_node(TileProgram *p, TileOp op, const TileId *args, int nargs, const TileAttr *attrs, int nattrs, Loc loc) {
  const TileOpInfo *info = tile_op_info(op);
  TileId failed = {0};
  if (info == &op_table[TILE_NONE]) {
    diag_error(p->diag, loc, "unknown operation");
    return failed;
  }
  if (p->nodes.n > p->max_nodes) {
    if (p->nodes.n == p->max_nodes + 1) {
      VEC_PUSH(p->arena, KEEP, &p->nodes); /* reported once */
      diag_error(p->diag, loc, "more than %u statements; unroll less, or use a run-time loop", p->max_nodes);
    }
    return failed;
  }
  if (nargs > UINT8_MAX || nattrs > TA_COUNT) {
    diag_error(p->diag, loc, "%s: %d operands; at most %d are possible", info->name, nargs, UINT8_MAX);
    return failed;
  }
  if (!args_present(p, info, args, nargs, loc) || !find_place(p, op, loc) || !check_args(p, info, args, nargs, loc))
    return failed;
  TileNode n = {.op = (uint16_t)op, .nargs = (uint8_t)nargs, .nregions = info->regions, .loc = loc};
  uint32_t attrs_before = p->attrs.n, args_before = p->args.n;
  n.args = args_before;
  for (int k = 0; k < nargs; k++) *VEC_PUSH(p->arena, KEEP, &p->args) = args[k].i;
  if (!put_attrs(p, info, attrs, nattrs, &n) || !tile_infer(p, &n)) {
    p->attrs.n = attrs_before;
    p->args.n = args_before;
    return failed;
  }
  n.regions = p->regions.n;
  for (int r = 0; r < info->regions; r++) *VEC_PUSH(p->arena, KEEP, &p->regions) = (TileRegion){0};
  uint32_t id = p->nodes.n;
  *VEC_PUSH(p->arena, KEEP, &p->nodes) = n;
  *VEC_PUSH(p->arena, KEEP, find_place(p, op, loc)) = id; /* anew: the regions may have moved */
  return (TileId){id};
}

void tile_open(TileProgram *p, TileId node, int region) {
  const TileNode *n = tile_at(p, node);
  BUG_IF(node.i == 0 || region < 0 || region >= n->nregions, "tile_open: no such region");
  *VEC_PUSH(p->arena, KEEP, &p->open) = n->regions + (uint32_t)region;
}

void tile_close(TileProgram *p) {
  BUG_IF(!p->open.n, "tile_close without tile_open");
  p->open.n--;
}

void tile_name(TileProgram *p, TileId id, const char *name) {
  if (!id.i) return;
  tile_at(p, id)->name = name && *name ? arena_str(p->arena, KEEP, name, strlen(name)) : NULL;
}

/* ---- reading ---- */

const TileRegion *tile_region(const TileProgram *p, const TileNode *n, int k) {
  BUG_IF(k < 0 || k >= n->nregions, "tile_region: no such region");
  return &p->regions.at[n->regions + (uint32_t)k];
}

const TileAttr *tile_attr(const TileProgram *p, const TileNode *n, TileAttrKey key) {
  for (uint32_t i = 0; i < n->nattrs; i++)
    if (p->attrs.at[n->attrs + i].key == key) return &p->attrs.at[n->attrs + i];
  return NULL;
}

int64_t tile_attr_int(const TileProgram *p, const TileNode *n, TileAttrKey key, int64_t deflt) {
  const TileAttr *a = tile_attr(p, n, key);
  return a && strchr("ibd", a->kind) ? a->i : deflt;
}

const char *tile_attr_str(const TileProgram *p, const TileNode *n, TileAttrKey key, const char *deflt) {
  const TileAttr *a = tile_attr(p, n, key);
  return a && a->kind == 's' ? a->s : deflt;
}

double tile_attr_num(const TileProgram *p, const TileNode *n, TileAttrKey key, double deflt) {
  const TileAttr *a = tile_attr(p, n, key);
  return !a ? deflt : a->kind == 'n' ? a->n : a->kind == 'i' ? (double)a->i : deflt;
}

TileId tile_slot_ring(const TileProgram *p, TileId token) {
  for (;;) {
    const TileNode *n = tile_at(p, token);
    if (n->type.kind == TK_RING || !n->nargs) return token;
    token = tile_arg(p, n, 0); /* swap, take -> carry -> its first token -> acquire or wait -> the ring */
  }
}

bool tile_word_next(const char **text, const char **word, size_t *n) {
  const char *s = *text + strspn(*text, ", ");
  *n = strcspn(s, ", ");
  *word = s;
  *text = s + *n;
  return *n > 0;
}

int tile_word_count(const char *text) {
  const char *word;
  size_t n;
  int count = 0;
  while (tile_word_next(&text, &word, &n)) count++;
  return count;
}

int tile_word_index(const char *text, const char *name) {
  const char *word;
  size_t n;
  for (int i = 0; tile_word_next(&text, &word, &n); i++)
    if (strlen(name) == n && !memcmp(word, name, n)) return i;
  return -1;
}
