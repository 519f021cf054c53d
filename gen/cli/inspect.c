/* inspect.c - kiln inspect: what a file, or an op's variant, is made of and what bounds it. */
#include "../../runtime/contract.h"
#include "assemble.h"
#include "coverage.h"
#include "mix.h"
#include "table.h"
#include "variants.h"
#include <string.h>

static const char help[] =
    "usage: kiln inspect FILE.ptx|OP [options]\n"
    "       kiln inspect --isa\n\n"
    "Registers, spills and shared memory (by ptxas, where it is installed), occupancy, instruction mix and innermost loops;\n"
    "with --size also bytes and FLOP by the contract, the launch, and which of the two bounds the time.\n"
    "With --isa the table of PTX forms: which are simulated, tested, and were compared with a GPU.\n\n"
    "  --target SM          of OP (default sm_80)\n"
    "  --set --schedule     of OP: as for kiln emit\n"
    "  --size M=..,N=..     the shape\n"
    "  --device D           whose rates the bound is for (default: a simulated device of the target, of few SMs)\n"
    "  --lua DIR            the language, families and ops from this folder\n\n"
    "examples:\n"
    "  kiln inspect ptx_out/rms_norm/sm_90a/rms_norm-bf16-r1x4096.ptx\n"
    "  kiln inspect gemm --target sm_80 --size M=4096,N=4096,K=4096 --device sim:sm_80,sms=108\n";

/* A multiprocessor of every target has 65536 registers, given out to warps in pieces of 256. */
#define REGISTERS_SM 65536
#define REGISTERS_PIECE 256

typedef struct Report {
  const Contract *contract;  /* NULL: the file has none */
  const Target *target;      /* NULL: unknown */
  Assembled assembled[32];
  int nassembled;
} Report;

static const Assembled *assembled_entry(const Report *r, const char *name) {
  for (int i = 0; i < r->nassembled; i++)
    if (strcmp(r->assembled[i].entry, name) == 0) return &r->assembled[i];
  return NULL;
}

/* Dynamic shared memory, where the contract gives it as a number. */
static long dynamic_shared(const Report *r, const char *entry) {
  uint32_t reads[1];
  int64_t bytes = 0;
  for (int i = 0; r->contract && i < r->contract->nstep; i++) {
    const ContractStep *s = &r->contract->step[i];
    if (strcmp(s->entry, entry) != 0) continue;
    if (expr_reads(&s->shared, reads, 1) || expr_int(&s->shared, NULL, &bytes)) return -1;
  }
  return (long)bytes;
}

static void print_occupancy(const Target *t, int threads, int registers, long shared) {
  int warps = (threads + 31) / 32;
  long per_warp = (registers * 32L + REGISTERS_PIECE - 1) / REGISTERS_PIECE * REGISTERS_PIECE;
  long taken = shared + (t->shared_sm - t->shared_block); /* what the system takes of each CTA's part */
  long by_threads = t->threads_sm / (warps * 32), by_registers = per_warp ? REGISTERS_SM / (per_warp * warps) : t->ctas_sm;
  long by_shared = taken > 0 ? (long)t->shared_sm / taken : t->ctas_sm, ctas = t->ctas_sm;
  const char *why = "CTAs of an SM";
  if (by_threads < ctas) ctas = by_threads, why = "threads";
  if (by_registers < ctas) ctas = by_registers, why = "registers";
  if (by_shared < ctas) ctas = by_shared, why = "shared memory";
  printf("  occupancy    %ld CTAs, %ld of %d warps of an SM, limited by %s\n", ctas, ctas * warps, t->threads_sm / 32, why);
}

static void print_mix(const Mix *m, const char *indent, int most) {
  int column = 0;
  for (int i = 0; i < m->n && i < most; i++) {
    bool ends = ++column % 3 == 0 || i + 1 == m->n || i + 1 == most;
    if (column % 3 == 1) fputs(indent, stdout);
    printf("%5d %-*s%s", m->at[i].n, ends ? 0 : 32, m->at[i].opcode, ends ? "\n" : "");
  }
  if (m->n > most) printf("%s      and %d more opcodes\n", indent, m->n - most);
}

static void print_entry(void *user, const MixEntry *e) {
  const Report *r = user;
  const Assembled *a = assembled_entry(r, e->name);
  long dynamic = dynamic_shared(r, e->name);
  printf("entry %s\n", e->name);
  if (a)
    printf("  ptxas        %d registers, %d bytes spilled (%d stored, %d loaded), %d bytes stack, %d bytes static shared\n",
           a->registers, a->spill_store_bytes + a->spill_load_bytes, a->spill_store_bytes, a->spill_load_bytes, a->stack_bytes,
           a->shared_bytes);
  if (dynamic > 0) printf("  shared       %ld bytes dynamic\n", dynamic);
  if (e->threads) printf("  block        %d threads\n", e->threads);
  if (a && r->target && e->threads && dynamic >= 0)
    print_occupancy(r->target, e->threads, a->registers, dynamic + a->shared_bytes);
  printf("  instructions %d\n", e->mix.total);
  print_mix(&e->mix, "    ", 24);
  for (int i = 0; i < e->nloops; i++) {
    const MixLoop *l = &e->loop[i];
    printf("  loop %s, lines %d to %d: %d instructions", l->label, l->first_line, l->last_line, l->mix.total);
    if (l->macs) printf(", %ld products of a warp: %.3f instructions per 1024", l->macs, l->mix.total * 1024.0 / (double)l->macs);
    putchar('\n');
    print_mix(&l->mix, "    ", 12);
  }
}

static void ask_ptxas(Report *r, const char *text, size_t bytes, const char *target) {
  char log[2048];
  switch (assemble(text, bytes, target, r->assembled, 32, &r->nassembled, log, sizeof log)) {
  case ASSEMBLE_ABSENT: puts("ptxas is not installed: no registers, spills and occupancy"); break;
  case ASSEMBLE_REFUSED: printf("ptxas refuses this text:\n%s\n", log); break;
  case ASSEMBLE_DONE: break;
  }
}

/* The target of a text without contract stands in its .target line. */
static void find_target(const char *text, char *target, size_t bytes) {
  const char *at = strstr(text, "\n.target ");
  *target = 0;
  if (at) snprintf(target, bytes, "%.*s", (int)strcspn(at + 9, ", \n\t"), at + 9);
}

static int inspect_text(const char *name, const char *text, size_t bytes) {
  Report r = {0};
  Contract c;
  char target[32];
  kiln_status status = contract_read(&c, name, text, bytes);
  if (status == KILN_OK) r.contract = &c;
  else if (status != KILN_NO_CONTRACT) return cli_error("%s", kiln_error()), CLI_FAILED;
  find_target(text, target, sizeof target);
  if (!*target && r.contract) snprintf(target, sizeof target, "%s", c.target);
  r.target = *target ? target_find(target) : NULL;
  printf("%s\n", name);
  if (r.contract)
    printf("  op           %s\n  settings     %s\n  schedule     %s\n", c.op, c.settings, c.schedule);
  else
    puts("  no contract");
  printf("  target       %s\n", *target ? target : "not said");
  if (*target) ask_ptxas(&r, text, bytes, target);
  mix_read(text, print_entry, &r);
  if (r.contract) contract_free(&c);
  return CLI_OK;
}

/* ---- with a shape ---- */

static void print_bound(const kiln_plan_info *p, const kiln_device_info *d) {
  double memory = d->bandwidth_bytes_ns > 0 ? p->bytes / d->bandwidth_bytes_ns : 0;
  double math = d->tensor_flop_ns > 0 ? p->flop / d->tensor_flop_ns : 0;
  printf("  moves        %.0f bytes, computes %.4g FLOP by the contract", p->bytes, p->flop);
  if (p->bytes > 0 && p->flop > 0) printf(": %.1f FLOP per byte", p->flop / p->bytes);
  printf("\n  roofline     %.2f us by memory (%.0f GB/s), %.2f us by tensor cores (%.0f GFLOP/s): bound by %s\n", memory / 1000,
         d->bandwidth_bytes_ns, math / 1000, d->tensor_flop_ns, math > memory ? "arithmetic" : "memory");
  printf("  predicted    %.2f us\n", p->cost_ns / 1000);
}

static int inspect_shape(const Options *o, const Group *g) {
  CaseList cases = {0};
  char message[256];
  if (!cases_sizes(&cases, g->def, o, message, sizeof message)) {
    cases_free(&cases);
    return cli_usage("%s", message);
  }
  CaseData d;
  kiln_plan *plan = NULL;
  kiln_plan_info info;
  tensors_shape(&d, g->def, &cases.at[0], &g->majors);
  int code = CLI_FAILED;
  if (group_plan(g, &d, NULL, &plan) != KILN_OK || kiln_plan_query(plan, &info) != KILN_OK) {
    cli_error("%s", kiln_error());
  } else {
    code = CLI_OK;
    printf("%s on %s, %s with %d SMs\n  variant      %s\n", cases.at[0].name, g->device.where, g->device.info.name,
           g->device.info.sms, info.variant);
    for (int i = 0; i < info.nsteps; i++) {
      kiln_step_info s;
      if (kiln_plan_step(plan, i, &s) != KILN_OK) continue;
      printf("  step %-8s grid %u,%u,%u block %u, %u bytes dynamic shared, %u CTAs per SM\n", s.name, s.grid[0], s.grid[1],
             s.grid[2], s.block, s.shared_bytes, s.blocks_sm);
    }
    if (info.workspace_bytes) printf("  workspace    %zu bytes\n", info.workspace_bytes);
    print_bound(&info, &g->device.info);
  }
  kiln_plan_destroy(plan);
  tensors_free(&d, &g->device);
  cases_free(&cases);
  return code;
}

static int with_shape(const Options *o, KilnGen *gen, const char *op, const char *ptx, const Options *settings,
                      const char *target) {
  char where[64], why[2048];
  Group *g = cli_alloc(sizeof *g);
  int code = CLI_FAILED;
  snprintf(where, sizeof where, "sim:%s", target);
  GroupRequest r = {.op = op,
                    .set = settings->set,
                    .nset = settings->nset,
                    .ptx = ptx,
                    .where = o->ndevices ? o->device[0] : where,
                    .target = target,
                    .schedule = o->nschedule ? o->schedule : NULL,
                    .nschedule = o->nschedule};
  if (group_open(g, gen, &r, why, sizeof why) != KILN_GEN_OK) {
    cli_error("%s", why);
  } else {
    code = inspect_shape(o, g);
    group_close(g);
  }
  cli_free(g);
  return code;
}

/* ---- the command ---- */

static bool is_ptx_file(const char *operand) {
  size_t n = strlen(operand);
  return n > 4 && strcmp(operand + n - 4, ".ptx") == 0;
}

static int inspect_file(const Options *o) {
  if (o->target || o->nset || o->nschedule)
    return cli_usage("inspect: --target, --set and --schedule go with an op, not with a file");
  size_t bytes;
  char *text = cli_read_file(o->operand[0], &bytes);
  if (!text) return CLI_FAILED;
  int code = inspect_text(o->operand[0], text, bytes);
  if (code == CLI_OK && o->nsizes) {
    Options *settings = cli_alloc(sizeof *settings);
    char op[64], target[32];
    KilnGen *gen = cli_open_generator(o);
    find_target(text, target, sizeof target);
    code = gen && variants_read_settings(o->operand[0], settings, op, sizeof op)
               ? with_shape(o, gen, op, o->operand[0], settings, target)
               : CLI_FAILED;
    kiln_gen_close(gen);
    cli_free(settings);
  }
  cli_free(text);
  return code;
}

static int inspect_op(const Options *o) {
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  const char *target = o->target ? o->target : "sm_80", *text, *name;
  kiln_gen_request r = {.op = o->operand[0], .target = target, .set = o->set, .nset = o->nset,
                        .schedule = o->nschedule ? o->schedule : NULL, .nschedule = o->nschedule};
  size_t bytes;
  kiln_gen_status status = kiln_gen_emit(gen, &r, &text, &bytes, &name);
  int code = status == KILN_GEN_OK ? inspect_text(name, text, bytes) : cli_generator_failed(gen, status);
  if (code == CLI_OK && o->nsizes) code = with_shape(o, gen, o->operand[0], NULL, o, target);
  kiln_gen_close(gen);
  return code;
}

static int run(const Options *o) {
  if (options_has(o, OPTION_ISA)) {
    if (o->noperands) return cli_usage("inspect: --isa takes no file or op");
    if (o->given & ~TAKES(ISA)) return cli_usage("inspect: --isa takes no other option");
    return coverage_print();
  }
  if (!o->noperands) return cli_usage("inspect: an operand is missing: a file or an op (or --isa)");
  if (o->ndevices && !o->nsizes) return cli_usage("inspect: --device goes with --size");
  if (device_not_one(o, "inspect")) return CLI_USAGE;
  return is_ptx_file(o->operand[0]) ? inspect_file(o) : inspect_op(o);
}

const Command command_inspect = {
    "inspect", "what a kernel is made of, and what bounds it", help,
    TAKES(TARGET) | TAKES(SET) | TAKES(SCHEDULE) | TAKES(SIZE) | TAKES(DEVICE) | TAKES(LUA) | TAKES(ISA),
    0, 1, run};
