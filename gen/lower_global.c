/* lower_global.c - global memory: pointers with 64-bit offsets, bounds as predicates, vectors as wide as alignment allows. */
#include "lower.h"
#include <math.h>
#include <string.h>

#define DEF(form, ...) ptx_def(l->ptx, ISA_##form, __VA_ARGS__)
#define R(x) po_r(x)

static PtxReg stride_bytes(Lower *l, const ViewVal *v, int dim) { /* of a stride that is a parameter */
  PtxReg s = lower_size(l, v->stride[dim]);
  return v->elem_bytes == 1 ? s : DEF(shl_b64, R(s), po_i(__builtin_ctz((unsigned)v->elem_bytes)));
}

static bool is_zero(const Val *v) { return v->kind == VAL_CONST && v->i == 0; }

/* Coordinate of view dim d as 64 bits: the node's scalar plus the thread's position along the tile dim that lies on it. */
static PtxReg coordinate(Lower *l, const Val *c, PtxReg pos) {
  if (!pos.id) return lower_i64(l, c);
  PtxReg wide = DEF(cvt_s64_s32, R(pos));
  return is_zero(c) ? wide : DEF(add_s64, R(lower_i64(l, c)), R(wide));
}

/* Elements from the thread's position to the end of the dim, as 32 bits: clamped so that tiles compare with immediates. */
static PtxReg room_left(Lower *l, const ViewVal *v, int d, const Val *c, PtxReg pos) {
  PtxReg left = lower_size(l, v->size[d]);
  if (!is_zero(c)) left = DEF(sub_s64, R(left), R(lower_i64(l, c)));
  left = DEF(max_s64, R(DEF(min_s64, R(left), po_i(1 << 30))), po_i(0));
  PtxReg low = DEF(cvt_u32_u64, R(left));
  return pos.id ? DEF(sub_s32, R(low), R(pos)) : low;
}

/* Which dims of the memory the tile's dims are: the `dims` attribute without the dims that the memory lacks (a gather's tile keeps
 * them, as -1), or the last ones. */
static void tile_dims(Lower *l, int memory_rank, int tile_rank, int dim[LAYOUT_RANK]) {
  const TileAttr *a = tile_attr(l->tiles, l->node, TA_dims);
  for (int t = 0; t < tile_rank && !a; t++) dim[t] = memory_rank - tile_rank + t;
  for (int k = 0, t = 0; a && k < (int)a->i && t < tile_rank; k++)
    if (a->list[k] >= 0 || l->node->op == TILE_gather) dim[t++] = (int)a->list[k];
}

static int log2_of(int v) { return __builtin_ctz((unsigned)v); }

/* The column at which the element stands that comes u-th in the order of halves that take turns: of piece 2p or 2p + 1 of the walk,
 * p / H is the block and p % H the place in each of its halves of H pieces. u: at + a thread's part. */
PtxReg turned_column(Lower *l, const ViewVal *v, PtxReg column, int32_t at, bool aligned) {
  int k = log2_of(v->run), run = v->run;
  PtxReg half = DEF(cvt_u32_u64, R(lower_size(l, v->half))), magic = lower_param(l, v->by_half), odd = {0}, u = column;
  int32_t rest = at & (2 * run - 1); /* which of two pieces, and where in it: known where threads have pairs of them */
  if (aligned) {
    if (at != rest) u = DEF(add_s32, R(u), po_i(at - rest));
  } else {
    if (at) u = DEF(add_s32, R(u), po_i(at));
    odd = DEF(and_b32, R(DEF(shr_u32, R(u), po_i(k))), po_i(1));
    rest = 0;
  }
  PtxReg pair = DEF(shr_u32, R(u), po_i(k + 1));
  PtxReg piece = DEF(add_s32, R(pair), R(DEF(mul_lo_s32, R(lower_divide(l, pair, magic)), R(half))));
  if (odd.id) piece = DEF(add_s32, R(piece), R(DEF(mul_lo_s32, R(odd), R(half))));
  else if (rest >= run) piece = DEF(add_s32, R(piece), R(half));
  PtxReg first = k ? DEF(shl_b32, R(piece), po_i(k)) : piece;
  if (odd.id && run > 1) return DEF(add_s32, R(first), R(DEF(and_b32, R(u), po_i(run - 1))));
  return rest % run ? DEF(add_s32, R(first), po_i(rest % run)) : first;
}

static bool turns(const ViewCursor *c, int t) { return c->column.id && t == c->rank - 1; }

ViewCursor view_cursor(Lower *l, const ViewVal *v, int first_coord, int tile_rank, const PtxReg *pos, const uint32_t *bits) {
  ViewCursor c = {.view = v, .rank = tile_rank};
  tile_dims(l, v->rank, tile_rank, c.dim);
  PtxReg p = lower_param(l, v->tensor);
  for (int d = 0; d < v->rank; d++) {
    const Val *at = lower_arg(l, first_coord + d);
    PtxReg own = {0};
    int64_t fixed = 0;
    bool is_fixed = lower_is_const(v->stride[d], &fixed);
    int tile = -1;
    for (int t = 0; t < tile_rank; t++)
      if (c.dim[t] == d) tile = t;
    bool turned = v->half && d == v->rank - 1 && tile == tile_rank - 1 && tile >= 0;
    if (tile >= 0) {
      own = pos[tile];
      c.room[tile] = turned ? room_left(l, v, d, &(Val){.kind = VAL_CONST, .dtype = KILN_I32}, (PtxReg){0}) : room_left(l, v, d, at, own);
      if (is_fixed)
        c.step_bytes[tile] = fixed * v->elem_bytes;
      else
        c.step[tile] = stride_bytes(l, v, d);
    }
    if (turned) { /* a tile begins at a whole number of pairs of pieces */
      c.column = is_zero(at) ? own : DEF(add_s32, R(lower_i32(l, at)), R(own));
      c.aligned = !(bits[tile] & (2 * (uint32_t)v->run - 1));
      continue;
    }
    if (tile < 0 && is_zero(at)) continue;
    PtxReg k = coordinate(l, at, own);
    PtxReg bytes = is_fixed ? DEF(mul_lo_s64, R(k), po_i(fixed * v->elem_bytes)) : DEF(mul_lo_s64, R(k), R(stride_bytes(l, v, d)));
    p = DEF(add_s64, R(p), R(bytes));
  }
  c.pointer = p;
  return c;
}

/* The pointer moved by a number of elements of tile dim t that is in a register. */
static PtxReg moved_by(Lower *l, const ViewCursor *c, int t, PtxReg p, PtxReg elements) {
  if (!c->step[t].id) return DEF(add_s64, R(p), R(DEF(mul_wide_s32, R(elements), po_i(c->step_bytes[t]))));
  return DEF(add_s64, R(p), R(DEF(mul_lo_s64, R(DEF(cvt_s64_s32, R(elements))), R(c->step[t]))));
}

PtxReg view_pointer(Lower *l, const ViewCursor *c, const int32_t *at, int64_t *imm) {
  PtxReg p = c->pointer;
  *imm = 0;
  for (int t = 0; t < c->rank; t++) {
    if (turns(c, t)) {
      p = moved_by(l, c, t, p, turned_column(l, c->view, c->column, at[t], c->aligned));
      continue;
    }
    if (!at[t]) continue;
    if (!c->step[t].id)
      *imm += at[t] * c->step_bytes[t];
    else
      p = DEF(add_s64, R(p), R(DEF(mul_lo_s64, R(c->step[t]), po_i(at[t]))));
  }
  return p;
}

static bool is_inside(Lower *l, int t) { /* does the statement say that this dim of the tile needs no test? */
  const TileAttr *a = tile_attr(l->tiles, l->node, TA_inside);
  for (int k = 0; a && k < (int)a->i; k++)
    if (a->list[k] == t) return true;
  return false;
}

PtxReg view_inside(Lower *l, const ViewCursor *c, const int32_t *at) {
  PtxReg p = {0};
  for (int t = 0; t < c->rank; t++) {
    if (is_inside(l, t)) continue;
    PtxReg q = c->whole[t].id ? c->whole[t]
               : turns(c, t) ? DEF(setp_gt_s32, R(c->room[t]), R(turned_column(l, c->view, c->column, at[t], c->aligned)))
                           : DEF(setp_gt_s32, R(c->room[t]), po_i(at[t]));
    p = p.id ? DEF(and_pred, R(p), R(q)) : q;
  }
  return p;
}

/* Elements per access: what layout, stride, alignment and the size's divisor all allow; 8-byte ones go one by one. */
static int vector_elems(const Layout *lay, const ViewVal *v, const ViewCursor *c) {
  int t = c->rank - 1;
  if (c->rank == 0 || c->step[t].id || c->step_bytes[t] != v->elem_bytes) return 1;
  int n = layout_vector(lay, lay->rank - 1);
  int most = v->elem_bytes == 8 ? 1 : 16 / v->elem_bytes, aligned = v->align / v->elem_bytes;
  int vec = 1;
  while (vec * 2 <= most && n % (vec * 2) == 0 && aligned % (vec * 2) == 0 && v->multiple % (vec * 2) == 0) vec *= 2;
  return vec;
}

/* policy: the hint's form, 0: none; bytes one by one go without it. */
typedef struct AccessForms { uint16_t u8, b16, b32, f32, v2_b32, v4_b32, v2_f32, v4_f32, b64, policy; } AccessForms;
static const AccessForms LOAD = {ISA_ld_global_u8, ISA_ld_global_b16, ISA_ld_global_b32, ISA_ld_global_f32,
  ISA_ld_global_v2_b32, ISA_ld_global_v4_b32, ISA_ld_global_v2_f32, ISA_ld_global_v4_f32,
  ISA_ld_global_b64, 0};
static const AccessForms LOAD_NC = {ISA_ld_global_nc_u8, ISA_ld_global_nc_b16, ISA_ld_global_nc_b32, ISA_ld_global_nc_f32,
  ISA_ld_global_nc_v2_b32, ISA_ld_global_nc_v4_b32, ISA_ld_global_nc_v2_f32, ISA_ld_global_nc_v4_f32,
  ISA_ld_global_nc_b64, 0};
static const AccessForms LOAD_STREAM = {ISA_ld_global_nc_L1_no_allocate_u8, ISA_ld_global_nc_L1_no_allocate_b16,
  ISA_ld_global_nc_L1_no_allocate_b32, ISA_ld_global_nc_L1_no_allocate_f32,
  ISA_ld_global_nc_L1_no_allocate_v2_b32, ISA_ld_global_nc_L1_no_allocate_v4_b32, ISA_ld_global_nc_L1_no_allocate_v2_f32,
  ISA_ld_global_nc_L1_no_allocate_v4_f32,
  ISA_ld_global_nc_L1_no_allocate_b64, 0};
static const AccessForms LOAD_KEEP = {ISA_ld_global_nc_u8, ISA_ld_global_nc_L2_cache_hint_b16, ISA_ld_global_nc_L2_cache_hint_b32,
  ISA_ld_global_nc_L2_cache_hint_f32,
  ISA_ld_global_nc_L2_cache_hint_v2_b32, ISA_ld_global_nc_L2_cache_hint_v4_b32, ISA_ld_global_nc_L2_cache_hint_v2_f32,
  ISA_ld_global_nc_L2_cache_hint_v4_f32,
  ISA_ld_global_nc_L2_cache_hint_b64, ISA_createpolicy_L2_evict_last_b64};
static const AccessForms LOAD_KEEP_SOME = {ISA_ld_global_nc_u8, ISA_ld_global_nc_L2_cache_hint_b16, ISA_ld_global_nc_L2_cache_hint_b32,
  ISA_ld_global_nc_L2_cache_hint_f32,
  ISA_ld_global_nc_L2_cache_hint_v2_b32, ISA_ld_global_nc_L2_cache_hint_v4_b32, ISA_ld_global_nc_L2_cache_hint_v2_f32,
  ISA_ld_global_nc_L2_cache_hint_v4_f32,
  ISA_ld_global_nc_L2_cache_hint_b64, ISA_createpolicy_L2_evict_last_evict_first_b64};
static const AccessForms LOAD_KEEP_WRITTEN = {ISA_ld_global_u8, ISA_ld_global_L2_cache_hint_b16, ISA_ld_global_L2_cache_hint_b32,
  ISA_ld_global_L2_cache_hint_f32,
  ISA_ld_global_L2_cache_hint_v2_b32, ISA_ld_global_L2_cache_hint_v4_b32, ISA_ld_global_L2_cache_hint_v2_f32,
  ISA_ld_global_L2_cache_hint_v4_f32,
  ISA_ld_global_L2_cache_hint_b64, ISA_createpolicy_L2_evict_last_b64};
static const AccessForms STORE = {ISA_st_global_u8, ISA_st_global_b16, ISA_st_global_b32, ISA_st_global_f32,
  ISA_st_global_v2_b32, ISA_st_global_v4_b32, ISA_st_global_v2_f32, ISA_st_global_v4_f32,
  ISA_st_global_b64, 0};
static const AccessForms STORE_STREAM = {ISA_st_global_cs_u8, ISA_st_global_cs_b16, ISA_st_global_cs_b32, ISA_st_global_cs_f32,
  ISA_st_global_cs_v2_b32, ISA_st_global_cs_v4_b32, ISA_st_global_cs_v2_f32, ISA_st_global_cs_v4_f32,
  ISA_st_global_cs_b64, 0};

static const AccessForms *forms_of(Lower *l, bool load) {
  const char *cache = tile_attr_str(l->tiles, l->node, TA_cache, "");
  if (strcmp(cache, "stream") == 0) return load ? &LOAD_STREAM : &STORE_STREAM;
  if (load && strcmp(cache, "keep") == 0 && target_runs(l->target, isa_form(LOAD_KEEP.policy)->sm)) return &LOAD_KEEP;
  if (load && strcmp(cache, "keep_some") == 0 && target_runs(l->target, isa_form(LOAD_KEEP_SOME.policy)->sm)) return &LOAD_KEEP_SOME;
  if (load && strcmp(cache, "keep_written") == 0) /* of memory that this kernel may write */
    return target_runs(l->target, isa_form(LOAD_KEEP_WRITTEN.policy)->sm) ? &LOAD_KEEP_WRITTEN : &LOAD;
  if (load && *cache) return &LOAD_NC;
  return load ? &LOAD : &STORE;
}

/* words: registers of one access; f32: in .f32 registers. */
static IsaId access_form(const AccessForms *f, kiln_dtype t, int words) {
  if (t == KILN_I64) return f->b64;
  if (t == KILN_F32) return words == 4 ? f->v4_f32 : words == 2 ? f->v2_f32 : f->f32;
  return words == 4 ? f->v4_b32 : words == 2 ? f->v2_b32 : f->b32;
}

static int64_t pad_bits(Lower *l, kiln_dtype t) {
  double pad = tile_attr_num(l->tiles, l->node, TA_pad, 0);
  if (t == KILN_F32) {
    float f = (float)pad;
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
  }
  if (pad == 0) return 0;
  if (byte_is_int(t) || t == KILN_BOOL) return ((int64_t)pad & 0xff) * 0x01010101ll;
  if (isinf(pad) && t == KILN_BF16) return pad > 0 ? 0x7f807f80ll : 0xff80ff80ll;
  if (isinf(pad) && t == KILN_F16) return pad > 0 ? 0x7c007c00ll : 0xfc00fc00ll;
  lower_error(l, "16-bit tiles are padded with 0 or an infinity, those of fp8 with 0");
  return 0;
}

static void put_load(Lower *l, const AccessForms *f, IsaId form, PtxOpnd to, PtxOpnd from) {
  if (f->policy && form != f->u8)
    ptx_put(l->ptx, form, to, from, R(l->policy));
  else
    ptx_put(l->ptx, form, to, from);
}

static void load_words(Lower *l, const AccessForms *f, Val *frag, uint32_t reg, int words, PtxReg p, int64_t imm, PtxReg ok, int64_t pad) {
  IsaId move = frag->dtype == KILN_F32 ? ISA_mov_f32 : frag->dtype == KILN_I64 ? ISA_mov_b64 : ISA_mov_b32;
  for (int k = 0; k < words; k++) ptx_put(l->ptx, move, R(frag->reg[reg + (uint32_t)k]), po_i(pad));
  ptx_guard(l->ptx, ok, false);
  PtxOpnd to = words > 1 ? po_vec(l->ptx, &frag->reg[reg], words) : R(frag->reg[reg]);
  put_load(l, f, access_form(f, frag->dtype, words), to, po_mem(p, imm));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

/* One element of 8 or 16 bits. */
static PtxReg load_narrow(Lower *l, const AccessForms *f, kiln_dtype t, PtxReg p, int64_t imm, PtxReg ok, int64_t pad) {
  bool byte = tile_dtype_bytes(t) == 1;
  PtxReg x = ptx_var(l->ptx, byte ? PTX_R : PTX_H);
  ptx_put(l->ptx, byte ? ISA_mov_b32 : ISA_mov_b16, R(x), po_i(pad & (byte ? 0xff : 0xffff)));
  ptx_guard(l->ptx, ok, false);
  put_load(l, f, byte ? f->u8 : f->b16, R(x), po_mem(p, imm));
  ptx_guard(l->ptx, (PtxReg){0}, false);
  return x;
}

static bool known_width(Lower *l, kiln_dtype t) {
  if (t != KILN_F64 && t != KILN_I16) return true;
  lower_error(l, "tiles of %s are not loaded or stored yet; f16, bf16, f32, e4m3, e5m2, i64, i32, i8, u8 and bool are", tile_dtype_name(t));
  return false;
}

/* Where the elements from register r on lie: the layout's own columns, or those that an index fragment gives. */
static PtxReg locate(Lower *l, ViewCursor *c, const Layout *lay, const Val *index, int r, int64_t *imm, PtxReg *ok) {
  int32_t at[LAYOUT_RANK];
  layout_reg_coord(lay, r, at);
  if (!index) {
    *ok = view_inside(l, c, at);
    return view_pointer(l, c, at, imm);
  }
  int last = c->rank - 1;
  at[last] = 0;
  PtxReg column = index->reg[r], p = view_pointer(l, c, at, imm);
  *ok = DEF(setp_lt_u32, R(column), R(c->room[last]));
  if (c->dim[0] >= 0 && !is_inside(l, 0)) *ok = DEF(and_pred, R(*ok), R(DEF(setp_gt_s32, R(c->room[0]), po_i(at[0]))));
  return moved_by(l, c, last, p, column);
}

/* index: an i32 fragment that gives columns instead of the layout, or NULL. */
static void load_view(Lower *l, Val *frag, const ViewVal *v, int first_coord, const Val *index) {
  const Layout *lay = frag_layout(l, frag->layout);
  PtxReg pos[LAYOUT_RANK];
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, lay, pos, bits);
  if (index) pos[lay->rank - 1] = (PtxReg){0};
  ViewCursor c = view_cursor(l, v, first_coord, lay->rank, pos, bits);
  const AccessForms *f = forms_of(l, true);
  if (f->policy) {
    const char *share = tile_attr_str(l->tiles, l->node, TA_share, NULL);
    l->policy = ptx_def(l->ptx, f->policy, share ? R(lower_param(l, share)) : po_f(1));
  }
  int64_t pad = pad_bits(l, frag->dtype);
  int vec = vector_elems(lay, v, &c), from, to;
  while (index && vec > tile_attr_int(l->tiles, l->node, TA_run, 1)) vec /= 2;
  lower_range(l, layout_regs(lay), &from, &to);
  for (int r = from, step; r < to; r += step) {
    step = vec;
    int64_t imm;
    PtxReg ok, p = locate(l, &c, lay, index, r, &imm, &ok);
    int per = (int)frag_per_register(frag), words = vec * v->elem_bytes / 4;
    if (v->elem_bytes >= 4 || (per > 1 && vec >= per)) {
      load_words(l, f, frag, (uint32_t)(r / per), v->elem_bytes >= 4 ? vec : words, p, imm, ok, pad);
      continue;
    }
    PtxReg x[4];
    x[0] = load_narrow(l, f, (kiln_dtype)frag->dtype, p, imm, ok, pad);
    for (int k = 1; k < per; k++) {
      p = locate(l, &c, lay, index, r + k, &imm, &ok);
      x[k] = load_narrow(l, f, (kiln_dtype)frag->dtype, p, imm, ok, pad);
    }
    frag->reg[r / per] = per == 4 ? byte_join(l, x) : per == 2 ? DEF(mov_b32_pack, po_vec(l->ptx, x, 2)) : x[0];
    step = per;
  }
}

/* Predicates come from bytes. */
static void load_memory(Lower *l, Val *frag, const ViewVal *v, int first_coord, const Val *index) {
  int from, to;
  if (!known_width(l, (kiln_dtype)frag->dtype)) return;
  if (frag->dtype != KILN_BOOL) {
    load_view(l, frag, v, first_coord, index);
    return;
  }
  Val *raw = frag_new(l, KILN_U8, frag->layout, true);
  load_view(l, raw, v, first_coord, index);
  lower_range(l, (int)frag->n, &from, &to);
  elem_convert_frag(l, raw, frag, (uint32_t)from, (uint32_t)to);
}

static void load_global(Lower *l, Val *frag, const ViewVal *v, int first_coord) { load_memory(l, frag, v, first_coord, NULL); }

void lower_columns(Lower *l) {
  const ViewVal *v = lower_arg(l, 0)->view;
  const Val *first = lower_arg(l, 2);
  const Layout *lay = frag_layout(l, l->node->type.layout);
  int step = (int)tile_attr_int(l->tiles, l->node, TA_step, 1), d = lay->rank - 1, count = layout_regs(lay);
  PtxReg pos[LAYOUT_RANK];
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, lay, pos, bits);
  PtxReg column = step > 1 ? DEF(mul_lo_s32, R(pos[d]), po_i(step)) : pos[d];
  if (!is_zero(first)) column = DEF(add_s32, R(lower_i32(l, first)), R(column));
  bool aligned = !((bits[d] * (uint32_t)step) & (2 * (uint32_t)v->run - 1));
  Val *out = lower_result(l);
  *out = (Val){.kind = VAL_FRAG, .dtype = KILN_I32, .layout = l->node->type.layout, .n = (uint32_t)count, .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, count)};
  for (int r = 0; r < count; r++) {
    int32_t at[LAYOUT_RANK];
    layout_reg_coord(lay, r, at);
    if (v->half) out->reg[r] = turned_column(l, v, column, at[d] * step, aligned);
    else out->reg[r] = at[d] ? DEF(add_s32, R(column), po_i(at[d] * step)) : column;
  }
}

void lower_gather(Lower *l) {
  Val *frag = frag_new(l, l->node->type.dtype, l->node->type.layout, true);
  load_memory(l, frag, lower_arg(l, 0)->view, 2, lower_arg(l, 1));
  *lower_result(l) = *frag;
}

/* The one whose spare digits are all 0. */
PtxReg owner_predicate(Lower *l, const Layout *lay) {
  PtxReg p = {0};
  int below[3] = {1, 1, 1};
  for (int i = 0; i < lay->nmodes; i++) {
    const LayoutMode *m = &lay->mode[i];
    if (m->where != LM_REG && m->dim < 0) {
      PtxReg index = m->where == LM_LANE ? l->lane : l->warp;
      PtxReg d = below[m->where] > 1 ? DEF(div_u32, R(index), po_i(below[m->where])) : index;
      d = DEF(rem_u32, R(d), po_i(m->extent));
      PtxReg q = DEF(setp_eq_s32, R(d), po_i(0));
      p = p.id ? DEF(and_pred, R(p), R(q)) : q;
    }
    below[m->where] *= m->extent;
  }
  return p;
}

/* Element r of a fragment of 8 or 16 bits. */
static void store_narrow(Lower *l, const AccessForms *f, const Val *frag, int r, PtxReg p, int64_t imm, PtxReg ok) {
  int per = (int)frag_per_register(frag);
  PtxReg x = frag->reg[r / per];
  if (per == 4) x = byte_at(l, x, r % 4);
  if (per == 2) {
    PtxReg half[2] = {ptx_reg(l->ptx, PTX_H), ptx_reg(l->ptx, PTX_H)};
    ptx_put(l->ptx, ISA_mov_b32_unpack, po_vec(l->ptx, half, 2), R(x));
    x = half[r & 1];
  }
  ptx_guard(l->ptx, ok, false);
  ptx_put(l->ptx, tile_dtype_bytes(frag->dtype) == 1 ? f->u8 : f->b16, po_mem(p, imm), R(x));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}

static void store_view(Lower *l, const Val *frag, const ViewVal *v, int first_coord) {
  const Layout *lay = frag_layout(l, frag->layout);
  PtxReg pos[LAYOUT_RANK];
  uint32_t bits[LAYOUT_RANK];
  frag_positions(l, lay, pos, bits);
  ViewCursor c = view_cursor(l, v, first_coord, lay->rank, pos, bits);
  const AccessForms *f = forms_of(l, false);
  PtxReg mine = owner_predicate(l, lay);
  int vec = vector_elems(lay, v, &c), per = (int)frag_per_register(frag), from, to;
  if (v->elem_bytes < 4 && (per == 1 || vec < per)) vec = 1;
  lower_range(l, layout_regs(lay), &from, &to);
  for (int r = from; r < to; r += vec) {
    int32_t at[LAYOUT_RANK];
    int64_t imm;
    layout_reg_coord(lay, r, at);
    PtxReg p = view_pointer(l, &c, at, &imm), ok = view_inside(l, &c, at);
    if (mine.id) ok = ok.id ? DEF(and_pred, R(ok), R(mine)) : mine;
    if (v->elem_bytes < 4 && vec == 1) {
      store_narrow(l, f, frag, r, p, imm, ok);
      continue;
    }
    int words = vec / per;
    uint32_t reg = (uint32_t)(r / per);
    ptx_guard(l->ptx, ok, false);
    PtxOpnd data = words > 1 ? po_vec(l->ptx, &frag->reg[reg], words) : R(frag->reg[reg]);
    ptx_put(l->ptx, access_form(f, (kiln_dtype)frag->dtype, words), po_mem(p, imm), data);
    ptx_guard(l->ptx, (PtxReg){0}, false);
  }
}

static void store_global(Lower *l, const Val *frag, const ViewVal *v, int first_coord) {
  int from, to;
  if (!known_width(l, (kiln_dtype)frag->dtype)) return;
  if (frag->dtype != KILN_BOOL) {
    store_view(l, frag, v, first_coord);
    return;
  }
  Val *raw = frag_new(l, KILN_U8, frag->layout, false);
  lower_range(l, (int)frag->n, &from, &to);
  elem_convert_frag(l, frag, raw, (uint32_t)from, (uint32_t)to);
  store_view(l, raw, v, first_coord);
}

void lower_load(Lower *l) {
  TileNode *n = l->node;
  Val *memory = lower_arg(l, 0);
  int first = n->op == TILE_load_like ? 2 : 1;
  Val *frag = l->hi && l->lo ? lower_result(l) : frag_new(l, n->type.dtype, n->type.layout, true);
  if (memory->kind == VAL_VIEW)
    load_global(l, frag, memory->view, first);
  else if (memory->kind == VAL_SMEM)
    shared_load(l, frag, memory->smem, first);
  else
    lower_error(l, "load reads views and shared tiles on %s", l->target->name);
  *lower_result(l) = *frag;
}

void lower_store(Lower *l) {
  Val *memory = lower_arg(l, 0), *frag = lower_arg(l, 1);
  if (memory->kind == VAL_VIEW)
    store_global(l, frag, memory->view, 2);
  else if (memory->kind == VAL_SMEM)
    shared_store(l, frag, memory->smem, 2);
  else
    lower_error(l, "store writes views and shared tiles on %s", l->target->name);
}

/* ---- single elements ---- */

static PtxReg element_pointer(Lower *l, const ViewVal *v, int first_coord) {
  ViewCursor c = view_cursor(l, v, first_coord, 0, NULL, NULL);
  return c.pointer;
}

static IsaId single_form(const AccessForms *f, kiln_dtype t) {
  int bytes = tile_dtype_bytes(t);
  return bytes == 1 ? f->u8 : bytes == 2 ? f->b16 : access_form(f, t, 1);
}

void lower_load1(Lower *l) {
  Val *m = lower_arg(l, 0), *out = lower_result(l);
  kiln_dtype t = (kiln_dtype)m->dtype, stored = t == KILN_BOOL ? KILN_U8 : t;
  if (!known_width(l, t)) return;
  PtxReg p = element_pointer(l, m->view, 1);
  PtxReg r = ptx_reg(l->ptx, dtype_class(stored));
  ptx_put(l->ptx, single_form(forms_of(l, true), t), R(r), po_mem(p, 0));
  *out = (Val){.kind = VAL_SCALAR, .dtype = t, .n = 1, .reg = ARENA_ARRAY(l->arena, PASS, PtxReg, 1)};
  out->reg[0] = elem_convert(l, r, stored, t);
}

void lower_store1(Lower *l) {
  Val *m = lower_arg(l, 0), *value = lower_arg(l, 1);
  kiln_dtype t = (kiln_dtype)m->dtype;
  if (!known_width(l, t)) return;
  PtxReg p = element_pointer(l, m->view, 2), r = lower_scalar(l, value);
  if (t == KILN_BOOL) r = elem_convert(l, r, t, KILN_I32);
  ptx_guard(l->ptx, DEF(setp_eq_s32, R(l->tid), po_i(0)), false);
  ptx_put(l->ptx, single_form(&STORE, t), po_mem(p, 0), R(r));
  ptx_guard(l->ptx, (PtxReg){0}, false);
}
