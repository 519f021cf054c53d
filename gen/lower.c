/* lower.c - the walk over a kernel's statements: values, scalars, parameters, loops and branches. */
#include "lower.h"
#include "arch/arch.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void report(Lower *l, const char *fmt, va_list ap) {
  char text[512];
  vsnprintf(text, sizeof text, fmt, ap);
  diag_error(l->diag, l->node ? l->node->loc : (Loc){0}, "%s", text);
}

void lower_error(Lower *l, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  report(l, fmt, ap);
  va_end(ap);
  l->failed = true;
  l->refused = false;
}

void lower_refuse(Lower *l, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  report(l, fmt, ap);
  va_end(ap);
  l->refused = !l->failed;
  l->failed = true;
}

PtxClass dtype_class(kiln_dtype t) {
  switch (t) {
  case KILN_F64: return PTX_D;
  case KILN_I64: return PTX_L;
  case KILN_F32: return PTX_F;
  case KILN_BOOL: return PTX_P;
  case KILN_F16: case KILN_BF16: case KILN_I16: return PTX_H;
  default: return PTX_R;
  }
}

Val *lower_val(Lower *l, TileId id) { return &l->val[id.i]; }
Val *lower_arg(Lower *l, int k) { return lower_val(l, tile_arg(l->tiles, l->node, k)); }
Val *lower_result(Lower *l) { return &l->val[l->node - l->tiles->nodes.at]; }
TileType *lower_arg_type(Lower *l, int k) { return &tile_at(l->tiles, tile_arg(l->tiles, l->node, k))->type; }

/* ---- parameters ---- */

static const char *param_type(kiln_dtype t) {
  switch (t) {
  case KILN_F32: return ".f32";
  case KILN_I32: return ".u32";
  case KILN_F64: return ".f64";
  default: return ".u64";
  }
}

static PtxReg declare_param(Lower *l, const char *name, kiln_dtype dtype, PtxReg *value) {
  int bytes = dtype == KILN_F32 || dtype == KILN_I32 ? 4 : 8;
  PtxSym s = ptx_param(l->ptx, name, param_type(dtype), (uint32_t)bytes, (uint32_t)bytes);
  *VEC_PUSH(l->arena, KEEP, &l->params) = s;
  *VEC_PUSH(l->arena, KEEP, &l->param_names) = name;
  IsaId form = dtype == KILN_F32 ? ISA_ld_param_f32 : dtype == KILN_F64 ? ISA_ld_param_f64 : bytes == 4 ? ISA_ld_param_b32 : ISA_ld_param_b64;
  *value = ptx_def(l->ptx, form, po_sym_mem(s, 0));
  return *value;
}

PtxReg lower_param(Lower *l, const char *name) {
  for (uint32_t i = 0; i < l->param_names.n; i++)
    if (strcmp(l->param_names.at[i], name) == 0) return l->param_value[i];
  lower_error(l, "parameter '%s' is not declared by the kernel", name);
  return (PtxReg){0};
}

static void need_param(Lower *l, const char *name, kiln_dtype dtype) {
  for (uint32_t i = 0; i < l->param_names.n; i++)
    if (strcmp(l->param_names.at[i], name) == 0) return;
  PtxReg value;
  declare_param(l, name, dtype, &value);
  if (dtype == KILN_NO_DTYPE) value = ptx_def(l->ptx, ISA_cvta_to_global_u64, po_r(value)); /* a tensor's pointer */
  l->param_value[l->param_names.n - 1] = value;
}

bool lower_is_const(const char *name, int64_t *value) {
  if (name[0] < '0' || name[0] > '9') return false;
  *value = strtoll(name, NULL, 10);
  return true;
}

/* "a,b,1" to names; KEEP. */
static int split_names(Lower *l, const char *text, const char **out) {
  int n = 0;
  while (text && *text && n < TILE_RANK) {
    size_t len = strcspn(text, ",");
    out[n++] = arena_str(l->arena, KEEP, text, len);
    text += len;
    if (*text == ',') text++;
  }
  return n;
}

bool lower_halves(Lower *l, ViewVal *v) {
  const char *halves[TILE_RANK];
  if (split_names(l, tile_attr_str(l->tiles, l->node, TA_halves, ""), halves) != 2) return false;
  v->half = halves[0];
  v->by_half = halves[1];
  v->run = (int)tile_attr_int(l->tiles, l->node, TA_run, v->multiple);
  return true;
}

void lower_view(Lower *l) {
  const TileNode *n = l->node;
  ViewVal *v = ARENA_NEW(l->arena, KEEP, ViewVal);
  v->tensor = tile_attr_str(l->tiles, n, TA_tensor, "");
  v->rank = (int)tile_attr_int(l->tiles, n, TA_rank, 0);
  v->elem_bytes = tile_dtype_bytes(n->type.dtype);
  v->align = (int)tile_attr_int(l->tiles, n, TA_align, v->elem_bytes);
  v->multiple = (int)tile_attr_int(l->tiles, n, TA_multiple, 1);
  int sizes = split_names(l, tile_attr_str(l->tiles, n, TA_sizes, ""), v->size);
  int strides = split_names(l, tile_attr_str(l->tiles, n, TA_strides, ""), v->stride);
  lower_halves(l, v);
  if (sizes != v->rank || strides != v->rank)
    lower_error(l, "view of '%s' has rank %d but names %d sizes and %d strides", v->tensor, v->rank, sizes, strides);
  *lower_result(l) = (Val){.kind = VAL_VIEW, .dtype = n->type.dtype, .view = v};
}

PtxReg lower_size(Lower *l, const char *name) {
  int64_t c;
  if (lower_is_const(name, &c)) return ptx_def(l->ptx, ISA_mov_b64, po_i(c));
  return lower_param(l, name);
}

/* Is the view seen through maps alone? Then the kernel needs neither its pointer nor its strides. */
static bool only_mapped(const Lower *l, uint32_t view) {
  bool mapped = false;
  for (uint32_t i = view + 1; i < l->tiles->nodes.n; i++) {
    const TileNode *n = &l->tiles->nodes.at[i];
    for (int k = 0; k < n->nargs; k++) {
      if (tile_arg(l->tiles, n, k).i != view) continue;
      if (n->op != TILE_map) return false;
      mapped = true;
    }
  }
  return mapped;
}

static void need_names(Lower *l, const TileNode *n, TileAttrKey key) {
  const char *names[TILE_RANK];
  int64_t c;
  int k = split_names(l, tile_attr_str(l->tiles, n, key, ""), names);
  for (int j = 0; j < k; j++)
    if (!lower_is_const(names[j], &c)) need_param(l, names[j], KILN_I64);
}

/* Every parameter that the kernel's views and params name, declared in order of appearance. */
static void declare_region(Lower *l, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &l->tiles->nodes.at[r->at[i]];
    if (n->op == TILE_view && !only_mapped(l, r->at[i])) {
      need_param(l, tile_attr_str(l->tiles, n, TA_tensor, ""), KILN_NO_DTYPE);
      need_names(l, n, TA_sizes);
      need_names(l, n, TA_strides);
      need_names(l, n, TA_halves);
    } else if (n->op == TILE_param) {
      need_param(l, tile_attr_str(l->tiles, n, TA_name, ""), n->type.dtype);
    } else if (n->op == TILE_load || n->op == TILE_store) {
      need_names(l, n, TA_halves);
    }
    for (int k = 0; k < n->nregions; k++) declare_region(l, tile_region(l->tiles, n, k));
  }
}

static uint32_t count_params(const Lower *l, const TileRegion *r) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &l->tiles->nodes.at[r->at[i]];
    count += n->op == TILE_view ? 3 + 2 * TILE_RANK : n->op == TILE_param ? 1 : tile_attr(l->tiles, n, TA_halves) ? 2 : 0;
    for (int k = 0; k < n->nregions; k++) count += count_params(l, tile_region(l->tiles, n, k));
  }
  return count;
}

/* ---- scalars ---- */

PtxReg lower_scalar(Lower *l, const Val *v) {
  if (v->kind != VAL_CONST) return v->reg[0];
  switch (v->dtype) {
  case KILN_F32: return ptx_def(l->ptx, ISA_mov_f32, po_f((float)v->f));
  case KILN_I64: return ptx_def(l->ptx, ISA_mov_b64, po_i(v->i));
  case KILN_BOOL: return ptx_def(l->ptx, ISA_setp_ne_s32, po_r(ptx_def(l->ptx, ISA_mov_b32, po_i(v->i))), po_i(0));
  default: return ptx_def(l->ptx, ISA_mov_b32, po_i(v->i));
  }
}

PtxReg lower_i64(Lower *l, const Val *v) {
  if (v->kind == VAL_CONST) return ptx_def(l->ptx, ISA_mov_b64, po_i(v->i));
  return v->dtype == KILN_I64 ? v->reg[0] : ptx_def(l->ptx, ISA_cvt_s64_s32, po_r(v->reg[0]));
}

PtxReg lower_i32(Lower *l, const Val *v) {
  if (v->kind == VAL_CONST) return ptx_def(l->ptx, ISA_mov_b32, po_i(v->i));
  return v->dtype == KILN_I64 ? ptx_def(l->ptx, ISA_cvt_u32_u64, po_r(v->reg[0])) : v->reg[0];
}

static Val scalar_val(Lower *l, kiln_dtype t, PtxReg r) {
  PtxReg *reg = ARENA_NEW(l->arena, KEEP, PtxReg);
  *reg = r;
  return (Val){.kind = VAL_SCALAR, .dtype = t, .n = 1, .reg = reg};
}

static void lower_const(Lower *l) {
  const TileAttr *a = tile_attr(l->tiles, l->node, TA_value);
  double f = a->kind == 'n' ? a->n : (double)a->i;
  *lower_result(l) = (Val){.kind = VAL_CONST, .dtype = l->node->type.dtype, .i = a->kind != 'n' ? a->i : fabs(a->n) < 0x1p63 ? (int64_t)a->n : 0, .f = f};
}

static void lower_param_node(Lower *l) {
  kiln_dtype t = l->node->type.dtype;
  *lower_result(l) = scalar_val(l, t, lower_param(l, tile_attr_str(l->tiles, l->node, TA_name, "")));
}

static void lower_cta(Lower *l) {
  static const PtxSpecial special[2][3] = {{PTX_CTAID_X, PTX_CTAID_Y, PTX_CTAID_Z}, {PTX_NCTAID_X, PTX_NCTAID_Y, PTX_NCTAID_Z}};
  int64_t axis = tile_attr_int(l->tiles, l->node, TA_axis, 0);
  PtxSpecial s = special[l->node->op == TILE_ctas][axis < 0 || axis > 2 ? 0 : axis];
  *lower_result(l) = scalar_val(l, KILN_I32, ptx_def(l->ptx, ISA_mov_u32_special, po_special(s)));
}

static void move_scalar(Lower *l, kiln_dtype t, PtxReg to, const Val *from) {
  switch (dtype_class(t)) {
  case PTX_F: ptx_put(l->ptx, ISA_mov_f32, po_r(to), po_r(lower_scalar(l, from))); break;
  case PTX_L: ptx_put(l->ptx, ISA_mov_b64, po_r(to), po_r(lower_scalar(l, from))); break;
  case PTX_P: ptx_put(l->ptx, ISA_mov_pred, po_r(to), po_r(lower_scalar(l, from))); break;
  default: ptx_put(l->ptx, ISA_mov_b32, po_r(to), po_r(lower_scalar(l, from))); break;
  }
}

static void lower_var(Lower *l) {
  Val *first = lower_arg(l, 0);
  PtxReg r = ptx_var(l->ptx, dtype_class(first->dtype));
  move_scalar(l, first->dtype, r, first);
  *lower_result(l) = scalar_val(l, first->dtype, r);
}

static PtxReg copy_of(Lower *l, kiln_dtype t, PtxReg r) { /* the value now, in a register of its own */
  PtxReg copy = ptx_reg(l->ptx, dtype_class(t));
  Val v = scalar_val(l, t, r);
  move_scalar(l, t, copy, &v);
  return copy;
}

static void lower_get(Lower *l) {
  Val *v = lower_arg(l, 0);
  *lower_result(l) = scalar_val(l, v->dtype, copy_of(l, v->dtype, v->reg[0]));
}

static void lower_put(Lower *l) {
  Val *v = lower_arg(l, 0);
  move_scalar(l, v->dtype, v->reg[0], lower_arg(l, 1));
}

/* n / d by the parameter d = (shift << 32 | multiplier), see docs/contract.md. */
PtxReg lower_divide(Lower *l, PtxReg n, PtxReg magic) {
  PtxReg mul = ptx_def(l->ptx, ISA_cvt_u32_u64, po_r(magic));
  PtxReg shift = ptx_def(l->ptx, ISA_cvt_u32_u64, po_r(ptx_def(l->ptx, ISA_shr_u64, po_r(magic), po_i(32))));
  PtxReg wide = ptx_def(l->ptx, ISA_mul_wide_u32, po_r(n), po_r(mul));
  return ptx_def(l->ptx, ISA_cvt_u32_u64, po_r(ptx_def(l->ptx, ISA_shr_u64, po_r(wide), po_r(shift))));
}

static void lower_fastdiv(Lower *l) {
  const Val *n = lower_arg(l, 0);
  PtxReg magic = lower_scalar(l, lower_arg(l, 1));
  if (n->kind != VAL_FRAG) {
    *lower_result(l) = scalar_val(l, KILN_I32, lower_divide(l, lower_i32(l, n), magic));
    return;
  }
  Val *out = lower_result(l);
  *out = *n;
  out->reg = ARENA_ARRAY(l->arena, PASS, PtxReg, n->n);
  for (uint32_t i = 0; i < n->n; i++) out->reg[i] = lower_divide(l, n->reg[i], magic);
}

/* ---- control ---- */

static PtxReg compare(Lower *l, kiln_dtype t, bool less, PtxReg a, PtxReg b) {
  if (t == KILN_I64) return ptx_def(l->ptx, less ? ISA_setp_lt_s64 : ISA_setp_ge_s64, po_r(a), po_r(b));
  return ptx_def(l->ptx, less ? ISA_setp_lt_s32 : ISA_setp_ge_s32, po_r(a), po_r(b));
}

/* Tested before the first round and at the end of each: one branch per round. */
static void lower_for(Lower *l) {
  TileNode *n = l->node;
  Val *lo = lower_arg(l, 0), *hi = lower_arg(l, 1), *step = lower_arg(l, 2);
  kiln_dtype t = n->type.dtype;
  bool wide = t == KILN_I64, down = tile_attr_int(l->tiles, n, TA_down, 0) != 0;
  PtxReg first = lower_scalar(l, lo), last = lower_scalar(l, hi), by = lower_scalar(l, step);
  PtxReg counter = ptx_var(l->ptx, wide ? PTX_L : PTX_R);
  if (down) {
    PtxReg start = ptx_def(l->ptx, wide ? ISA_sub_s64 : ISA_sub_s32, po_r(last), po_r(by));
    ptx_put(l->ptx, wide ? ISA_mov_b64 : ISA_mov_b32, po_r(counter), po_r(start));
  } else {
    ptx_put(l->ptx, wide ? ISA_mov_b64 : ISA_mov_b32, po_r(counter), po_r(first));
  }
  PtxLabel top = ptx_label(l->ptx), end = ptx_label(l->ptx);
  bool enters = !down && lo->kind == VAL_CONST && hi->kind == VAL_CONST && lo->i < hi->i;
  if (!enters) {
    PtxReg go = compare(l, t, !down, counter, down ? first : last);
    ptx_guard(l->ptx, go, true);
    ptx_put(l->ptx, ISA_bra, po_label(end));
    ptx_guard(l->ptx, (PtxReg){0}, false);
  }
  ptx_place(l->ptx, top);
  ptx_scope_begin(l->ptx);
  Val *result = lower_result(l);
  *result = scalar_val(l, t, copy_of(l, t, counter));
  lower_region(l, tile_region(l->tiles, n, 0));
  l->node = n;
  l->ptx->loc = n->loc;
  ptx_put(l->ptx, down ? (wide ? ISA_sub_s64 : ISA_sub_s32) : (wide ? ISA_add_s64 : ISA_add_s32), po_r(counter), po_r(counter), po_r(by));
  PtxReg again = ptx_reg(l->ptx, PTX_P);
  IsaId test = down ? (wide ? ISA_setp_ge_s64 : ISA_setp_ge_s32) : (wide ? ISA_setp_lt_s64 : ISA_setp_lt_s32);
  ptx_put(l->ptx, test, po_r(again), po_r(counter), po_r(down ? first : last));
  ptx_scope_end(l->ptx);
  ptx_guard(l->ptx, again, false);
  ptx_put(l->ptx, ISA_bra, po_label(top));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  ptx_place(l->ptx, end);
}

static void lower_if(Lower *l) {
  TileNode *n = l->node;
  Val *c = lower_arg(l, 0);
  if (c->kind == VAL_CONST) {
    lower_region(l, tile_region(l->tiles, n, c->i ? 0 : 1));
    return;
  }
  const TileRegion *other = tile_region(l->tiles, n, 1);
  PtxLabel otherwise = ptx_label(l->ptx), end = other->n ? ptx_label(l->ptx) : otherwise;
  ptx_guard(l->ptx, c->reg[0], true);
  ptx_put(l->ptx, ISA_bra, po_label(otherwise));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  ptx_scope_begin(l->ptx);
  lower_region(l, tile_region(l->tiles, n, 0));
  ptx_scope_end(l->ptx);
  if (other->n) {
    ptx_put(l->ptx, ISA_bra, po_label(end));
    ptx_place(l->ptx, otherwise);
    ptx_scope_begin(l->ptx);
    lower_region(l, other);
    ptx_scope_end(l->ptx);
  }
  ptx_place(l->ptx, end);
}

void lower_pdl_wait(Lower *l) { ptx_put_n(l->ptx, ISA_griddepcontrol_wait, 0, NULL); }
void lower_pdl_launch(Lower *l) { ptx_put_n(l->ptx, ISA_griddepcontrol_launch_dependents, 0, NULL); }
void lower_nothing(Lower *l) { (void)l; }
void lower_sync(Lower *l) { lower_group_barrier(l); }
void lower_cluster_sync(Lower *l) {
  bool relaxed = tile_attr_int(l->tiles, l->node, TA_relaxed, 0);
  ptx_put_n(l->ptx, relaxed ? ISA_barrier_cluster_arrive_relaxed_aligned : ISA_barrier_cluster_arrive_release_aligned, 0, NULL);
  ptx_put_n(l->ptx, ISA_barrier_cluster_wait_acquire_aligned, 0, NULL);
}
void lower_barrier(Lower *l) { *lower_result(l) = (Val){.kind = VAL_NONE}; } /* without roles every sync is the CTA's */

/* A comment in the PTX for each statement that a reader would look for: its name and what it is about. */
static void annotate(Lower *l, const TileNode *n) {
  const TileOpInfo *info = tile_op_info(n->op);
  if (n->nregions || info->scope == '-' || (info->scope == 'T' && n->type.kind != TK_FRAG && !strchr(info->flags, 'W'))) return;
  const char *about = tile_attr_str(l->tiles, n, TA_field, tile_attr_str(l->tiles, n, TA_kind, ""));
  TileId first = tile_arg(l->tiles, n, 0);
  if (!*about && first.i) {
    const TileNode *m = tile_at(l->tiles, first);
    about = tile_attr_str(l->tiles, m, TA_tensor, tile_attr_str(l->tiles, m, TA_name, ""));
  }
  const DiagFile *f = &l->diag->files.at[n->loc.file];
  ptx_note(l->ptx, "%s%s%s  (%s:%u)", info->name, *about ? " " : "", about, n->loc.file ? f->name : "?", n->loc.line);
}

enum { MOST_INSTRUCTIONS = 200000 }; /* of a kernel: about a second's work, and far beyond what a GPU's instruction cache likes */

/* Nodes of control and scalars are the same everywhere; the rest is the target's. */
static void lower_node(Lower *l, uint32_t index) {
  TileNode *n = &l->tiles->nodes.at[index];
  l->node = n;
  if (l->ptx->code.n > MOST_INSTRUCTIONS) {
    lower_error(l, "the kernel has more than %d instructions by here; each statement is made for every element that a thread holds: "
                "take smaller tiles, or do less", (int)MOST_INSTRUCTIONS);
    return;
  }
  l->ptx->loc = n->loc;
  annotate(l, n);
  if (n->sync_before && l->lo == 0) lower_group_barrier(l); /* once, with a run's first portion */
  switch (n->op) {
  case TILE_const: lower_const(l); return;
  case TILE_param: lower_param_node(l); return;
  case TILE_cta: case TILE_ctas: lower_cta(l); return;
  case TILE_var: lower_var(l); return;
  case TILE_get: lower_get(l); return;
  case TILE_put: lower_put(l); return;
  case TILE_fastdiv: lower_fastdiv(l); return;
  case TILE_for: lower_for(l); return;
  case TILE_if: lower_if(l); return;
  default: break;
  }
  const ArchRow *row = &l->target->arch->row[n->op];
  if (row->lower)
    row->lower(l);
  else
    lower_refuse(l, "'%s' cannot be lowered for %s: %s", tile_op_info(n->op)->name, l->target->name, row->reason ? row->reason : "no row in gen/arch");
}

/* ---- runs: what a thread does to each element of a large fragment, a few elements at a time ----
 *
 * Statement by statement, an epilogue over 128 accumulators would hold every intermediate of all of them at once. A run of
 * elementwise statements, loads and stores of one layout is lowered in portions instead. */
enum { RUN_ELEMS = 16, RUN_FROM = 96 }; /* portion; fragments of at least this many elements per thread, unless the kernel says */

bool lower_range(const Lower *l, int total, int *from, int *to) {
  *from = l->hi ? l->lo : 0;
  *to = l->hi && l->hi < total ? l->hi : total;
  return *from == 0;
}

static bool is_elementwise(const TileNode *n) {
  const TileOpInfo *info = tile_op_info(n->op);
  return info->scope == 'T' && (strchr("ep", info->result[0]) || n->op == TILE_where) && !n->nregions;
}

/* The layout whose elements the node goes through; 0: it is no part of a run. */
static uint32_t run_layout(const Lower *l, const TileNode *n) {
  const TileType *memory = n->nargs ? &tile_at(l->tiles, tile_arg(l->tiles, n, 0))->type : NULL;
  if (n->op == TILE_store) return tile_at(l->tiles, tile_arg(l->tiles, n, 1))->type.layout; /* its portions need one barrier, before the first */
  if (n->sync_before || n->nregions) return 0;
  if (n->op == TILE_exchange && l->portion % (2 * tile_attr_int(l->tiles, n, TA_run, 1))) return 0; /* both belong to one portion */
  if (is_elementwise(n) && n->type.kind == TK_FRAG) return n->type.layout;
  if ((n->op == TILE_load || n->op == TILE_load_like) && memory->kind == TK_VIEW)
    return l->portion && n->type.rank == 2 ? 0 : n->type.layout; /* all of a row is on its way before the first portion */
  if (l->portion && n->op == TILE_load && memory->kind == TK_SMEM) return n->type.layout;
  if (l->portion && n->op == TILE_set && memory->rank == 2) return memory->layout;
  return 0;
}

/* Is an operand of the node made in portions, by the run's nodes [first, at)? */
static bool uses_portions(const Lower *l, const TileRegion *r, uint32_t first, uint32_t at, uint32_t layout) {
  const TileNode *n = &l->tiles->nodes.at[r->at[at]];
  for (int k = 0; k < n->nargs; k++)
    for (uint32_t i = first; i < at; i++)
      if (r->at[i] == tile_arg(l->tiles, n, k).i && run_layout(l, &l->tiles->nodes.at[r->at[i]]) == layout) return true;
  return false;
}

/* Scalars, shared tiles, fragments that lie along one dim of the run's, and in kernels that say a portion also fragments of other
 * layouts, are made whole with the first portion. */
static bool is_prelude(const Lower *l, const TileRegion *r, uint32_t first, uint32_t at, uint32_t layout) {
  const TileNode *n = &l->tiles->nodes.at[r->at[at]];
  if (n->sync_before || n->nregions || n->op == TILE_store || n->op == TILE_get) return false;
  if (l->portion && (n->op == TILE_read || n->op == TILE_coord)) return true;
  const char *flags = tile_op_info(n->op)->flags;
  bool whole = n->op == TILE_gather || (strchr(flags, 'P') && !strchr(flags, 'S'));
  if (l->portion && n->type.kind == TK_FRAG && whole && run_layout(l, n) != layout) return !uses_portions(l, r, first, at, layout);
  if (n->type.kind == TK_SMEM) return true; /* a declaration or a part of one */
  if (n->type.kind == TK_SCALAR) return tile_op_is(n->op, 'P');
  return n->type.kind == TK_FRAG && n->type.rank == 1 && run_layout(l, n) != 0;
}

static bool is_access(const TileNode *n) { return n->op == TILE_store || n->op == TILE_load || n->op == TILE_load_like || n->op == TILE_gather; }

/* Do both nodes access the same memory, one of them writing? Portions of the one then must not come after portions of the other.
 * All of shared memory counts as one. */
static bool must_keep_order(const Lower *l, const TileNode *a, const TileNode *b) {
  if (!is_access(a) || !is_access(b) || (a->op != TILE_store && b->op != TILE_store)) return false;
  const TileNode *ma = tile_at(l->tiles, tile_arg(l->tiles, a, 0)), *mb = tile_at(l->tiles, tile_arg(l->tiles, b, 0));
  if (ma->type.kind != mb->type.kind) return false;
  return ma->type.kind != TK_VIEW || strcmp(tile_attr_str(l->tiles, ma, TA_tensor, ""), tile_attr_str(l->tiles, mb, TA_tensor, "")) == 0;
}

static bool joins_run(const Lower *l, const TileRegion *r, uint32_t first, uint32_t at) {
  const TileNode *n = &l->tiles->nodes.at[r->at[at]];
  for (uint32_t i = first; is_access(n) && i < at; i++)
    if (must_keep_order(l, &l->tiles->nodes.at[r->at[i]], n)) return false;
  return true;
}

static uint32_t run_length(const Lower *l, const TileRegion *r, uint32_t first) {
  uint32_t layout = run_layout(l, &l->tiles->nodes.at[r->at[first]]), n = 0;
  if (!layout || layout_regs(&l->tiles->frag_layouts.at[layout]) < (l->portion ? 2 * l->portion : RUN_FROM)) return 1;
  while (first + n < r->n) {
    const TileNode *node = &l->tiles->nodes.at[r->at[first + n]];
    if ((run_layout(l, node) != layout && !is_prelude(l, r, first, first + n, layout)) || !joins_run(l, r, first, first + n)) break;
    n++;
  }
  return n;
}

/* Reductions right behind a run whose operands the run makes: they add each portion, so that no portion waits for the others. */
static uint32_t run_reductions(const Lower *l, const TileRegion *r, uint32_t first, uint32_t n) {
  uint32_t layout = run_layout(l, &l->tiles->nodes.at[r->at[first]]);
  if (!l->portion || n < 2 || first + n >= r->n) return 0;
  uint32_t count = frag_joined(l, r, first + n);
  for (uint32_t i = 0; i < count; i++) {
    const TileNode *m = &l->tiles->nodes.at[r->at[first + n + i]];
    if (m->op != TILE_reduce || tile_at(l->tiles, tile_arg(l->tiles, m, 0))->type.layout != layout) return 0;
  }
  return count;
}

/* Functions become long sequences, loads wait long. ptxas moves instructions freely within a basic block, and in one block it
 * interleaves the portions of such a run for their latencies, until accumulators that live across them are spilled. */
static bool needs_blocks(const Lower *l, const TileRegion *r, uint32_t first, uint32_t n) {
  for (uint32_t i = first; i < first + n; i++) {
    const TileNode *node = &l->tiles->nodes.at[r->at[i]];
    if (node->type.kind != TK_FRAG || node->type.rank < 2) continue;
    switch (node->op) {
    case TILE_exp: case TILE_exp2: case TILE_log: case TILE_log2: case TILE_sqrt: case TILE_rsqrt: case TILE_rcp: case TILE_tanh:
    case TILE_erf: case TILE_sin: case TILE_cos: case TILE_div: case TILE_load_like: return true;
    default: break;
    }
  }
  return false;
}

/* A portion's statements; those that are made whole belong to the first. */
static void lower_portion(Lower *l, const TileRegion *r, uint32_t first, uint32_t n, int lo, int portion) {
  uint32_t layout = run_layout(l, &l->tiles->nodes.at[r->at[first]]);
  for (uint32_t i = first; i < first + n && !l->failed; i++) {
    bool whole = run_layout(l, &l->tiles->nodes.at[r->at[i]]) != layout;
    if (whole && lo) continue;
    l->lo = whole ? 0 : lo;
    l->hi = whole ? 0 : lo + portion;
    lower_node(l, r->at[i]);
  }
  l->lo = l->hi = 0;
}

/* The portions after the first stand in basic blocks of their own where they hold functions: behind a branch that is never taken,
 * as a grid has CTAs, which ptxas does not know. */
static void lower_run(Lower *l, const TileRegion *r, uint32_t first, uint32_t n, uint32_t reductions) {
  int total = layout_regs(&l->tiles->frag_layouts.at[run_layout(l, &l->tiles->nodes.at[r->at[first]])]);
  bool blocks = l->portion ? total > RUN_ELEMS && total > l->portion : needs_blocks(l, r, first, n);
  PtxReg never = {0};
  if (blocks) never = ptx_def(l->ptx, ISA_setp_eq_s32, po_r(ptx_def(l->ptx, ISA_mov_u32_special, po_special(PTX_NCTAID_X))), po_i(0));
  int portion = l->portion ? l->portion : RUN_ELEMS;
  for (int lo = 0; lo < total && !l->failed; lo += portion) {
    if (!blocks || !lo) {
      lower_portion(l, r, first, n, lo, portion);
      if (reductions && !lo && !frag_reduce_start(l, r, first + n, reductions)) return;
      if (reductions && !l->failed) frag_reduce_portion(l, r, first + n, reductions, lo, lo + portion < total ? lo + portion : total);
      continue;
    }
    PtxLabel end = ptx_label(l->ptx);
    ptx_note(l->ptx, "elements %d to %d of %d of a thread, in a block of their own: the branch is never taken", lo, lo + portion - 1, total);
    ptx_guard(l->ptx, never, false);
    ptx_put(l->ptx, ISA_bra, po_label(end));
    ptx_guard(l->ptx, (PtxReg){0}, false);
    ptx_scope_begin(l->ptx);
    lower_portion(l, r, first, n, lo, portion);
    if (reductions && !l->failed) frag_reduce_portion(l, r, first + n, reductions, lo, lo + portion < total ? lo + portion : total);
    ptx_scope_end(l->ptx);
    ptx_place(l->ptx, end);
  }
}

void lower_region(Lower *l, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n && !l->failed;) {
    uint32_t n = run_length(l, r, i), joined = frag_joined(l, r, i);
    if (joined > 1)
      lower_reduce_joined(l, r, i, n = joined);
    else if (n > 1) {
      uint32_t reductions = run_reductions(l, r, i, n);
      lower_run(l, r, i, n, reductions);
      if (reductions && !l->failed) frag_reduce_meet(l, r, i + n, reductions);
      n += reductions;
    }
    else
      lower_node(l, r->at[i]);
    i += n;
  }
}

int64_t shared_reserve(Lower *l, int64_t bytes, int64_t align) {
  l->shared_bytes = (l->shared_bytes + align - 1) / align * align;
  int64_t at = l->shared_bytes;
  l->shared_bytes += bytes;
  return at;
}

bool lower_kernel(Arena *a, Diag *d, TileProgram *tiles, TileId kernel, const Target *t, PtxProgram **out, LowerResult *result) {
  TileNode *n = tile_at(tiles, kernel);
  const TileRegion *body = tile_region(tiles, n, 0);
  Lower l = {.arena = a, .diag = d, .tiles = tiles, .target = t};
  const char *entry = tile_attr_str(tiles, n, TA_name, "kernel");
  l.ptx = ptx_new(a, d, t, entry);
  const TileAttr *cluster = tile_attr(tiles, n, TA_cluster);
  l.kernel = kernel;
  l.cluster = 1;
  for (int64_t i = 0; cluster && i < cluster->i; i++) l.cluster *= (int)cluster->list[i];
  l.groups = tile_has_groups(tiles, kernel);
  l.barriers = 1;
  l.threads = (int)tile_attr_int(tiles, n, TA_threads, 0);
  l.role = (RoleScope){.warps = l.threads / 32, .groups = 1};
  l.portion = (int)tile_attr_int(tiles, n, TA_portion, 0);
  l.ptx->threads = (uint32_t)l.threads;
  l.ptx->min_ctas = (uint32_t)tile_attr_int(tiles, n, TA_min_ctas, 0);
  l.ptx->max_regs = (uint32_t)tile_attr_int(tiles, n, TA_regs, 0);
  for (int i = 0; l.cluster > 1 && i < 3; i++) l.ptx->cluster[i] = i < (int)cluster->i ? (uint32_t)cluster->list[i] : 1;
  l.ptx->loc = n->loc;
  l.val = ARENA_ARRAY(a, PASS, Val, tiles->nodes.n);
  l.param_value = ARENA_ARRAY(a, PASS, PtxReg, count_params(&l, body) + 1);
  declare_region(&l, body);
  l.tid = ptx_def(l.ptx, ISA_mov_u32_special, po_special(PTX_TID_X));
  l.lane = ptx_def(l.ptx, ISA_and_b32, po_r(l.tid), po_i(31));
  l.warp = ptx_def(l.ptx, ISA_shr_u32, po_r(l.tid), po_i(5));
  if (lower_has_roles(&l)) l.warp = lower_uniform(&l, l.warp);
  l.shared_sym = ptx_shared(l.ptx, "kiln_shared", 0, 1024, true);
  l.shared_base = ptx_def(l.ptx, ISA_mov_u32_symbol, po_sym(l.shared_sym));
  lower_region(&l, body);
  ptx_put_n(l.ptx, ISA_ret, 0, NULL);
  if (l.shared_bytes > t->shared_block) {
    l.node = n;
    lower_refuse(&l, "kernel '%s' needs %lld bytes of shared memory, %s has %u per block; use smaller tiles or fewer stages", entry,
                (long long)l.shared_bytes, t->name, t->shared_block);
  }
  *out = l.ptx;
  *result = (LowerResult){.entry = entry, .threads = l.threads, .shared_bytes = l.shared_bytes, .args = l.param_names.at,
                          .nargs = (int)l.param_names.n, .nmaps = l.nmaps, .refused = l.refused};
  for (int i = 0; i < l.nmaps; i++) result->map[i] = l.map[i]->line;
  return !l.failed;
}
