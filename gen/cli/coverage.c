/* coverage.c - see coverage.h. That a form is simulated the simulator says; tests and comparisons are gen/isa/tested.def, which
 * tests/isa/make.py writes from the test files and from what a GPU run has recorded (tests/isa/gpu.txt). */
#include "coverage.h"
#include "../../runtime/sim/kilnsim.h"
#include "../isa/isa.h"
#include "device.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct Tested { uint16_t files, compared; } Tested; /* test files; those whose results a GPU gave too */
static const Tested tested[ISA_COUNT] = {
#define TESTED(id, files, compared) [ISA_##id] = {files, compared},
#define COMPARED_ON(text)
#include "../isa/tested.def"
#undef TESTED
#undef COMPARED_ON
};
static const char compared_on[] =
#define TESTED(id, files, compared)
#define COMPARED_ON(text) text
#include "../isa/tested.def"
#undef TESTED
#undef COMPARED_ON
    ;

typedef unsigned (*Simulates)(const char *form);
typedef struct Totals { int forms, simulated, tested, compared, files, compared_files; } Totals;

static void print_form(const IsaForm *f, const Tested *t, Simulates simulates, Totals *sum) {
  bool yes = simulates(f->name) == 0;
  printf("%-52s %-34s %-9s %-9s %6d %8d\n", f->opcode, f->operands, f->sm, yes ? "yes" : "no", t->files, t->compared);
  sum->forms++;
  sum->simulated += yes;
  sum->tested += t->files > 0;
  sum->compared += t->compared > 0;
  sum->files += t->files;
  sum->compared_files += t->compared;
}

static void print_modifiers(void) {
  printf("\nWords that may stand in an opcode besides:\n%-18s %-9s %s\n", "word", "sm", "opcodes");
  for (uint32_t i = 0; isa_modifier(i); i++) {
    const IsaModifier *m = isa_modifier(i);
    printf(".%-17s %-9s %s%s%s\n", m->word, m->sm, m->opcodes, *m->last ? " of " : "", m->last);
  }
}

static int print_table(Simulates simulates) {
  Totals sum = {0};
  printf("%-52s %-34s %-9s %-9s %6s %8s\n", "form", "operands", "sm", "simulated", "tests", "on a GPU");
  for (int id = 1; id < ISA_COUNT; id++) print_form(isa_form((IsaId)id), &tested[id], simulates, &sum);
  print_modifiers();
  printf("\n%d forms, %d simulated, %d tested by %d kernels, %d compared with a GPU by %d (%s)\n", sum.forms, sum.simulated, sum.tested,
         sum.files, sum.compared, sum.compared_files, compared_on[0] ? compared_on : "no comparison is recorded");
  return sum.simulated == sum.forms ? CLI_OK : CLI_FAILED;
}

int coverage_print(void) {
  Device d;
  if (!device_open(&d, "sim:sm_80", NULL)) return CLI_FAILED;
  void *sim = dlopen("libkilnsim.so.0", RTLD_NOW | RTLD_NOLOAD); /* libkiln has loaded it */
  Simulates simulates = NULL;
  if (sim) *(void **)&simulates = dlsym(sim, "kilnsim_simulates");
  int code = CLI_FAILED;
  if (simulates) code = print_table(simulates);
  else cli_error("libkilnsim.so.0 is of another version: it has no kilnsim_simulates");
  if (sim) dlclose(sim);
  device_close(&d);
  return code;
}
