/* list.c - kiln list: ops, targets, and what the runtime would choose. */
#include "../../runtime/reason.h"
#include "table.h"
#include "variants.h"
#include <string.h>

static const char help[] =
    "usage: kiln list [OP]\n"
    "       kiln list --targets\n"
    "       kiln list --variants OP [--target SM] [--size M=..,N=..] [--set K=V,..] [--device D]\n\n"
    "A line per op: its name first, then what it does. With OP: its settings, default first.\n\n"
    "  --targets          the architectures that PTX can be emitted for\n"
    "  --variants         the schedules that OP offers; with --size which one wins and whether a measurement of kiln tune decided, the\n"
    "                     rule that each loser broke, and how each predicted time comes about\n"
    "  --size M=..,N=..   the shape to choose for\n"
    "  --target SM        the target whose schedules are listed (default: the device's own)\n"
    "  --device D         the device to choose for, which matters: cost depends on its SMs (default: a simulated one of the\n"
    "                     target, or of sm_80, with few SMs)\n"
    "  --set K=V,..       settings\n"
    "  --lua DIR          the language, families and ops from this folder\n\n"
    "examples:\n"
    "  kiln list\n"
    "  kiln list rms_norm\n"
    "  kiln list --targets\n"
    "  kiln list --variants gemm --size M=128,N=4096,K=4096 --device sim:sm_90a,sms=132\n";

static int list_targets(void) {
  Table t;
  table_start(&t, stdout, "target|>.version|>shared/block|>shared/SM|>threads/SM|>CTAs/SM", true);
  for (int i = 0; target_at(i); i++) {
    const Target *x = target_at(i);
    char version[16], block[16], sm[16], threads[16], ctas[16];
    snprintf(version, sizeof version, "%d.%d", x->version / 10, x->version % 10);
    snprintf(block, sizeof block, "%u", x->shared_block);
    snprintf(sm, sizeof sm, "%u", x->shared_sm);
    snprintf(threads, sizeof threads, "%u", x->threads_sm);
    snprintf(ctas, sizeof ctas, "%u", x->ctas_sm);
    table_row(&t, (const char *const[]){x->name, version, block, sm, threads, ctas});
  }
  table_end(&t);
  return CLI_OK;
}

static int list_ops(const Options *o) {
  KilnGen *g = cli_open_generator(o);
  if (!g) return CLI_FAILED;
  const kiln_gen_op *ops;
  int n, code = CLI_OK;
  bool script = o->noperands && cli_is_path(o->operand[0]), found = false;
  const char *wanted = !o->noperands ? NULL : script ? cli_named(o->operand[0]) : o->operand[0];
  kiln_gen_status status = script ? kiln_gen_script_ops(g, o->operand[0], &ops, &n) : kiln_gen_ops(g, &ops, &n);
  if (status != KILN_GEN_OK) {
    code = cli_generator_failed(g, status);
  } else {
    Table t;
    table_start(&t, stdout, "", true);
    t.used = 0; /* no titles */
    t.columns = 2;
    for (int i = 0; i < n; i++)
      if (!wanted || strcmp(ops[i].name, wanted) == 0) {
        found = true;
        table_row(&t, (const char *const[]){ops[i].name, ops[i].doc ? ops[i].doc : ""});
        if (o->noperands) table_row(&t, (const char *const[]){"", ops[i].settings ? ops[i].settings : ""});
      }
    table_end(&t);
    if (!found) {
      if (o->noperands) cli_error("unknown op \"%s\" (kiln list shows the ops)", o->operand[0]);
      else cli_error("there is no op in %s/ops", o->lua ? o->lua : "lua");
      code = CLI_FAILED;
    }
  }
  kiln_gen_close(g);
  return code;
}

/* ---- variants ---- */

/* The rows, and the names of those that fit. */
typedef struct Verdicts { Table *table; char *fits[VARIANTS_MAX]; double cost_ns[VARIANTS_MAX]; int n; } Verdicts;

static void show_verdict(void *user, const kiln_verdict *v) {
  Verdicts *all = user;
  Table *t = all->table;
  if (v->status == KILN_OK && all->n < VARIANTS_MAX) {
    all->cost_ns[all->n] = v->cost_ns;
    all->fits[all->n++] = cli_text(v->variant);
  }
  char cost[32] = "";
  if (v->status == KILN_OK) snprintf(cost, sizeof cost, "%.2f us", v->cost_ns / 1000);
  const char *verdict = v->tuned ? "wins: measured" : v->wins ? "wins" : v->status == KILN_OK ? "fits" : v->rule;
  table_row(t, (const char *const[]){v->variant, cost, verdict, v->schedule});
}

/* ---- how a predicted time comes about ---- */

typedef struct Story {
  const Group *g;
  char names[1024]; /* "waves = 2, K = 64" */
  size_t used;
} Story;

/* Work divided among the SMs, rounded up. */
static bool is_waves(const char *text, size_t bytes) {
  return bytes > 8 && memcmp(text, "ceildiv(", 8) == 0 && memmem(text, bytes, ",sms", 4) != NULL;
}

static void show_reason(void *user, ReasonKind kind, const char *text, size_t bytes, double value) {
  Story *s = user;
  const kiln_device_info *info = &s->g->device.info;
  switch (kind) {
  case REASON_TERM: printf("    %10.3f us  %.*s\n", value / 1000, (int)bytes, text); break;
  case REASON_CALL:
  case REASON_NAME:
    if (s->used < sizeof s->names)
      s->used += (size_t)snprintf(s->names + s->used, sizeof s->names - s->used, "%s%s%.*s = %.6g", s->used ? ", " : "",
                                  is_waves(text, bytes) ? "waves " : "", (int)bytes, text, value);
    break;
  case REASON_BYTES: printf("    bytes %.6g: %.3f us at the memory's rate\n", value, value / info->bandwidth_bytes_ns / 1000); break;
  case REASON_FLOP: printf("    FLOP %.6g: %.3f us at the tensor cores' 16-bit rate\n", value, value / info->tensor_flop_ns / 1000); break;
  }
}

static void explain_costs(const Group *g, const Verdicts *v, const kiln_arg *args, int nargs) {
  for (int i = 0; i < v->n; i++) {
    Story s = {.g = g};
    printf("\n  %s: predicted %.3f us\n", v->fits[i], v->cost_ns[i] / 1000);
    reason_cost(g->device.dev, g->op, args, nargs, v->fits[i], show_reason, &s);
    if (s.used) printf("    where %s\n", s.names);
  }
}

static int explain(const Options *o, const Group *g) {
  CaseList cases = {0};
  char message[256];
  if (!cases_sizes(&cases, g->def, o, message, sizeof message)) {
    cases_free(&cases);
    return cli_usage("%s", message);
  }
  CaseData d;
  kiln_arg args[DEF_MAX_TENSORS + 8 + OPTIONS_MAX_PAIRS];
  /* Sizes and strides decide; no memory is needed. */
  tensors_shape(&d, g->def, &cases.at[0], &g->majors);
  int n = tensors_args(&d, g->option, g->noptions, args, (int)(sizeof args / sizeof args[0]));
  printf("%s %s on %s, %s with %d SMs\n", g->op, cases.at[0].name, g->device.where, g->device.info.name, g->device.info.sms);
  kiln_plan *plan; /* adds a measured schedule that is not offered; that there is none, or none fits, is what the table says */
  if (kiln_plan_create(&plan, g->device.dev, g->op, args, n) == KILN_OK) kiln_plan_destroy(plan);
  Table t;
  Verdicts v = {.table = &t};
  table_start(&t, stdout, "variant|>cost|verdict|schedule", true);
  kiln_status status = kiln_explain(g->device.dev, g->op, args, n, NULL, show_verdict, &v);
  table_end(&t);
  if (status == KILN_OK) explain_costs(g, &v, args, n);
  for (int i = 0; i < v.n; i++) cli_free(v.fits[i]);
  if (status != KILN_OK) cli_error("%s", kiln_error());
  tensors_free(&d, &g->device);
  cases_free(&cases);
  return status == KILN_OK ? CLI_OK : CLI_FAILED;
}

static int show_offered(const Group *g) {
  Table t;
  table_start(&t, stdout, "variant|schedule", true);
  for (int i = 0; i < g->nvariants; i++) table_row(&t, (const char *const[]){g->variant[i].name, g->variant[i].schedule});
  table_end(&t);
  return CLI_OK;
}

static int list_variants(const Options *o) {
  if (!o->noperands) return cli_usage("list: --variants needs an op");
  if (device_not_one(o, "list")) return CLI_USAGE;
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  OpList ops = {0};
  Group *g = cli_alloc(sizeof *g);
  char where[64], why[2048];
  int code = CLI_FAILED;
  snprintf(where, sizeof where, "sim:%s", o->target ? o->target : "sm_80");
  if (cli_list_one(gen, "list", o->operand[0], &ops)) {
    GroupRequest r = {.op = ops.name[0], .set = o->set, .nset = o->nset, .target = o->target,
                      .where = o->ndevices ? o->device[0] : where};
    if (group_open(g, gen, &r, why, sizeof why) != KILN_GEN_OK) {
      cli_error("%s", why);
    } else {
      if (o->nsizes) group_follow(g, gen, &r);
      code = o->nsizes ? explain(o, g) : show_offered(g);
      group_close(g);
    }
  }
  cli_free(g);
  cli_free_ops(&ops);
  kiln_gen_close(gen);
  return code;
}

static int run(const Options *o) {
  if (options_has(o, OPTION_TARGETS)) {
    if (o->noperands || options_has(o, OPTION_VARIANTS) || o->target || o->nset || o->nsizes || o->ndevices)
      return cli_usage("list: --targets takes no op and no other option");
    return list_targets();
  }
  if (options_has(o, OPTION_VARIANTS)) return list_variants(o);
  if (o->target || o->nset || o->nsizes || o->ndevices)
    return cli_usage("list: --target, --set, --size and --device go with --variants");
  return list_ops(o);
}

const Command command_list = {
    "list", "ops, targets, and the variants of an op", help,
    TAKES(TARGETS) | TAKES(VARIANTS) | TAKES(SIZE) | TAKES(SET) | TAKES(TARGET) | TAKES(DEVICE) | TAKES(LUA),
    0, 1, run};
