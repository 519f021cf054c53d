/* layout.c - see layout.h. Everything here is integer arithmetic on small values; nothing allocates. */
#include "layout.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count(const Layout *l, LayoutWhere where) {
  int n = 1;
  for (int i = 0; i < l->nmodes; i++)
    if (l->mode[i].where == where) n *= l->mode[i].extent;
  return n;
}

int layout_regs(const Layout *l) { return count(l, LM_REG); }
int layout_lanes(const Layout *l) { return count(l, LM_LANE); }
int layout_warps(const Layout *l) { return count(l, LM_WARP); }

void layout_coord(const Layout *l, int reg, int lane, int warp, int32_t coord[LAYOUT_RANK]) {
  int index[3] = {[LM_REG] = reg, [LM_LANE] = lane, [LM_WARP] = warp};
  memset(coord, 0, sizeof(int32_t) * LAYOUT_RANK);
  for (int i = 0; i < l->nmodes; i++) {
    const LayoutMode *m = &l->mode[i];
    int digit = index[m->where] % m->extent;
    index[m->where] /= m->extent;
    if (m->dim >= 0) coord[m->dim] += digit * m->stride;
  }
}

void layout_reg_coord(const Layout *l, int reg, int32_t coord[LAYOUT_RANK]) { layout_coord(l, reg, 0, 0, coord); }

bool layout_equal(const Layout *a, const Layout *b) {
  if (a->rank != b->rank || a->nmodes != b->nmodes) return false;
  for (int d = 0; d < a->rank; d++)
    if (a->shape[d] != b->shape[d]) return false;
  for (int i = 0; i < a->nmodes; i++) {
    const LayoutMode *x = &a->mode[i], *y = &b->mode[i];
    if (x->where != y->where || x->dim != y->dim || x->extent != y->extent || x->stride != y->stride) return false;
  }
  return true;
}

/* Appends a mode; extent 1 register modes carry nothing and are left out. */
static void add_mode(Layout *l, LayoutWhere where, int dim, int extent, int stride) {
  if (extent == 1) return;
  if (l->nmodes < LAYOUT_MODES) l->mode[l->nmodes++] = (LayoutMode){(uint8_t)where, (int8_t)dim, extent, dim < 0 ? 0 : stride};
}

Layout layout_slice(const Layout *l, int dim) {
  Layout s = {.rank = (uint8_t)(l->rank - 1)};
  for (int d = 0, k = 0; d < l->rank; d++)
    if (d != dim) s.shape[k++] = l->shape[d];
  for (int i = 0; i < l->nmodes; i++) {
    const LayoutMode *m = &l->mode[i];
    if (m->dim == dim && m->where == LM_REG) continue;
    int to = m->dim == dim ? -1 : m->dim > dim ? m->dim - 1 : m->dim;
    add_mode(&s, m->where, to, m->extent, m->stride);
  }
  return s;
}

int layout_slice_dim(const Layout *full, const Layout *part) {
  for (int d = 0; d < full->rank; d++) {
    Layout s = layout_slice(full, d);
    if (layout_equal(&s, part)) return d;
  }
  return -1;
}

int layout_slice_reg(const Layout *full, int dim, int r) {
  int out = 0, scale = 1;
  for (int i = 0; i < full->nmodes; i++) {
    const LayoutMode *m = &full->mode[i];
    if (m->where != LM_REG) continue;
    int digit = r % m->extent;
    r /= m->extent;
    if (m->dim == dim) continue;
    out += digit * scale;
    scale *= m->extent;
  }
  return out;
}

Layout layout_twice(const Layout *l) {
  Layout t = {.rank = l->rank};
  int last = l->rank - 1;
  memcpy(t.shape, l->shape, sizeof t.shape);
  t.shape[last] *= 2;
  bool run = l->nmodes && l->mode[0].where == LM_REG && l->mode[0].dim == last && l->mode[0].stride == 1;
  add_mode(&t, LM_REG, last, run ? 2 * l->mode[0].extent : 2, 1);
  for (int i = run; i < l->nmodes; i++)
    add_mode(&t, l->mode[i].where, l->mode[i].dim, l->mode[i].extent, l->mode[i].dim == last ? 2 * l->mode[i].stride : l->mode[i].stride);
  return t;
}

/* Where the digit of the copies stands among a layout's modes: behind the registers of the last dim. */
static int repeat_mode(const Layout *l) {
  int at = 0;
  for (int i = 0; i < l->nmodes; i++)
    if (l->mode[i].where == LM_REG && l->mode[i].dim == l->rank - 1) at = i + 1;
  return at;
}

Layout layout_repeat(const Layout *l, int times) {
  Layout t = {.rank = l->rank};
  int last = l->rank - 1, at = repeat_mode(l);
  memcpy(t.shape, l->shape, sizeof t.shape);
  t.shape[last] *= times;
  for (int i = 0; i <= l->nmodes; i++) {
    if (i == at) add_mode(&t, LM_REG, last, times, l->shape[last]);
    if (i < l->nmodes) add_mode(&t, l->mode[i].where, l->mode[i].dim, l->mode[i].extent, l->mode[i].stride);
  }
  return t;
}

int layout_repeat_reg(const Layout *l, int times, int r) {
  int below = 1, at = repeat_mode(l);
  for (int i = 0; i < at; i++)
    if (l->mode[i].where == LM_REG) below *= l->mode[i].extent;
  return r / (below * times) * below + r % below;
}

/* Elements are counted per dim pair only for tiles of a sane size; the caller's shapes are at most a few 64 K elements. */
bool layout_valid(const Layout *l) {
  int64_t total = 1, held = 1;
  for (int d = 0; d < l->rank; d++) total *= l->shape[d];
  for (int i = 0; i < l->nmodes; i++)
    if (l->mode[i].dim >= 0) held *= l->mode[i].extent;
  if (held != total || layout_lanes(l) != 32) return false;
  for (int d = 0; d < l->rank; d++) { /* along each dim the modes must form a mixed radix number without holes */
    int64_t reach = 1;
    for (;;) {
      bool found = false;
      for (int i = 0; i < l->nmodes; i++)
        if (l->mode[i].dim == d && l->mode[i].stride == reach) {
          reach *= l->mode[i].extent;
          found = true;
          break;
        }
      if (!found) break;
    }
    if (reach != l->shape[d]) return false;
  }
  return true;
}

int layout_vector(const Layout *l, int dim) {
  int run = 1;
  for (int i = 0; i < l->nmodes; i++) {
    const LayoutMode *m = &l->mode[i];
    if (m->where != LM_REG) continue;
    if (m->dim != dim || m->stride != run) break;
    run *= m->extent;
  }
  return run;
}

int layout_print(const Layout *l, char *out, int size) {
  int n = 0;
  for (int i = 0; i < l->nmodes && n < size; i++) {
    const LayoutMode *m = &l->mode[i];
    const char *gap = i ? " " : "";
    if (m->dim < 0)
      n += snprintf(out + n, (size_t)(size - n), "%s%c%d@*", gap, "rlw"[m->where], m->extent);
    else
      n += snprintf(out + n, (size_t)(size - n), "%s%c%d@%d:%d", gap, "rlw"[m->where], m->extent, m->dim, m->stride);
  }
  if (l->nmodes == 0 && size > 0) out[0] = 0;
  return n;
}

/* The number at *s, of no more digits than 2^24 needs and one; advances. -1: none. */
static long read_number(const char **s) {
  if (**s < '0' || **s > '9') return -1;
  long v = 0;
  while (**s >= '0' && **s <= '9' && v < (1L << 24)) v = v * 10 + (*(*s)++ - '0');
  return v;
}

bool layout_parse(Layout *l, const char *text) {
  uint8_t rank = l->rank;
  l->nmodes = 0;
  while (*text == ' ') text++;
  while (*text) {
    const char *where = strchr("rlw", *text++);
    if (!where || l->nmodes == LAYOUT_MODES) return false;
    long extent = read_number(&text), dim = -1, stride = 0;
    if (extent < 1 || *text++ != '@') return false;
    if (*text == '*') {
      text++;
    } else {
      dim = read_number(&text);
      if (dim < 0 || dim >= rank || *text++ != ':') return false;
      stride = read_number(&text);
      if (stride < 1) return false;
    }
    if (*text && *text != ' ') return false;
    while (*text == ' ') text++;
    l->mode[l->nmodes++] = (LayoutMode){(uint8_t)(where - "rlw"), (int8_t)dim, (int32_t)extent, (int32_t)stride};
  }
  return true;
}

Layout layout_rowwise(int rows, int cols, int warps, int threads_per_row, int vec) {
  Layout l = {.rank = 2, .shape = {rows, cols}};
  int lanes = threads_per_row < 32 ? threads_per_row : 32;
  int row_warps = threads_per_row / lanes, lane_rows = 32 / lanes, warp_rows = warps / row_warps;
  int rows_at_once = lane_rows * warp_rows;
  add_mode(&l, LM_REG, 1, vec, 1);
  add_mode(&l, LM_REG, 1, cols / (vec * threads_per_row), vec * threads_per_row);
  add_mode(&l, LM_REG, 0, rows / rows_at_once, rows_at_once);
  add_mode(&l, LM_LANE, 1, lanes, vec);
  add_mode(&l, LM_LANE, 0, lane_rows, 1);
  add_mode(&l, LM_WARP, 1, row_warps, vec * lanes);
  add_mode(&l, LM_WARP, 0, warp_rows, lane_rows);
  return l;
}

Layout layout_mma_acc(int bm, int bn, int wm, int wn, bool rows, MmaColumns cols) {
  static const int threads[] = {2, 4, 8}; /* columns of a thread, before the next product's */
  Layout l = {.rank = 2, .shape = {bm, bn}};
  add_mode(&l, LM_REG, 1, cols == MMA_RUNS ? 8 : 2, cols == MMA_NEIGHBOURS ? 2 : 1);
  add_mode(&l, LM_REG, 0, 2, rows ? 1 : 8);
  if (cols == MMA_NEIGHBOURS) add_mode(&l, LM_REG, 1, 2, 1);
  add_mode(&l, LM_REG, 1, bn / wn / (4 * threads[cols]), 4 * threads[cols]);
  add_mode(&l, LM_REG, 0, bm / wm / 16, 16);
  add_mode(&l, LM_LANE, 1, 4, threads[cols]);
  add_mode(&l, LM_LANE, 0, 8, rows ? 2 : 1);
  add_mode(&l, LM_WARP, 0, wm, bm / wm);
  add_mode(&l, LM_WARP, 1, wn, bn / wn);
  return l;
}

bool layout_has_runs(const Layout *l) {
  int wm = 1, wn = 1;
  for (int i = 0; i < l->nmodes; i++)
    if (l->mode[i].where == LM_WARP) *(l->mode[i].dim == 0 ? &wm : &wn) *= l->mode[i].extent;
  if (l->rank != 2 || l->shape[0] % (16 * wm) || l->shape[1] % (32 * wn)) return false;
  for (int rows = 0; rows < 2; rows++) {
    Layout runs = layout_mma_acc(l->shape[0], l->shape[1], wm, wn, rows, MMA_RUNS);
    if (layout_equal(l, &runs)) return true;
  }
  return false;
}

Layout layout_wgmma_acc(int m, int n) {
  Layout l = {.rank = 2, .shape = {m, n}};
  add_mode(&l, LM_REG, 1, 2, 1);
  add_mode(&l, LM_REG, 0, 2, 8);
  add_mode(&l, LM_REG, 1, n / 8, 8);
  add_mode(&l, LM_REG, 0, m / 64, 64);
  add_mode(&l, LM_LANE, 1, 4, 2);
  add_mode(&l, LM_LANE, 0, 8, 1);
  add_mode(&l, LM_WARP, 0, 4, 16);
  return l;
}

Layout layout_wgmma_a(int m, int k, int elem_bytes) {
  Layout l = {.rank = 2, .shape = {m, k}};
  int word = 4 / elem_bytes; /* elements of a register */
  if (word > 1) add_mode(&l, LM_REG, 1, word, 1);
  add_mode(&l, LM_REG, 0, 2, 8);
  add_mode(&l, LM_REG, 1, k / (4 * word), 4 * word);
  add_mode(&l, LM_REG, 0, m / 64, 64);
  add_mode(&l, LM_LANE, 1, 4, word);
  add_mode(&l, LM_LANE, 0, 8, 1);
  add_mode(&l, LM_WARP, 0, 4, 16);
  return l;
}

/* Along each dim the outermost mode is cut; it must be one of registers. */
bool layout_piece(const Layout *l, const int32_t *start, const int32_t *shape, Layout *out) {
  *out = (Layout){.rank = l->rank};
  memcpy(out->shape, shape, sizeof(int32_t) * l->rank);
  int outermost[LAYOUT_RANK];
  for (int d = 0; d < l->rank; d++) {
    outermost[d] = -1;
    for (int i = 0; i < l->nmodes; i++)
      if (l->mode[i].dim == d && (outermost[d] < 0 || l->mode[i].stride > l->mode[outermost[d]].stride)) outermost[d] = i;
    if (shape[d] == l->shape[d]) continue;
    const LayoutMode *m = &l->mode[outermost[d] < 0 ? 0 : outermost[d]];
    if (outermost[d] < 0 || m->where != LM_REG || start[d] % m->stride || shape[d] % m->stride) return false;
  }
  for (int i = 0; i < l->nmodes; i++) {
    const LayoutMode *m = &l->mode[i];
    bool cut = m->dim >= 0 && outermost[m->dim] == i && shape[m->dim] != l->shape[m->dim];
    add_mode(out, m->where, m->dim, cut ? shape[m->dim] / m->stride : m->extent, m->stride);
  }
  return true;
}

int layout_piece_reg(const Layout *l, const Layout *piece, const int32_t *start, int r) {
  int32_t want[LAYOUT_RANK], have[LAYOUT_RANK];
  layout_reg_coord(piece, r, want);
  for (int k = 0; k < layout_regs(l); k++) {
    bool same = true;
    layout_reg_coord(l, k, have);
    for (int d = 0; d < l->rank; d++) same &= have[d] == want[d] + start[d];
    if (same) return k;
  }
  return -1;
}

static int log2_of(int v) { return v < 2 ? 0 : 1 + log2_of(v / 2); }

SmemLayout smem_layout_rows(int rows, int cols, int elem_bytes, int swizzle_bytes, int pad_elems) {
  int pitch = cols + pad_elems, row_bytes = pitch * elem_bytes;
  SmemLayout l = {.rank = 2, .shape = {rows, cols}, .pitch = {pitch, 1}, .bytes = rows * row_bytes, .align = 16};
  bool power = row_bytes >= 32 && (row_bytes & (row_bytes - 1)) == 0;
  if (swizzle_bytes && power && pad_elems == 0) {
    int span = row_bytes < swizzle_bytes ? row_bytes : swizzle_bytes; /* 16-byte pieces of this many bytes change places */
    l.bits = (uint8_t)log2_of(span / 16);
    l.base = 4;
    l.shift = (uint8_t)(log2_of(row_bytes) > 7 ? log2_of(row_bytes) - 4 : 3);
    l.align = 1024;
  }
  return l;
}

SmemLayout smem_layout_words(int rows, int cols) {
  SmemLayout l = smem_layout_rows(rows, cols, 4, 128, 0);
  if (!l.bits || cols < 16) return l;
  int row_bytes = cols * 4;
  l.bits = row_bytes < 128 ? 1 : 2;
  l.base = 5;
  l.shift = (uint8_t)(log2_of(row_bytes < 128 ? 128 : row_bytes) - 5);
  return l;
}

SmemLayout smem_layout_fourths(int rows, int cols, int elem_bytes) {
  SmemLayout l = smem_layout_rows(rows, cols, elem_bytes, 128, 0);
  if (!l.bits) return l;
  l.bits = 3; /* of rows below 128 bytes the pieces of several change places */
  l.shift = (uint8_t)(log2_of(cols * elem_bytes) + 2 - l.base);
  return l;
}

bool smem_layout_panels(int rows, int cols, int elem_bytes, int swizzle, SmemLayout *out) {
  int row_bytes = cols * elem_bytes, width = row_bytes < swizzle ? row_bytes : swizzle;
  if ((width != 32 && width != 64 && width != 128) || row_bytes % width) return false;
  *out = (SmemLayout){.rank = 2, .shape = {rows, cols}, .pitch = {width / elem_bytes, 1}, .bytes = rows * row_bytes, .align = 1024,
                      .bits = (uint8_t)log2_of(width / 16), .base = 4, .shift = 3};
  if (row_bytes > width) out->panel = width / elem_bytes;
  return true;
}

int layout_swizzle_bytes(const SmemLayout *l) { return l->bits ? 16 << l->bits : 0; }

uint32_t smem_layout_offset(const SmemLayout *l, int elem_bytes, int i0, int i1) {
  int before = l->panel ? i1 / l->panel * l->shape[0] * l->panel : 0; /* elements of the panels before */
  if (l->panel) i1 %= l->panel;
  uint32_t at = (uint32_t)(before + i0 * l->pitch[0] + i1 * l->pitch[1]) * (uint32_t)elem_bytes;
  uint32_t mask = ((1u << l->bits) - 1) << l->base;
  return at ^ ((at >> l->shift) & mask);
}
