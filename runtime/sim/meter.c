/* meter.c - the option meter=on: what each memory instruction asks of the banks of shared memory and of the sectors of global memory.
 *
 * An instruction of a form with an address gets the handler below, which counts and goes on to its own; without the option there is
 * none. Which addresses, and how much is moved, follows from the row of gen/isa and the fields that decode.c has set. */
#include "api.h"
#include <stdlib.h>
#include <string.h>

enum { BANKS = 32, BANK_BYTES = 4, SECTOR_BYTES = 32, ROW_BYTES = 16, MAX_ACCESS = 64 };

typedef struct Access { /* of one warp at one memory operand */
  SimWarp *w;
  const SimInstr *in;
  SimMeter *m;
  uint64_t addr[SIM_LANES];
  uint32_t bytes[SIM_LANES]; /* by lane; 0: none */
  uint32_t widest;
  bool reads, writes;
} Access;

/* Of asynchronous copies those of a piece per lane: what engines move in bulk is not asked for by lanes, and counted when it is issued
 * (engine_bulk.c). */
bool sim_meter_wants(const SimInstr *in) {
  const IsaForm *f = isa_form((IsaId)in->form);
  if (f->flags & ISA_ASYNC && strcmp(sim_handler_name(in->handler), "cp_async") != 0) return false;
  for (int i = 0; i < f->nops; i++)
    if (f->op[i].kind == ISA_OPND_MEM && (f->flags & (ISA_READS | ISA_WRITES))) return true;
  return false;
}

/* ---- counting ---- */

static void count_bytes(const Access *a, uint32_t mask, int space) {
  uint64_t bytes = 0;
  for (uint32_t m = mask; m; m &= m - 1) bytes += a->bytes[__builtin_ctz(m)];
  if (a->reads) a->m->read[space] += bytes;
  if (a->writes) a->m->written[space] += bytes;
}

/* Lanes that are served together: all, half or a quarter of the warp, so that they move at most 128 bytes. In each the bank with the
 * most words decides how often the memory is asked. */
static uint32_t wavefronts_of(const Access *a, uint32_t mask) {
  uint64_t word[BANKS][MAX_ACCESS];
  uint8_t n[BANKS] = {0}, most = 0;
  for (uint32_t m = mask; m; m &= m - 1) {
    int l = __builtin_ctz(m);
    for (uint64_t w = a->addr[l] / BANK_BYTES; w <= (a->addr[l] + a->bytes[l] - 1) / BANK_BYTES; w++) {
      uint32_t bank = w % BANKS, i = 0;
      while (i < n[bank] && word[bank][i] != w) i++;
      if (i < n[bank] || i == MAX_ACCESS) continue;
      word[bank][n[bank]++] = w;
      if (n[bank] > most) most = n[bank];
    }
  }
  return most;
}

static void count_shared(const Access *a, uint32_t mask) {
  uint32_t group = a->widest <= 4 ? 32 : a->widest <= 8 ? 16 : 8;
  a->m->shared_requests++;
  for (uint32_t first = 0; first < SIM_LANES; first += group) {
    uint32_t lanes = mask & (group == 32 ? SIM_FULL : ((1u << group) - 1) << first);
    a->m->shared_ideal += lanes != 0;
    a->m->shared_wavefronts += wavefronts_of(a, lanes);
  }
  count_bytes(a, mask, KILNSIM_SHARED);
}

static int by_value(const void *x, const void *y) {
  uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
  return a < b ? -1 : a > b;
}

/* Sectors that are touched; at best, as many as the distinct bytes would fill. */
static void count_global(const Access *a, uint32_t mask) {
  uint64_t piece[SIM_LANES], sectors = 0, last = 0, distinct = 0, end = 0;
  uint32_t n = 0, longest = a->widest;
  for (uint32_t m = mask; m; m &= m - 1) piece[n++] = a->addr[__builtin_ctz(m)];
  qsort(piece, n, sizeof *piece, by_value);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t from = piece[i] > end ? piece[i] : end, to = piece[i] + longest;
    if (to > from) distinct += to - from, end = to;
    for (uint64_t s = piece[i] / SECTOR_BYTES; s <= (piece[i] + longest - 1) / SECTOR_BYTES; s++) {
      if (sectors && s <= last) continue;
      sectors++;
      last = s;
    }
  }
  a->m->global_requests++;
  a->m->global_sectors += sectors;
  a->m->global_ideal += (distinct + SECTOR_BYTES - 1) / SECTOR_BYTES;
  count_bytes(a, mask, KILNSIM_GLOBAL);
}

/* ---- one instruction ---- */

static uint32_t in_window(const Access *a, uint32_t mask, uint64_t base) {
  uint32_t m = 0;
  for (uint32_t k = mask; k; k &= k - 1) {
    int l = __builtin_ctz(k);
    if ((a->addr[l] & ~SIM_WINDOW_MASK) == base) m |= 1u << l;
  }
  return m;
}

static void count_access(const Access *a, uint32_t mask, char space) {
  uint32_t active = 0;
  for (uint32_t m = mask; m; m &= m - 1) active |= a->bytes[__builtin_ctz(m)] ? m & -m : 0;
  if (!active) return;
  if (space == 'a') { /* generic: by where each lane's address lies */
    uint32_t shared = in_window(a, active, SIM_SHARED_BASE), local = in_window(a, active, SIM_LOCAL_BASE), param = in_window(a, active, SIM_PARAM_BASE);
    uint32_t rest = active & ~shared & ~local & ~param;
    if (shared) count_shared(a, shared);
    if (local) count_bytes(a, local, KILNSIM_LOCAL);
    if (param) count_bytes(a, param, KILNSIM_PARAM);
    if (rest) count_global(a, rest);
    return;
  }
  switch (space) {
  case 's': count_shared(a, active); break;
  case 'g': count_global(a, active); break;
  case 'l': count_bytes(a, active, KILNSIM_LOCAL); break;
  case 'p': count_bytes(a, active, KILNSIM_PARAM); break;
  case 'c': count_bytes(a, active, KILNSIM_CONST); break;
  default: break;
  }
}

static void read_addresses(Access *a, uint32_t slot, bool narrow, int64_t offset) {
  const char *at = a->w->regs + a->in->o[slot];
  for (int l = 0; l < SIM_LANES; l++) {
    uint32_t half;
    if (narrow) memcpy(&half, at + 4 * l, 4), a->addr[l] = half + (uint32_t)offset;
    else memcpy(&a->addr[l], at + 8 * l, 8), a->addr[l] += (uint64_t)offset;
  }
}

/* What each lane moves at a memory operand. Rows of matrices: 16 bytes at the addresses of the first lanes. A copy reads what its last
 * operand says, if there is one. */
static void read_sizes(Access *a, const IsaForm *f, bool second) {
  const SimInstr *in = a->in;
  bool rows = f->flags & ISA_COLLECTIVE, copy = f->flags & ISA_ASYNC;
  uint32_t bytes = rows ? ROW_BYTES : copy ? in->size : (uint32_t)in->n * in->size;
  a->widest = 0;
  for (int l = 0; l < SIM_LANES; l++) {
    uint32_t given = bytes;
    if (rows && l >= 8 * in->n) given = 0;
    if (copy && second && in->n) {
      memcpy(&given, a->w->regs + in->o[3] + 4 * l, 4);
      if (given > bytes) given = bytes;
    }
    a->bytes[l] = given;
    if (given > a->widest) a->widest = given;
  }
}

int sim_metered(SimWarp *w, const SimInstr *in, uint32_t mask) {
  const IsaForm *f = isa_form((IsaId)in->form);
  SimMeter *m = &w->cta->group->meter[sim_code_index(w, in)];
  SimMeter before = *m;
  uint32_t slot = 0, nth = 0;
  for (int i = 0; i < f->nops; i++) {
    const IsaOperand *o = &f->op[i];
    if (o->kind != ISA_OPND_MEM) {
      slot += o->pair_pred ? 2u : o->count;
      continue;
    }
    bool copy = f->flags & ISA_ASYNC, second = nth++ > 0;
    Access a = {.w = w, .in = in, .m = m, .reads = copy ? second : f->flags & ISA_READS, .writes = copy ? !second : f->flags & ISA_WRITES};
    read_addresses(&a, slot++, in->flags & (second ? SIM_I_ADDR32B : SIM_I_ADDR32), second ? in->imm2 : in->imm);
    read_sizes(&a, f, second);
    if (a.widest && nth <= 2) count_access(&a, mask, o->cls);
  }
  int step = w->cta->launch->dev->level->handler[in->handler](w, in, mask);
  if (step == STEP_YIELD) *m = before; /* its turn is yet to come, or it has failed */
  return step;
}

/* ---- what a launch adds to the device's list: a row per instruction that was executed ---- */

static kilnsim_meter_row *find_row(SimDevice *dev, const SimFunction *fn, const SimInstr *in, uint32_t *hint) {
  uint32_t n = SIM_COUNT(&dev->rows, kilnsim_meter_row);
  for (uint32_t k = 0; k < n; k++) { /* rows of a kernel stand in its order: the next one is usually the one looked for */
    uint32_t i = (*hint + k) % n;
    kilnsim_meter_row *r = &SIM_AT(&dev->rows, kilnsim_meter_row, i);
    if (r->ptx_line != (int)in->line || strcmp(r->entry, fn->name) != 0) continue;
    *hint = i + 1;
    return r;
  }
  kilnsim_meter_row *r = sim_push(&dev->rows, sizeof *r);
  if (!r) return NULL;
  const SimBuf *files = &fn->module->files;
  const char *file = in->src_file < SIM_COUNT(files, char *) ? SIM_AT(files, char *, in->src_file) : NULL;
  size_t bytes = strlen(fn->name), room = sizeof r->entry - 1;
  memcpy(r->entry, fn->name, bytes < room ? bytes : room);
  bytes = file ? strlen(file) : 0, room = sizeof r->file - 1;
  if (file) memcpy(r->file, file, bytes < room ? bytes : room);
  r->line = (int)in->src_line;
  r->ptx_line = (int)in->line;
  r->opcode = isa_form((IsaId)in->form)->opcode;
  return r;
}

static void add_cell(kilnsim_meter_row *r, const SimMeter *m) {
  r->shared_requests += m->shared_requests;
  r->shared_wavefronts += m->shared_wavefronts;
  r->shared_ideal += m->shared_ideal;
  r->global_requests += m->global_requests;
  r->global_sectors += m->global_sectors;
  r->global_ideal += m->global_ideal;
  for (int s = 0; s < KILNSIM_SPACES; s++) {
    r->read[s] += m->read[s];
    r->written[s] += m->written[s];
  }
}

void sim_meter_collect(SimLaunch *l) {
  uint32_t hint = 0, n = l->fn->ncode + l->fn->module->func_code;
  for (uint32_t i = 0; l->dev->meter && i < n; i++) {
    const SimInstr *in = sim_code_at(l, i);
    uint64_t lanes = 0;
    for (uint32_t k = 0; k < l->ngroups_open; k++) lanes += l->groups[k]->lanes[i];
    if (!lanes || !in->form) continue;
    kilnsim_meter_row *r = find_row(l->dev, l->fn, in, &hint);
    if (!r) return; /* the table is a service: the launch has succeeded all the same */
    r->lane_instructions += lanes;
    for (uint32_t k = 0; k < l->ngroups_open; k++) add_cell(r, &l->groups[k]->meter[i]);
  }
}

DRV_EXPORT unsigned kilnsim_meter(int ordinal, int index, kilnsim_meter_row *out) {
  sim_enter();
  SimDevice *d = out ? sim_device_at(ordinal) : NULL;
  if (!d) return sim_leave(out ? DRV_INVALID_DEVICE : DRV_INVALID_VALUE);
  if (!d->meter) return sim_leave(sim_say(DRV_NOT_FOUND, "device %d has no meter: the option is meter=on", ordinal));
  if (index < 0 || (uint32_t)index >= SIM_COUNT(&d->rows, kilnsim_meter_row)) return sim_leave(DRV_NOT_FOUND);
  *out = SIM_AT(&d->rows, kilnsim_meter_row, index);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT unsigned kilnsim_meter_reset(int ordinal) {
  sim_enter();
  SimDevice *d = sim_device_at(ordinal);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  sim_buf_free(&d->rows);
  return sim_leave(DRV_SUCCESS);
}
