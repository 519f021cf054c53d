/* tile_infer_memory.c - types of memory, rings and matrix products.
 *
 * Coordinates count the dims of the memory. A tile's dims are the memory's last ones, or those that `dims` lists (-1: a dim of
 * the tile that the memory lacks; load_like then gives the slice of the fragment's layout that is left). */
#include "tile_impl.h"
#include <string.h>

#define REFUSE(...) return diag_error(p->diag, n->loc, __VA_ARGS__), false

static TileType *type_of(const TileProgram *p, const TileNode *n, int k) { return &tile_at(p, tile_arg(p, n, k))->type; }
static const char *op_name(const TileNode *n) { return tile_op_info((TileOp)n->op)->name; }

static bool one_of(TileProgram *p, const TileNode *n, TileAttrKey key, const char *words) {
  const char *v = tile_attr_str(p, n, key, NULL);
  if (!v || (tile_word_count(v) == 1 && tile_word_index(words, v) >= 0)) return true;
  REFUSE("%s: %s \"%s\"; expected one of: %s", op_name(n), tile_attr_name(key), v, words);
}

static int64_t tile_bytes(const TileType *t) {
  int64_t n = tile_dtype_bytes(t->dtype);
  for (int d = 0; d < t->rank; d++) n *= t->shape[d];
  return n;
}

/* Operands from `first` on are the coordinates in memory `t`: one per dim; of a tile, none means its beginning. */
static bool check_coords(TileProgram *p, const TileNode *n, int first, const TileType *t) {
  int given = n->nargs - first, rank = t->rank;
  bool is_tile = t->kind == TK_SMEM || t->kind == TK_TMEM;
  if (given != rank && !(is_tile && given == 0))
    REFUSE("%s: %d coordinate%s given; %s has %d dims, so %d %s expected%s", op_name(n), given, given == 1 ? "" : "s",
           tile_type_text(p, t), rank, rank, rank == 1 ? "is" : "are", is_tile ? " (or none)" : "");
  for (int k = first; k < n->nargs; k++) {
    int dtype = type_of(p, n, k)->dtype;
    if (dtype != KILN_I32 && dtype != KILN_I64)
      REFUSE("%s: coordinate %d is %s; expected i32 or i64", op_name(n), k - first, tile_dtype_name(dtype));
  }
  return true;
}

/* Words that lowering would take for another, or pass over: an unknown cache is read by ld.global.nc, as only constant memory may be. */
static bool check_access(TileProgram *p, const TileNode *n, int rank) {
  static const char *const known[] = {"nc", "stream", "keep", "keep_written", "keep_some"};
  const char *cache = tile_attr_str(p, n, TA_cache, NULL);
  bool is_known = !cache;
  for (size_t i = 0; i < sizeof known / sizeof *known && !is_known; i++) is_known = !strcmp(cache, known[i]);
  if (!is_known) REFUSE("%s: cache \"%s\"; expected nc, stream, keep, keep_written or keep_some", op_name(n), cache);
  const TileAttr *a = tile_attr(p, n, TA_inside);
  for (int k = 0; a && k < (int)a->i; k++)
    if (a->list[k] < 0 || a->list[k] >= rank)
      REFUSE("%s: 'inside' names dim %lld of the tile, which has dims 0 to %d", op_name(n), (long long)a->list[k], rank - 1);
  return true;
}

/* `dims`: for each dim of a tile of this rank, the memory's dim, or -1 where that is allowed. Without it, the last dims. */
static bool take_dims(TileProgram *p, const TileNode *n, const TileType *mem, int rank, bool may_lack, int dims[TILE_RANK]) {
  if (!check_access(p, n, rank)) return false;
  const TileAttr *a = tile_attr(p, n, TA_dims);
  if (!a) {
    for (int d = 0; d < rank; d++) dims[d] = d + mem->rank - rank; /* below 0: lacking */
    if (mem->rank < rank && !may_lack) REFUSE("%s: a tile of %d dims in %s", op_name(n), rank, tile_type_text(p, mem));
    return true;
  }
  if (a->i != rank)
    REFUSE("%s: 'dims' lists %d dims; the tile has %d, and each says which dim of the memory it is", op_name(n), (int)a->i, rank);
  for (int d = 0; d < rank; d++) {
    if (a->list[d] < (may_lack ? -1 : 0) || a->list[d] >= mem->rank)
      REFUSE("%s: 'dims' names dim %lld of the memory, which has dims 0 to %d", op_name(n), (long long)a->list[d], mem->rank - 1);
    dims[d] = (int)a->list[d];
    for (int e = 0; e < d; e++)
      if (dims[e] == dims[d] && dims[d] >= 0) REFUSE("%s: 'dims' names dim %d of the memory twice", op_name(n), dims[d]);
  }
  return true;
}

/* ---- declarations ---- */

static bool check_halves(TileProgram *p, const TileNode *n, int64_t run) {
  const char *halves = tile_attr_str(p, n, TA_halves, NULL);
  if (!halves) return true;
  if (tile_word_count(halves) != 2) REFUSE("%s: halves \"%s\"; expected two names, a number of pieces and a fastdiv of it", op_name(n), halves);
  if (run < 1 || run > 64 || (run & (run - 1))) REFUSE("%s: run is %lld; expected a power of two up to 64", op_name(n), (long long)run);
  if (n->op != TILE_view && type_of(p, n, 0)->kind != TK_SMEM)
    REFUSE("%s: halves are of a shared tile whose columns lie as in memory; a view has an order of its own", op_name(n));
  return true;
}

static bool infer_view(TileProgram *p, TileNode *n) {
  int64_t rank = tile_attr_int(p, n, TA_rank, 0), align = tile_attr_int(p, n, TA_align, 16);
  if (rank < 0 || rank > TILE_RANK) REFUSE("view: rank %lld; 0 to %d is possible", (long long)rank, TILE_RANK);
  if (align < 1 || align > 4096 || (align & (align - 1)))
    REFUSE("view: align %lld; expected a power of two in bytes", (long long)align);
  if (tile_attr_int(p, n, TA_multiple, 1) < 1) REFUSE("view: multiple is 1 or more");
  if (rank < 1 && tile_attr(p, n, TA_halves)) REFUSE("view: halves take turns along the last dim; this view has none");
  if (!check_halves(p, n, tile_attr_int(p, n, TA_run, tile_attr_int(p, n, TA_multiple, 1)))) return false;
  for (int k = 0; k < 2; k++) {
    TileAttrKey key = k ? TA_strides : TA_sizes;
    const char *names = tile_attr_str(p, n, key, NULL);
    if (names && tile_word_count(names) != rank)
      REFUSE("view: %s \"%s\" names %d values; the rank is %lld", tile_attr_name(key), names, tile_word_count(names),
             (long long)rank);
  }
  n->type = (TileType){.kind = TK_VIEW, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0), .rank = (uint8_t)rank};
  return true;
}

static bool check_swizzle(TileProgram *p, const TileNode *n) {
  int64_t s = tile_attr_int(p, n, TA_swizzle, 0);
  if (s != 0 && s != 32 && s != 64 && s != 128)
    REFUSE("%s: swizzle %lld; expected 0, 32, 64 or 128 bytes", op_name(n), (long long)s);
  return true;
}

static bool infer_map(TileProgram *p, TileNode *n) {
  const TileType *v = type_of(p, n, 0);
  const char *dims = tile_attr_str(p, n, TA_dims, "");
  n->type = (TileType){.kind = TK_MAP, .dtype = v->dtype};
  TileType *t = &n->type;
  if (!tile_take_shape(p, n, TA_box, TILE_RANK, t) || !check_swizzle(p, n)) return false;
  if (!one_of(p, n, TA_fill, "zero nan") || !one_of(p, n, TA_round, "tf32")) return false;
  if (tile_attr(p, n, TA_round) && t->dtype != KILN_F32) REFUSE("map: round=tf32 is for f32; the view is %s", tile_dtype_name(t->dtype));
  if (tile_word_count(dims) != t->rank)
    REFUSE("map: dims \"%s\" names %d dims, box has %d sizes; both go from the outermost dim to the innermost", dims,
           tile_word_count(dims), t->rank);
  for (int d = 0; d < t->rank; d++)
    if (t->shape[d] > 256)
      REFUSE("map: box size %d along dim %d; at most 256 are possible: a larger tile is filled by several boxes",
             (int)t->shape[d], d);
  int64_t swizzle = tile_attr_int(p, n, TA_swizzle, 0), inner = (int64_t)t->shape[t->rank - 1] * tile_dtype_bytes(t->dtype);
  if (inner % 16) REFUSE("map: the innermost box size is %lld bytes; expected a multiple of 16", (long long)inner);
  if (swizzle && inner > swizzle)
    REFUSE("map: the innermost box size is %lld bytes; with swizzle %lld at most that many", (long long)inner,
           (long long)swizzle);
  return true;
}

static bool infer_workspace(TileProgram *p, TileNode *n) {
  n->type = (TileType){.kind = TK_VIEW, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0)};
  const TileAttr *rank = tile_attr(p, n, TA_rank), *shape = tile_attr(p, n, TA_shape);
  if (!rank == !shape) REFUSE("workspace: has either a constant 'shape', or a 'rank' with sizes that the contract gives");
  if (!one_of(p, n, TA_init, "none zero")) return false;
  if (shape) return tile_take_shape(p, n, TA_shape, TILE_RANK, &n->type);
  if (rank->i < 1 || rank->i > TILE_RANK) REFUSE("workspace: rank %lld; 1 to %d is possible", (long long)rank->i, TILE_RANK);
  n->type.rank = (uint8_t)rank->i;
  return true;
}

/* Bytes of the tile or of all slots of the ring that a shared tile lies on. */
static int64_t shared_room(const TileProgram *p, const TileNode *n) {
  const TileNode *on = tile_at(p, tile_arg(p, n, 0));
  if (on->op != TILE_ring) return tile_bytes(&on->type);
  int64_t slot = 0;
  for (int k = 0; k < on->nargs; k++) slot += tile_bytes(type_of(p, on, k));
  return slot * tile_attr_int(p, on, TA_stages, 1);
}

static bool infer_tile(TileProgram *p, TileNode *n) {
  bool shared = n->op == TILE_smem;
  n->type = (TileType){.kind = shared ? TK_SMEM : TK_TMEM, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0)};
  if (!tile_take_shape(p, n, TA_shape, LAYOUT_RANK, &n->type)) return false;
  if (!shared) {
    if (n->type.rank != 2) REFUSE("tmem: %d dims; a tensor-memory tile has rows (lanes) and columns", n->type.rank);
    return true;
  }
  int64_t pad = tile_attr_int(p, n, TA_pad, 0);
  if (!check_swizzle(p, n)) return false;
  if (pad < 0 || pad > 1024) REFUSE("smem: pad %lld; 0 to 1024 elements are possible", (long long)pad);
  if (pad && tile_attr_int(p, n, TA_swizzle, 0)) REFUSE("smem: pad and swizzle exclude one another");
  if (n->nargs && tile_bytes(&n->type) > shared_room(p, n))
    REFUSE("smem: %s takes %lld bytes; what it shares its bytes with has %lld", tile_type_text(p, &n->type),
           (long long)tile_bytes(&n->type), (long long)shared_room(p, n));
  return true;
}

static bool infer_ring(TileProgram *p, TileNode *n) {
  const char *fields = tile_attr_str(p, n, TA_fields, ""), *filled = tile_attr_str(p, n, TA_filled_by, ""), *word;
  const char *space = tile_attr_str(p, n, TA_space, NULL), *multicast = tile_attr_str(p, n, TA_multicast, "");
  bool store = !strcmp(filled, "store");
  size_t len;
  if (n->nargs < 1) REFUSE("ring: takes the tiles of one slot as operands, at least one");
  if (tile_word_count(fields) != n->nargs)
    REFUSE("ring: fields \"%s\" names %d tiles; %d are given", fields, tile_word_count(fields), n->nargs);
  for (const char *rest = fields; tile_word_next(&rest, &word, &len);)
    for (const char *other = rest, *again; tile_word_next(&other, &again, &(size_t){0});)
      if (!strncmp(again, word, len) && (!again[len] || strchr(", ", again[len])))
        REFUSE("ring: field \"%.*s\" is named twice", (int)len, word);
  int64_t stages = tile_attr_int(p, n, TA_stages, 0);
  if (stages < 1 || stages > 64) REFUSE("ring: stages %lld; 1 to 64 are possible", (long long)stages);
  if (!one_of(p, n, TA_filled_by, "tma cp.async threads mma store") || !one_of(p, n, TA_space, "smem tmem") ||
      !one_of(p, n, TA_op, "add min max"))
    return false;
  for (int k = 1; k < n->nargs; k++)
    if (type_of(p, n, k)->kind != type_of(p, n, 0)->kind)
      REFUSE("ring: the tiles of a slot lie in one memory; %s and %s came", tile_kind_name(type_of(p, n, 0)->kind),
             tile_kind_name(type_of(p, n, k)->kind));
  bool tmem = type_of(p, n, 0)->kind == TK_TMEM;
  if (space && tmem != !strcmp(space, "tmem")) REFUSE("ring: space \"%s\", but the slot's tiles are in the other memory", space);
  if (tmem && strcmp(filled, "mma") && strcmp(filled, "threads"))
    REFUSE("ring: tensor memory is filled by mma or by threads, not by %s", filled);
  if (!tmem && !strcmp(filled, "mma"))
    REFUSE("ring: mma fills tensor-memory tiles; %s came", tile_type_text(p, type_of(p, n, 0)));
  if (store == !!tile_attr(p, n, TA_emptied_by) && store)
    REFUSE("ring: the copies of a store ring empty it; emptied_by has no meaning there");
  if (tile_attr(p, n, TA_op) && !store && strcmp(filled, "threads"))
    REFUSE("ring: op says how stores combine with memory; slots filled by %s are not stored", filled);
  for (const char *rest = multicast; tile_word_next(&rest, &word, &len);) {
    const char *name = arena_str(p->arena, PASS, word, len);
    if (tile_word_index(fields, name) < 0) REFUSE("ring: multicast names \"%s\"; the fields are %s", name, fields);
  }
  if (*multicast && strcmp(filled, "tma")) REFUSE("ring: multicast needs filled_by tma");
  int64_t among = tile_attr_int(p, n, TA_among, 2);
  if (among < 2 || among > 16 || (tile_attr(p, n, TA_among) && !*multicast))
    REFUSE("ring: among %lld; it says how many neighbouring CTAs of the cluster share the fields of multicast, 2 to 16", (long long)among);
  n->type = (TileType){.kind = TK_RING};
  return true;
}

/* ---- loads and stores ---- */

static bool direct_memory(TileProgram *p, const TileNode *n, const TileType *mem) {
  if (mem->kind == TK_MAP)
    REFUSE("%s: a map view is read by fill_slot and written by store_slot, through a ring; use its view here", op_name(n));
  if (mem->kind == TK_TMEM && n->op != TILE_store) REFUSE("%s: tensor memory is read by read", op_name(n));
  return true;
}

static bool infer_load(TileProgram *p, TileNode *n) {
  const TileType *mem = type_of(p, n, 0);
  int dims[TILE_RANK];
  if (!check_halves(p, n, tile_attr_int(p, n, TA_run, 1)) || !direct_memory(p, n, mem) || !check_coords(p, n, 1, mem)) return false;
  n->type = (TileType){.kind = TK_FRAG, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, mem->dtype)};
  if (tile_attr(p, n, TA_shape)) {
    if (!tile_take_shape(p, n, TA_shape, LAYOUT_RANK, &n->type)) return false;
  } else {
    if (mem->kind != TK_SMEM) REFUSE("load: from a global view the tile's 'shape' must be given");
    n->type.rank = mem->rank;
    memcpy(n->type.shape, mem->shape, sizeof mem->shape);
  }
  if (!take_dims(p, n, mem, n->type.rank, false, dims)) return false;
  for (int d = 0; d < n->type.rank && mem->kind == TK_SMEM; d++)
    if (n->type.shape[d] > mem->shape[dims[d]])
      REFUSE("load: %d elements along dim %d of the tile, %s has %d", (int)n->type.shape[d], d, tile_type_text(p, mem),
             (int)mem->shape[dims[d]]);
  return tile_take_layout(p, n, &n->type);
}

static bool infer_load_like(TileProgram *p, TileNode *n) {
  const TileType *mem = type_of(p, n, 0), *like = type_of(p, n, 1);
  int dims[TILE_RANK], lacking = 0, kept = 0;
  if (!direct_memory(p, n, mem) || !check_coords(p, n, 2, mem) || !take_dims(p, n, mem, like->rank, true, dims)) return false;
  for (int d = 0; d < like->rank; d++) {
    if (dims[d] < 0)
      lacking++;
    else
      kept = d;
  }
  for (int d = 0; d < like->rank && mem->kind == TK_SMEM; d++)
    if (dims[d] >= 0 && like->shape[d] > mem->shape[dims[d]])
      REFUSE("load_like: dim %d of %s has %d elements, %s has %d", d, tile_type_text(p, like), (int)like->shape[d],
             tile_type_text(p, mem), (int)mem->shape[dims[d]]);
  if (lacking == 0) {
    n->type = *like;
  } else {
    if (like->rank - lacking != 1)
      REFUSE("load_like: nothing of %s is left to load from %s", tile_type_text(p, like), tile_type_text(p, mem));
    if (!tile_slice_type(p, n, like, kept, &n->type)) return false;
  }
  n->type.is_mutable = false;
  n->type.dtype = mem->dtype;
  return true;
}

static bool infer_gather(TileProgram *p, TileNode *n) {
  const TileType *mem = type_of(p, n, 0), *index = type_of(p, n, 1);
  int dims[TILE_RANK];
  if (index->dtype != KILN_I32 || index->rank != 2)
    REFUSE("gather: the index is %s; expected an i32 fragment of two dims", tile_type_text(p, index));
  if (tile_attr_int(p, n, TA_run, 1) < 1) REFUSE("gather: run is 1 or more");
  if (tile_attr(p, tile_at(p, tile_arg(p, n, 0)), TA_halves)) REFUSE("gather: the view's columns are walked in an order of their own; load a tile of it");
  if (!check_coords(p, n, 2, mem) || !take_dims(p, n, mem, 2, true, dims)) return false;
  if (dims[1] != mem->rank - 1) REFUSE("gather: the index counts along the memory's last dim, 'dims' says dim %d", dims[1]);
  n->type = *index;
  n->type.is_mutable = false;
  n->type.dtype = mem->dtype;
  return true;
}

static bool infer_columns(TileProgram *p, TileNode *n) {
  const TileType *mem = type_of(p, n, 0), *f = type_of(p, n, 1);
  int dtype = type_of(p, n, 2)->dtype;
  if (mem->rank < 1) REFUSE("columns: %s has no dim", tile_type_text(p, mem));
  if (!f->layout) REFUSE("columns: %s has no layout yet; declare it with one", tile_type_text(p, f));
  if (dtype != KILN_I32 && dtype != KILN_I64) REFUSE("columns: the first column is %s; expected i32 or i64", tile_dtype_name(dtype));
  if (tile_attr_int(p, n, TA_step, 1) < 1) REFUSE("columns: step is 1 or more");
  n->type = *f;
  n->type.is_mutable = false;
  n->type.dtype = KILN_I32;
  return true;
}

static bool infer_twice(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  if (!t->layout) REFUSE("twice: %s has no layout yet; load it with one", tile_type_text(p, t));
  int64_t run = tile_attr_int(p, n, TA_run, 1);
  if (run < 1 || layout_vector(&p->frag_layouts.at[t->layout], t->rank - 1) % run)
    REFUSE("twice: run is %lld; a thread of %s has no whole runs of as many elements", (long long)run, tile_type_text(p, t));
  Layout l = layout_twice(&p->frag_layouts.at[t->layout]);
  n->type = *t;
  n->type.is_mutable = false;
  n->type.shape[t->rank - 1] *= 2;
  n->type.layout = tile_layout_intern(p, &l);
  return true;
}

static bool infer_repeat(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  int64_t times = tile_attr_int(p, n, TA_times, 1);
  if (!t->layout) REFUSE("repeat: %s has no layout yet; load it with one", tile_type_text(p, t));
  if (times < 1 || times > 64) REFUSE("repeat: times is %lld; expected 1 to 64", (long long)times);
  Layout l = layout_repeat(&p->frag_layouts.at[t->layout], (int)times);
  n->type = *t;
  n->type.is_mutable = false;
  n->type.shape[t->rank - 1] *= (int32_t)times;
  n->type.layout = tile_layout_intern(p, &l);
  return true;
}

static bool infer_store(TileProgram *p, TileNode *n) {
  const TileType *mem = type_of(p, n, 0), *f = type_of(p, n, 1);
  int dims[TILE_RANK];
  if (!check_halves(p, n, tile_attr_int(p, n, TA_run, 1)) || !direct_memory(p, n, mem)) return false;
  if (n->op == TILE_atomic_add && mem->kind != TK_VIEW)
    REFUSE("atomic_add: adds to global memory; %s came", tile_type_text(p, mem));
  if (mem->dtype != f->dtype)
    REFUSE("%s: %s holds %s, the fragment is %s; convert with cvt", op_name(n), tile_kind_name(mem->kind),
           tile_dtype_name(mem->dtype), tile_dtype_name(f->dtype));
  if (!check_coords(p, n, 2, mem) || !take_dims(p, n, mem, f->rank, false, dims)) return false;
  for (int d = 0; d < f->rank && mem->kind != TK_VIEW; d++)
    if (f->shape[d] > mem->shape[dims[d]])
      REFUSE("%s: %s does not fit into %s", op_name(n), tile_type_text(p, f), tile_type_text(p, mem));
  return true;
}

static bool infer_element(TileProgram *p, TileNode *n) {
  const TileType *v = type_of(p, n, 0);
  if (n->op == TILE_load1) {
    n->type = (TileType){.kind = TK_SCALAR, .dtype = v->dtype};
    return check_coords(p, n, 1, v) && check_access(p, n, 0);
  }
  if (type_of(p, n, 1)->dtype != v->dtype)
    REFUSE("store1: the view holds %s, the value is %s; convert with cvt", tile_dtype_name(v->dtype),
           tile_dtype_name(type_of(p, n, 1)->dtype));
  return check_coords(p, n, 2, v);
}

/* ---- pieces ---- */

static bool infer_slice(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  const TileAttr *start = tile_attr(p, n, TA_start);
  TileType piece = *t;
  piece.is_mutable = t->kind == TK_FRAG && t->is_mutable;
  piece.layout = 0;
  if (!tile_take_shape(p, n, TA_shape, TILE_RANK, &piece)) return false;
  if (piece.rank != t->rank || start->i != t->rank)
    REFUSE("slice: start and shape have a number for each of the %d dims of %s", t->rank, tile_type_text(p, t));
  for (int d = 0; d < t->rank; d++)
    if (start->list[d] < 0 || start->list[d] > t->shape[d] - piece.shape[d])
      REFUSE("slice: %d elements from %lld on along dim %d; %s has %d", (int)piece.shape[d], (long long)start->list[d], d,
             tile_type_text(p, t), (int)t->shape[d]);
  n->type = piece;
  if (tile_attr(p, n, TA_layout) && t->kind != TK_FRAG) REFUSE("slice: 'layout' is a fragment's; %s came", tile_type_text(p, t));
  return tile_take_layout(p, n, &n->type);
}

static bool infer_part(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  int64_t dim = tile_attr_int(p, n, TA_dim, 0), size = tile_attr_int(p, n, TA_size, 0);
  int dtype = type_of(p, n, 1)->dtype;
  if (dim < 0 || dim >= t->rank) REFUSE("part: dim %lld; %s has dims 0 to %d", (long long)dim, tile_type_text(p, t), t->rank - 1);
  if (size < 1 || size > t->shape[dim] || t->shape[dim] % size)
    REFUSE("part: pieces of %lld; %d elements along dim %lld do not divide so", (long long)size, (int)t->shape[dim],
           (long long)dim);
  if (dtype != KILN_I32 && dtype != KILN_I64) REFUSE("part: the index is %s; expected i32 or i64", tile_dtype_name(dtype));
  n->type = *t;
  n->type.layout = 0;
  n->type.shape[dim] = (int32_t)size;
  return true;
}

static bool infer_trans(TileProgram *p, TileNode *n) {
  const TileType *t = type_of(p, n, 0);
  if (t->rank != 2) REFUSE("trans: exchanges the two dims of a tile; %s came", tile_type_text(p, t));
  n->type = *t;
  n->type.layout = 0;
  n->type.shape[0] = t->shape[1];
  n->type.shape[1] = t->shape[0];
  return true;
}

static bool infer_peer(TileProgram *p, TileNode *n) {
  int dtype = type_of(p, n, 1)->dtype;
  if (dtype != KILN_I32 && dtype != KILN_I64) REFUSE("peer: the rank is %s; expected i32 or i64", tile_dtype_name(dtype));
  n->type = *type_of(p, n, 0);
  return true;
}

static bool infer_read(TileProgram *p, TileNode *n) {
  n->type = *type_of(p, n, 0);
  if (n->type.kind == TK_TMEM) n->type.layout = 0; /* an index of another kind of layout */
  n->type.kind = TK_FRAG;
  n->type.is_mutable = false;
  return tile_take_layout(p, n, &n->type);
}

/* ---- rings ---- */

/* The tile that the ring was declared with for this field. */
static const TileNode *find_field(TileProgram *p, const TileNode *n, TileAttrKey key) {
  const TileNode *ring = tile_at(p, tile_slot_ring(p, tile_arg(p, n, 0)));
  const char *name = tile_attr_str(p, n, key, ""), *fields = tile_attr_str(p, ring, TA_fields, "");
  int k = tile_word_count(name) == 1 ? tile_word_index(fields, name) : -1;
  if (k >= 0) return tile_at(p, tile_arg(p, ring, k));
  diag_error(p->diag, n->loc, "%s: the slot has no field \"%s\"; its fields are %s", op_name(n), name, fields);
  return NULL;
}

static bool check_step(TileProgram *p, const TileNode *n, const TileType *field) {
  int64_t dim = tile_attr_int(p, n, TA_dim, 0), step = tile_attr_int(p, n, TA_step, 0);
  if (dim < 0 || dim >= field->rank) REFUSE("walk: dim %lld; the field is %s", (long long)dim, tile_type_text(p, field));
  if (step < 1 || step > 1 << 20) REFUSE("walk: step %lld; 1 to %d elements are possible", (long long)step, 1 << 20);
  return true;
}

/* Tiles that a walk brings are those of its own field. */
static bool check_walked(TileProgram *p, const TileNode *n, const TileNode *tile) {
  const TileNode *walk = tile_at(p, tile_arg(p, n, 1));
  const char *own = tile_attr_str(p, walk, TA_field, "");
  if (n->nargs > 2) REFUSE("fill_slot: a walk knows where it stands; leave out the coordinates");
  if (find_field(p, walk, TA_field) != tile)
    REFUSE("fill_slot: the walk of line %u is of field \"%s\" of its ring, not of this one", (unsigned)walk->loc.line, own);
  if (tile_attr(p, n, TA_whole)) REFUSE("fill_slot: whole has no meaning for a walk, whose rows lie as they are read");
  return true;
}

/* A field and the memory on the other side of its copy. Bulk copies move what a map describes, a run of one dim, or a tile that
 * lies in both places in the order of one fragment layout. */
static bool check_copy(TileProgram *p, const TileNode *n, const TileNode *tile, bool bulk, const char *how) {
  const TileType *mem = type_of(p, n, 1), *field = &tile->type;
  const char *like = tile_attr_str(p, tile_at(p, tile_arg(p, n, 1)), TA_like, ""),
             *layout = tile_attr_str(p, tile, TA_layout, "");
  if (mem->kind != TK_MAP && mem->kind != TK_VIEW)
    REFUSE("%s: copies between a slot and global memory; %s came", op_name(n), tile_type_text(p, mem));
  if (mem->dtype != field->dtype)
    REFUSE("%s: the field is %s, the memory %s; a copy does not convert", op_name(n), tile_dtype_name(field->dtype),
           tile_dtype_name(mem->dtype));
  if (!bulk && mem->kind == TK_MAP)
    REFUSE("%s: the ring is filled by %s, which copies from a view; a map needs filled_by tma", op_name(n), how);
  if (bulk && mem->kind == TK_VIEW && field->rank != 1 && (!*like || strcmp(like, layout)))
    REFUSE("%s: without a map only runs of one dim are copied, and tiles of a workspace whose like is the field's layout; the "
           "field is %s: declare a map over the view",
           op_name(n), tile_type_text(p, field));
  if (!check_coords(p, n, 2, mem)) return false;
  if (mem->rank < field->rank)
    REFUSE("%s: %s has fewer dims than the field %s", op_name(n), tile_type_text(p, mem), tile_type_text(p, field));
  for (int d = 0; d < mem->rank && mem->kind == TK_MAP; d++) {
    int lead = mem->rank - field->rank, size = d < lead ? 1 : field->shape[d - lead];
    if (size % mem->shape[d])
      REFUSE("%s: the field is %s; %d along dim %d is no multiple of the box %s", op_name(n), tile_type_text(p, field), size, d,
             tile_type_text(p, mem));
  }
  return true;
}

static bool check_put(TileProgram *p, const TileNode *n, const TileType *field, const char *how) {
  const TileType *f = type_of(p, n, 1);
  TileType want = *field;
  const TileAttr *dim = tile_attr(p, n, TA_dim);
  if (strcmp(how, "store") && strcmp(how, "threads"))
    REFUSE("put_slot: the ring is filled by %s; fragments go into rings filled by threads or store", how);
  if (f->dtype != field->dtype)
    REFUSE("put_slot: the field is %s, the fragment %s; convert with cvt", tile_dtype_name(field->dtype),
           tile_dtype_name(f->dtype));
  if (!dim != (n->nargs < 3)) REFUSE("put_slot: which piece, and 'dim', the dim that is cut into pieces, are given together");
  if (dim) {
    int dtype = type_of(p, n, 2)->dtype;
    if (dtype != KILN_I32 && dtype != KILN_I64)
      REFUSE("put_slot: the index of the piece is %s; expected i32 or i64", tile_dtype_name(dtype));
    if (dim->i < 0 || dim->i >= field->rank || f->rank != field->rank || field->shape[dim->i] % f->shape[dim->i])
      REFUSE("put_slot: %s is no piece of %s along dim %lld", tile_type_text(p, f), tile_type_text(p, field), (long long)dim->i);
    want.shape[dim->i] = f->shape[dim->i];
  }
  if (!tile_same_shape(f, &want))
    REFUSE("put_slot: the field is %s, the fragment %s", tile_type_text(p, field), tile_type_text(p, f));
  return true;
}

static bool infer_slot_use(TileProgram *p, TileNode *n) {
  if (n->op == TILE_rewalk) return check_coords(p, n, 1, type_of(p, tile_at(p, tile_arg(p, n, 0)), 1));
  const TileNode *ring = tile_at(p, tile_slot_ring(p, tile_arg(p, n, 0)));
  const char *how = tile_attr_str(p, ring, TA_filled_by, "");
  const TileNode *tile = find_field(p, n, n->op == TILE_field ? TA_name : TA_field);
  if (!tile) return false;
  const TileType *field = &tile->type;
  bool store = !strcmp(how, "store"), copies = !strcmp(how, "tma") || !strcmp(how, "cp.async") || !strcmp(how, "threads");
  switch (n->op) {
  case TILE_field: n->type = *field; return true;
  case TILE_fill_slot:
    if (!copies) REFUSE("fill_slot: the ring is filled by %s; only rings filled by tma, cp.async or threads take copies", how);
    if (type_of(p, n, 1)->kind == TK_WALK) return check_walked(p, n, tile);
    return check_copy(p, n, tile, !strcmp(how, "tma"), how);
  case TILE_walk:
    if (!copies || !strcmp(how, "tma")) REFUSE("walk: the ring is filled by %s; walks are for rings filled by cp.async or threads", how);
    n->type = (TileType){.kind = TK_WALK, .dtype = field->dtype};
    return check_copy(p, n, tile, false, how) && check_step(p, n, field);
  case TILE_store_slot:
    if (!store && strcmp(how, "threads"))
      REFUSE("store_slot: the ring is filled by %s; slots that go to memory have filled_by store or threads", how);
    return check_copy(p, n, tile, true, how);
  default: return check_put(p, n, field, how);
  }
}

static bool infer_token(TileProgram *p, TileNode *n) {
  if (n->op == TILE_swap) {
    uint32_t carried = tile_slot_ring(p, tile_arg(p, n, 0)).i, given = tile_slot_ring(p, tile_arg(p, n, 1)).i;
    if (carried != given) REFUSE("swap: the token is of another ring than the one carried");
  }
  n->type = (TileType){.kind = TK_SLOT};
  return true;
}

/* ---- matrix products ---- */

static bool is_fp8(int d) { return d == KILN_E4M3 || d == KILN_E5M2; }
static bool is_byte(int d) { return d == KILN_I8 || d == KILN_U8; }

static bool product_dtypes(TileProgram *p, const TileNode *n, int d, int a, int b) {
  const char *name = op_name(n);
  bool half = a == KILN_F16 || a == KILN_BF16, pair = a == b || (is_fp8(a) && is_fp8(b)) || (is_byte(a) && is_byte(b));
  if (!pair) REFUSE("%s: a is %s, b is %s; they have one dtype", name, tile_dtype_name(a), tile_dtype_name(b));
  if (!half && !is_fp8(a) && !is_byte(a) && a != KILN_F32 && a != KILN_F64)
    REFUSE("%s: no matrix product of %s", name, tile_dtype_name(a));
  int want = is_byte(a) ? KILN_I32 : a == KILN_F64 ? KILN_F64 : KILN_F32;
  if (d != want && !(d == KILN_F16 && (a == KILN_F16 || is_fp8(a))))
    REFUSE("%s: %s operands accumulate in %s; the accumulator is %s", name, tile_dtype_name(a), tile_dtype_name(want),
           tile_dtype_name(d));
  return true;
}

static bool product_scales(TileProgram *p, const TileNode *n, const TileType *a, const TileType *b) {
  for (int k = 3; k < 5; k++) {
    const TileType *s = type_of(p, n, k), *of = k == 3 ? a : b;
    int rows = k == 3 ? of->shape[0] : of->shape[1], depth = k == 3 ? of->shape[1] : of->shape[0];
    if (s->kind != TK_SMEM && s->kind != TK_TMEM)
      REFUSE("mma_scaled: scales lie in shared or tensor memory; %s came", tile_type_text(p, s));
    if (s->rank != 2 || s->shape[0] != rows || depth % s->shape[1])
      REFUSE("mma_scaled: the scales of %s are %s; expected [%d, K/block], K is %d", k == 3 ? "a" : "b", tile_type_text(p, s),
             rows, depth);
  }
  return true;
}

static bool check_split(TileProgram *p, const TileNode *n, kiln_dtype t) {
  if (!tile_attr_int(p, n, TA_split, 0) || t == KILN_F32) return true;
  REFUSE("%s: split is for f32 operands, which tensor cores read as tf32; %s is multiplied as it is", op_name(n), tile_dtype_name(t));
}

bool tile_infer_product(TileProgram *p, TileNode *n) {
  const TileType *d = type_of(p, n, 0), *a = type_of(p, n, 1), *b = type_of(p, n, 2);
  bool in_registers = n->op == TILE_mma_rs, pair = tile_attr_int(p, n, TA_pair, 0);
  const char *name = op_name(n);
  if (!in_registers && a->kind != TK_SMEM && a->kind != TK_TMEM)
    REFUSE("%s: a is %s; expected a shared or a tensor-memory tile", name, tile_type_text(p, a));
  if (b->kind != TK_SMEM) REFUSE("%s: b is %s; expected a shared tile", name, tile_type_text(p, b));
  if (a->kind == TK_TMEM && d->kind != TK_TMEM) REFUSE("%s: a in tensor memory needs the accumulator there too", name);
  if (pair && d->kind != TK_TMEM) REFUSE("%s: pair needs an accumulator in tensor memory", name);
  if (d->rank != 2 || a->rank != 2 || b->rank != 2)
    REFUSE("%s: operands of %d, %d and %d dims; a product has two each", name, d->rank, a->rank, b->rank);
  /* a CTA pair computes 2M rows: each CTA holds its M rows of a and d, and half of the columns of b */
  int columns = pair ? 2 * b->shape[1] : b->shape[1];
  if (a->shape[1] != b->shape[0] || d->shape[0] != a->shape[0] || d->shape[1] != columns)
    REFUSE("%s: [%d,%d] x [%d,%d]%s gives no [%d,%d]; expected [M,K] x [K,N] -> [M,N]%s", name, (int)a->shape[0],
           (int)a->shape[1], (int)b->shape[0], (int)b->shape[1], pair ? " of a pair" : "", (int)d->shape[0], (int)d->shape[1],
           pair ? ", b holding half of N" : ": trans exchanges the dims of a tile");
  if (!product_dtypes(p, n, d->dtype, a->dtype, b->dtype) || !check_split(p, n, a->dtype)) return false;
  return n->op != TILE_mma_scaled || product_scales(p, n, a, b);
}

int tile_operands_right(const TileProgram *p, const TileNode *operands) {
  return (int)tile_attr_int(p, operands, TA_right, operands->type.dtype);
}

/* Products in two halves, so that a family can fetch the next operands while the tensor cores work on these. */
bool tile_infer_operands(TileProgram *p, TileNode *n) {
  const TileType *first = type_of(p, n, 0);
  if (n->op == TILE_mma_operands) {
    if (first->kind != TK_FRAG || first->rank != 2) REFUSE("mma_operands: made for an accumulator of two dims in registers");
    n->type = (TileType){.kind = TK_OPERANDS, .rank = 2, .dtype = (uint8_t)tile_attr_int(p, n, TA_dtype, 0), .shape = {first->shape[0], first->shape[1]}};
    return product_dtypes(p, n, first->dtype, n->type.dtype, tile_operands_right(p, n));
  }
  if (n->op == TILE_mma_issue) {
    const TileType *o = type_of(p, n, 1);
    if (first->kind != TK_FRAG || o->shape[0] != first->shape[0] || o->shape[1] != first->shape[1])
      REFUSE("mma_issue: the registers are for an accumulator of [%d,%d]; %s came", (int)o->shape[0], (int)o->shape[1], tile_type_text(p, first));
    return check_split(p, n, o->dtype);
  }
  const TileType *a = type_of(p, n, 1), *b = type_of(p, n, 2);
  int right = tile_operands_right(p, tile_at(p, tile_arg(p, n, 0))), elems = 32 / tile_dtype_bytes(first->dtype);
  int64_t step = tile_attr_int(p, n, TA_step, 0);
  if (a->kind != TK_SMEM || b->kind != TK_SMEM || a->rank != 2 || b->rank != 2) REFUSE("mma_fetch: reads two shared tiles of two dims");
  if (a->dtype != first->dtype || b->dtype != right)
    REFUSE("mma_fetch: the registers are for %s and %s; a is %s, b is %s", tile_dtype_name(first->dtype), tile_dtype_name(right),
           tile_dtype_name(a->dtype), tile_dtype_name(b->dtype));
  if (a->shape[1] != b->shape[0] || a->shape[0] != first->shape[0] || b->shape[1] != first->shape[1])
    REFUSE("mma_fetch: [%d,%d] x [%d,%d] gives no [%d,%d]; expected [M,K] x [K,N] -> [M,N]: trans exchanges the dims of a tile", (int)a->shape[0],
           (int)a->shape[1], (int)b->shape[0], (int)b->shape[1], (int)first->shape[0], (int)first->shape[1]);
  if (step < 0 || (step + 1) * elems > a->shape[1])
    REFUSE("mma_fetch: step %lld; k is %d, so steps of %d are 0 to %d", (long long)step, (int)a->shape[1], elems, (int)a->shape[1] / elems - 1);
  return true;
}

bool tile_infer_memory(TileProgram *p, TileNode *n) {
  switch (n->op) {
  case TILE_view: return infer_view(p, n);
  case TILE_map: return infer_map(p, n);
  case TILE_workspace: return infer_workspace(p, n);
  case TILE_smem:
  case TILE_tmem: return infer_tile(p, n);
  case TILE_ring: return infer_ring(p, n);
  case TILE_semaphore:
    if (type_of(p, n, 0)->dtype != KILN_I32)
      REFUSE("semaphore: its counters are i32; the view holds %s", tile_dtype_name(type_of(p, n, 0)->dtype));
    n->type = (TileType){.kind = TK_SEMAPHORE, .rank = type_of(p, n, 0)->rank};
    return true;
  case TILE_sem_wait:
    if (type_of(p, n, 1)->dtype != KILN_I32)
      REFUSE("sem_wait: waits for an i32; %s came", tile_dtype_name(type_of(p, n, 1)->dtype));
    return check_coords(p, n, 2, type_of(p, n, 0));
  case TILE_sem_post: return check_coords(p, n, 1, type_of(p, n, 0));
  case TILE_load: return infer_load(p, n);
  case TILE_load_like: return infer_load_like(p, n);
  case TILE_gather: return infer_gather(p, n);
  case TILE_columns: return infer_columns(p, n);
  case TILE_twice: return infer_twice(p, n);
  case TILE_repeat: return infer_repeat(p, n);
  case TILE_store:
  case TILE_atomic_add: return infer_store(p, n);
  case TILE_load1:
  case TILE_store1: return infer_element(p, n);
  case TILE_slice: return infer_slice(p, n);
  case TILE_part: return infer_part(p, n);
  case TILE_trans: return infer_trans(p, n);
  case TILE_peer: return infer_peer(p, n);
  case TILE_read: return infer_read(p, n);
  case TILE_field:
  case TILE_walk:
  case TILE_rewalk:
  case TILE_fill_slot:
  case TILE_put_slot:
  case TILE_store_slot: return infer_slot_use(p, n);
  case TILE_acquire:
  case TILE_wait:
  case TILE_swap:
  case TILE_take: return infer_token(p, n);
  case TILE_commit:
  case TILE_release: return true;
  case TILE_drain:
    if (tile_attr_int(p, n, TA_n, 1) < 1)
      REFUSE("drain: n is the number of last slots that are waited for, 1 or more; %lld came", (long long)tile_attr_int(p, n, TA_n, 1));
    return true;
  case TILE_skip: {
    int dtype = type_of(p, n, 1)->dtype;
    if (dtype != KILN_I32 && dtype != KILN_I64) REFUSE("skip: the count is %s; expected i32 or i64", tile_dtype_name(dtype));
    return true;
  }
  default: kiln_bug(__FILE__, __LINE__, "an operation without a rule of inference");
  }
}
