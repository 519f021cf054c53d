/* sm90.c - Hopper: bulk copies under mbarriers, roles with budgets of registers, products by warpgroups; Ampere's forms besides. */
#include "arch.h"
#include "rows.h"

const Arch arch_sm90 = {
  .name = "sm_90",
  .row = {ROWS_COMMON, ROWS_CP_ASYNC, ROWS_ROLES, ROWS_BULK, ROWS_GROUP_PRODUCTS, ROWS_DEPENDENT_GRIDS, ROWS_ABSENT},
  .mma = {MMA_HALVES, MMA_TF32, MMA_FP8},
};
