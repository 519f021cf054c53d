/* tile_infer.c - types of scalars, fragments and control; memory, rings and products are in tile_infer_memory.c.
 *
 * An elementwise operation takes operands of one dtype. Scalars go with anything; a fragment of one dim less goes with a full one
 * as a slice of it (one value per row or per column) and takes the full one's layout. */
#include "tile_impl.h"
#include <math.h>
#include <string.h>

#define REFUSE(...) return diag_error(p->diag, n->loc, __VA_ARGS__), false

static TileType *type_of(const TileProgram *p, const TileNode *n, int k) { return &tile_at(p, tile_arg(p, n, k))->type; }
static const char *op_name(const TileNode *n) { return tile_op_info((TileOp)n->op)->name; }

static bool is_float(int d) { return d == KILN_F64 || d == KILN_F32 || d == KILN_F16 || d == KILN_BF16; }
static bool is_int(int d) { return d == KILN_I64 || d == KILN_I32 || d == KILN_I16 || d == KILN_I8 || d == KILN_U8; }

bool tile_same_shape(const TileType *a, const TileType *b) {
  if (a->rank != b->rank) return false;
  for (int d = 0; d < a->rank; d++)
    if (a->shape[d] != b->shape[d]) return false;
  return true;
}

/* ---- shapes and layouts out of attributes ---- */

enum { MOST_EXTENT = 1 << 20, MOST_ELEMS = 1 << 24 };

bool tile_take_shape(TileProgram *p, TileNode *n, TileAttrKey key, int most_rank, TileType *out) {
  const TileAttr *a = tile_attr(p, n, key);
  const char *name = tile_attr_name(key);
  if (a->i < 1 || a->i > most_rank) REFUSE("%s: '%s' has %d dims; 1 to %d are possible", op_name(n), name, (int)a->i, most_rank);
  int64_t elems = 1;
  out->rank = (uint8_t)a->i;
  for (int d = 0; d < out->rank; d++) {
    if (a->list[d] < 1 || a->list[d] > MOST_EXTENT)
      REFUSE("%s: dim %d of '%s' is %lld; 1 to %d is possible", op_name(n), d, name, (long long)a->list[d], MOST_EXTENT);
    out->shape[d] = (int32_t)a->list[d];
    elems *= a->list[d];
    if (elems > MOST_ELEMS) REFUSE("%s: a tile of more than %d elements", op_name(n), MOST_ELEMS);
  }
  return true;
}

/* Modes that layout.c may rely on: none of extent 1, and products that stay within an int. */
static bool modes_sane(const Layout *l) {
  int64_t held[3] = {1, 1, 1};
  for (int i = 0; i < l->nmodes; i++) {
    const LayoutMode *m = &l->mode[i];
    held[m->where] *= m->extent;
    if (m->extent < 2 || held[m->where] > MOST_ELEMS) return false;
  }
  return held[LM_LANE] == 32 && held[LM_WARP] <= 32;
}

bool tile_take_layout(TileProgram *p, TileNode *n, TileType *out) {
  const char *text = tile_attr_str(p, n, TA_layout, NULL);
  if (!text) return true;
  if (out->rank > LAYOUT_RANK) REFUSE("%s: a fragment has at most %d dims", op_name(n), LAYOUT_RANK);
  Layout l = {.rank = out->rank};
  memcpy(l.shape, out->shape, sizeof l.shape);
  if (!layout_parse(&l, text))
    REFUSE("%s: cannot read layout \"%s\"; a mode is r|l|w EXTENT @ DIM:STRIDE or @*, as in \"r2@1:1 l4@1:2 l8@0:1\"", op_name(n),
           text);
  if (!modes_sane(&l) || !layout_valid(&l))
    REFUSE("%s: layout \"%s\" does not hold every element of %s (extents from 2, 32 lanes, strides without holes)", op_name(n),
           text, tile_type_text(p, out));
  out->layout = tile_layout_intern(p, &l);
  return true;
}

/* The fragment type that is left when dim is taken out of `full`; rank 0 becomes a scalar. */
static void drop_dim(TileProgram *p, const TileType *full, int dim, TileType *out) {
  *out = (TileType){.kind = full->rank > 1 ? TK_FRAG : TK_SCALAR, .dtype = full->dtype};
  for (int d = 0; d < full->rank; d++)
    if (d != dim) out->shape[out->rank++] = full->shape[d];
  if (full->rank == 2) out->along = (uint8_t)(1 + (1 - dim));
  if (full->layout && out->rank) {
    Layout slice = layout_slice(&p->frag_layouts.at[full->layout], dim);
    out->layout = tile_layout_intern(p, &slice);
  }
}

bool tile_slice_type(TileProgram *p, const TileNode *n, const TileType *full, int kept_dim, TileType *out) {
  if (full->rank != 2)
    REFUSE("%s: a slice of %s; only fragments of two dims have row and column slices", op_name(n), tile_type_text(p, full));
  drop_dim(p, full, 1 - kept_dim, out);
  return true;
}

/* ---- broadcasting ---- */

/* Which dim of `full` does `part` lack? -1 none fits, -2 more than one does. */
static int find_lacking(const TileProgram *p, const TileType *full, const TileType *part) {
  if (full->layout && part->layout) return layout_slice_dim(&p->frag_layouts.at[full->layout], &p->frag_layouts.at[part->layout]);
  int found = -1;
  for (int dim = 0; dim < full->rank; dim++) {
    bool fits = !(part->along && full->rank == 2 && part->along - 1 == dim);
    for (int d = 0, k = 0; d < full->rank && fits; d++)
      if (d != dim) fits = full->shape[d] == part->shape[k++];
    if (fits) found = found == -1 ? dim : -2;
  }
  return found;
}

static bool join_equals(TileProgram *p, const TileNode *n, TileType *out, const TileType *t) {
  if (!tile_same_shape(out, t)) REFUSE("%s: %s does not go with %s", op_name(n), tile_type_text(p, t), tile_type_text(p, out));
  if (out->along && t->along && out->along != t->along)
    REFUSE("%s: one operand has a value per %s, the other per %s", op_name(n), out->along == 1 ? "row" : "column",
           t->along == 1 ? "row" : "column");
  if (out->layout && t->layout && out->layout != t->layout) {
    char a[256], b[256];
    layout_print(&p->frag_layouts.at[out->layout], a, sizeof a);
    layout_print(&p->frag_layouts.at[t->layout], b, sizeof b);
    REFUSE("%s: operands of different layouts (%s | %s); a conversion is never inserted: load one like the other, or pass it "
           "through shared memory",
           op_name(n), a, b);
  }
  if (!out->along) out->along = t->along;
  if (!out->layout) out->layout = t->layout;
  return true;
}

static bool join_part(TileProgram *p, const TileNode *n, const TileType *full, const TileType *part) {
  int dim = full->rank == part->rank + 1 ? find_lacking(p, full, part) : -1;
  if (dim >= 0) return true;
  if (dim == -2)
    REFUSE("%s: %s may lie along either dim of %s; say which with rows", op_name(n), tile_type_text(p, part),
           tile_type_text(p, full));
  REFUSE("%s: %s is no slice of %s", op_name(n), tile_type_text(p, part), tile_type_text(p, full));
}

/* Shape and layout of operands first.. together. */
static bool broadcast(TileProgram *p, TileNode *n, TileType *out) {
  int rank = -1;
  for (int k = 0; k < n->nargs; k++) {
    const TileType *t = type_of(p, n, k);
    if (t->kind == TK_FRAG && t->rank > rank) rank = t->rank;
  }
  *out = (TileType){.kind = rank < 0 ? TK_SCALAR : TK_FRAG};
  bool begun = false;
  for (int k = 0; k < n->nargs; k++) {
    const TileType *t = type_of(p, n, k);
    if (t->kind != TK_FRAG || t->rank != rank) continue;
    if (begun) {
      if (!join_equals(p, n, out, t)) return false;
      continue;
    }
    begun = true;
    *out = *t;
    out->is_mutable = false;
  }
  for (int k = 0; k < n->nargs; k++) {
    const TileType *t = type_of(p, n, k);
    if (t->kind == TK_FRAG && t->rank < rank && !join_part(p, n, out, t)) return false;
  }
  return true;
}

/* ---- elementwise ---- */

typedef enum { ANY, FLOATS, INTS, NUMBERS, BOOLS } DtypeClass;

static DtypeClass dtypes_of(TileOp op) {
  switch (op) {
  case TILE_exp:
  case TILE_exp2:
  case TILE_log:
  case TILE_log2:
  case TILE_sqrt:
  case TILE_rsqrt:
  case TILE_rcp:
  case TILE_tanh:
  case TILE_erf:
  case TILE_sin:
  case TILE_cos:
  case TILE_rint:
  case TILE_fma: return FLOATS;
  case TILE_rem: return INTS;
  case TILE_not:
  case TILE_and:
  case TILE_or: return BOOLS;
  case TILE_cvt:
  case TILE_eq:
  case TILE_ne: return ANY;
  default: return NUMBERS;
  }
}

static bool check_dtype(TileProgram *p, const TileNode *n, DtypeClass class, int dtype) {
  const char *got = tile_dtype_name(dtype);
  switch (class) {
  case FLOATS:
    if (!is_float(dtype)) REFUSE("%s: works on f64 f32 f16 bf16, not on %s; convert with cvt", op_name(n), got);
    return true;
  case INTS:
    if (!is_int(dtype)) REFUSE("%s: works on integers, not on %s", op_name(n), got);
    return true;
  case NUMBERS:
    if (!is_float(dtype) && !is_int(dtype)) REFUSE("%s: no arithmetic on %s; convert with cvt", op_name(n), got);
    return true;
  case BOOLS:
    if (dtype != KILN_BOOL) REFUSE("%s: works on predicates, not on %s; compare first", op_name(n), got);
    return true;
  case ANY: return true;
  }
  return true;
}

static bool infer_elementwise(TileProgram *p, TileNode *n, bool predicate) {
  int dtype = type_of(p, n, 0)->dtype;
  for (int k = 1; k < n->nargs; k++)
    if (type_of(p, n, k)->dtype != dtype)
      REFUSE(
          "%s: operand 1 is %s, operand %d is %s; operands have one dtype: convert with cvt, or make the number with that dtype",
          op_name(n), tile_dtype_name(dtype), k + 1, tile_dtype_name(type_of(p, n, k)->dtype));
  if (!check_dtype(p, n, dtypes_of((TileOp)n->op), dtype) || !broadcast(p, n, &n->type)) return false;
  n->type.dtype = predicate ? KILN_BOOL : (uint8_t)dtype;
  if (n->op == TILE_cvt) n->type.dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0);
  return true;
}

static bool infer_where(TileProgram *p, TileNode *n) {
  const TileType *c = type_of(p, n, 0), *a = type_of(p, n, 1), *b = type_of(p, n, 2);
  if (c->dtype != KILN_BOOL) REFUSE("where: the condition is %s; expected a predicate: compare first", tile_dtype_name(c->dtype));
  if (a->dtype != b->dtype)
    REFUSE("where: chooses between %s and %s; both branches have one dtype", tile_dtype_name(a->dtype),
           tile_dtype_name(b->dtype));
  uint8_t dtype = a->dtype;
  if (!broadcast(p, n, &n->type)) return false;
  n->type.dtype = dtype;
  return true;
}

/* ---- fragments ---- */

static bool infer_frag(TileProgram *p, TileNode *n) {
  n->type = (TileType){.kind = TK_FRAG, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0), .is_mutable = true};
  TileType *t = &n->type;
  if (!tile_take_shape(p, n, TA_shape, LAYOUT_RANK, t)) return false;
  bool rows = tile_attr_int(p, n, TA_rows_of, 0);
  if (!n->nargs) {
    if (rows) REFUSE("frag: rows_of needs the fragment whose rows are meant as operand");
    return tile_take_layout(p, n, t);
  }
  if (tile_attr(p, n, TA_layout)) REFUSE("frag: the layout is given twice, by the operand and by 'layout'");
  const TileType *like = type_of(p, n, 0);
  if (like->rank == t->rank && !rows) {
    if (!tile_same_shape(like, t)) REFUSE("frag: %s cannot have the layout of %s", tile_type_text(p, t), tile_type_text(p, like));
    t->layout = like->layout;
    t->along = like->along;
    return true;
  }
  if (like->rank != 2 || t->rank != 1) REFUSE("frag: %s is no slice of %s", tile_type_text(p, t), tile_type_text(p, like));
  int kept = rows ? 0 : 1;
  if (like->shape[kept] != t->shape[0])
    REFUSE("frag: a value per %s of %s is %d values, not %d%s", rows ? "row" : "column", tile_type_text(p, like),
           (int)like->shape[kept], (int)t->shape[0], rows ? "" : "; for a value per row say rows_of");
  uint8_t dtype = t->dtype;
  if (!tile_slice_type(p, n, like, kept, t)) return false;
  t->dtype = dtype;
  t->is_mutable = true;
  return true;
}

static bool infer_assignment(TileProgram *p, TileNode *n) {
  const TileType *to = type_of(p, n, 0), *from = n->nargs > 1 ? type_of(p, n, 1) : NULL;
  if (to->kind == TK_FRAG && !to->is_mutable)
    REFUSE("%s: the first operand is a value, not a mutable fragment: declare it by frag", op_name(n));
  if (!from) return true;
  if (to->dtype != from->dtype)
    REFUSE("%s: %s cannot take %s; convert with cvt", op_name(n), tile_type_text(p, to), tile_type_text(p, from));
  if (n->op != TILE_set) return true;
  TileType joined = *to;
  return join_equals(p, n, &joined, from);
}

static bool dim_within(TileProgram *p, const TileNode *n, int rank, int *dim) {
  int64_t d = tile_attr_int(p, n, TA_dim, 0);
  if (d < 0 || d >= rank) REFUSE("%s: dim %lld; the operand has dims 0 to %d", op_name(n), (long long)d, rank - 1);
  *dim = (int)d;
  return true;
}

static bool infer_reduce(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  const char *kind = tile_attr_str(p, n, TA_kind, "");
  int dim;
  if (tile_word_index("sum max min", kind) < 0 || tile_word_count(kind) != 1)
    REFUSE("reduce: kind \"%s\"; expected sum, max or min", kind);
  if (!check_dtype(p, n, NUMBERS, t->dtype) || !dim_within(p, n, t->rank, &dim)) return false;
  if (n->nargs > 1 && (type_of(p, n, 1)->dtype != KILN_BOOL || !tile_same_shape(t, type_of(p, n, 1)) || type_of(p, n, 1)->layout != t->layout))
    REFUSE("reduce: the condition is %s; expected predicates in the layout of %s", tile_type_text(p, type_of(p, n, 1)), tile_type_text(p, t));
  drop_dim(p, t, dim, &n->type);
  return true;
}

static bool infer_rows(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  int dim;
  if (t->rank != 1) REFUSE("rows: the operand is %s; expected a fragment of one dim", tile_type_text(p, t));
  if (!dim_within(p, n, 2, &dim)) return false;
  if (t->along && t->along != dim + 1)
    REFUSE("rows: the operand lies along dim %d already; dim %d is asked for", t->along - 1, dim);
  n->type = *t;
  n->type.is_mutable = false;
  n->type.along = (uint8_t)(dim + 1);
  return true;
}

static bool infer_coord(TileProgram *p, TileNode *n) {
  int dim;
  if (!dim_within(p, n, type_of(p, n, 0)->rank, &dim)) return false;
  n->type = *type_of(p, n, 0);
  n->type.is_mutable = false;
  n->type.dtype = KILN_I32;
  return true;
}

static bool infer_neighbours(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  int64_t run = tile_attr_int(p, n, TA_run, 1);
  if (run < 1 || run > 64) REFUSE("%s: run is %lld; expected 1 to 64", op_name(n), (long long)run);
  if (!t->layout || layout_vector(&p->frag_layouts.at[t->layout], t->rank - 1) % (2 * run))
    REFUSE("%s: neighbours of %s are not in one thread; give it a layout with runs of a multiple of %d registers along its last dim",
           op_name(n), tile_type_text(p, t), (int)(2 * run));
  n->type = *t;
  n->type.is_mutable = false;
  return n->nargs < 2 || join_equals(p, n, &n->type, type_of(p, n, 1));
}

/* ---- scalars and control ---- */

static bool infer_const(TileProgram *p, TileNode *n) {
  int dtype = (int)tile_attr_int(p, n, TA_dtype, 0);
  double v = tile_attr_num(p, n, TA_value, 0);
  if (!is_float(dtype) && dtype != KILN_BOOL && !is_int(dtype))
    REFUSE("const: no numbers of %s; make an f32 and convert with cvt", tile_dtype_name(dtype));
  int bits = dtype == KILN_BOOL ? 1 : 8 * tile_dtype_bytes(dtype);
  bool is_signed = dtype != KILN_BOOL && dtype != KILN_U8;
  double low = is_signed ? -ldexp(1, bits - 1) : 0, high = is_signed ? ldexp(1, bits - 1) : ldexp(1, bits);
  if (!is_float(dtype) && !(v == floor(v) && v >= low && v < high)) REFUSE("const: %g is not a %s", v, tile_dtype_name(dtype));
  /* a finite number that f32 has as infinity or 0 would mean another one than is written */
  if (dtype == KILN_F32 && isfinite(v) && (isinf((float)v) || (v != 0 && (float)v == 0)))
    REFUSE("const: %g is %s in f32", v, fabs(v) > 1 ? "infinite" : "0");
  n->type = (TileType){.kind = TK_SCALAR, .dtype = (uint8_t)dtype};
  return true;
}

static bool infer_for(TileProgram *p, TileNode *n) {
  int dtype = type_of(p, n, 0)->dtype;
  for (int k = 0; k < 3; k++)
    if (type_of(p, n, k)->dtype != dtype || (dtype != KILN_I32 && dtype != KILN_I64))
      REFUSE("for: bounds and step have one dtype, i32 or i64; came %s, %s, %s", tile_dtype_name(dtype),
             tile_dtype_name(type_of(p, n, 1)->dtype), tile_dtype_name(type_of(p, n, 2)->dtype));
  const TileNode *step = tile_at(p, tile_arg(p, n, 2));
  if (step->op == TILE_const && tile_attr_num(p, step, TA_value, 0) < 1)
    REFUSE("for: step %g; it is 1 or more, also where `down` counts from hi - step to lo", tile_attr_num(p, step, TA_value, 0));
  if (tile_attr_int(p, n, TA_unroll, 1) < 1) REFUSE("for: unroll is 1 or more");
  n->type = (TileType){.kind = TK_SCALAR, .dtype = (uint8_t)dtype};
  return true;
}

static bool infer_fastdiv(TileProgram *p, TileNode *n) {
  const TileType *a = type_of(p, n, 0);
  if (!is_int(a->dtype) || !is_int(type_of(p, n, 1)->dtype)) REFUSE("fastdiv: divides an integer by a derived fastdiv parameter");
  n->type = *a;
  n->type.is_mutable = false;
  return true;
}

static bool int_in(TileProgram *p, const TileNode *n, TileAttrKey key, int64_t low, int64_t high, int64_t multiple) {
  const TileAttr *a = tile_attr(p, n, key);
  if (!a || (a->i >= low && a->i <= high && a->i % multiple == 0)) return true;
  const char *unit = multiple == 32 ? ", a multiple of 32" : multiple == 8 ? ", a multiple of 8" : "";
  REFUSE("%s: %s is %lld; expected %lld to %lld%s", op_name(n), tile_attr_name(key), (long long)a->i, (long long)low,
         (long long)high, unit);
}

static bool infer_kernel(TileProgram *p, TileNode *n) {
  const char *name = tile_attr_str(p, n, TA_name, "");
  if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(name) ||
      (*name >= '0' && *name <= '9'))
    REFUSE("kernel: \"%s\" is no name; letters, digits and _ make one", name);
  if (!int_in(p, n, TA_threads, 32, 1024, 32) || !int_in(p, n, TA_min_ctas, 1, 32, 1) || !int_in(p, n, TA_regs, 16, 255, 1) ||
      !int_in(p, n, TA_portion, 8, 64, 8))
    return false;
  const TileAttr *c = tile_attr(p, n, TA_cluster);
  int64_t ctas = 1;
  if (c && (c->i < 1 || c->i > 3)) REFUSE("kernel: cluster has %lld sizes; expected x, y, z", (long long)c->i);
  for (int64_t i = 0; c && i < c->i; i++) {
    if (c->list[i] < 1 || c->list[i] > 16) REFUSE("kernel: cluster size %lld; expected 1 to 16", (long long)c->list[i]);
    ctas *= c->list[i];
  }
  if (ctas > 16) REFUSE("kernel: a cluster of %lld CTAs; at most 16 are possible, 8 everywhere", (long long)ctas);
  return true;
}

static bool infer_role(TileProgram *p, TileNode *n) {
  if (!*tile_attr_str(p, n, TA_name, "")) REFUSE("role: the name is empty");
  if (!int_in(p, n, TA_warps, 1, 32, 1) || !int_in(p, n, TA_groups, 1, 32, 1) || !int_in(p, n, TA_align, 1, 32, 1)) return false;
  if (!int_in(p, n, TA_regs, 24, 256, 8)) return false;
  n->type = (TileType){.kind = TK_SCALAR, .dtype = KILN_I32};
  return true;
}

static bool infer_sched(TileProgram *p, TileNode *n) {
  const char *kind = tile_attr_str(p, n, TA_kind, "");
  if (tile_word_index("static persistent dynamic", kind) < 0 || tile_word_count(kind) != 1)
    REFUSE("sched: kind \"%s\"; expected static, persistent or dynamic", kind);
  bool counter = n->nargs && type_of(p, n, n->nargs - 1)->kind == TK_VIEW, dynamic = !strcmp(kind, "dynamic");
  for (int k = 0; k < n->nargs - counter; k++)
    if (!is_int(type_of(p, n, k)->dtype))
      REFUSE("sched: the number of tiles is %s; expected an integer", tile_dtype_name(type_of(p, n, k)->dtype));
  if (n->nargs - counter < 1) REFUSE("sched: takes the number of tiles along each axis, at least one");
  if (counter && !dynamic) REFUSE("sched: only a dynamic scheduler has a counter");
  if (counter && type_of(p, n, n->nargs - 1)->dtype != KILN_I32)
    REFUSE("sched: the counter is %s; expected i32", tile_dtype_name(type_of(p, n, n->nargs - 1)->dtype));
  if (!int_in(p, n, TA_ring, 1, 16, 1)) return false;
  n->type = (TileType){.kind = TK_SCHED};
  return true;
}

/* Operations with nothing to infer but one kind, or none; false: not one of them. */
static bool infer_simple(TileProgram *p, TileNode *n, bool *ok) {
  const TileType *first = n->nargs ? type_of(p, n, 0) : NULL;
  *ok = true;
  switch (n->op) {
  case TILE_kernel: *ok = infer_kernel(p, n); return true;
  case TILE_role: *ok = infer_role(p, n); return true;
  case TILE_sched: *ok = infer_sched(p, n); return true;
  case TILE_param: n->type = (TileType){.kind = TK_SCALAR, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0)}; return true;
  case TILE_var: n->type = (TileType){.kind = TK_VAR, .dtype = first->dtype}; return true;
  case TILE_get: n->type = (TileType){.kind = TK_SCALAR, .dtype = first->dtype}; return true;
  case TILE_cta:
  case TILE_ctas:
    n->type = (TileType){.kind = TK_SCALAR, .dtype = KILN_I32};
    *ok = int_in(p, n, TA_axis, 0, 2, 1);
    return true;
  case TILE_each:
  case TILE_produce:
    n->type = (TileType){.kind = TK_SCALAR, .dtype = KILN_I32};
    *ok = int_in(p, n, TA_step, 1, 32, 1);
    return true;
  case TILE_order:
    n->type = (TileType){.kind = TK_ORDER};
    *ok = int_in(p, n, TA_groups, 2, 15, 1);
    return true;
  case TILE_barrier:
    n->type = (TileType){.kind = TK_BARRIER};
    *ok = int_in(p, n, TA_threads, 32, 1024, 32);
    return true;
  case TILE_mma_wait: *ok = int_in(p, n, TA_n, 0, 15, 1); return true;
  case TILE_carry: n->type = (TileType){.kind = TK_CARRY}; return true;
  case TILE_while:
  case TILE_elect:
  case TILE_yield:
  case TILE_mma_commit:
  case TILE_sync:
  case TILE_cluster_sync:
  case TILE_pdl_wait:
  case TILE_pdl_launch: return true;
  case TILE_enter:
  case TILE_leave:
    if (n->nargs > 1 && !is_int(type_of(p, n, 1)->dtype)) {
      diag_error(p->diag, n->loc, "%s: the group's index is %s; expected an integer", op_name(n),
                 tile_dtype_name(type_of(p, n, 1)->dtype));
      *ok = false;
    }
    return true;
  case TILE_if:
    if (first->dtype != KILN_BOOL) {
      diag_error(p->diag, n->loc, "if: the condition is %s; expected a predicate: compare first", tile_dtype_name(first->dtype));
      *ok = false;
    }
    return true;
  default: return false;
  }
}

bool tile_infer(TileProgram *p, TileNode *n) {
  bool ok;
  n->type = (TileType){0};
  if (infer_simple(p, n, &ok)) return ok;
  switch (n->op) {
  case TILE_const: return infer_const(p, n);
  case TILE_for: return infer_for(p, n);
  case TILE_fastdiv: return infer_fastdiv(p, n);
  case TILE_where: return infer_where(p, n);
  case TILE_frag: return infer_frag(p, n);
  case TILE_set:
  case TILE_fill:
  case TILE_zero:
  case TILE_put: return infer_assignment(p, n);
  case TILE_reduce: return infer_reduce(p, n);
  case TILE_rows: return infer_rows(p, n);
  case TILE_coord: return infer_coord(p, n);
  case TILE_exchange:
  case TILE_even_odd: return infer_neighbours(p, n);
  case TILE_mma_operands:
  case TILE_mma_fetch:
  case TILE_mma_issue: return tile_infer_operands(p, n);
  case TILE_mma:
  case TILE_mma_rs:
  case TILE_mma_scaled: return tile_infer_product(p, n);
  default: break;
  }
  const TileOpInfo *info = tile_op_info((TileOp)n->op);
  if (info->result[0] == 'e' || info->result[0] == 'p') return infer_elementwise(p, n, info->result[0] == 'p');
  return tile_infer_memory(p, n);
}
