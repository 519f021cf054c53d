/* launch.c - a grid over the host's cores. CTAs are independent and taken in order; of several that fail the first counts, so that the
 * outcome does not depend on how many cores there are. */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN = 128 };

/* A worker's memory is one block that the device keeps from launch to launch. */
typedef struct Carve { char *at; size_t used; } Carve;

static void *carve(Carve *c, size_t bytes) { /* aligned for the widest vectors; at NULL: only counts */
  size_t start = (c->used + ALIGN - 1) / ALIGN * ALIGN;
  c->used = start + bytes;
  return c->at ? c->at + start : NULL;
}

static void carve_worker(SimWorker *k, const SimLaunch *l, Carve *c) {
  const SimFunction *fn = l->fn;
  size_t n = l->nwarps;
  k->files = carve(c, fn->file_bytes * n);
  k->lanes = carve(c, (fn->ncode + fn->module->func_code) * sizeof *k->lanes);
  k->init = carve(c, fn->ntracked * n * sizeof *k->init);
  k->cache = carve(c, (fn->nmem + fn->module->func_mem) * sizeof *k->cache);
  k->zeroed = c->used; /* what follows is filled at the beginning of each CTA */
  k->shared_bytes = l->shared_bytes;
  k->shared = carve(c, l->shared_bytes + ALIGN);
  k->cells = l->checks ? (l->shared_bytes >> fn->shift) + 1 : 0;
  k->wr = carve(c, k->cells * sizeof *k->wr);
  k->rd = carve(c, k->cells * n * sizeof *k->rd);
}

static bool open_worker(SimWorker *k, SimLaunch *l, SimBlock *block) {
  Carve c = {0};
  k->launch = l;
  k->cta.launch = l;
  k->cta.worker = k;
  carve_worker(k, l, &c);
  size_t need = c.used + ALIGN;
  if (block->bytes < need) {
    sim_delete(block->at, block->bytes);
    *block = (SimBlock){sim_new(need), 0};
    if (!block->at) return false;
    block->bytes = need;
  }
  c = (Carve){(char *)(((uintptr_t)block->at + ALIGN - 1) / ALIGN * ALIGN), 0};
  carve_worker(k, l, &c);
  memset(c.at, 0, k->zeroed);
  for (uint32_t i = 0; i < l->nwarps; i++) sim_fill_constants(l->fn, k->files + (size_t)i * l->fn->file_bytes);
  return true;
}

static void close_worker(SimWorker *k) {
  for (uint32_t i = 0; i < SIM_MAX_WARPS; i++) {
    if (k->cta.warp[i].copies) kiln_mem(k->cta.warp[i].copies, k->cta.warp[i].copies_cap * sizeof(SimCopy), 0);
    sim_frames_free(&k->cta.warp[i]);
  }
}

static void keep_fault(SimLaunch *l, const SimCta *c) {
  pthread_mutex_lock(&l->lock);
  if (!l->code || c->index < l->fault_cta) {
    l->fault_cta = c->index;
    l->finding = c->finding;
    l->code = c->code;
    atomic_store(&l->stop_at, c->index);
  }
  pthread_mutex_unlock(&l->lock);
}

static void *run_worker(void *arg) {
  SimWorker *k = arg;
  SimLaunch *l = k->launch;
  for (;;) {
    uint64_t i = atomic_fetch_add(&l->next, 1);
    if (i >= l->ctas || i >= atomic_load(&l->stop_at)) return NULL;
    k->cta.index = i;
    sim_cta_run(&k->cta);
    if (k->cta.faulted) keep_fault(l, &k->cta);
  }
}

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

static void count_code(SimDevice *dev, const SimFunction *fn, const uint64_t *lanes, uint64_t *form) {
  for (uint32_t i = 0; i < fn->ncode; i++) {
    dev->counters.lane_instructions += lanes[i];
    if (form) form[fn->code[i].form] += lanes[i];
  }
}

static void count(SimLaunch *l, SimWorker *workers, int n, double seconds) {
  SimDevice *dev = l->dev;
  uint64_t *form = sim_new(ISA_COUNT * sizeof *form);
  dev->counters = (kilnsim_counters){.ctas = l->ctas, .seconds = seconds};
  dev->forms.n = 0;
  for (int k = 0; k < n; k++) {
    dev->counters.tensor_macs += workers[k].macs;
    dev->counters.warp_instructions += workers[k].warp_instructions;
    count_code(dev, l->fn, workers[k].lanes, form);
    for (uint32_t i = 0; i < SIM_COUNT(&l->fn->module->functions, SimFunction *); i++) {
      const SimFunction *f = SIM_AT(&l->fn->module->functions, SimFunction *, i);
      if (!f->entry) count_code(dev, f, workers[k].lanes + l->fn->ncode + f->code_base, form);
    }
  }
  add_counters(&dev->total, &dev->counters);
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

DrvResult sim_launch_run(SimLaunch *l) {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  uint64_t n = l->dev->cores ? (uint64_t)l->dev->cores : online > 0 ? (uint64_t)online : 1;
  if (n > SIM_MAX_CORES) n = SIM_MAX_CORES;
  if (n > l->ctas) n = l->ctas;
  SimWorker *workers = sim_new(n * sizeof *workers);
  bool ok = workers != NULL;
  for (uint64_t i = 0; i < n && ok; i++) ok = open_worker(&workers[i], l, &l->dev->block[i]);
  double start = now_seconds();
  if (ok) {
    pthread_mutex_init(&l->lock, NULL);
    atomic_store(&l->stop_at, l->ctas);
    for (uint64_t i = 1; i < n; i++) workers[i].started = pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) == 0;
    run_worker(&workers[0]);
    for (uint64_t i = 1; i < n; i++)
      if (workers[i].started) pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&l->lock);
    sim_print_collect(l);
    count(l, workers, (int)n, now_seconds() - start);
  }
  for (uint64_t i = 0; i < n && workers; i++) close_worker(&workers[i]);
  sim_delete(workers, n * sizeof *workers);
  return ok ? l->code : DRV_OUT_OF_MEMORY;
}
