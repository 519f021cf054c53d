/* sm80.c - Ampere: cp.async rings, m16n8k16 products. */
#include "arch.h"
#include "rows.h"

const Arch arch_sm80 = {
  .name = "sm_80",
  .row = {ROWS_COMMON, ROWS_CP_ASYNC, ROWS_WARP_PRODUCTS, ROWS_NO_ROLES, ROWS_NO_BULK, ROWS_GRIDS_IN_ORDER, ROWS_ABSENT},
  .mma = {MMA_HALVES, MMA_TF32},
};
