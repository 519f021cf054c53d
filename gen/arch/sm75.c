/* sm75.c - Turing: copies staged in registers, m16n8k8 products of f16, products of f32 by fma, no bf16. */
#include "arch.h"
#include "rows.h"

const Arch arch_sm75 = {
  .name = "sm_75",
  .row = {ROWS_COMMON, ROWS_STAGED, ROWS_WARP_PRODUCTS, ROWS_NO_ROLES, ROWS_NO_BULK, ROWS_GRIDS_IN_ORDER, ROWS_ABSENT},
  .mma = {{KILN_F16, KILN_F16, 8, ISA_mma_m16n8k8_f32_f16_f16_f32}, {KILN_F32, KILN_F32, 1, ISA_fma_rn_f32}},
};
