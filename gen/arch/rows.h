/* rows.h - rows that every generation shares, and those of cp.async and of staged copies, as initialisers of Arch.row. */
#define ROWS_COMMON                                                                                                                          \
  [TILE_view] = {lower_view, 0}, [TILE_workspace] = {0, "write and read a view of the contract's workspace"},                              \
  [TILE_smem] = {lower_smem, 0}, [TILE_frag] = {lower_frag, 0}, [TILE_ring] = {lower_ring, 0},                                                \
  [TILE_barrier] = {lower_barrier, 0}, [TILE_set] = {lower_set, 0}, [TILE_zero] = {lower_zero, 0}, [TILE_fill] = {lower_fill, 0},           \
  [TILE_coord] = {lower_coord, 0}, [TILE_columns] = {lower_columns, 0}, [TILE_reduce] = {lower_reduce, 0},                                    \
  [TILE_rows] = {lower_rows, 0}, [TILE_read] = {lower_read, 0}, [TILE_load] = {lower_load, 0}, [TILE_load_like] = {lower_load, 0},            \
  [TILE_gather] = {lower_gather, 0}, [TILE_exchange] = {lower_exchange, 0}, [TILE_twice] = {lower_twice, 0},                                  \
  [TILE_repeat] = {lower_repeat, 0}, [TILE_even_odd] = {lower_even_odd, 0}, [TILE_store] = {lower_store, 0}, [TILE_load1] = {lower_load1, 0}, \
  [TILE_store1] = {lower_store1, 0}, [TILE_slice] = {lower_slice, 0}, [TILE_part] = {lower_part, 0}, [TILE_trans] = {lower_trans, 0},       \
  [TILE_acquire] = {lower_acquire, 0}, [TILE_release] = {lower_release, 0}, [TILE_field] = {lower_field, 0}, [TILE_sync] = {lower_sync, 0}, \
  [TILE_cvt] = {lower_cvt, 0}, [TILE_where] = {lower_where, 0}, [TILE_neg] = {lower_elementwise, 0}, [TILE_abs] = {lower_elementwise, 0},   \
  [TILE_exp] = {lower_elementwise, 0}, [TILE_exp2] = {lower_elementwise, 0}, [TILE_log] = {lower_elementwise, 0},                            \
  [TILE_log2] = {lower_elementwise, 0}, [TILE_sqrt] = {lower_elementwise, 0}, [TILE_rsqrt] = {lower_elementwise, 0},                         \
  [TILE_rcp] = {lower_elementwise, 0}, [TILE_tanh] = {lower_elementwise, 0}, [TILE_erf] = {lower_elementwise, 0},                            \
  [TILE_sin] = {lower_elementwise, 0}, [TILE_cos] = {lower_elementwise, 0}, [TILE_rint] = {lower_elementwise, 0}, [TILE_not] = {lower_elementwise, 0}, \
  [TILE_add] = {lower_elementwise, 0}, [TILE_sub] = {lower_elementwise, 0}, [TILE_mul] = {lower_elementwise, 0},                             \
  [TILE_div] = {lower_elementwise, 0}, [TILE_rem] = {lower_elementwise, 0}, [TILE_min] = {lower_elementwise, 0},                             \
  [TILE_max] = {lower_elementwise, 0}, [TILE_fma] = {lower_elementwise, 0}, [TILE_lt] = {lower_elementwise, 0},                              \
  [TILE_le] = {lower_elementwise, 0}, [TILE_eq] = {lower_elementwise, 0}, [TILE_ne] = {lower_elementwise, 0},                                \
  [TILE_and] = {lower_elementwise, 0}, [TILE_or] = {lower_elementwise, 0},                               \
  [TILE_mma_operands] = {lower_mma_operands, 0}, [TILE_mma_fetch] = {lower_mma_fetch, 0}, [TILE_mma_issue] = {lower_mma_issue, 0},           \
  [TILE_walk] = {lower_walk, 0}, [TILE_rewalk] = {lower_rewalk, 0},                                                                         \
  [TILE_carry] = {lower_carry, 0}, [TILE_swap] = {lower_swap, 0}, [TILE_take] = {lower_take, 0}

/* The rings of a generation: copies by cp.async, or loads into registers that the commit stores. */
#define ROWS_CP_ASYNC                                                                                                        \
  [TILE_fill_slot] = {lower_fill_async, 0}, [TILE_commit] = {lower_commit_async, 0}, [TILE_wait] = {lower_wait_async, 0}, \
  [TILE_drain] = {lower_drain_async, 0}
#define ROWS_STAGED                                                                                                             \
  [TILE_fill_slot] = {lower_fill_staged, 0}, [TILE_commit] = {lower_commit_staged, 0}, [TILE_wait] = {lower_wait_staged, 0}, \
  [TILE_drain] = {lower_drain_staged, 0}

/* Roles, their turns, and schedulers. */
#define ROWS_ROLES                                                                                                                  \
  [TILE_role] = {lower_role, 0}, [TILE_elect] = {lower_elect, 0}, [TILE_order] = {lower_order, 0}, [TILE_enter] = {lower_enter, 0}, \
  [TILE_leave] = {lower_leave, 0}, [TILE_sched] = {lower_sched, 0}, [TILE_each] = {lower_each, 0},                                 \
  [TILE_cluster_sync] = {lower_cluster_sync, 0}, [TILE_peer] = {lower_peer, 0}
#define ROWS_NO_ROLES                                                                                                              \
  [TILE_role] = {0, "it has no roles (sm_90a has); all warps do one job"}, [TILE_elect] = {0, "it has no elect (sm_90a has)"},     \
  [TILE_order] = {0, "orders are between groups of a role (sm_90a has them)"}, [TILE_enter] = {0, "orders need roles (sm_90a)"},   \
  [TILE_leave] = {0, "orders need roles (sm_90a)"}, [TILE_sched] = {0, "schedulers are lowered for sm_90a; take the tile from cta()"}, \
  [TILE_each] = {0, "schedulers are lowered for sm_90a; take the tile from cta()"},                                               \
  [TILE_cluster_sync] = {0, "clusters are lowered for sm_90a"}, [TILE_peer] = {0, "clusters are lowered for sm_90a"}

/* Bulk copies, by tensor maps and under mbarriers. */
#define ROWS_BULK                                                                                                    \
  [TILE_map] = {lower_map, 0}, [TILE_skip] = {lower_skip, 0}, [TILE_put_slot] = {lower_put_slot, 0}, [TILE_store_slot] = {lower_store_slot, 0}
#define ROWS_NO_BULK                                                                                                                   \
  [TILE_map] = {0, "tensor maps are lowered for sm_90a; read the view itself"}, [TILE_skip] = {0, "skip needs rings with mbarriers (sm_90a)"}, \
  [TILE_put_slot] = {0, "slots filled from fragments are lowered for sm_90a"},                                                         \
  [TILE_store_slot] = {0, "store queues are lowered for sm_90a; store the tile itself"}

/* Products by warps, complete when they are issued; and by warpgroups, in groups that are closed and waited for. */
#define ROWS_WARP_PRODUCTS                                                                                     \
  [TILE_mma] = {lower_mma_sync, 0}, [TILE_mma_commit] = {0, "mma.sync is synchronous: leave out mma_commit"}, \
  [TILE_mma_wait] = {0, "mma.sync is synchronous: leave out mma_wait"},                                         \
  [TILE_mma_rs] = {0, "its products read both operands from shared memory; put a there"}
#define ROWS_GROUP_PRODUCTS \
  [TILE_mma] = {lower_mma_groups, 0}, [TILE_mma_commit] = {lower_mma_commit, 0}, [TILE_mma_wait] = {lower_mma_wait, 0}, \
  [TILE_mma_rs] = {lower_mma_rs, 0}

/* Grids that begin before the one before them has ended; elsewhere they begin after it, and there is nothing to do. */
#define ROWS_DEPENDENT_GRIDS [TILE_pdl_wait] = {lower_pdl_wait, 0}, [TILE_pdl_launch] = {lower_pdl_launch, 0}
#define ROWS_GRIDS_IN_ORDER [TILE_pdl_wait] = {lower_nothing, 0}, [TILE_pdl_launch] = {lower_nothing, 0}

/* What no generation lowers yet. */
#define ROWS_ABSENT                                                                                                                                      \
  [TILE_tmem] = {0, "tensor memory is not lowered yet; use a fragment"}, [TILE_semaphore] = {0, "semaphores are not lowered yet"},                     \
  [TILE_while] = {0, "while is not lowered yet; use for"},                                                                                             \
  [TILE_atomic_add] = {0, "atomic additions are not lowered yet"},                                                                                     \
  [TILE_mma_scaled] = {0, "block-scaled products are not lowered yet"}, [TILE_sem_wait] = {0, "semaphores are not lowered yet"},                       \
  [TILE_sem_post] = {0, "semaphores are not lowered yet"}, [TILE_produce] = {0, "schedulers that publish tiles are not lowered yet"}

/* Products of a warp by type. */
#define MMA_HALVES {KILN_F16, KILN_F16, 16, ISA_mma_m16n8k16_f32_f16_f16_f32}, {KILN_BF16, KILN_BF16, 16, ISA_mma_m16n8k16_f32_bf16_bf16_f32}
#define MMA_TF32 {KILN_F32, KILN_F32, 8, ISA_mma_m16n8k8_f32_tf32_tf32_f32}
#define MMA_FP8                                                                                                                \
  {KILN_E4M3, KILN_E4M3, 32, ISA_mma_m16n8k32_f32_e4m3_e4m3_f32}, {KILN_E4M3, KILN_E5M2, 32, ISA_mma_m16n8k32_f32_e4m3_e5m2_f32}, \
  {KILN_E5M2, KILN_E4M3, 32, ISA_mma_m16n8k32_f32_e5m2_e4m3_f32}, {KILN_E5M2, KILN_E5M2, 32, ISA_mma_m16n8k32_f32_e5m2_e5m2_f32}
