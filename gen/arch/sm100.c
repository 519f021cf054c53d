/* sm100.c - Blackwell for data centres, for now by Ampere's skeletons. */
#include "arch.h"
#include "rows.h"

const Arch arch_sm100 = {
  .name = "sm_100",
  .row = {ROWS_COMMON, ROWS_CP_ASYNC, ROWS_WARP_PRODUCTS, ROWS_NO_ROLES, ROWS_NO_BULK, ROWS_DEPENDENT_GRIDS, ROWS_ABSENT},
  .mma = {MMA_HALVES, MMA_TF32, MMA_FP8},
};
