/* mutate_lab.c - see mutate_lab.h. What the kernel itself leaves is found when a mutant first comes to the case. */
#include "mutate_lab.h"
#include "../../runtime/sim/kilnsim.h"
#include "number.h"
#include <string.h>

/* A mutant that waits for what never comes would run for ever. Cases that take so many instructions of one warp are left out. */
#define LIMIT "limit=400000"
static const char *const configs[LAB_CONFIGS] = {"policy=lazy,seed=0," LIMIT, "policy=eager,seed=1," LIMIT, "policy=random,seed=2," LIMIT,
                                                 "policy=lazy,seed=3," LIMIT, "policy=lazy,seed=4,sms=132," LIMIT};
enum { WIDE = LAB_CONFIGS - 1 }; /* a grid of fixed size has many CTAs there, with few rounds each */
#define SMALL 3e4   /* elements of a case that several configurations get */
#define DRAWN 2.5e5 /* of one that is tried with several sets of numbers */
#define LARGE 4e5
#define LARGEST 4e7
enum { DRAWS = 3, MOST_LARGE = 6 };

bool lab_open(Lab *lab, const Group *g, const char *where, const CaseList *cases, Random *r) {
  char text[128];
  lab->g = g;
  lab->cases = cases;
  lab->random = r;
  for (int c = 0; c < LAB_CONFIGS; c++) {
    snprintf(text, sizeof text, "%s,%s", where, configs[c]);
    if (!device_open(&lab->device[c], text, g->device.target)) return false;
  }
  return true;
}

void lab_close(Lab *lab) {
  for (int c = 0; c < LAB_CONFIGS; c++)
    if (lab->device[c].dev) device_close(&lab->device[c]);
}

/* ---- one text on one device ---- */

/* The group with one text alone. false after a message. */
static bool load(const Lab *lab, int config, const char *text, size_t bytes, Group *out) {
  char name[300];
  *out = *lab->g;
  snprintf(name, sizeof name, "%s.ptx", lab->v->name);
  if (!device_open(&out->device, lab->device[config].where, lab->g->device.target)) return false;
  if (kiln_add_text(out->device.dev, name, text, bytes) == KILN_OK) return true;
  cli_error("%s", kiln_error());
  device_close(&out->device);
  return false;
}

static kiln_status launch(const Group *g, const Lab *lab, const CaseData *d) {
  kiln_plan *plan = NULL;
  kiln_status status = group_plan(g, d, lab->v->name, &plan);
  if (status == KILN_OK) status = group_launch(g, d, plan);
  kiln_plan_destroy(plan);
  return status;
}

static size_t bytes_of(const CaseTensor *t) { return (size_t)t->elems * number_bytes(t->def->dtype); }

static bool differs(const Group *g, const LabTrial *t) {
  bool same = true;
  for (int i = 0; i < t->d.ntensors && same; i++) {
    size_t bytes = bytes_of(&t->d.tensor[i]);
    char *now = cli_alloc(bytes + 1);
    same = kiln_download(g->device.dev, now, t->d.tensor[i].device, bytes) == KILN_OK && memcmp(now, t->result[i], bytes) == 0;
    cli_free(now);
  }
  return !same;
}

static void report_kind(const Group *g, char *kind, size_t bytes) {
  unsigned (*report)(int, kilnsim_finding *) = NULL;
  kilnsim_finding *finding = cli_alloc(sizeof *finding);
  bool known = kiln_driver_symbol(g->device.dev, "kilnsim_report", (void **)&report) == KILN_OK && report &&
               report(g->device.info.ordinal, finding) == 0;
  snprintf(kind, bytes, "%s", known ? finding->kind : "refused");
  cli_free(finding);
}

/* ---- cases ---- */

static bool is_empty(const KilnDef *def, const Case *c) {
  for (int i = 0; i < def->ndims; i++)
    if (c->size[i] == 0) return true;
  return false;
}

/* Would the variant be launched with such shapes and strides? */
static bool fits(const Lab *lab, const Group *kernel, const Case *c) {
  CaseData *d = cli_alloc(sizeof *d);
  kiln_plan *plan = NULL;
  tensors_shape(d, lab->g->def, c, &lab->g->majors);
  bool fit = group_plan(kernel, d, lab->v->name, &plan) == KILN_OK;
  kiln_plan_destroy(plan);
  tensors_free(d, &kernel->device);
  cli_free(d);
  return fit;
}

static int next_smallest(const Lab *lab, const bool *tried) {
  int least = -1;
  for (int i = 0; i < lab->cases->n; i++) {
    const Case *c = &lab->cases->at[i];
    if (tried[i] || is_empty(lab->g->def, c) || case_elems(lab->g->def, c) > LARGEST) continue;
    if (least < 0 || case_elems(lab->g->def, c) < case_elems(lab->g->def, &lab->cases->at[least])) least = i;
  }
  return least;
}

static void take_case(Lab *lab, const Case *c, bool large) { lab->at[lab->ncases++] = (LabCase){.c = c, .large = large}; }

bool lab_take(Lab *lab, const Variant *v) {
  const Case *last = NULL; /* of the large ones: long rows of as many as the pipeline of a grid of fixed size needs to run full */
  int nlarge = 0;
  Group *kernel = cli_alloc(sizeof *kernel);
  bool *tried = cli_alloc((size_t)lab->cases->n + 1);
  lab->v = v;
  bool loaded = load(lab, 0, v->text, v->bytes, kernel);
  for (int i; loaded && lab->ncases < LAB_CASES && (i = next_smallest(lab, tried)) >= 0;) {
    const Case *c = &lab->cases->at[i];
    double elems = case_elems(lab->g->def, c);
    tried[i] = true;
    if (!fits(lab, kernel, c)) continue;
    if (elems > LARGE && (!last || c->number > last->number)) last = c;
    if (elems > LARGE && nlarge < MOST_LARGE && lab->ncases < LAB_CASES - 1) take_case(lab, c, true), nlarge++;
    for (int k = 0; k < (elems < DRAWN ? DRAWS : 1) && elems <= LARGE && lab->ncases < LAB_CASES - MOST_LARGE - 1; k++) take_case(lab, c, false);
  }
  if (last && lab->at[lab->ncases - 1].c != last) take_case(lab, last, true);
  if (loaded) device_close(&kernel->device);
  if (loaded && !lab->ncases) cli_error("%s: no case fits", v->name);
  cli_free(tried);
  cli_free(kernel);
  return lab->ncases > 0;
}

void lab_drop(Lab *lab) {
  for (int k = 0; k < lab->ncases; k++) {
    for (int c = 0; c < LAB_CONFIGS; c++) {
      LabTrial *t = &lab->trial[c][k];
      for (int i = 0; i < DEF_MAX_TENSORS; i++) cli_free(t->result[i]);
      tensors_unshare(&t->d, &lab->device[c]);
    }
    tensors_free(&lab->at[k].d, &lab->device[0]);
  }
  memset(lab->trial, 0, sizeof lab->trial);
  memset(lab->at, 0, sizeof lab->at);
  lab->ncases = 0;
}

/* ---- the kernel itself ---- */

static bool say_unchanged(const Lab *lab, int config, int k, const char *why) {
  cli_error("%s, unchanged, on %s with %s: %s", lab->v->name, lab->at[k].c->name, configs[config], why);
  return false;
}

static bool make(Lab *lab, int config, int k) {
  LabCase *c = &lab->at[k];
  char why[512];
  if (c->made) return true;
  c->made = group_make(lab->g, c->c, &c->d, lab->random, why, sizeof why);
  return c->made || say_unchanged(lab, config, k, why);
}

/* Runs the kernel where that was not done yet. false after a message: it fails. */
static bool prepare(Lab *lab, int config, int k) {
  LabTrial *t = &lab->trial[config][k];
  if (t->there) return true;
  Group *kernel = cli_alloc(sizeof *kernel);
  bool done = make(lab, config, k) && load(lab, config, lab->v->text, lab->v->bytes, kernel);
  if (done) {
    tensors_share(&t->d, &lab->at[k].d);
    kiln_status status = tensors_upload(&t->d, &lab->device[config]) ? launch(kernel, lab, &t->d) : KILN_NO_MEMORY;
    for (int i = 0; i < t->d.ntensors && status == KILN_OK; i++) {
      t->result[i] = cli_alloc(bytes_of(&t->d.tensor[i]) + 1);
      status = kiln_download(kernel->device.dev, t->result[i], t->d.tensor[i].device, bytes_of(&t->d.tensor[i]));
    }
    t->there = status == KILN_OK;
    char kind[40] = "";
    if (!t->there) report_kind(kernel, kind, sizeof kind);
    lab->at[k].too_long = strcmp(kind, "limit") == 0;
    if (!t->there && !lab->at[k].too_long) done = say_unchanged(lab, config, k, kiln_error());
    if (!t->there) kiln_sync(kernel->device.dev);
    device_close(&kernel->device);
  }
  cli_free(kernel);
  return done;
}

/* ---- a mutant ---- */

static Fate run_case(Lab *lab, const Group *mutant, int config, int k, char *kind, size_t kind_bytes) {
  LabTrial *t = &lab->trial[config][k];
  if (!prepare(lab, config, k)) return NOT_RUN;
  if (lab->at[k].too_long) return SURVIVED;
  if (!tensors_restore(&t->d, &mutant->device)) return NOT_RUN;
  if (launch(mutant, lab, &t->d) != KILN_OK) {
    report_kind(mutant, kind, kind_bytes);
    kiln_sync(mutant->device.dev); /* which reports it once more */
    return CAUGHT;
  }
  if (!differs(mutant, t)) return SURVIVED;
  snprintf(kind, kind_bytes, "result");
  return CAUGHT;
}

/* The first configuration gets every case, the others a share of the small ones: what happens before what hardly depends on them. */
static bool is_for(const Lab *lab, int config, int k) {
  if (config == WIDE) return lab->at[k].large;
  return config == 0 || (case_elems(lab->g->def, lab->at[k].c) < SMALL && k % (LAB_CONFIGS + 1) == config);
}

static Fate run_cases(Lab *lab, int config, bool large, const char *text, size_t bytes, char *kind, size_t kind_bytes) {
  Group *mutant = cli_alloc(sizeof *mutant);
  Fate fate = load(lab, config, text, bytes, mutant) ? SURVIVED : NOT_RUN;
  bool loaded = fate == SURVIVED;
  for (int k = 0; k < lab->ncases && fate == SURVIVED; k++)
    if (lab->at[k].large == large && !lab->at[k].too_long && is_for(lab, config, k)) fate = run_case(lab, mutant, config, k, kind, kind_bytes);
  if (loaded) device_close(&mutant->device);
  cli_free(mutant);
  return fate;
}

Fate lab_run(Lab *lab, const char *text, size_t bytes, char *kind, size_t kind_bytes) {
  Fate fate = SURVIVED;
  for (int c = 0; c < WIDE && fate == SURVIVED; c++) fate = run_cases(lab, c, false, text, bytes, kind, kind_bytes);
  for (int c = 0; c < LAB_CONFIGS && fate == SURVIVED; c += WIDE) fate = run_cases(lab, c, true, text, bytes, kind, kind_bytes);
  return fate;
}
