/* launch.c - a grid: how much of it is resident, its execution, what it counted. */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Engines of asynchronous copies: how many a cell can name (one number stands for an mbarrier), and how many a CTA gets. More would cost
 * time; few mbarriers share one as it is. */
enum { ENGINES = SIM_CELL_ENGINE - 1, MOST_ENGINES = 16 };

static int compare_forms(const void *a, const void *b) {
  const SimFormCount *x = a, *y = b;
  if (x->lanes != y->lanes) return x->lanes < y->lanes ? 1 : -1;
  return strcmp(x->opcode, y->opcode);
}

static void add_counters(kilnsim_counters *to, const kilnsim_counters *x) {
  to->warp_instructions += x->warp_instructions;
  to->lane_instructions += x->lane_instructions;
  to->tensor_macs += x->tensor_macs;
  to->ctas += x->ctas;
  to->seconds += x->seconds;
}

static void count(SimLaunch *l, double seconds) {
  SimDevice *dev = l->dev;
  uint64_t *form = sim_new(ISA_COUNT * sizeof *form);
  dev->counters = (kilnsim_counters){.ctas = l->ctas, .seconds = seconds};
  dev->forms.n = 0;
  for (uint32_t k = 0; k < l->ngroups_open; k++) {
    const SimGroup *g = l->groups[k];
    dev->counters.tensor_macs += g->macs;
    dev->counters.warp_instructions += g->warp_instructions;
    for (uint32_t i = 0; i < l->fn->ncode + l->fn->module->func_code; i++) {
      if (!g->lanes[i]) continue;
      dev->counters.lane_instructions += g->lanes[i];
      if (form) form[sim_code_at(l, i)->form] += g->lanes[i];
    }
  }
  add_counters(&dev->total, &dev->counters);
  sim_meter_collect(l);
  for (int id = 1; form && id < ISA_COUNT; id++) {
    if (!form[id]) continue;
    SimFormCount *f = sim_push(&dev->forms, sizeof *f);
    if (!f) break; /* the table is a service: the launch has succeeded all the same */
    *f = (SimFormCount){isa_form((IsaId)id)->opcode, form[id]};
  }
  if (dev->forms.n) qsort(dev->forms.at, SIM_COUNT(&dev->forms, SimFormCount), sizeof(SimFormCount), compare_forms);
  sim_delete(form, ISA_COUNT * sizeof *form);
}

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint32_t sim_launch_occupancy(const SimTarget *t, const SimFunction *f, uint32_t threads, uint64_t dynamic_bytes) {
  uint32_t warps = (threads + 31) / 32, n = t->ctas_sm, regs = (f->regs + 7) / 8 * 8;
  uint32_t room = 65536 / (warps * 32) / 8 * 8; /* the estimate, brought below what the block leaves */
  if (regs > room) regs = room;
  if (regs > 255) regs = 255;
  uint32_t by_threads = t->threads_sm / (warps * 32), by_regs = 65536 / (regs * 32 * warps);
  uint64_t bytes = dynamic_bytes + f->shared_static + t->reserved, by_shared = bytes ? t->shared_sm / bytes : n;
  if (by_threads < n) n = by_threads;
  if (by_regs < n) n = by_regs;
  return by_shared < n ? (uint32_t)by_shared : n;
}

uint32_t sim_launch_registers(const SimLaunch *l) {
  const SimFunction *f = l->fn;
  const uint32_t *n = f->reqntid[0] ? f->reqntid : f->maxntid;
  if (f->maxnreg) return f->maxnreg > 255 ? 255 : f->maxnreg;
  if (!n[0] || !f->minnctapersm) return 0;
  uint32_t threads = (n[0] * n[1] * n[2] + 31) / 32 * 32, regs = 65536 / (threads * f->minnctapersm) / 8 * 8;
  return regs > 255 ? 255 : regs;
}

/* Groups that the device holds at a time. */
static uint32_t resident_groups(const SimLaunch *l) {
  uint32_t per_sm = sim_launch_occupancy(l->dev->target, l->fn, l->threads, l->dynamic_bytes);
  uint64_t n = (uint64_t)per_sm * (uint32_t)l->dev->sms / l->group_ctas;
  if (n < 1) n = 1;
  return (uint32_t)(n < l->ngroups ? n : l->ngroups);
}

DrvResult sim_launch_run(SimLaunch *l) {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  uint64_t n = l->dev->cores ? (uint64_t)l->dev->cores : online > 0 ? (uint64_t)online : 1;
  l->group_ctas = l->cluster[0] * l->cluster[1] * l->cluster[2];
  l->ngroups = l->ctas / l->group_ctas;
  l->engines = l->clocks < CLOCKS ? 0 : ENGINES / l->group_ctas < MOST_ENGINES ? ENGINES / l->group_ctas : MOST_ENGINES;
  l->resident = resident_groups(l);
  l->serial = l->dev->launches + 1;
  if (n > SIM_MAX_CORES) n = SIM_MAX_CORES;
  l->ncores = (uint32_t)(n < l->ngroups ? n : l->ngroups);
  double start = now_seconds();
  DrvResult code = sim_order_open(l) ? sim_schedule_run(l) : DRV_OUT_OF_MEMORY;
  if (code != DRV_OUT_OF_MEMORY) count(l, now_seconds() - start);
  for (uint32_t i = 0; i < l->ngroups_open; i++) sim_group_close(l->groups[i]);
  if (l->groups) kiln_mem(l->groups, l->groups_cap * sizeof *l->groups, 0);
  sim_order_close(l);
  sim_print_collect(l);
  return code;
}
