/* mutate.c - kiln check --mutate: makes mutants of kernels, runs them on the simulator, and says which of them nobody noticed.
 *
 * Of an op's variants one per skeleton is taken: two whose branches and synchronising instructions come in the same order are of the
 * same one. Each mutant runs on small cases of every class, under several policies and seeds, until the simulator objects or memory
 * afterwards differs from what the kernel itself leaves there in the same case. */
#include "mutate.h"
#include "../../runtime/sim/kilnsim.h"
#include "number.h"
#include <stdlib.h>
#include <string.h>

/* A mutant that waits for what never comes would run for ever: no case takes so many instructions of one warp. */
#define LIMIT "limit=400000"
static const char *const configs[] = {"policy=lazy,seed=0," LIMIT, "policy=eager,seed=1," LIMIT, "policy=random,seed=2," LIMIT,
                                      "policy=lazy,seed=3," LIMIT};
enum { CONFIGS = sizeof configs / sizeof configs[0], CASES_MAX = 12, KINDS_MAX = 32, OTHERS = 20, QUICK = 40 };

typedef struct Trial { /* a case on a device of one configuration */
  CaseData d;
  char *result[DEF_MAX_TENSORS]; /* what the kernel itself leaves */
  bool there;
} Trial;

typedef struct Lab { /* of one variant */
  Group *g;
  const Variant *v;
  Device device[CONFIGS];
  CaseData made[CASES_MAX];
  Trial trial[CONFIGS][CASES_MAX];
  int ncases;
} Lab;

typedef struct Tally { char name[40]; int n; } Tally;
typedef struct Score {
  int made, caught, equivalent, broken; /* broken: kernels that fail unchanged */
  Tally by[KINDS_MAX], rule[KINDS_MAX];
} Score;

typedef struct Job {
  const Options *o;
  KilnGen *gen;
  const char *where;
  Random random;
  Score all;
} Job;

static void count(Tally *t, const char *name) {
  int i = 0;
  while (i < KINDS_MAX - 1 && *t[i].name && strcmp(t[i].name, name) != 0) i++;
  snprintf(t[i].name, sizeof t[i].name, "%s", name);
  t[i].n++;
}

static void write_tallies(const Tally *t, char *text, size_t bytes) {
  size_t n = 0;
  *text = 0;
  for (int i = 0; i < KINDS_MAX && t[i].n && n < bytes; i++)
    n += (size_t)snprintf(text + n, bytes - n, "%s%s %d", i ? ", " : "", t[i].name, t[i].n);
}

/* ---- one run ---- */

typedef struct Loaded { Group group; } Loaded; /* the group with one text on one device */

static bool load(const Lab *lab, int config, const char *text, size_t bytes, Loaded *out) {
  char name[300];
  out->group = *lab->g;
  snprintf(name, sizeof name, "%s.ptx", lab->v->name);
  if (!device_open(&out->group.device, lab->device[config].where, lab->g->device.target)) return false;
  if (kiln_add_text(out->group.device.dev, name, text, bytes) == KILN_OK) return true;
  cli_error("%s", kiln_error());
  device_close(&out->group.device);
  return false;
}

static kiln_status launch(const Loaded *l, const Lab *lab, CaseData *d) {
  kiln_plan *plan = NULL;
  kiln_status status = group_plan(&l->group, d, lab->v->name, &plan);
  if (status == KILN_OK) status = group_launch(&l->group, d, plan);
  kiln_plan_destroy(plan);
  return status;
}

static size_t bytes_of(const CaseTensor *t) { return (size_t)t->elems * number_bytes(t->def->dtype); }

/* Does memory differ from what the kernel itself left? An output over an input is one memory. */
static bool differs(const Loaded *l, const Trial *t) {
  bool same = true;
  for (int i = 0; i < t->d.ntensors && same; i++) {
    size_t bytes = bytes_of(&t->d.tensor[i]);
    char *now = cli_alloc(bytes + 1);
    same = kiln_download(l->group.device.dev, now, t->d.tensor[i].device, bytes) == KILN_OK && memcmp(now, t->result[i], bytes) == 0;
    cli_free(now);
  }
  return !same;
}

static void report_kind(const Loaded *l, char *kind, size_t bytes) {
  unsigned (*report)(int, kilnsim_finding *) = NULL;
  kilnsim_finding *finding = cli_alloc(sizeof *finding);
  bool known = kiln_driver_symbol(l->group.device.dev, "kilnsim_report", (void **)&report) == KILN_OK && report &&
               report(l->group.device.info.ordinal, finding) == 0;
  snprintf(kind, bytes, "%s", known ? finding->kind : "refused");
  cli_free(finding);
}

/* ---- the kernel itself: which cases, and what it leaves ---- */

static void release(Lab *lab) {
  for (int c = 0; c < CONFIGS; c++)
    for (int k = 0; k < lab->ncases; k++) {
      for (int i = 0; i < DEF_MAX_TENSORS; i++) cli_free(lab->trial[c][k].result[i]);
      if (lab->trial[c][k].d.def) tensors_unshare(&lab->trial[c][k].d, &lab->device[c]);
    }
  for (int k = 0; k < lab->ncases; k++) tensors_free(&lab->made[k], &lab->device[0]);
  memset(lab->trial, 0, sizeof lab->trial);
  lab->ncases = 0;
}

/* The kernel on a case under one configuration. KILN_OK: its trial is there. */
static kiln_status try_kernel(Lab *lab, const Loaded *kernel, int config, int k) {
  Trial *t = &lab->trial[config][k];
  tensors_share(&t->d, &lab->made[k]);
  kiln_status status = tensors_upload(&t->d, &lab->device[config]) ? launch(kernel, lab, &t->d) : KILN_NO_MEMORY;
  for (int i = 0; i < t->d.ntensors && status == KILN_OK; i++) {
    t->result[i] = cli_alloc(bytes_of(&t->d.tensor[i]) + 1);
    status = kiln_download(kernel->group.device.dev, t->result[i], t->d.tensor[i].device, bytes_of(&t->d.tensor[i]));
  }
  t->there = status == KILN_OK;
  return status;
}

static void drop_last(Lab *lab) {
  int k = lab->ncases - 1;
  Trial *t = &lab->trial[0][k];
  for (int i = 0; i < DEF_MAX_TENSORS; i++) cli_free(t->result[i]);
  tensors_unshare(&t->d, &lab->device[0]);
  tensors_free(&lab->made[k], &lab->device[0]);
  memset(t, 0, sizeof *t);
  lab->ncases--;
}

/* Small cases first; of those that the variant takes as many as there is room for. false: it fails on one, which is said. */
static bool choose_cases(Job *job, Lab *lab, CaseList *cases, double most) {
  char why[512];
  Loaded kernel;
  bool *tried = cli_alloc((size_t)cases->n + 1), sound = true;
  if (!load(lab, 0, lab->v->text, lab->v->bytes, &kernel)) return cli_free(tried), false;
  while (lab->ncases < CASES_MAX && sound) {
    int least = -1;
    for (int i = 0; i < cases->n; i++) {
      double elems = case_elems(lab->g->def, &cases->at[i]);
      if (tried[i] || elems == 0 || (elems > most && !job->o->nsizes)) continue;
      if (least < 0 || elems < case_elems(lab->g->def, &cases->at[least])) least = i;
    }
    if (least < 0) break;
    tried[least] = true;
    CaseData *d = &lab->made[lab->ncases++];
    kiln_status status = group_make(lab->g, &cases->at[least], d, &job->random, why, sizeof why) ? try_kernel(lab, &kernel, 0, lab->ncases - 1)
                                                                                                : KILN_BAD_CALL;
    if (status == KILN_OK) continue;
    drop_last(lab);
    if (status >= KILN_BAD_RANK && status <= KILN_REQUIRE) continue; /* not for this variant */
    printf("  %s, unchanged, on %s: %s\n", lab->v->name, cases->at[least].name, kiln_error());
    sound = false;
  }
  device_close(&kernel.group.device);
  cli_free(tried);
  return sound;
}

/* ---- a mutant ---- */

typedef enum { SURVIVED, CAUGHT, FAILED } Fate;

static Fate run_on(Lab *lab, const Loaded *mutant, int config, int k, char *kind, size_t kind_bytes) {
  Trial *t = &lab->trial[config][k];
  if (!tensors_restore(&t->d, &mutant->group.device)) return FAILED;
  if (launch(mutant, lab, &t->d) != KILN_OK) return report_kind(mutant, kind, kind_bytes), CAUGHT;
  if (!differs(mutant, t)) return SURVIVED;
  snprintf(kind, kind_bytes, "result");
  return CAUGHT;
}

static bool kernel_trials(Lab *lab, int config) {
  Loaded kernel;
  bool there = true;
  for (int k = 0; k < lab->ncases; k++) there &= lab->trial[config][k].there;
  if (there) return true;
  if (!load(lab, config, lab->v->text, lab->v->bytes, &kernel)) return false;
  there = true;
  for (int k = 0; k < lab->ncases && there; k++) {
    if (lab->trial[config][k].there) continue;
    there = try_kernel(lab, &kernel, config, k) == KILN_OK;
    if (!there) printf("  %s, unchanged, on %s with %s: %s\n", lab->v->name, lab->made[k].c->name, configs[config], kiln_error());
  }
  device_close(&kernel.group.device);
  return there;
}

/* kind: of the report, or "result". */
static Fate run_mutant(Lab *lab, const MutProgram *p, const Mutant *m, char *kind, size_t kind_bytes) {
  char *text = mutate_apply(p, m);
  Fate fate = SURVIVED;
  for (int c = 0; c < CONFIGS && fate == SURVIVED; c++) {
    Loaded mutant;
    if (!kernel_trials(lab, c) || !load(lab, c, text, strlen(text), &mutant)) {
      fate = FAILED;
      break;
    }
    for (int k = lab->ncases - 1; k >= 0 && fate == SURVIVED; k--) fate = run_on(lab, &mutant, c, k, kind, kind_bytes);
    device_close(&mutant.group.device);
  }
  cli_free(text);
  return fate;
}

/* ---- a variant ---- */

static void shuffle(MutantList *list, Random *r) {
  for (int i = list->n; i > 1; i--) {
    int k = (int)random_below(r, (uint64_t)i);
    Mutant m = list->at[i - 1];
    list->at[i - 1] = list->at[k];
    list->at[k] = m;
  }
}

static void judge_rules(const MutProgram *p, MutantList *list, int first, int n) {
  MutFlow flow = {0};
  for (int e = 0; e < p->nentries; e++) {
    bool made = false;
    for (int i = first; i < first + n; i++) {
      if (list->at[i].entry != e) continue;
      if (!made) mutate_flow_make(&flow, p, &p->entry[e]);
      made = true;
      list->at[i].rule = mutate_equivalent(&flow, &list->at[i]);
    }
    if (made) mutate_flow_free(&flow);
  }
}

static void print_mutant(const MutProgram *p, const Mutant *m, const char *verdict) {
  char what[400], where[300] = "";
  const MutInstr *in = &p->instr[m->instr];
  mutate_describe(p, m, what, sizeof what);
  if (in->src_file > 0 && in->src_file < 256 && p->file[in->src_file])
    snprintf(where, sizeof where, "%s:%d: ", p->file[in->src_file], in->src_line);
  printf("  %s: %sptx line %d: %s\n", verdict, where, in->line, what);
}

static void try_mutant(Job *job, Lab *lab, const MutProgram *p, const Mutant *m) {
  Score *s = &job->all;
  char kind[40] = "", verdict[100];
  s->made++;
  if (m->rule) {
    s->equivalent++;
    count(s->rule, m->rule);
    snprintf(verdict, sizeof verdict, "equivalent (%s)", m->rule);
    print_mutant(p, m, verdict);
    return;
  }
  Fate fate = run_mutant(lab, p, m, kind, sizeof kind);
  if (fate == CAUGHT) {
    s->caught++;
    count(s->by, kind);
  } else {
    print_mutant(p, m, fate == FAILED ? "not run" : "survived");
  }
  fflush(stdout);
}

/* What one skeleton has in common: branches and synchronising instructions in order, several of a kind in a row as one. */
static uint64_t skeleton_of(const MutProgram *p) {
  uint64_t h = 14695981039346656037u;
  IsaId last = ISA_NONE;
  for (int i = 0; i < p->ninstr; i++) {
    const MutInstr *in = &p->instr[i];
    if (!(in->form->flags & (ISA_SYNC | ISA_TERMINATOR)) || in->id == last) continue;
    last = in->id;
    h = (h ^ last) * 1099511628211u;
  }
  return h;
}

typedef struct Work { /* one skeleton's kernel, and what becomes of it */
  const Variant *v;
  MutProgram p;
  uint64_t skeleton;
  MutantList sync, others;
} Work;

/* All that synchronises and some others by seed; quick: so many of each, in turn. */
static void choose(Job *job, Work *w, int n, MutantList *chosen, int *from) {
  bool quick = options_has(job->o, OPTION_QUICK);
  int share = (QUICK + n - 1) / n, total = 0;
  for (int i = 0; i < n; i++) {
    MutantList *list[2] = {&w[i].sync, &w[i].others};
    int take[2] = {list[0]->n, list[1]->n < OTHERS ? list[1]->n : OTHERS};
    from[i] = chosen->n;
    if (quick) {
      int room = QUICK - total < share ? QUICK - total : share;
      take[0] = take[0] < room / 2 ? take[0] : room / 2;
      take[1] = list[1]->n < room - take[0] ? list[1]->n : room - take[0];
      if (take[0] < list[0]->n && take[0] + take[1] < room) take[0] = list[0]->n < room - take[1] ? list[0]->n : room - take[1];
      shuffle(list[0], &job->random);
    }
    shuffle(list[1], &job->random);
    for (int k = 0; k < 2; k++)
      for (int j = 0; j < take[k]; j++) mutate_add(chosen, list[k]->at[j]);
    total += take[0] + take[1];
  }
  from[n] = chosen->n;
}

static void mutate_variant(Job *job, Lab *lab, Work *w, MutantList *chosen, int from, int to, CaseList *cases) {
  int made = job->all.made, caught = job->all.caught, equivalent = job->all.equivalent;
  if (from == to) return;
  lab->v = w->v;
  printf("  %s: %d of %d synchronising and %d other mutants\n", w->v->name, to - from, w->sync.n, w->others.n);
  if (!choose_cases(job, lab, cases, 2e5)) job->all.broken++;
  else if (!lab->ncases) printf("  %s: no small case fits\n", w->v->name), job->all.broken++;
  judge_rules(&w->p, chosen, from, to - from);
  for (int i = from; i < to && lab->ncases; i++) try_mutant(job, lab, &w->p, &chosen->at[i]);
  release(lab);
  made = job->all.made - made, caught = job->all.caught - caught, equivalent = job->all.equivalent - equivalent;
  printf("  %s: %d made, %d caught, %d equivalent, %d survived\n", w->v->name, made, caught, equivalent, made - caught - equivalent);
}

/* ---- an op ---- */

static int list_work(const Group *g, Work *work) {
  int n = 0;
  for (int i = 0; i < g->nvariants; i++) {
    Work *w = &work[n];
    *w = (Work){.v = &g->variant[i]};
    mutate_read(&w->p, w->v->text, w->v->bytes);
    w->skeleton = skeleton_of(&w->p);
    bool known = false;
    for (int k = 0; k < n; k++) known |= work[k].skeleton == w->skeleton;
    if (known) mutate_free(&w->p);
    else n++;
  }
  return n;
}

static bool open_lab(Lab *lab, Group *g, const char *where) {
  char text[128];
  lab->g = g;
  for (int c = 0; c < CONFIGS; c++) {
    snprintf(text, sizeof text, "%s,%s", where, configs[c]);
    if (!device_open(&lab->device[c], text, g->device.target)) return false;
  }
  return true;
}

static void mutate_group(Job *job, Group *g) {
  Work *work = cli_alloc(VARIANTS_MAX * sizeof *work);
  Lab *lab = cli_alloc(sizeof *lab);
  MutantList chosen = {0};
  CaseList cases = {0};
  char message[256] = "";
  int n = list_work(g, work), *from = cli_alloc((VARIANTS_MAX + 1) * sizeof *from);
  for (int i = 0; i < n; i++) {
    mutate_synchronising(&work[i].p, &work[i].sync);
    mutate_others(&work[i].p, &job->random, &work[i].others);
  }
  choose(job, work, n, &chosen, from);
  if (job->o->nsizes ? !cases_sizes(&cases, g->def, job->o, message, sizeof message) : (cases_generic(&cases, g->def, CASES_FULL), false)) {
    cli_error("%s", message);
    job->all.broken++;
  } else if (open_lab(lab, g, job->where)) {
    for (int i = 0; i < n; i++) mutate_variant(job, lab, &work[i], &chosen, from[i], from[i + 1], &cases);
  } else {
    job->all.broken++;
  }
  for (int c = 0; c < CONFIGS; c++)
    if (lab->device[c].dev) device_close(&lab->device[c]);
  for (int i = 0; i < n; i++) {
    mutate_free(&work[i].p);
    cli_free(work[i].sync.at);
    cli_free(work[i].others.at);
  }
  cases_free(&cases);
  cli_free(chosen.at);
  cli_free(from);
  cli_free(lab);
  cli_free(work);
}

static void mutate_op(Job *job, const char *op) {
  Group *g = cli_alloc(sizeof *g);
  char why[2048] = "";
  GroupRequest r = {.op = op, .set = job->o->set, .nset = job->o->nset, .where = job->where, .target = job->o->target, .ptx = job->o->ptx,
                    .schedule = job->o->nschedule ? job->o->schedule : NULL, .nschedule = job->o->nschedule, .texts = true};
  kiln_gen_status status = group_open(g, job->gen, &r, why, sizeof why);
  if (status != KILN_GEN_OK) {
    printf("\n%s on %s\n  %s: %s\n", op, job->where, status == KILN_GEN_REFUSED ? "refused" : "FAIL", why);
    job->all.broken += status != KILN_GEN_REFUSED;
  } else {
    printf("\n%s %s on %s, PTX for %s\n", op, *g->settings ? g->settings : "with default settings", job->where, g->device.target);
    mutate_group(job, g);
    group_close(g);
  }
  cli_free(g);
}

static int finish(const Job *job, uint64_t seed) {
  const Score *s = &job->all;
  char text[600];
  write_tallies(s->by, text, sizeof text);
  printf("\nseed %llu\n", (unsigned long long)seed);
  if (*text) printf("caught by: %s\n", text);
  write_tallies(s->rule, text, sizeof text);
  if (*text) printf("equivalent by: %s\n", text);
  int judged = s->made - s->equivalent;
  double score = judged ? 100.0 * s->caught / judged : 100;
  if (s->caught < judged && score > 99.9) score = 99.9; /* rounding must not hide one */
  printf("mutants: %d made, %d caught, %d equivalent, score %.1f %%\n", s->made, s->caught, s->equivalent, score);
  return s->broken || s->caught < judged || !s->made ? CLI_FAILED : CLI_OK;
}

int mutate_run(const Options *o, KilnGen *gen, const OpList *ops, int nops, const DeviceNames *devices, uint64_t seed) {
  Job *job = cli_alloc(sizeof *job);
  *job = (Job){.o = o, .gen = gen};
  for (int i = 0; i < devices->n; i++)
    if (strncmp(devices->at[i], "sim:", 4) != 0) {
      cli_free(job);
      return cli_usage("check: --mutate is for simulated devices, not for %s", devices->at[i]);
    }
  random_start(&job->random, seed);
  for (int i = 0; i < devices->n; i++) {
    job->where = devices->at[i];
    for (int k = 0; k < nops; k++) mutate_op(job, ops->name[k]);
  }
  int code = finish(job, seed);
  cli_free(job);
  return code;
}
