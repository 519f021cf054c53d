/* launch.c - a grid over the host's cores. CTAs are independent and taken in order; of several that fail the first counts, so that the
 * outcome does not depend on how many cores there are. */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CORES = 64, FILE_ALIGN = 128 };

static void *new_aligned(size_t bytes, void **whole, size_t *whole_bytes) { /* slots are aligned for the widest vectors */
  *whole_bytes = bytes + FILE_ALIGN;
  *whole = sim_new(*whole_bytes);
  return *whole ? (void *)(((uintptr_t)*whole + FILE_ALIGN - 1) / FILE_ALIGN * FILE_ALIGN) : NULL;
}

typedef struct WorkerMemory { void *files, *shared; size_t files_bytes, shared_bytes; } WorkerMemory;

static void fill_constants(SimWorker *k, const SimFunction *fn, uint32_t nwarps) {
  for (uint32_t i = 0; i < nwarps; i++) {
    char *file = k->files + (size_t)i * fn->file_bytes;
    for (uint32_t c = 0; c < fn->nfills; c++) {
      uint64_t where = fn->fills[2 * c], v = fn->fills[2 * c + 1];
      char *at = file + (where >> 8);
      uint32_t width = where & 0xff, half = (uint32_t)v;
      if (width == 0) memcpy(at, &half, 4);
      for (int l = 0; l < SIM_LANES && width; l++) memcpy(at + width * (uint32_t)l, width == 8 ? (void *)&v : (void *)&half, width);
    }
  }
}

static bool open_worker(SimWorker *k, SimLaunch *l, WorkerMemory *m) {
  const SimFunction *fn = l->fn;
  k->launch = l;
  k->cta.launch = l;
  k->cta.worker = k;
  k->files = new_aligned((size_t)fn->file_bytes * l->nwarps, &m->files, &m->files_bytes);
  k->shared_bytes = l->shared_bytes;
  k->shared = new_aligned(l->shared_bytes + 64, &m->shared, &m->shared_bytes);
  k->lanes = sim_new(fn->ncode * sizeof *k->lanes);
  k->init = sim_new((size_t)fn->ntracked * l->nwarps * sizeof *k->init);
  k->cache = sim_new(fn->nmem * sizeof *k->cache);
  bool ok = k->files && k->shared && k->lanes && k->init && k->cache;
  if (ok && l->checks) {
    k->cells = (l->shared_bytes >> fn->shift) + 1;
    k->wr = sim_new(k->cells * sizeof *k->wr);
    k->rd = sim_new(k->cells * l->nwarps * sizeof *k->rd);
    ok = k->wr && k->rd;
  }
  if (ok) fill_constants(k, fn, l->nwarps);
  return ok;
}

static void close_worker(SimWorker *k, SimLaunch *l, WorkerMemory *m) {
  const SimFunction *fn = l->fn;
  sim_delete(m->files, m->files_bytes);
  sim_delete(m->shared, m->shared_bytes);
  sim_delete(k->lanes, fn->ncode * sizeof *k->lanes);
  sim_delete(k->init, (size_t)fn->ntracked * l->nwarps * sizeof *k->init);
  sim_delete(k->cache, fn->nmem * sizeof *k->cache);
  sim_delete(k->wr, k->cells * sizeof *k->wr);
  sim_delete(k->rd, k->cells * l->nwarps * sizeof *k->rd);
  for (uint32_t i = 0; i < SIM_MAX_WARPS; i++)
    if (k->cta.warp[i].copies) kiln_mem(k->cta.warp[i].copies, k->cta.warp[i].copies_cap * sizeof(SimCopy), 0);
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

static void count(SimLaunch *l, SimWorker *workers, int n, double seconds) {
  SimDevice *dev = l->dev;
  uint64_t *form = sim_new(ISA_COUNT * sizeof *form);
  dev->counters = (kilnsim_counters){.ctas = l->ctas, .seconds = seconds};
  dev->forms.n = 0;
  for (int k = 0; k < n; k++) {
    dev->counters.tensor_macs += workers[k].macs;
    dev->counters.warp_instructions += workers[k].warp_instructions;
    for (uint32_t i = 0; i < l->fn->ncode && workers[k].lanes; i++) {
      dev->counters.lane_instructions += workers[k].lanes[i];
      if (form) form[l->fn->code[i].form] += workers[k].lanes[i];
    }
  }
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
  if (n > MAX_CORES) n = MAX_CORES;
  if (n > l->ctas) n = l->ctas;
  SimWorker *workers = sim_new(n * sizeof *workers);
  WorkerMemory *memory = workers ? sim_new(n * sizeof *memory) : NULL;
  bool ok = memory != NULL;
  for (uint64_t i = 0; i < n && ok; i++) ok = open_worker(&workers[i], l, &memory[i]);
  double start = now_seconds();
  if (ok) {
    pthread_mutex_init(&l->lock, NULL);
    atomic_store(&l->stop_at, l->ctas);
    for (uint64_t i = 1; i < n; i++) workers[i].started = pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) == 0;
    run_worker(&workers[0]);
    for (uint64_t i = 1; i < n; i++)
      if (workers[i].started) pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&l->lock);
    count(l, workers, (int)n, now_seconds() - start);
  }
  for (uint64_t i = 0; i < n && memory; i++) close_worker(&workers[i], l, &memory[i]);
  sim_delete(memory, n * sizeof *memory);
  sim_delete(workers, n * sizeof *workers);
  return ok ? l->code : DRV_OUT_OF_MEMORY;
}
