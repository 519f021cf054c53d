/* sm89.c - Ada: the skeletons of Ampere, and products of e4m3 and e5m2. */
#include "arch.h"
#include "rows.h"

const Arch arch_sm89 = {
  .name = "sm_89",
  .row = {ROWS_COMMON, ROWS_CP_ASYNC, ROWS_WARP_PRODUCTS, ROWS_NO_ROLES, ROWS_NO_BULK, ROWS_GRIDS_IN_ORDER, ROWS_ABSENT},
  .mma = {MMA_HALVES, MMA_TF32, MMA_FP8},
};
