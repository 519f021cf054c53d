/* bench.c - kiln bench: time of a plan's launches.
 *
 * On a GPU each sample is one launch between two events, and before each the level-two cache is flushed: a buffer larger than it
 * is written. The copy rate is measured the same way in the same process (cuMemcpyDtoD of as many bytes, read plus written), so
 * what a pair of events costs is in both. On the simulator time is the host's (by its own counters, decoding left out) and says
 * nothing of a GPU; there the rates at which it executes are given. */
#include "meter.h"
#include "timing.h"

static const char help[] =
    "usage: kiln bench OP --size M=..,N=.. [options]\n\n"
    "Median and spread of the time of a launch, with the level-two cache flushed before each; bytes/s and FLOP/s by the\n"
    "contract, and the fraction of the rate at which cuMemcpyDtoD moves the same bytes (read + written) in the same process.\n"
    "On the simulator: lane-instructions per second (one instruction in one active lane) and tensor MACs per second of host "
    "time;\nand by kernel, of one launch more: wavefronts of shared memory over the ideal (bank conflicts), sectors of global memory\n"
    "per request, bytes by state space, the mix of instructions.\n\n"
    "  --size M=..,N=..     the shape\n"
    "  --device D           cuda:N or sim:TARGET[,option=value..] (default: first GPU, else the simulator)\n"
    "  --set --schedule --target --ptx --seed --lua    as for kiln check\n"
    "  --lines              on the simulator: the same by line of the script\n"
    "  --json               one object per line instead of a table\n\n"
    "examples:\n"
    "  kiln bench rms_norm --device cuda:0 --size M=8192,N=4096\n"
    "  kiln bench gemm --target sm_80 --size M=4096,N=4096,K=4096 --set dtype=f16\n"
    "  kiln bench rms_norm --device sim:sm_80,checks=off,cores=1 --size M=256,N=4096\n"
    "  kiln bench gemm --device sim:sm_80 --size M=256,N=256,K=256 --lines\n";

typedef struct Result {
  kiln_plan_info plan;
  Timed timed;
  Spread copy;
  double copied_bytes; /* read + written by the copy */
  Meter meter;         /* of one launch on a simulated device */
} Result;

typedef struct Copy { kiln_device *dev; void *to, *from; size_t bytes; } Copy;
static kiln_status work_copy(void *user, void *stream) {
  Copy *c = user;
  return kiln_copy(c->dev, c->to, c->from, c->bytes, stream);
}

/* ---- one shape ---- */

static kiln_status measure_copy(Timer *t, double bytes, Result *out) {
  Copy c = {.dev = t->g->device.dev, .bytes = (size_t)(bytes / 2)};
  if (c.bytes == 0) return KILN_OK;
  kiln_status status = kiln_malloc(c.dev, &c.to, c.bytes);
  if (status == KILN_OK) status = kiln_malloc(c.dev, &c.from, c.bytes);
  if (status == KILN_OK) status = kiln_fill(c.dev, c.from, 1, c.bytes, t->stream);
  if (status == KILN_OK) status = timer_measure(t, work_copy, &c, &out->copy);
  out->copied_bytes = 2.0 * (double)c.bytes;
  kiln_free(c.dev, c.to);
  kiln_free(c.dev, c.from);
  return status;
}

static kiln_status measure(const Group *g, const CaseData *d, const kiln_plan *plan, Result *out) {
  Timer t;
  kiln_status status = kiln_plan_query(plan, &out->plan);
  if (status != KILN_OK) return status;
  status = timer_open(&t, g);
  if (status == KILN_OK) status = timer_launches(&t, d, plan, &out->timed);
  if (status == KILN_OK && !g->device.info.simulated) status = measure_copy(&t, out->plan.bytes, out);
  timer_close(&t);
  return status;
}

/* ---- reports ---- */

static void write_rate(char *text, size_t bytes, double per_second, const char *unit) {
  static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
  int i = 0;
  while (per_second >= 1000 && i < 5) {
    per_second /= 1000;
    i++;
  }
  snprintf(text, bytes, "%.4g %s%s/s", per_second, prefix[i], unit);
}

static double copy_fraction(const Result *r) {
  if (r->copy.median <= 0 || r->timed.launch.median <= 0) return 0;
  return (r->plan.bytes / r->timed.launch.median) / (r->copied_bytes / r->copy.median);
}

static void report_table(const Group *g, const Case *c, const Result *r, bool lines) {
  char text[5][64] = {""};
  printf("%s %s, %s, on %s (%s)\n", g->op, c->name, *g->settings ? g->settings : "default settings", g->device.where,
         g->device.info.name);
  printf("  variant      %s (%s, PTX for %s)\n", r->plan.variant, r->plan.schedule, r->plan.target);
  if (g->device.info.simulated) {
    printf("  host time    %.4g ms, median of %d launches (quartiles %.4g .. %.4g)\n", r->timed.launch.median * 1e-6, r->timed.launch.n,
           r->timed.launch.low * 1e-6, r->timed.launch.high * 1e-6);
    if (r->timed.counted && r->timed.counters.seconds > 0) {
      write_rate(text[0], sizeof text[0], r->timed.counters.lane_instructions / r->timed.counters.seconds, "lane-instructions");
      write_rate(text[1], sizeof text[1], r->timed.counters.tensor_macs / r->timed.counters.seconds, "MAC");
      printf("  simulator    %s (%.4g in %.4g s)\n", text[0], r->timed.counters.lane_instructions, r->timed.counters.seconds);
      if (r->timed.counters.tensor_macs > 0) printf("  tensor       %s (%.4g MACs)\n", text[1], r->timed.counters.tensor_macs);
    }
    meter_print(&r->meter, lines);
    return;
  }
  printf("  time         %.2f us, median of %d launches, each between two events, L2 flushed (quartiles %.2f .. %.2f)\n",
         r->timed.launch.median / 1000, r->timed.launch.n, r->timed.launch.low / 1000, r->timed.launch.high / 1000);
  write_rate(text[0], sizeof text[0], r->plan.bytes / r->timed.launch.median * 1e9, "B");
  write_rate(text[1], sizeof text[1], r->plan.flop / r->timed.launch.median * 1e9, "FLOP");
  write_rate(text[2], sizeof text[2], r->copied_bytes / (r->copy.median > 0 ? r->copy.median : 1) * 1e9, "B");
  printf("  bytes        %s (%.0f by the contract)\n", text[0], r->plan.bytes);
  if (r->plan.flop > 0) printf("  arithmetic   %s (%.4g FLOP)\n", text[1], r->plan.flop);
  printf("  copy         %s by cuMemcpyDtoD of the same bytes in %.2f us; the launch reaches %.3f of it\n", text[2],
         r->copy.median / 1000, copy_fraction(r));
  printf("  predicted    %.2f us\n", r->plan.cost_ns / 1000);
}

static void put_string(const char *name, const char *s) {
  printf("\"%s\": \"", name);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\')
      printf("\\%c", *s);
    else if ((unsigned char)*s < 32)
      printf("\\u%04x", *s);
    else
      putchar(*s);
  }
  fputs("\", ", stdout);
}

static void report_json(const Group *g, const Case *c, const Result *r, bool lines) {
  putchar('{');
  put_string("op", g->op);
  put_string("size", c->name);
  put_string("settings", r->plan.settings);
  put_string("device", g->device.where);
  put_string("device_name", g->device.info.name);
  put_string("target", r->plan.target);
  put_string("variant", r->plan.variant);
  put_string("schedule", r->plan.schedule);
  printf("\"simulated\": %s, \"samples\": %d, \"median_ns\": %.1f, \"quartile_low_ns\": %.1f, \"quartile_high_ns\": %.1f, ",
         g->device.info.simulated ? "true" : "false", r->timed.launch.n, r->timed.launch.median, r->timed.launch.low, r->timed.launch.high);
  printf("\"bytes\": %.0f, \"flop\": %.0f, \"predicted_ns\": %.1f", r->plan.bytes, r->plan.flop, r->plan.cost_ns);
  if (!g->device.info.simulated)
    printf(", \"bytes_per_second\": %.6g, \"flop_per_second\": %.6g, \"copy_median_ns\": %.1f, \"copy_fraction\": %.4f",
           r->plan.bytes / r->timed.launch.median * 1e9, r->plan.flop / r->timed.launch.median * 1e9, r->copy.median, copy_fraction(r));
  if (r->timed.counted && r->timed.counters.seconds > 0)
    printf(", \"lane_instructions\": %.0f, \"tensor_macs\": %.0f, \"seconds\": %.6g, \"lane_instructions_per_second\": %.6g, "
           "\"tensor_macs_per_second\": %.6g",
           r->timed.counters.lane_instructions, r->timed.counters.tensor_macs, r->timed.counters.seconds,
           r->timed.counters.lane_instructions / r->timed.counters.seconds, r->timed.counters.tensor_macs / r->timed.counters.seconds);
  if (g->device.info.simulated) {
    fputs(", ", stdout);
    meter_print_json(&r->meter, lines);
  }
  puts("}");
}

/* ---- the command ---- */

static int bench_case(const Options *o, const Group *g, Random *random) {
  CaseList cases = {0};
  char message[256];
  if (!cases_sizes(&cases, g->def, o, message, sizeof message) ||
      !case_has_memory(g->def, &cases.at[0], message, sizeof message)) {
    cases_free(&cases);
    return cli_usage("%s", message);
  }
  CaseData d;
  kiln_plan *plan = NULL;
  Result result = {0};
  int code = CLI_FAILED;
  tensors_make(&d, g->def, &cases.at[0], &g->majors, false);
  tensors_fill_fast(&d, random);
  if (tensors_upload(&d, &g->device)) {
    kiln_status status = group_plan(g, &d, NULL, &plan);
    if (status == KILN_OK) status = kiln_plan_query(plan, &result.plan);
    bool empty = status == KILN_OK && result.plan.nsteps == 0;
    if (status == KILN_OK && !empty) status = measure(g, &d, plan, &result);
    bool lines = options_has(o, OPTION_LINES), metered = g->device.info.simulated && status == KILN_OK;
    if (empty) {
      cli_error("%s: no kernel runs at these sizes, so there is nothing to measure", cases.at[0].name);
    } else if (status != KILN_OK) {
      cli_error("%s", kiln_error());
    } else if (metered && !meter_run(g, &d, &result.plan, &result.meter, message, sizeof message)) {
      cli_error("%s", message);
    } else {
      if (options_has(o, OPTION_JSON)) report_json(g, &cases.at[0], &result, lines);
      else report_table(g, &cases.at[0], &result, lines);
      code = CLI_OK;
    }
    meter_free(&result.meter);
  }
  kiln_plan_destroy(plan);
  tensors_free(&d, &g->device);
  cases_free(&cases);
  return code;
}

static int bench_device(const Options *o, KilnGen *gen, const char *op, const char *where) {
  Group *g = cli_alloc(sizeof *g);
  char why[2048];
  Random random;
  int code = CLI_FAILED;
  random_start(&random, options_has(o, OPTION_SEED) ? o->seed : random_entropy());
  GroupRequest r = {.op = op, .set = o->set, .nset = o->nset, .where = where, .target = o->target, .ptx = o->ptx,
                    .schedule = o->nschedule ? o->schedule : NULL, .nschedule = o->nschedule, .texts = true};
  kiln_gen_status status = group_open(g, gen, &r, why, sizeof why);
  if (status != KILN_GEN_OK) {
    cli_error("%s%s", status == KILN_GEN_REFUSED ? "refused: " : "", why);
  } else {
    group_follow(g, gen, &r);
    code = bench_case(o, g, &random);
    group_close(g);
  }
  cli_free(g);
  return code;
}

static int run(const Options *given) {
  Options *o = (Options *)given; /* main's only one; --ptx adds the file's settings */
  if (!o->nsizes) return cli_usage("bench: --size is needed, such as --size M=8192,N=4096 (see kiln bench --help)");
  if (o->ptx && o->nschedule) return cli_usage("bench: --schedule and --ptx exclude each other: the file has its schedule");
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  OpList ops = {0};
  DeviceNames *devices = cli_alloc(sizeof *devices);
  char op[64];
  int code = CLI_FAILED;
  if (cli_list_one(gen, "bench", o->operand[0], &ops) && (!o->ptx || variants_read_settings(o->ptx, o, op, sizeof op)) &&
      devices_named(o, devices)) {
    code = o->ptx && !cli_is_op(ops.name[0], op) ? cli_usage("bench: %s is of op %s, not of %s", o->ptx, op, ops.name[0]) : CLI_OK;
    for (int i = 0; i < devices->n && code != CLI_USAGE; i++) {
      int one = bench_device(o, gen, ops.name[0], devices->at[i]);
      if (one > code) code = one;
    }
  }
  cli_free(devices);
  cli_free_ops(&ops);
  kiln_gen_close(gen);
  return code;
}

const Command command_bench = {"bench",
                               "measures the time of an op",
                               help,
                               TAKES(DEVICE) | TAKES(TARGET) | TAKES(SIZE) | TAKES(SET) | TAKES(SCHEDULE) | TAKES(PTX) |
                                   TAKES(SEED) | TAKES(JSON) | TAKES(LINES) | TAKES(LUA),
                               1,
                               1,
                               run};
