/* check.c - kiln check: kernels against the definition evaluated in double, a row per case.
 *
 * An op is taken apart into groups (a choice of settings), a group into cases (shapes, strides, values). In each group every
 * offered schedule is emitted; the runtime selects, and what it never selected is forced on a case that it admits. */
#include "mutate.h"
#include "same.h"
#include "table.h"
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: kiln check OP|all [options]\n\n"
    "Runs kernels and compares them with the op's definition, evaluated naively in double. A row per case; the bound follows\n"
    "from the element type and the accumulation length (docs/exactness.md). What a target lacks is shown as refused and counted\n"
    "neither way. Exit code 1 if anything failed.\n\n"
    "  --device D,..        cuda:N, sim:TARGET[,option=value..], or sim: every target (default: first GPU, else the simulator)\n"
    "  --target SM          PTX for this target, which may be older than the device\n"
    "  --size M=..,N=..     this shape only, by the variant that the runtime selects; M=2x3x5 splits M into leading dims\n"
    "  --set K=V,..         these settings only\n"
    "  --schedule K=V,..    this schedule only\n"
    "  --ptx FILE           an edited file instead of emission; its settings are read from its contract\n"
    "  --seed N             inputs of an earlier run, which printed it\n"
    "  --sms N,N            on simulated devices of so many SMs each (instead of sms=N): the results must be the same bits\n"
    "  --seeds N            on the simulator with N seeds, policies of asynchronous copies in turn: the first runs all cases, the\n"
    "                       others one small case per variant, which must give the same bits\n"
    "  --quick              a few small cases: under 6 s per op and target on the simulator\n"
    "  --mutate             on simulated devices: change one instruction at a time (take a barrier, wait or fence away, or weaken it;\n"
    "                       move an address by what it moves; swap two registers of a vector), of one kernel for each\n"
    "                       skeleton: the simulator must object, or the result must differ. Those that mean the same are\n"
    "                       told by rules (docs/simulator.md); lists survivors with PTX and script line; exit code 1 if\n"
    "                       there is one. Every synchronising instruction and 20 others by seed; --quick: 40 by seed\n"
    "  --lua DIR            the language, families and ops from this folder\n\n"
    "simulator options: sms=N cores=N checks=on|off meter=on|off seed=N policy=lazy|eager|random|alternate\n\n"
    "examples:\n"
    "  kiln check rms_norm --device sim:sm_80 --quick\n"
    "  kiln check all --device sim\n"
    "  kiln check gemm --device cuda:0 --target sm_80 --size B=1,M=128,K=4096,N=4096\n"
    "  kiln check gemm --ptx edited.ptx --device sim:sm_80,checks=off,cores=1\n"
    "  kiln check rms_norm.grad --device sim:sm_90a --quick --sms 1,132\n"
    "  kiln check gemm --mutate --quick --device sim:sm_80\n"
    "  kiln check gemm --device sim:sm_80 --quick --seeds 32\n"
    "  kiln check my_op.lua --device sim:sm_90a            each op of the script, and its gradient\n"
    "  kiln check my_op.lua:NAME.grad --device sim:sm_90a  one of them\n";

typedef struct Job {
  const Options *o;
  KilnGen *gen;
  Random random;
  const char *where;
  long passed, failed, refused, ran_here;
  bool seeding;          /* a variant is run under the other seeds */
  bool device_lost, only_first; /* of the ops: an edited file is of one */
  char base[256];        /* "dtype=f16": where the target lacks the default dtype, the first one that it has */
} Job;

#define SETTINGS_MAX 64
typedef struct Choices { char at[SETTINGS_MAX][256]; int n; bool full; } Choices; /* settings of each group, "dtype=f16 w=no" */

/* ---- one case ---- */

static double work_of(const Job *job) { return options_has(job->o, OPTION_QUICK) ? 6e7 : 1.2e9; }

static void print_row(Table *t, const char *name, const char *variant, const CaseVerdict *v, const char *verdict) {
  char error[32] = "", bound[32] = "", indented[200];
  snprintf(indented, sizeof indented, "  %s", name);
  if (v && v->compared) {
    snprintf(error, sizeof error, "%.2e", v->error);
    snprintf(bound, sizeof bound, "%.2e", v->bound);
  }
  table_row(t, (const char *const[]){indented, variant, error, bound, verdict});
}

/* Every line of a text, indented below the row that it belongs to. */
static void print_below(const char *text) {
  for (const char *at = text; *at;) {
    size_t n = strcspn(at, "\n");
    printf("    %.*s\n", (int)n, at);
    at += n + (at[n] == '\n');
  }
}

static void mark_ran(Group *g, const char *variant, const Case *c) {
  for (int i = 0; i < g->nvariants; i++) {
    Variant *v = &g->variant[i];
    if (strcmp(v->name, variant) != 0) continue;
    v->ran = true;
    if (!v->least || case_elems(g->def, c) < case_elems(g->def, v->least)) v->least = c;
  }
}

static void fail_row(Job *job, Table *t, const char *name, const char *variant, const char *text) {
  print_row(t, name, variant, NULL, "FAIL");
  print_below(text);
  job->failed++;
}

/* What the driver's own compiler has made of it: as little as ptxas may it spill registers, or let products wait for one another. */
static bool judge_code(Job *job, const Group *g, Table *t, const char *name, const char *variant, const kiln_plan *plan) {
  kiln_plan_info info;
  kiln_step_info s;
  char text[700];
  if (g->device.info.simulated || kiln_plan_query(plan, &info) != KILN_OK) return true;
  snprintf(text, sizeof text, "the driver's compiler says: %s", kiln_plan_remarks(plan));
  if (*kiln_plan_remarks(plan)) return fail_row(job, t, name, variant, text), false;
  for (int i = 0; i < info.nsteps; i++) {
    if (kiln_plan_step(plan, i, &s) != KILN_OK || !s.local_bytes) continue;
    snprintf(text, sizeof text, "step %s: the driver's compiler spills %u bytes of each thread (%u registers)", s.name, s.local_bytes, s.registers);
    return fail_row(job, t, name, variant, text), false;
  }
  return true;
}

/* Is there a row? There is none where the scalars are others than the case's own (`again`) and beyond a limit of the contract. */
static bool judge(Job *job, Group *g, Table *t, CaseData *d, const char *name, const char *variant, kiln_plan *plan, bool again) {
  kiln_plan_info info;
  kiln_plan_query(plan, &info);
  mark_ran(g, info.variant, d->c);
  if (!judge_code(job, g, t, name, info.variant, plan)) return true;
  kiln_status status = group_launch(g, d, plan);
  if (again && status == KILN_REQUIRE) return false;
  if (status != KILN_OK) {
    fail_row(job, t, name, info.variant, kiln_error());
    job->device_lost = !g->device.info.simulated;
    return true;
  }
  CaseVerdict v;
  tensors_compare(d, &g->device, &job->random, work_of(job), &v);
  size_t used = strlen(v.text);
  if (v.passed && g->nalso && (job->seeding || !job->o->seeds)) v.passed = same_results(g, d, variant, info.variant, v.text + used, sizeof v.text - used);
  char note[96] = "";
  if (v.sampled) snprintf(note, sizeof note, " (%lld elements compared)", (long long)v.compared);
  if (job->seeding) snprintf(note + strlen(note), sizeof note - strlen(note), " (%d seeds)", job->o->seeds);
  char verdict[160];
  snprintf(verdict, sizeof verdict, "%s%s", v.passed ? "pass" : "FAIL", note);
  print_row(t, name, info.variant, &v, verdict);
  print_below(v.text);
  if (v.passed) job->passed++;
  else job->failed++;
  job->ran_here++;
  return true;
}

#define AGAIN ", again"

/* Scalars that come with each launch: the same plan again with others, on one side of the case's own or, where a limit is in the way, the other. */
static void judge_again(Job *job, Group *g, Table *t, CaseData *d, const char *variant, kiln_plan *plan) {
  char name[sizeof d->c->name + sizeof AGAIN];
  double own[sizeof d->scalar / sizeof *d->scalar];
  bool judged = false;
  memcpy(own, d->scalar, sizeof own);
  snprintf(name, sizeof name, "%s" AGAIN, d->c->name);
  for (int step = 1; step >= -1 && !judged && !job->device_lost; step -= 2) {
    memcpy(d->scalar, own, sizeof own);
    if (!tensors_move_scalars(d, step)) continue;
    judged = tensors_restore(d, &g->device) ? judge(job, g, t, d, name, variant, plan, true) : (fail_row(job, t, name, "", kiln_error()), true);
  }
}

typedef enum { CASE_RAN, CASE_UNFIT } CaseOutcome;

/* variant NULL: as selected. Where the choice of variants was narrowed, by force, --schedule or --ptx, a case may not fit. */
static CaseOutcome run_case(Job *job, Group *g, Table *t, const Case *c, const char *variant, char *why, size_t why_bytes) {
  CaseData d;
  kiln_plan *plan = NULL;
  CaseOutcome outcome = CASE_RAN;
  bool narrowed = variant || job->o->nschedule || job->o->ptx;
  if (!group_make(g, c, &d, &job->random, why, why_bytes)) {
    fail_row(job, t, c->name, "", why);
  } else if (!tensors_upload(&d, &g->device)) {
    fail_row(job, t, c->name, "", kiln_error());
    job->device_lost = !g->device.info.simulated;
  } else {
    kiln_status status = group_plan(g, &d, variant, &plan);
    if (status == KILN_OK) {
      judge(job, g, t, &d, c->name, variant, plan, false);
      judge_again(job, g, t, &d, variant, plan);
    } else if (narrowed && status >= KILN_BAD_RANK && status <= KILN_REQUIRE) {
      snprintf(why, why_bytes, "%s", kiln_error());
      outcome = CASE_UNFIT;
    } else {
      fail_row(job, t, c->name, variant ? variant : "", kiln_error());
    }
  }
  kiln_plan_destroy(plan);
  tensors_free(&d, &g->device);
  return outcome;
}

/* ---- one group ---- */

static bool next_line(const char **at, const char **line, size_t *n) {
  while (**at == '\n') (*at)++;
  *line = *at;
  *n = strcspn(*at, "\n");
  *at += *n;
  return *n > 0;
}

static bool collect_cases(const Job *job, const Group *g, const char *settings, bool primary, CaseList *cases) {
  char message[256];
  bool quick = options_has(job->o, OPTION_QUICK);
  if (job->o->nsizes) {
    bool done = cases_sizes(cases, g->def, job->o, message, sizeof message) &&
                case_has_memory(g->def, &cases->at[0], message, sizeof message);
    if (!done) cli_error("%s", message);
    return done;
  }
  CaseAmount amount = quick ? (primary ? CASES_QUICK : CASES_ONE) : primary ? CASES_FULL : CASES_SOME;
  cases_generic(cases, g->def, amount);
  const char *at = g->def->cases ? g->def->cases : "", *line;
  size_t n;
  while (!quick && next_line(&at, &line, &n)) {
    char own[256];
    cases_settings(line, n, own, sizeof own);
    if (strcmp(own, settings) == 0 && !cases_line(cases, g->def, line, n, message, sizeof message)) {
      cli_error("%s", message);
      return false;
    }
  }
  return true;
}

/* The largest case below `most` elements that was not tried before, unaligned ones left out; -1: none. */
static int next_largest(const Group *g, const CaseList *cases, const bool *tried, double most) {
  int best = -1;
  for (int k = 0; k < cases->n; k++) {
    double elems = case_elems(g->def, &cases->at[k]);
    if (tried[k] || cases->at[k].layout == LAYOUT_UNALIGNED || elems == 0 || elems > most) continue;
    if (best < 0 || elems > case_elems(g->def, &cases->at[best])) best = k;
  }
  return best;
}

/* Forces each variant that was never selected on the largest case that it admits. */
static void exercise_rest(Job *job, Group *g, Table *t, const CaseList *cases) {
  char why[512];
  double most = options_has(job->o, OPTION_QUICK) ? 5e3 : 1e5;
  bool *tried = cli_alloc((size_t)cases->n + 1);
  for (int i = 0; i < g->nvariants && !job->device_lost; i++) {
    Variant *v = &g->variant[i];
    snprintf(why, sizeof why, "no case");
    memset(tried, 0, (size_t)cases->n);
    for (int k; !v->ran && (k = next_largest(g, cases, tried, most)) >= 0;) {
      tried[k] = true;
      if (run_case(job, g, t, &cases->at[k], v->name, why, sizeof why) == CASE_RAN) break;
    }
    if (v->ran) continue;
    print_row(t, "-", v->name, NULL, "not run: no case fits");
    print_below(why);
  }
  cli_free(tried);
}

/* Each variant that ran, on its smallest case, under the other seeds. */
static void run_seeds(Job *job, Group *g, Table *t) {
  char why[512];
  job->seeding = true;
  for (int i = 0; i < g->nvariants && !job->device_lost; i++) {
    const Variant *v = &g->variant[i];
    if (v->least && run_case(job, g, t, v->least, v->name, why, sizeof why) == CASE_UNFIT) fail_row(job, t, v->least->name, v->name, why);
  }
  job->seeding = false;
}

static void run_cases(Job *job, Group *g, Table *t, const CaseList *cases, bool force) {
  char why[512] = "";
  for (int i = 0; i < cases->n && !job->device_lost; i++)
    if (cases->at[i].layout == LAYOUT_COLUMNS && !g->any_columns) {
      print_row(t, cases->at[i].name, "", NULL, "not run: every variant wants neighbours in a row side by side");
    } else if (run_case(job, g, t, &cases->at[i], NULL, why, sizeof why) == CASE_UNFIT) {
      print_row(t, cases->at[i].name, "", NULL, "does not fit");
      print_below(why);
    }
  if (force && !job->o->nsizes && !job->o->nschedule && !job->o->ptx) exercise_rest(job, g, t, cases);
  if (job->o->seeds) run_seeds(job, g, t);
}

static void print_title(const Job *job, const Group *g, const char *op) {
  printf("\n%s %s on %s", op, *g->settings ? g->settings : "with default settings", job->where);
  if (!job->o->ptx) printf(", PTX for %s", g->device.target);
  else printf(", %s", job->o->ptx);
  putchar('\n');
}

static kiln_gen_status check_group(Job *job, const char *op, const char *settings, bool primary) {
  Options *parsed = cli_alloc(sizeof *parsed);
  Group *g = cli_alloc(sizeof *g);
  CaseList cases = {0};
  char why[2048] = "";
  bool parsed_well = !*settings || options_pairs(parsed, "settings", settings, parsed->set, &parsed->nset, why, sizeof why);
  GroupRequest r = {.op = op,
                    .set = parsed->set,
                    .nset = parsed->nset,
                    .where = job->where,
                    .target = job->o->target,
                    .ptx = job->o->ptx,
                    .sms = job->o->sms,
                    .nsms = job->o->nsms,
                    .seeds = job->o->seeds,
                    .schedule = job->o->nschedule ? job->o->schedule : NULL,
                    .nschedule = job->o->nschedule};
  kiln_gen_status status = parsed_well ? group_open(g, job->gen, &r, why, sizeof why) : KILN_GEN_ERROR;
  if (status == KILN_GEN_REFUSED) {
    printf("\n%s %s on %s\n  refused: %s\n", op, settings, job->where, why);
    job->refused++;
  } else if (status != KILN_GEN_OK) {
    printf("\n%s %s on %s\n  FAIL\n", op, settings, job->where);
    print_below(why);
    job->failed++;
  } else {
    print_title(job, g, op);
    if (collect_cases(job, g, settings, primary, &cases)) {
      Table t;
      table_start(&t, stdout, "  case|variant|>max error|>bound|verdict", false);
      int again = 0;
      for (int i = 0; i < g->def->nscalars; i++) again |= g->def->scalar[i].at_call ? (int)strlen(AGAIN) : 0;
      for (int i = 0; i < cases.n; i++) table_widen(&t, 0, (int)strlen(cases.at[i].name) + 2 + again);
      for (int i = 0; i < g->nvariants; i++) table_widen(&t, 1, (int)strlen(g->variant[i].name));
      table_widen(&t, 2, 9);
      table_widen(&t, 3, 8);
      table_head(&t);
      run_cases(job, g, &t, &cases, primary || !options_has(job->o, OPTION_QUICK));
    } else {
      job->failed++;
    }
    group_close(g);
  }
  cases_free(&cases);
  cli_free(g);
  cli_free(parsed);
  return status;
}

/* ---- one op ---- */

static void add_choice(Choices *c, const char *text) {
  for (int i = 0; i < c->n; i++)
    if (strcmp(c->at[i], text) == 0) return;
  if (c->n < SETTINGS_MAX) snprintf(c->at[c->n++], sizeof c->at[0], "%s", text);
  else c->full = true;
}

/* One setting as `kiln list OP` writes it, "act=none|relu": default first. */
typedef struct Offer { const char *key, *values; size_t key_bytes, values_bytes; } Offer;

static int read_offers(const char *text, Offer *offers, int room) {
  int n = 0;
  while (*text && n < room) {
    size_t word = strcspn(text, " "), key = strcspn(text, "=");
    if (key < word) offers[n++] = (Offer){text, text + key + 1, key, word - key - 1};
    text += word;
    while (*text == ' ') text++;
  }
  return n;
}

/* The i-th value; false past the last. */
static bool offer_value(const Offer *o, int i, const char **value, size_t *bytes) {
  const char *at = o->values, *end = o->values + o->values_bytes;
  for (;; at += *bytes + 1) {
    if (at >= end) return false;
    *value = at;
    *bytes = 0;
    while (at + *bytes < end && at[*bytes] != '|') ++*bytes;
    if (i-- == 0) return true;
  }
}

static bool is_key(const Offer *o, const char *key, size_t bytes) {
  return o->key_bytes == bytes && memcmp(o->key, key, bytes) == 0;
}

/* Is there this dtype, and is the setting named after it? Then it belongs to that dtype. */
static bool is_of_dtype(const Offer *offers, int n, const Offer *o) {
  const char *value;
  size_t bytes;
  for (int i = 0; i < n; i++)
    for (int k = 0; is_key(&offers[i], "dtype", 5) && offer_value(&offers[i], k, &value, &bytes); k++)
      if (is_key(o, value, bytes)) return true;
  return false;
}

/* "act=relu"; the dtype of an optional tensor brings the tensor, "c=yes c_dtype=f32", a setting of a dtype the dtype, "dtype=f32 f32=tf32". */
static void write_choice(const Offer *offers, int n, const Offer *o, const char *value, size_t bytes, char *text,
                         size_t text_bytes) {
  *text = 0;
  size_t stem = o->key_bytes > 6 && memcmp(o->key + o->key_bytes - 6, "_dtype", 6) == 0 ? o->key_bytes - 6 : 0;
  for (int i = 0; i < n && stem; i++)
    if (is_key(&offers[i], o->key, stem)) snprintf(text, text_bytes, "%.*s=yes ", (int)stem, o->key);
  if (is_of_dtype(offers, n, o)) snprintf(text, text_bytes, "dtype=%.*s ", (int)o->key_bytes, o->key);
  size_t used = strlen(text);
  snprintf(text + used, text_bytes - used, "%.*s=%.*s", (int)o->key_bytes, o->key, (int)bytes, value);
}

/* Every dtype with all else away from its default. */
static void choose_together(const Offer *offers, int n, Choices *c) {
  char others[200] = "", text[256];
  const char *value = "";
  size_t bytes = 0, used = 0;
  for (int i = 0; i < n; i++) {
    int last = 0;
    while (offer_value(&offers[i], last + 1, &value, &bytes)) last++;
    offer_value(&offers[i], last, &value, &bytes);
    if (last == 0 || is_key(&offers[i], "dtype", 5) || is_of_dtype(offers, n, &offers[i]) || used + bytes + offers[i].key_bytes + 3 > sizeof others) continue;
    used += (size_t)snprintf(others + used, sizeof others - used, "%s%.*s=%.*s", used ? " " : "", (int)offers[i].key_bytes,
                             offers[i].key, (int)bytes, value);
  }
  for (int i = 0; i < n && used; i++)
    for (int k = 0; is_key(&offers[i], "dtype", 5) && offer_value(&offers[i], k, &value, &bytes); k++) {
      snprintf(text, sizeof text, "dtype=%.*s %s", (int)bytes, value, others);
      add_choice(c, text);
    }
}

/* The given settings; or the defaults, then each setting in turn away from its default, and, in a full check, all together. */
static void choose_settings(Job *job, const char *offered, Choices *c) {
  char text[256] = "";
  if (job->o->nset) {
    size_t n = 0;
    for (int i = 0; i < job->o->nset && n < sizeof text; i++)
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%s=%s", i ? " " : "", job->o->set[i].key, job->o->set[i].value);
    if (n < sizeof text) add_choice(c, text);
    else cli_error("--set has more than %zu characters; leave out what is the default", sizeof text - 1), job->failed++;
    return;
  }
  add_choice(c, "");
  if (job->o->nsizes) return;
  Offer offers[32];
  int n = read_offers(offered, offers, 32);
  const char *value = "";
  size_t bytes = 0;
  for (int i = 0; i < n; i++)
    for (int k = 1; offer_value(&offers[i], k, &value, &bytes); k++) {
      write_choice(offers, n, &offers[i], value, bytes, text, sizeof text);
      add_choice(c, text);
    }
  if (!options_has(job->o, OPTION_QUICK)) choose_together(offers, n, c);
}

/* Settings that stand in the op's own lines of cases. */
static void choose_from_lines(Job *job, const char *op, Choices *c) {
  kiln_gen_request r = {.op = op};
  const KilnDef *def;
  if (job->o->nset || job->o->nsizes || options_has(job->o, OPTION_QUICK) || kiln_gen_define(job->gen, &r, &def) != KILN_GEN_OK)
    return;
  const char *at = def->cases ? def->cases : "", *line;
  size_t n;
  while (next_line(&at, &line, &n)) {
    char settings[256];
    cases_settings(line, n, settings, sizeof settings);
    if (*settings) add_choice(c, settings);
  }
}

static void check_op(Job *job, const char *op, const char *offered) {
  Choices *c = cli_alloc(sizeof *c);
  choose_settings(job, offered, c);
  choose_from_lines(job, op, c);
  if (c->full) { /* what is left out would pass unseen */
    cli_error("%s has more than %d choices of settings; check some of them at a time with --set", op, SETTINGS_MAX);
    job->failed++;
  }
  bool primary = true; /* not yet the group that gets all cases */
  *job->base = 0;
  for (int i = 0; i < c->n && !job->device_lost; i++) {
    char text[sizeof job->base + sizeof c->at[0] + 2];
    bool has_dtype = strncmp(c->at[i], "dtype=", 6) == 0;
    snprintf(text, sizeof text, "%s%s%s", has_dtype ? "" : job->base, *job->base && !has_dtype && *c->at[i] ? " " : "", c->at[i]);
    bool done = check_group(job, op, text, primary) != KILN_GEN_REFUSED;
    if (done && primary && has_dtype) snprintf(job->base, sizeof job->base, "%s", c->at[i]);
    if (done || (i > 0 && !has_dtype)) primary = false;
  }
  cli_free(c);
}

/* ---- the command ---- */

static int finish(const Job *job, uint64_t seed) {
  printf("\nseed %llu", (unsigned long long)seed);
  if (job->refused) printf(", %ld refused", job->refused);
  printf("\n%ld passed, %ld failed\n", job->passed, job->failed);
  if (!job->failed && !job->passed && !job->refused) cli_error("no case was run");
  return job->failed || (!job->passed && !job->refused) ? CLI_FAILED : CLI_OK;
}

static bool take_file(Job *job, Options *o, OpList *ops, int *code) {
  char op[64];
  if (!o->ptx) return true;
  if (o->nschedule) return *code = cli_usage("check: --schedule and --ptx exclude each other: the file has its schedule"), false;
  if (!variants_read_settings(o->ptx, o, op, sizeof op)) return false;
  for (int i = 0; i < ops->n; i++) { /* of a script's ops the one that the file says it is */
    if (!cli_is_op(ops->name[i], op)) continue;
    char *swap = ops->name[0];
    ops->name[0] = ops->name[i];
    ops->name[i] = swap;
    job->only_first = true;
    return true;
  }
  *code = ops->n == 1 ? cli_usage("check: %s is of op %s, not of %s", o->ptx, op, ops->name[0])
                      : cli_usage("check: %s is of op %s, which is not among these", o->ptx, op);
  return false;
}

/* An option of simulated devices, named once. */
static bool is_alone(const DeviceNames *devices, const char *option, const char *const *words, int nwords, int *code) {
  for (int i = 0; i < devices->n; i++) {
    const char *where = devices->at[i];
    if (strncmp(where, "sim", 3) != 0) return *code = cli_usage("check: %s is for simulated devices, not for %s", option, where), false;
    for (int k = 0; k < nwords; k++)
      if (strstr(where, words[k])) return *code = cli_usage("check: %s and %s in %s exclude each other", option, words[k], where), false;
  }
  return true;
}

static bool take_variety(const Options *o, const DeviceNames *devices, int *code) {
  static const char *const sms[] = {"sms="}, *const seeds[] = {"seed=", "policy="};
  if (options_has(o, OPTION_MUTATE) && (o->nsms || o->seeds))
    return *code = cli_usage("check: --mutate and %s exclude each other", o->nsms ? "--sms" : "--seeds"), false;
  if (o->nsms && o->seeds) return *code = cli_usage("check: --sms and --seeds exclude each other"), false;
  if (o->nsms) return is_alone(devices, "--sms", sms, 1, code);
  return !o->seeds || is_alone(devices, "--seeds", seeds, 2, code);
}

static int run(const Options *given) {
  Options *o = (Options *)given; /* main's only one; --ptx adds the file's settings */
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  OpList ops = {0};
  DeviceNames *devices = cli_alloc(sizeof *devices);
  int code = CLI_FAILED;
  Job job = {.o = o, .gen = gen};
  if (cli_list_ops(gen, o->operand[0], &ops) && take_file(&job, o, &ops, &code) && devices_named(o, devices) && take_variety(o, devices, &code)) {
    uint64_t seed = options_has(o, OPTION_SEED) ? o->seed : random_entropy() & 0xFFFFFFFFu;
    random_start(&job.random, seed);
    if (options_has(o, OPTION_MUTATE)) code = mutate_run(o, gen, &ops, job.only_first ? 1 : ops.n, devices, seed);
    for (int i = 0; i < devices->n && !options_has(o, OPTION_MUTATE); i++) {
      Device probe;
      job.where = devices->at[i];
      job.device_lost = false;
      if (!device_open(&probe, job.where, o->target)) {
        job.failed++;
        continue;
      }
      for (int k = 0; k < (job.only_first ? 1 : ops.n) && !job.device_lost; k++) check_op(&job, ops.name[k], ops.settings[k]);
      if (job.device_lost) cli_error("%s: given up after a fault", job.where);
      device_close(&probe); /* open all along: the context stays, groups come and go */
    }
    if (!options_has(o, OPTION_MUTATE)) code = finish(&job, seed);
  }
  cli_free(devices);
  cli_free_ops(&ops);
  kiln_gen_close(gen);
  return code;
}

const Command command_check = {"check",
                               "compares kernels with the op's definition",
                               help,
                               TAKES(DEVICE) | TAKES(TARGET) | TAKES(SIZE) | TAKES(SET) | TAKES(SCHEDULE) | TAKES(PTX) |
                                   TAKES(SEED) | TAKES(SEEDS) | TAKES(QUICK) | TAKES(MUTATE) | TAKES(SMS) | TAKES(LUA),
                               1,
                               1,
                               run};
