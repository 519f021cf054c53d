/* mutate.c - kiln check --mutate: makes mutants of kernels, runs them on the simulator, and says which of them nobody noticed.
 *
 * Of an op's variants one per skeleton is taken: two whose branches and synchronising instructions come in the same order are of the
 * same one. */
#include "mutate_lab.h"
#include <stdlib.h>
#include <string.h>

enum { KINDS_MAX = 32, OTHERS = 20, QUICK = 40 };

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

/* false: the kernel itself fails, so that nothing can be said of its mutants. */
static bool try_mutant(Job *job, Lab *lab, const MutProgram *p, const Mutant *m) {
  Score *s = &job->all;
  char kind[40] = "", verdict[100];
  s->made++;
  if (m->rule) {
    s->equivalent++;
    count(s->rule, m->rule);
    snprintf(verdict, sizeof verdict, "equivalent (%s)", m->rule);
    print_mutant(p, m, verdict);
    return true;
  }
  char *text = mutate_apply(p, m);
  Fate fate = lab_run(lab, text, strlen(text), kind, sizeof kind);
  cli_free(text);
  if (fate == CAUGHT) {
    s->caught++;
    count(s->by, kind);
  } else if (fate == SURVIVED) {
    print_mutant(p, m, "survived");
  } else {
    s->made--;
    s->broken++;
  }
  fflush(stdout);
  return fate != NOT_RUN;
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

static void mutate_variant(Job *job, Lab *lab, Work *w, MutantList *chosen, int from, int to) {
  int made = job->all.made, caught = job->all.caught, equivalent = job->all.equivalent;
  if (from == to) return;
  printf("  %s: %d of %d synchronising and other mutants\n", w->v->name, to - from, w->sync.n + w->others.n);
  if (!lab_take(lab, w->v)) job->all.broken++;
  judge_rules(&w->p, chosen, from, to - from);
  for (int i = from; i < to && lab->ncases && try_mutant(job, lab, &w->p, &chosen->at[i]); i++) {
  }
  lab_drop(lab);
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
  if (job->o->nsizes ? !cases_sizes(&cases, g->def, job->o, message, sizeof message) : (cases_generic(&cases, g->def, CASES_ALL), false)) {
    cli_error("%s", message);
    job->all.broken++;
  } else if (lab_open(lab, g, job->where, &cases, &job->random)) {
    for (int i = 0; i < n; i++) mutate_variant(job, lab, &work[i], &chosen, from[i], from[i + 1]);
  } else {
    job->all.broken++;
  }
  lab_close(lab);
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
