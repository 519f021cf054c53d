/* decode_async.c - from a row to a handler, for what Hopper adds: mbarriers, bulk and tensor copies, clusters, products of a warpgroup. */
#include "decode.h"
#include "engine.h"

bool sim_is_async(const Words *w) {
  static const char *const mnemonics[] = {"mbarrier", "mapa", "getctarank", "griddepcontrol", "wgmma", "setmaxnreg"};
  static const char *const words[] = {"bulk", "shared::cluster", "mbarrier", "mbarrier_init", "proxy"};
  if (find_in(w, 0, mnemonics, sizeof mnemonics / sizeof *mnemonics) >= 0 || word_is(w, 1, "tensormap") ||
      (word_is(w, 0, "barrier") && word_is(w, 1, "cluster")))
    return true;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (has_word(w, words[i])) return true;
  return false;
}

/* ---- mbarriers ---- */

static bool decode_mbarrier(Decode *d) {
  SimInstr *in = d->in;
  const Words *w = &d->w;
  bool returns = d->form->op[0].writes;
  d->p->fn->uses_async = true;
  int operands = d->nops - (d->form->op[0].kind == ISA_OPND_SINK); /* the sink has no place in the list */
  if (has_word(w, "shared::cluster")) in->flags |= SIM_I_REMOTE;
  if (word_is(w, 1, "init")) return use(d, "mbarrier_init");
  if (word_is(w, 1, "inval")) return use(d, "mbarrier_inval");
  if (word_is(w, 1, "pending_count")) return use(d, "mbarrier_pending");
  if (word_is(w, 1, "expect_tx") || word_is(w, 1, "complete_tx")) {
    in->sub = word_is(w, 1, "complete_tx");
    return use(d, "mbarrier_tx");
  }
  if (word_is(w, 1, "test_wait") || word_is(w, 1, "try_wait")) {
    in->sub = (uint16_t)((word_is(w, 1, "try_wait") ? MBAR_TRY : 0) | (has_word(w, "parity") ? MBAR_BY_PARITY : 0));
    return use(d, "mbarrier_wait");
  }
  if (!word_is(w, 1, "arrive") && !word_is(w, 1, "arrive_drop")) return refuse(d);
  in->n = (uint8_t)(operands - returns - 1); /* a count, or bytes */
  in->sub = (uint16_t)((word_is(w, 1, "arrive_drop") ? MBAR_DROP : 0) | (has_word(w, "expect_tx") ? MBAR_EXPECT : 0) |
                       (has_word(w, "noComplete") ? MBAR_NO_COMPLETE : 0) | (returns ? MBAR_RETURNS : 0));
  return use(d, "mbarrier_arrive");
}

/* ---- bulk copies ---- */

static bool decode_reduction(Decode *d, uint16_t *sub) { /* operation and element type: BULK_OPS, BULK_TYPES */
  static const char *const ops[] = {"add", "min", "max", "inc", "dec", "and", "or", "xor"};
  static const char *const types[] = {"u32", "s32", "u64", "s64", "f16", "bf16", "f32", "f64", "b32", "b64"};
  int op = -1, type = -1;
  for (int i = 1; i < d->w.count; i++) {
    if (op < 0) op = find_in(&d->w, i, ops, 8);
    if (type < 0) type = find_in(&d->w, i, types, 10);
  }
  if (type >= 8) type = type == 8 ? BULK_U32 : BULK_U64;
  if (op < 0) return false;
  *sub |= (uint16_t)(op << 5 | (type < 0 ? 0 : type) << 8);
  return true;
}

static bool decode_bulk(Decode *d) {
  SimInstr *in = d->in;
  const Words *w = &d->w;
  if (has_word(w, "commit_group")) return use(d, "bulk_commit");
  if (has_word(w, "wait_group")) {
    in->imm = d->ops[0].imm;
    in->sub = has_word(w, "read") ? 1 : 0;
    return in->imm < 0 ? sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "%s needs a count of 0 or more", d->form->opcode) : use(d, "bulk_wait");
  }
  if (has_word(w, "prefetch")) return use(d, "prefetch");
  bool reduce = word_is(w, 1, "reduce"), stores = has_word(w, "bulk_group"), peer = !stores && has_word(w, "shared") && !has_word(w, "global");
  in->sub = stores ? reduce ? BULK_REDUCE : BULK_STORE : peer ? reduce ? BULK_REDUCE_PEER : BULK_PEER : BULK_LOAD;
  if (has_word(w, "multicast::cluster")) in->sub |= BULK_MULTICAST;
  if (reduce && !decode_reduction(d, &in->sub)) return refuse(d);
  if (reduce) in->sem = SEM_RELAXED, in->scope = SCOPE_GPU; /* each element by itself */
  if (has_word(w, "tensor")) {
    in->sub |= BULK_TENSOR;
    for (int i = 0; i < d->nops; i++)
      if (d->form->op[i].closes) in->n = d->form->op[i].count;
  }
  d->p->fn->uses_async = true;
  return use(d, "bulk");
}

/* st.async, red.async: registers to another CTA's memory, with bytes for the mbarrier there */
static bool decode_remote_async(Decode *d) {
  uint8_t type, bits;
  int last = d->w.count - 1;
  if (!sim_type_word(d->w.at[last], d->w.n[last], &type, &bits)) return refuse(d);
  d->in->size = bits / 8;
  d->in->n = has_word(&d->w, "v2") ? 2 : has_word(&d->w, "v4") ? 4 : 1;
  d->p->fn->uses_async = true;
  if (word_is(&d->w, 0, "st")) return use(d, "st_async");
  return decode_reduction(d, &d->in->sub) ? use(d, "red_async") : refuse(d);
}

/* ---- clusters ---- */

static bool decode_cluster_barrier(Decode *d) {
  if (!word_is(&d->w, 1, "cluster")) return refuse(d);
  d->in->sub = has_word(&d->w, "relaxed") ? 1 : 0;
  d->in->n = has_word(&d->w, "aligned") ? 1 : 0;
  return use(d, word_is(&d->w, 2, "arrive") ? "cluster_arrive" : "cluster_wait");
}

static bool decode_proxy(Decode *d) {
  if (has_word(&d->w, "async")) return use(d, "fence_async");
  return use(d, "nop"); /* tensor maps: nothing changes one while a kernel runs */
}

/* ---- products of a warpgroup: wgmma.mma_async.sync.aligned.SHAPE.D.A.B ---- */

static bool sign_of(Decode *d, int k, bool *minus) {
  if (d->ops[k].imm != 1 && d->ops[k].imm != -1)
    return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "%s: a scale is 1 or -1, not %lld", d->form->opcode, (long long)d->ops[k].imm);
  *minus ^= d->ops[k].imm < 0;
  return true;
}

static bool decode_scales(Decode *d, bool a_regs) { /* behind scale-d: scales of A and B, then transpositions */
  bool minus = false;
  if (d->nops > 4 && (!sign_of(d, 4, &minus) || !sign_of(d, 5, &minus))) return false;
  if (minus) d->in->sub |= WG_MINUS;
  for (int k = 6; k < d->nops; k++) {
    if (d->ops[k].imm & ~(int64_t)1)
      return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "%s: a transposition is 0 or 1, not %lld", d->form->opcode, (long long)d->ops[k].imm);
    if (d->ops[k].imm) d->in->sub |= k == 6 && !a_regs ? WG_TRANSPOSE_A : WG_TRANSPOSE_B;
  }
  return true;
}

static bool decode_wgmma(Decode *d) {
  static const char *const types[] = {"f16", "bf16", "tf32", "e4m3", "e5m2", "u8", "s8"}, *const kinds[] = {"f32", "f16", "s32"};
  SimInstr *in = d->in;
  const Words *w = &d->w;
  if (!d->p->fn->entry) return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "'%s' is not simulated in a device function", d->form->opcode);
  if (word_is(w, 1, "fence")) return use(d, "wgmma_fence");
  if (word_is(w, 1, "commit_group")) return use(d, "wgmma_commit");
  if (word_is(w, 1, "wait_group")) {
    in->imm = d->ops[0].imm;
    return in->imm < 0 ? sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "wgmma.wait_group needs a count of 0 or more") : use(d, "wgmma_wait");
  }
  int kind = find_in(w, 5, kinds, 3), a = find_in(w, 6, types, 7), b = find_in(w, 7, types, 7), N = 0;
  if (kind < 0 || a < 0 || b < 0 || memcmp(w->at[4], "m64n", 4) != 0) return refuse(d);
  for (const char *s = w->at[4] + 4; *s >= '0' && *s <= '9'; s++) N = N * 10 + (*s - '0');
  bool a_regs = d->form->op[1].count == 4;
  in->n = (uint8_t)(N / 8);
  in->sub = (uint16_t)(a | b << 4 | kind << 8 | (a_regs ? WG_A_IN_REGS : 0));
  in->flags |= SIM_I_MACS;
  in->imm2 = d->form->op[0].count + d->form->op[1].count + 1; /* the place of scale-d */
  d->p->fn->uses_async = true;
  return decode_scales(d, a_regs) && use(d, "wgmma");
}

static bool decode_setmaxnreg(Decode *d) {
  int64_t n = d->ops[0].imm;
  if (n < 24 || n > 256 || n % 8)
    return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "setmaxnreg takes a multiple of 8 from 24 to 256, not %lld", (long long)n);
  d->in->imm = n;
  d->in->sub = word_is(&d->w, 1, "inc");
  return use(d, "setmaxnreg");
}

static bool decode_shared_cluster(Decode *d) { /* ld, st, atom, red .shared::cluster */
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"};
  static const char *const types[] = {"u32", "s32", "u64", "s64", "f32", "f64", "f16x2", "bf16x2", "b32", "b64"};
  SimInstr *in = d->in;
  uint8_t type, bits;
  int last = d->w.count - 1;
  if (!sim_type_word(d->w.at[last], d->w.n[last], &type, &bits)) return refuse(d);
  in->size = bits / 8;
  if (type == 's') in->flags |= SIM_I_SIGNED;
  in->n = has_word(&d->w, "v2") ? 2 : has_word(&d->w, "v4") ? 4 : 1;
  in->space = SPACE_SHARED;
  uint32_t shift = in->size == 1 ? 0 : in->size == 2 ? 1 : 2;
  if (d->p->fn->shift > shift) d->p->fn->shift = shift;
  if (word_is(&d->w, 0, "ld")) return use(d, "ld_cluster");
  if (word_is(&d->w, 0, "st")) return use(d, "st_cluster");
  int op = -1, t = find_in(&d->w, last, types, 10);
  for (int i = 1; i < d->w.count && op < 0; i++) op = find_in(&d->w, i, ops, 10);
  if (op < 0 || t < 0) return refuse(d);
  if (t >= 8) t = t == 8 ? 0 : 2;
  in->sub = (uint16_t)(op | t << 4 | (word_is(&d->w, 0, "atom") ? 1 << 8 : 0));
  return use(d, "atom_cluster");
}

bool sim_decode_async(Decode *d) {
  const Words *w = &d->w;
  if (word_is(w, 0, "mbarrier")) return decode_mbarrier(d);
  if (word_is(w, 0, "wgmma")) return decode_wgmma(d);
  if (word_is(w, 0, "setmaxnreg")) return decode_setmaxnreg(d);
  if (word_is(w, 0, "barrier")) return decode_cluster_barrier(d);
  if (word_is(w, 0, "griddepcontrol")) return use(d, word_is(w, 1, "wait") ? "depend" : "nop"); /* launches are executed one after another */
  if (word_is(w, 0, "mapa")) return use(d, word_is(w, 1, "u64") ? "mapa_b64" : "mapa_b32");
  if (word_is(w, 0, "getctarank")) return use(d, word_is(w, 1, "u64") ? "getctarank_b64" : "getctarank_b32");
  if (word_is(w, 0, "fence")) return has_word(w, "mbarrier_init") ? use(d, "fence_mbarrier_init") : decode_proxy(d);
  if (word_is(w, 1, "tensormap")) return use(d, "prefetch");
  if (word_is(w, 0, "cp") && has_word(w, "mbarrier")) {
    d->in->sub = has_word(w, "noinc") ? 1 : 0;
    return use(d, "cp_async_arrive");
  }
  if (has_word(w, "bulk")) return decode_bulk(d);
  if (word_is(w, 1, "async")) return decode_remote_async(d);
  return decode_shared_cluster(d);
}
