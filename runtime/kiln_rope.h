/* kiln_rope.h - tables of angles for rotary embeddings. Header only, since libkiln itself needs no libm: link with -lm.
 *
 *   float *cos_table = malloc(rows * cols * dim / 2 * sizeof *cos_table), *sin_table = ...;
 *   if (kiln_axial_rope_table(10000, rows, cols, dim, cos_table, sin_table) == KILN_OK) kiln_upload(...);
 *
 * The tables are those of the setting table=pair: an entry per pair of channels. */
#ifndef KILN_ROPE_H
#define KILN_ROPE_H
#include "kiln.h"
#include <math.h>

/* Cosines and sines of the angles of a grid of rows x cols patches, dim / 2 floats each for every patch, row by row.
 *
 *   P = dim / 4; pair p < P of patch n turns by (n / cols) * base^(-p / P), pair P + p by (n % cols) * base^(-p / P)
 *
 * which is the axial rotary embedding of vision transformers (as in v1kstrand/triton_fused_rope_flash_attn: integer positions from 0, neither centred
 * nor scaled; the first half of the pairs follows the row). Angles are computed in double and each entry is rounded once. For a
 * class token that stays as it is, put a row of ones (cosines) and zeros (sines) before the table.
 * Errors, without a message: BAD_CALL (dim is no positive multiple of 4, a size is negative, base is not above 0, a table is NULL
 * where there is something to write). */
static inline kiln_status kiln_axial_rope_table(double base, int64_t rows, int64_t cols, int64_t dim, float *cos_table,
                                                float *sin_table) {
  if (dim <= 0 || dim % 4 || rows < 0 || cols < 0 || !(base > 0)) return KILN_BAD_CALL;
  if (rows && cols && (!cos_table || !sin_table)) return KILN_BAD_CALL;
  int64_t pairs = dim / 4;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t col = 0; col < cols; col++)
      for (int64_t p = 0; p < 2 * pairs; p++) {
        double speed = pow(base, -(double)(p % pairs) / (double)pairs);
        double angle = (double)(p < pairs ? row : col) * speed;
        *cos_table++ = (float)cos(angle);
        *sin_table++ = (float)sin(angle);
      }
  return KILN_OK;
}
#endif
