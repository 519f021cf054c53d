/* layout_complete.c - gives a layout to what the script left open, one hop from where it follows.
 *
 *   shared tile          rows swizzled by up to 128 bytes, unless it says swizzle or pad itself; where bulk copies come or go, in panels;
 *                        operands of 32-bit elements with k outermost, which are read word by word, in pieces of 32 bytes; right ones
 *                        whose every fourth row is read at once, by the row's number over 4
 *   accumulator of mma   as mma.sync has it, warps laid out as squarely as they go
 *   elementwise, set     from the operand that has one
 * Anything still open is an error with the line: a conversion is never inserted. */
#include "tile_impl.h"
#include <string.h>

/* Is the tile a field of a ring that bulk copies fill or empty? */
static bool meets_bulk_copies(const TileProgram *p, uint32_t tile) {
  for (uint32_t i = tile + 1; i < p->nodes.n; i++) {
    const TileNode *n = &p->nodes.at[i];
    const char *how = n->op == TILE_ring ? tile_attr_str(p, n, TA_filled_by, "") : "";
    if (strcmp(how, "tma") && strcmp(how, "store")) continue;
    for (int k = 0; k < n->nargs; k++)
      if (tile_arg(p, n, k).i == tile) return true;
  }
  return false;
}

static void complete_panels(TileProgram *p, TileNode *n) {
  int swizzle = (int)tile_attr_int(p, n, TA_swizzle, 128), bytes = tile_dtype_bytes(n->type.dtype);
  int cols = n->type.shape[n->type.rank - 1], rows = n->type.rank > 1 ? n->type.shape[0] : 1;
  SmemLayout l;
  if (!smem_layout_panels(rows, cols, bytes, swizzle, &l)) {
    diag_error(p->diag, n->loc, "smem: rows of %d bytes with a swizzle of %d cannot be copied in bulk; rows of 32, 64 or a multiple of 128 "
               "bytes can", cols * bytes, swizzle);
    return;
  }
  *VEC_PUSH(p->arena, KEEP, &p->smem_layouts) = l;
  n->type.layout = p->smem_layouts.n - 1;
}

/* The declaration behind an operand; *turned: its dims are exchanged. 0: none. */
static uint32_t operand_tile(const TileProgram *p, TileId id, bool *turned) {
  for (*turned = false;;) {
    const TileNode *n = tile_at(p, id);
    if (n->op == TILE_smem) return id.i;
    if (n->op == TILE_field) {
      const TileNode *ring = tile_at(p, tile_slot_ring(p, tile_arg(p, n, 0)));
      id = tile_arg(p, ring, tile_word_index(tile_attr_str(p, ring, TA_fields, ""), tile_attr_str(p, n, TA_name, "")));
    } else if (n->op == TILE_trans || n->op == TILE_slice || n->op == TILE_part) {
      *turned ^= n->op == TILE_trans;
      id = tile_arg(p, n, 0);
    } else {
      return 0;
    }
  }
}

/* Is the tile an operand of products, and never one with k innermost? */
static bool is_read_by_words(const TileProgram *p, uint32_t tile) {
  bool words = false;
  for (uint32_t i = tile + 1; i < p->nodes.n; i++) {
    const TileNode *n = &p->nodes.at[i];
    if (n->op != TILE_mma && n->op != TILE_mma_fetch) continue;
    for (int k = 1; k < 3; k++) {
      bool turned;
      if (operand_tile(p, tile_arg(p, n, k), &turned) != tile) continue;
      if (turned != (k == 1)) return false;
      words = true;
    }
  }
  return words;
}

/* Is the tile, stored with k innermost, the right operand of products that take every fourth column? */
static bool is_read_by_fourths(const TileProgram *p, uint32_t tile) {
  for (uint32_t i = tile + 1; i < p->nodes.n; i++) {
    const TileNode *n = &p->nodes.at[i];
    bool turned;
    if (n->op != TILE_mma && n->op != TILE_mma_fetch) continue;
    if (operand_tile(p, tile_arg(p, n, 2), &turned) != tile || !turned) continue;
    const TileNode *acc = tile_at(p, tile_arg(p, n, 0));
    if (n->op == TILE_mma_fetch) acc = tile_at(p, tile_arg(p, acc, 0));
    if (acc->type.kind == TK_FRAG && acc->type.layout && layout_has_runs(&p->frag_layouts.at[acc->type.layout])) return true;
  }
  return false;
}

static void complete_shared(TileProgram *p, TileNode *n) {
  int swizzle = (int)tile_attr_int(p, n, TA_swizzle, tile_attr(p, n, TA_pad) ? 0 : 128);
  int pad = (int)tile_attr_int(p, n, TA_pad, 0);
  int cols = n->type.shape[n->type.rank - 1], rows = n->type.rank > 1 ? n->type.shape[0] : 1;
  int bytes = tile_dtype_bytes(n->type.dtype);
  uint32_t self = (uint32_t)(n - p->nodes.at);
  bool open = !tile_attr(p, n, TA_swizzle) && !tile_attr(p, n, TA_pad);
  SmemLayout l = open && bytes == 4 && is_read_by_words(p, self) ? smem_layout_words(rows, cols)
                 : open && is_read_by_fourths(p, self)           ? smem_layout_fourths(rows, cols, bytes)
                                                                 : smem_layout_rows(rows, cols, bytes, swizzle, pad);
  *VEC_PUSH(p->arena, KEEP, &p->smem_layouts) = l;
  n->type.layout = p->smem_layouts.n - 1;
}

/* Warps split rows and columns so that a warp's part is as square as it can be, and no thinner than 16 x 16. */
static bool accumulator_layout(const TileType *t, int warps, Layout *out) {
  int best = 0, score = -1;
  for (int wm = 1; wm <= warps; wm *= 2) {
    int wn = warps / wm;
    if (t->shape[0] % (wm * 16) || t->shape[1] % (wn * 16)) continue;
    int a = t->shape[0] / wm, b = t->shape[1] / wn, s = a < b ? a : b;
    if (s > score) score = s, best = wm;
  }
  if (!best) return false;
  *out = layout_mma_acc(t->shape[0], t->shape[1], best, warps / best, false, MMA_PAIRS);
  return true;
}

static void complete_accumulator(TileProgram *p, TileNode *mma, int warps, bool groups) {
  TileNode *acc = tile_at(p, tile_arg(p, mma, 0));
  Layout l;
  if (acc->type.kind != TK_FRAG || acc->type.layout || acc->type.rank != 2) return;
  if (groups) { /* of a warpgroup */
    if (acc->type.shape[0] % 64 || acc->type.shape[1] % 8) return;
    l = layout_wgmma_acc(acc->type.shape[0], acc->type.shape[1]);
    acc->type.layout = tile_layout_intern(p, &l);
    return;
  }
  if (accumulator_layout(&acc->type, warps, &l)) acc->type.layout = tile_layout_intern(p, &l);
}

static void inherit(TileProgram *p, TileNode *n) { /* from an operand of the same shape */
  for (int k = 0; k < n->nargs && !n->type.layout; k++) {
    const TileType *t = &tile_at(p, tile_arg(p, n, k))->type;
    bool same = t->kind == TK_FRAG && t->rank == n->type.rank;
    for (int d = 0; same && d < t->rank; d++) same = t->shape[d] == n->type.shape[d];
    if (same) n->type.layout = t->layout;
  }
}

static void complete_slice(TileProgram *p, TileNode *n) {
  const TileType *full = &tile_at(p, tile_arg(p, n, 0))->type;
  if (!full->layout) return;
  Layout s = layout_slice(&p->frag_layouts.at[full->layout], (int)tile_attr_int(p, n, TA_dim, 0));
  n->type.layout = tile_layout_intern(p, &s);
}

static void complete_piece(TileProgram *p, TileNode *n) {
  const TileType *full = &tile_at(p, tile_arg(p, n, 0))->type;
  const TileAttr *start = tile_attr(p, n, TA_start);
  int32_t from[LAYOUT_RANK] = {0};
  Layout l;
  if (!full->layout || full->rank > LAYOUT_RANK) return;
  for (int d = 0; d < full->rank; d++) from[d] = (int32_t)start->list[d];
  if (layout_piece(&p->frag_layouts.at[full->layout], from, n->type.shape, &l)) n->type.layout = tile_layout_intern(p, &l);
}

static bool has_groups(const TileProgram *p, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = &p->nodes.at[r->at[i]];
    if (n->op == TILE_mma_commit) return true;
    for (int k = 0; k < n->nregions; k++)
      if (has_groups(p, tile_region(p, n, k))) return true;
  }
  return false;
}

bool tile_has_groups(const TileProgram *p, TileId kernel) { return has_groups(p, tile_region(p, tile_at(p, kernel), 0)); }

static int kernel_warps(const TileProgram *p, uint32_t kernel) {
  return (int)tile_attr_int(p, &p->nodes.at[kernel], TA_threads, 32) / 32;
}

bool tile_complete(TileProgram *p) {
  int errors = p->diag->errors;
  int warps = p->top.n ? kernel_warps(p, p->top.at[0]) : 1;
  bool groups = false;
  for (uint32_t i = 1; i < p->nodes.n; i++) {
    TileNode *n = &p->nodes.at[i];
    if (n->op == TILE_kernel) warps = kernel_warps(p, i), groups = tile_has_groups(p, (TileId){i});
    if (n->op == TILE_smem && !n->type.layout) {
      if (meets_bulk_copies(p, i)) complete_panels(p, n);
      else complete_shared(p, n);
    }
    if (n->op == TILE_mma || n->op == TILE_mma_rs) complete_accumulator(p, n, warps, groups);
  }
  for (uint32_t i = 1; i < p->nodes.n; i++) {
    TileNode *n = &p->nodes.at[i];
    if (n->type.kind != TK_FRAG || n->type.layout) continue;
    if (n->op == TILE_reduce)
      complete_slice(p, n);
    else if (n->op == TILE_slice)
      complete_piece(p, n);
    else
      inherit(p, n);
    if (!n->type.layout)
      diag_error(p->diag, n->loc, "%s: the fragment has no layout and none follows from its use; give layout=, or load it like another fragment",
                 tile_op_info(n->op)->name);
  }
  return p->diag->errors == errors;
}
