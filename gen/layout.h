/* layout.h - layouts as plain values.
 *
 * A fragment layout says where element (i0, i1, ...) of a tile lives: in which threads and in which register of theirs. It is a
 * list of modes; a mode takes a digit of the register, lane or warp index and adds digit*stride to the coordinate along dim.
 *
 *   register index = mixed radix of the REG modes, first mode fastest; lane and warp likewise
 *   coordinate[d]  = sum over modes with dim d of digit * stride
 *
 * dim -1: the digit does not matter (the element is replicated over it). Example, the accumulator of mma.m16n8 (lane L, c0..c3):
 *   REG 2 dim1 stride1, REG 2 dim0 stride8, LANE 4 dim1 stride2, LANE 8 dim0 stride1     (row L/4 + 8*(i/2), col 2*(L%4) + i%2)
 */
#ifndef KILN_LAYOUT_H
#define KILN_LAYOUT_H
#include <stdbool.h>
#include <stdint.h>

typedef enum { LM_REG, LM_LANE, LM_WARP } LayoutWhere;

typedef struct LayoutMode {
  uint8_t where;    /* LayoutWhere */
  int8_t dim;       /* 0.., or -1: replicated */
  int32_t extent;
  int32_t stride;
} LayoutMode;

#define LAYOUT_MODES 16
#define LAYOUT_RANK 3
typedef struct Layout {
  uint8_t rank, nmodes;
  int32_t shape[LAYOUT_RANK];
  LayoutMode mode[LAYOUT_MODES];
} Layout;

int layout_regs(const Layout *l);   /* registers (elements) per thread */
int layout_lanes(const Layout *l);  /* product of LANE extents: 32 */
int layout_warps(const Layout *l);
/* Coordinates of register r in lane, warp; all three digits are taken apart by the modes. */
void layout_coord(const Layout *l, int reg, int lane, int warp, int32_t coord[LAYOUT_RANK]);
/* The part of the coordinate that registers alone contribute (lane = warp = 0). */
void layout_reg_coord(const Layout *l, int reg, int32_t coord[LAYOUT_RANK]);
bool layout_equal(const Layout *a, const Layout *b);
/* dim taken out: its REG modes vanish, its LANE and WARP modes become replicated. The later dims move down by one. */
Layout layout_slice(const Layout *l, int dim);
/* Is `part` what layout_slice(full, dim) gives? Then dim is returned, else -1. */
int layout_slice_dim(const Layout *full, const Layout *part);
/* Register of `part` that holds what register r of full needs, full having one dim more. */
int layout_slice_reg(const Layout *full, int dim, int r);
/* The last dim twice as long, each element beside its copy in the same thread: register r of it is register r/2 of l. */
Layout layout_twice(const Layout *l);
/* The last dim `times` times as long, copy after copy in the same thread. layout_repeat_reg: the register of l that register r of it is. */
Layout layout_repeat(const Layout *l, int times);
int layout_repeat_reg(const Layout *l, int times, int r);
bool layout_valid(const Layout *l); /* every element of the shape is held somewhere, and none twice unless replicated */
/* Contiguous run of registers along dim whose coordinates are consecutive: 1, 2, 4, 8... */
int layout_vector(const Layout *l, int dim);
/* Text, "r2@1:1 r2@0:8 l4@1:2 l8@0:1", extent@dim:stride in order of modes; "*" for dim -1. */
int layout_print(const Layout *l, char *out, int size);
bool layout_parse(Layout *l, const char *text);

/* A row-wise layout: `rows` rows by `cols` columns over `warps` warps; `lanes_per_row` lanes (or all lanes of warps_per_row
 * warps) share a row; each thread holds vectors of `vec` consecutive columns. */
Layout layout_rowwise(int rows, int cols, int warps, int threads_per_row, int vec);
/* Which columns of the tile are the 8 of an m16n8 product, of which a thread has two:
 *   PAIRS       8 in order: a thread has 2q, 2q+1
 *   NEIGHBOURS  every other one of 16, so that columns 2g, 2g+1 stand where the manual has column g of two products
 *   RUNS        every fourth of 32, 4r+j of the j-th product: a thread has 8q .. 8q+7 of four products, 16 bytes of a result of 16 bits */
typedef enum { MMA_PAIRS, MMA_NEIGHBOURS, MMA_RUNS } MmaColumns;
/* The accumulator of a CTA tile bm x bn on wm x wn warps with m16n8 products. rows: neighbouring rows 2g, 2g+1 of 16 stand where the manual
 * has g and g+8. Operands of bytes with k outermost bring these rows, and NEIGHBOURS; with k innermost any columns can be brought. */
Layout layout_mma_acc(int bm, int bn, int wm, int wn, bool rows, MmaColumns cols);
/* Is l such an accumulator of RUNS? */
bool layout_has_runs(const Layout *l);
/* The accumulator of a warpgroup: m x n, m a multiple of 64; each warp has 16 of every 64 rows. */
Layout layout_wgmma_acc(int m, int n);
Layout layout_wgmma_a(int m, int k, int elem_bytes);  /* A of such a product in registers: of 16-bit elements, as the accumulator lies */
/* The piece of l from `start` on that has `shape`; false: it would not be the same registers in every thread. */
bool layout_piece(const Layout *l, const int32_t *start, const int32_t *shape, Layout *out);
/* Register of l that holds register r of its piece. */
int layout_piece_reg(const Layout *l, const Layout *piece, const int32_t *start, int r);

/* A shared tile: element (i0, i1) at byte ((i0*pitch0 + i1*pitch1) * elem) ^ swizzle. The XOR takes `bits` bits of the byte
 * address at position shift+base.. and adds them (exclusive or) at position base..: the 128-byte swizzle is bits 3 base 4 shift 3. */
typedef struct SmemLayout {
  uint8_t rank;
  uint8_t bits, base, shift;
  int32_t shape[LAYOUT_RANK];
  int32_t pitch[LAYOUT_RANK]; /* in elements */
  int32_t bytes, align;
  int32_t panel;              /* columns of a panel, which lies as a whole before the next; 0: rows are whole */
} SmemLayout;
SmemLayout smem_layout_rows(int rows, int cols, int elem_bytes, int swizzle_bytes, int pad_elems);
/* Rows of 32-bit elements of which 4 x 8 are read by a warp at once, a row's 8 by lanes side by side: pieces of 32 bytes change places. */
SmemLayout smem_layout_words(int rows, int cols);
/* An operand stored with k innermost whose every fourth row is read at once (MMA_RUNS): 16-byte pieces change places by a row's number over 4. */
SmemLayout smem_layout_fourths(int rows, int cols, int elem_bytes);
/* As bulk copies write it and warpgroup products read it: panels of at most `swizzle` bytes of columns, 16-byte pieces exchanged within
 * them by the row. False: no such layout (columns of no multiple of 16 bytes, swizzle not 32, 64 or 128). */
bool smem_layout_panels(int rows, int cols, int elem_bytes, int swizzle, SmemLayout *out);
int layout_swizzle_bytes(const SmemLayout *l); /* 0, 32, 64, 128 */
uint32_t smem_layout_offset(const SmemLayout *l, int elem_bytes, int i0, int i1);
#endif
