/* tune.c - kiln tune: measures the schedules that an op offers, at every size asked for, and keeps what it finds where the runtime's selection
 * looks.
 *
 * The first candidate of a size is the one that selection takes by predicted cost of what is offered, so at no moment do the measurements that are kept choose
 * something slower. Each runs in a process beside this one (tune_worker.h), is held against the op's definition as `kiln check` does it, and
 * is on the disk before the next begins (tune_store.h). */
#include "table.h"
#include "tune_store.h"
#include "tune_worker.h"
#include "variants.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: kiln tune OP --size M=..,N=.. [options]\n\n"
    "Measures every schedule that OP offers at each of the sizes, on a device, and keeps the figures below $XDG_CACHE_HOME/kiln (default\n"
    "~/.cache/kiln). Plans for these sizes, and for others within a factor of 2 of them, then take the fastest that fits (docs/tuning.md;\n"
    "KILN_TUNED=0 in the environment makes them go by predicted time). A schedule whose results are wrong, or that spills, faults or takes\n"
    "too long, is reported and left out. What was measured before is kept, also of a run that was interrupted.\n"
    "On the simulator the figure is the number of instructions in active lanes: time there says nothing of a GPU.\n\n"
    "  --size M=..,N=..     the sizes: N=4096; N=1024..8192*2 (1024, 2048, 4096, 8192); N=64..256+64; 'N=1024|3000'; M=2x3 splits M\n"
    "                       into leading dims. Every combination is measured; --size may be repeated\n"
    "  --schedule K=V|V,..  beside the schedules that are offered, each of them with these values of its keys: 'stages=3|4,group=8|16'\n"
    "  --set K=V,..         settings\n"
    "  --device D           cuda:N or sim:TARGET[,option=value..] (default: first GPU, else the simulator)\n"
    "  --target SM          PTX for this target, which may be older than the device\n"
    "  --force              measures again what was measured before\n"
    "  --seconds N          time that one candidate may take, with its check (default 60)\n"
    "  --lua DIR            the language, families and ops from this folder\n"
    "  --worker             what the command starts for itself: measures what it reads on standard input\n\n"
    "examples:\n"
    "  kiln tune gemm --device cuda:0 --size M=4096,N=1024..8192*2,K=4096\n"
    "  kiln tune rms_norm --device cuda:0 --size M=1024..32768*2,N=4096 --set dtype=f16,w=no\n"
    "  kiln tune gemm --device cuda:0 --size M=4096,N=4096,K=4096 --schedule 'stages=2|3|4|5,group=4|8|16'\n"
    "  kiln tune gemm --device sim:sm_80 --size 'M=64,N=64|128,K=64'\n"
    "  kiln list --variants gemm --device cuda:0 --size M=4096,N=3000,K=4096      which one is taken, and why\n";

enum { MAX_SIZES = 4096, DEFAULT_SECONDS = 60, START_SECONDS = 600 };

/* One variant at one size. */
typedef struct Candidate {
  int variant;     /* of the group */
  double cost_ns;  /* predicted */
  bool by_cost;    /* the one that selection takes without measurements */
  char *subject;   /* in the store */
  bool known;      /* measured, now or before */
  bool measured;   /* figure is set; else word and why say what went wrong */
  double figure;
  char word[16];
  char *why;
} Candidate;

typedef struct TuneSize {
  char name[160];       /* as --size takes it */
  Candidate *candidate; /* the one by cost first, then by cost */
  int n;
} TuneSize;

typedef struct Tuner {
  Options *o;
  Group *g;
  TuneStore store;
  Worker worker;
  int worker_size;    /* for which it has its tensors; -1: none */
  TuneSize *size;
  int nsizes;
  int total, done, fresh; /* candidates; measured so far; of those, in this run */
  double begun;
  bool broken; /* no worker can be had, or the file not be written: said already */
} Tuner;

/* ---- what is to be measured ---- */

typedef struct Listing { const Group *g; TuneSize *size; } Listing;

static void list_candidate(void *user, const kiln_verdict *v) {
  Listing *l = user;
  if (v->status != KILN_OK) return;
  for (int i = 0; i < l->g->nvariants; i++)
    if (strcmp(l->g->variant[i].name, v->variant) == 0)
      l->size->candidate[l->size->n++] = (Candidate){.variant = i, .cost_ns = v->cost_ns};
}

/* Which one do plans take that know of no measurements? In the order of kiln_explain, which is selection's. */
static void mark_by_cost(const Group *g, TuneSize *size) {
  Candidate *best = NULL;
  for (int i = 0; i < size->n; i++)
    if (g->variant[size->candidate[i].variant].offered && (!best || size->candidate[i].cost_ns < best->cost_ns)) best = &size->candidate[i];
  if (best) best->by_cost = true;
}

static int by_promise(const void *x, const void *y) {
  const Candidate *a = x, *b = y;
  if (a->by_cost != b->by_cost) return a->by_cost ? -1 : 1;
  return a->cost_ns != b->cost_ns ? (a->cost_ns < b->cost_ns ? -1 : 1) : a->variant - b->variant;
}

static void take_result(Candidate *c, const char *result, const char *why) {
  char *end;
  c->known = true;
  c->figure = strtod(result, &end);
  c->measured = *result && !*end;
  snprintf(c->word, sizeof c->word, "%.*s", (int)sizeof c->word - 1, c->measured ? "" : result);
  cli_free(c->why);
  c->why = cli_text(why);
}

/* Subjects of the candidates, and what the store knows of them. One without a subject cannot be kept, and so is not measured. */
static void recall(Tuner *t, TuneSize *size, const kiln_arg *args, int n) {
  int kept = 0;
  for (int i = 0; i < size->n; i++) {
    Candidate c = size->candidate[i];
    const Variant *v = &t->g->variant[c.variant];
    TunedKey key;
    TunedLine line;
    if (tuned_key(t->g->device.dev, t->g->op, args, n, v->name, &key) != KILN_OK) {
      cli_note("%s: %s: left out: %s", size->name, v->name, kiln_error());
      continue;
    }
    c.subject = tune_store_subject(&key);
    if (!options_has(t->o, OPTION_FORCE) && tune_store_find(&t->store, c.subject, v->hash, &line))
      take_result(&c, line.result, "as measured before; --force tries again");
    size->candidate[kept++] = c;
  }
  size->n = kept;
}

/* Every figure would be 0, and the first in the list the fastest. */
static bool is_empty(const Tuner *t, const kiln_arg *args, int n) {
  kiln_plan *plan = NULL;
  kiln_plan_info info;
  if (kiln_plan_create_with(&plan, t->g->device.dev, t->g->op, args, n, &(kiln_plan_options){.untuned = 1}) != KILN_OK) return false;
  bool empty = kiln_plan_query(plan, &info) == KILN_OK && info.nsteps == 0;
  kiln_plan_destroy(plan);
  return empty;
}

static bool plan_size(Tuner *t, TuneSize *size) {
  CaseList cases = {0};
  char message[256];
  kiln_arg args[DEF_MAX_TENSORS + 8 + OPTIONS_MAX_PAIRS];
  if (!cases_sizes(&cases, t->g->def, t->o, message, sizeof message) ||
      !case_has_memory(t->g->def, &cases.at[0], message, sizeof message)) {
    cli_error("%s", message);
    cases_free(&cases);
    return false;
  }
  CaseData d;
  tensors_shape(&d, t->g->def, &cases.at[0], &t->g->majors);
  int n = tensors_args(&d, t->g->option, t->g->noptions, args, (int)(sizeof args / sizeof args[0]));
  size->candidate = cli_alloc((size_t)t->g->nvariants * sizeof *size->candidate + 1);
  Listing l = {t->g, size};
  kiln_status status = kiln_explain(t->g->device.dev, t->g->op, args, n, &(kiln_plan_options){.untuned = 1}, list_candidate, &l);
  if (status != KILN_OK) cli_error("%s", kiln_error());
  bool empty = status == KILN_OK && size->n && is_empty(t, args, n);
  if (empty) cli_error("%s: no kernel runs at these sizes, so there is nothing to measure", size->name);
  mark_by_cost(t->g, size);
  recall(t, size, args, n);
  qsort(size->candidate, (size_t)size->n, sizeof *size->candidate, by_promise);
  if (status == KILN_OK && size->n == 0) cli_note("%s: no variant fits", size->name);
  t->total += size->n;
  for (int i = 0; i < size->n; i++) t->done += size->candidate[i].known;
  tensors_free(&d, &t->g->device);
  cases_free(&cases);
  return status == KILN_OK && !empty;
}

/* The k-th combination of the values of --size becomes the options' sizes. */
static bool choose_sizes(Options *o, int k) {
  o->nsizes = 0;
  for (int i = 0; i < o->nranged; i++) {
    int same = 0, first = i;
    for (int j = 0; j < i; j++)
      if (strcmp(o->ranged[j].name, o->ranged[i].name) == 0) first = j < first ? j : first;
    if (first < i) continue; /* the name was dealt with */
    for (int j = i; j < o->nranged; j++) same += strcmp(o->ranged[j].name, o->ranged[i].name) == 0;
    int pick = k % same;
    k /= same;
    if (o->nsizes == DEF_MAX_DIMS) return cli_error("--size: more than %d dims", DEF_MAX_DIMS), false;
    for (int j = i; j < o->nranged; j++)
      if (strcmp(o->ranged[j].name, o->ranged[i].name) == 0 && pick-- == 0) o->size[o->nsizes++] = o->ranged[j];
  }
  return k == 0;
}

static void write_sizes(const Options *o, char *text, size_t bytes) {
  size_t n = 0;
  *text = 0;
  for (int i = 0; i < o->nsizes && n < bytes; i++) {
    n += (size_t)snprintf(text + n, bytes - n, "%s%s=", i ? "," : "", o->size[i].name);
    for (int p = 0; p < o->size[i].nparts && n < bytes; p++)
      n += (size_t)snprintf(text + n, bytes - n, "%s%lld", p ? "x" : "", (long long)o->size[i].part[p]);
  }
}

static bool plan_all(Tuner *t) {
  t->size = cli_alloc(MAX_SIZES * sizeof *t->size);
  for (int k = 0; choose_sizes(t->o, k); k++) {
    if (k == MAX_SIZES) return cli_error("--size: more than %d combinations", MAX_SIZES), false;
    TuneSize *size = &t->size[t->nsizes++];
    write_sizes(t->o, size->name, sizeof size->name);
    if (!plan_size(t, size)) return false;
  }
  return t->nsizes > 0;
}

/* ---- progress ---- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const Candidate *best_of(const TuneSize *s) {
  const Candidate *best = NULL;
  for (int i = 0; i < s->n; i++)
    if (s->candidate[i].measured && (!best || s->candidate[i].figure < best->figure)) best = &s->candidate[i];
  return best;
}

static void write_figure(const Tuner *t, const Candidate *c, char *text, size_t bytes) {
  if (!c || !c->measured) snprintf(text, bytes, "-");
  else if (t->g->device.info.simulated) snprintf(text, bytes, "%.0f", c->figure);
  else snprintf(text, bytes, "%.2f us", c->figure / 1000);
}

static void show_progress(const Tuner *t, const TuneSize *s) {
  char figure[48], left[64] = "";
  const Candidate *best = best_of(s);
  write_figure(t, best, figure, sizeof figure);
  if (t->fresh) {
    long seconds = (long)((now() - t->begun) / t->fresh * (t->total - t->done) + 0.5);
    snprintf(left, sizeof left, ", %ld:%02ld left", seconds / 60, seconds % 60);
  }
  bool terminal = isatty(2);
  fprintf(stderr, "%s%d of %d  %s: best %s%s%s%s%s%s", terminal ? "\r" : "", t->done, t->total, s->name, figure, best ? " (" : "",
          best ? t->g->variant[best->variant].name : "", best ? ")" : "", left, terminal ? "\033[K" : "\n");
}

/* ---- measuring ---- */

static bool fail_for_good(Tuner *t, const char *what, const char *why) {
  cli_error("%s%s%s", what, *why ? ": " : "", why);
  t->broken = true;
  return false;
}

/* A worker that has the tensors of this size. false: the size cannot be laid out, or nothing can (broken). */
static bool have_worker(Tuner *t, int size, char *why, size_t bytes) {
  char request[256];
  if (!t->worker.pid) {
    if (!worker_start(&t->worker, t->o, t->g->device.where)) return t->broken = true, false;
    t->worker_size = -1;
    if (worker_ask(&t->worker, NULL, START_SECONDS, why, bytes) != WORKER_ANSWERED)
      return fail_for_good(t, "the process that measures does not come up", why);
  }
  if (t->worker_size == size) return true;
  snprintf(request, sizeof request, "size %s", t->size[size].name);
  t->worker_size = -1;
  if (worker_ask(&t->worker, request, START_SECONDS, why, bytes) != WORKER_ANSWERED || strcmp(why, "ready") != 0) return false;
  t->worker_size = size;
  return true;
}

static void measure(Tuner *t, int size, Candidate *c) {
  char answer[1024], request[512];
  const Variant *v = &t->g->variant[c->variant];
  const char *word = answer, *why = "";
  if (!have_worker(t, size, answer, sizeof answer)) {
    if (!t->broken) take_result(c, "refused", answer); /* the size, not the variant: nothing to keep */
    return;
  }
  snprintf(request, sizeof request, "run %s", v->name);
  WorkerOutcome outcome = worker_ask(&t->worker, request, t->o->seconds ? t->o->seconds : DEFAULT_SECONDS, answer, sizeof answer);
  if (outcome == WORKER_ANSWERED) {
    char *blank = strchr(answer, ' ');
    if (blank) *blank = 0, why = blank + 1;
    if (strcmp(word, "figure") == 0) word = why, why = "";
    else if (strcmp(word, "fault") == 0 && !t->g->device.info.simulated) worker_stop(&t->worker);
  } else {
    word = outcome == WORKER_SILENT ? "hang" : "fault", why = answer;
  }
  take_result(c, word, why);
  if (!tune_store_add(&t->store, c->subject, v->hash, word)) t->broken = true;
}

static void measure_all(Tuner *t) {
  t->begun = now();
  for (int s = 0; s < t->nsizes && !t->broken; s++)
    for (int i = 0; i < t->size[s].n && !t->broken; i++) {
      Candidate *c = &t->size[s].candidate[i];
      if (c->known) continue;
      measure(t, s, c);
      t->done += c->known;
      t->fresh += c->known;
      show_progress(t, &t->size[s]);
    }
  if (t->fresh && isatty(2)) fputc('\n', stderr);
  if (t->worker.pid) worker_stop(&t->worker);
}

/* ---- the report ---- */

static void report_winners(const Tuner *t) {
  Table table;
  printf("%s %s on %s (%s), PTX for %s\n", t->g->op, *t->g->settings ? t->g->settings : "with default settings", t->g->device.where,
         t->g->device.info.name, t->g->device.target);
  char heads[128];
  snprintf(heads, sizeof heads, "size|fastest|>%s|by predicted time|>%s|>gain|schedule", t->g->device.info.simulated ? "lane-instructions" : "time",
           t->g->device.info.simulated ? "lane-instructions" : "time");
  table_start(&table, stdout, heads, true);
  for (int i = 0; i < t->nsizes; i++) {
    const TuneSize *s = &t->size[i];
    const Candidate *best = best_of(s), *by_cost = s->n && s->candidate[0].by_cost ? &s->candidate[0] : NULL;
    char figure[48], other[48], gain[32] = "";
    write_figure(t, best, figure, sizeof figure);
    write_figure(t, by_cost, other, sizeof other);
    if (best && by_cost && by_cost->measured && best->figure > 0) snprintf(gain, sizeof gain, "%.3f", by_cost->figure / best->figure);
    table_row(&table, (const char *const[]){s->name, best ? t->g->variant[best->variant].name : "-", figure,
                                            !by_cost ? "-" : by_cost == best ? "the same" : t->g->variant[by_cost->variant].name, other, gain,
                                            best ? t->g->variant[best->variant].schedule : ""});
  }
  table_end(&table);
}

static int report_skipped(const Tuner *t) {
  int skipped = 0;
  Table table;
  for (int i = 0; i < t->nsizes; i++)
    for (int k = 0; k < t->size[i].n; k++) {
      const Candidate *c = &t->size[i].candidate[k];
      if (!c->known || c->measured) continue;
      if (!skipped++) {
        putchar('\n');
        table_start(&table, stdout, "size|left out|why|", true);
      }
      table_row(&table, (const char *const[]){t->size[i].name, t->g->variant[c->variant].name, c->word, c->why});
    }
  if (skipped) table_end(&table);
  return skipped;
}

/* Every size has a fastest one, or it says so. */
static int report(const Tuner *t) {
  int without = 0;
  report_winners(t);
  int skipped = report_skipped(t);
  for (int i = 0; i < t->nsizes; i++) without += best_of(&t->size[i]) == NULL;
  if (t->g->nrefused) printf("\n%d of the schedules with other values are none that the family takes\n", t->g->nrefused);
  printf("\n%d measured, %d known before, %d left out; kept in %s\n", t->fresh, t->done - t->fresh, skipped, t->store.path);
  return without || t->broken ? CLI_FAILED : CLI_OK;
}

/* ---- the command ---- */

static void free_tuner(Tuner *t) {
  for (int i = 0; i < t->nsizes; i++) {
    for (int k = 0; k < t->size[i].n; k++) {
      cli_free(t->size[i].candidate[k].subject);
      cli_free(t->size[i].candidate[k].why);
    }
    cli_free(t->size[i].candidate);
  }
  cli_free(t->size);
  tune_store_close(&t->store);
}

static int tune_group(Options *o, Group *g) {
  Tuner *t = cli_alloc(sizeof *t);
  t->o = o;
  t->g = g;
  int code = CLI_FAILED;
  if (tune_store_open(&t->store, &g->device.info)) {
    if (t->store.foreign) cli_note("%s is of another version or device and is begun anew", t->store.path);
    if (t->store.damaged) cli_note("%s: %d damaged lines are left out", t->store.path, t->store.damaged);
    if (plan_all(t)) {
      measure_all(t);
      code = report(t);
    }
  }
  free_tuner(t);
  cli_free(t);
  return code;
}

static int run(const Options *given) {
  Options *o = (Options *)given; /* main's only one; its sizes change from combination to combination */
  if (options_has(o, OPTION_WORKER)) return tune_work(o);
  if (!o->nranged) return cli_usage("tune: --size is needed, such as --size M=4096,N=1024..8192*2 (see kiln tune --help)");
  if (o->ndevices > 1) return cli_usage("tune: one device at a time");
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  OpList ops = {0};
  DeviceNames *devices = cli_alloc(sizeof *devices);
  Group *g = cli_alloc(sizeof *g);
  char why[2048] = "";
  int code = CLI_FAILED;
  if (cli_list_one(gen, "tune", o->operand[0], &ops) && devices_named(o, devices)) {
    GroupRequest r = {.op = ops.name[0], .set = o->set, .nset = o->nset, .where = devices->at[0], .target = o->target,
                      .widen = o->schedule, .nwiden = o->nschedule};
    if (devices->n != 1) {
      code = cli_usage("tune: one device at a time; name its target, such as --device sim:sm_80");
    } else if (group_open(g, gen, &r, why, sizeof why) != KILN_GEN_OK) {
      cli_error("%s", why);
    } else {
      code = tune_group(o, g);
      group_close(g);
    }
  }
  cli_free(g);
  cli_free(devices);
  cli_free_ops(&ops);
  kiln_gen_close(gen);
  return code;
}

const Command command_tune = {"tune",
                              "measures an op's schedules and keeps the fastest",
                              help,
                              TAKES(SIZES) | TAKES(SET) | TAKES(SCHEDULE) | TAKES(DEVICE) | TAKES(TARGET) | TAKES(FORCE) |
                                  TAKES(SECONDS) | TAKES(WORKER) | TAKES(LUA),
                              1,
                              1,
                              run};
