/* test_sim_parse.c - what the simulator's PTX reader takes and refuses, with the line it names. */
#include "sim_case.h"
#include "isa/isa.h"

/* ---- every row of the ISA table, written out from its operand tokens ---- */

static void write_register(char *out, char cls, int i) {
  const char *prefix = cls == 'p' ? "%p" : cls == 'h' ? "%h" : cls == 'l' ? "%l" : cls == 'd' ? "%d" : cls == 'f' ? "%f" : "%r";
  sprintf(out + strlen(out), "%s%d", prefix, i);
}

static void write_operand(char *out, const IsaForm *f, const IsaOperand *o, int i, int brace_immediate) {
  switch (o->kind) {
  case ISA_OPND_MEM:
    if (o->cls == 'p') strcat(out, i ? "[param]" : "[argument+16]");
    else strcat(out, o->opens ? "[%l9" : strchr("sk", o->cls) && (i & 1) ? "[%r9+16]" : "[%l9+16]");
    return;
  case ISA_OPND_IMM: sprintf(out + strlen(out), "%d", o->fixed ? o->value : strncmp(f->opcode, "setmaxnreg", 10) == 0 ? 64 : 1); return;
  case ISA_OPND_SINK: strcat(out, "_"); return;
  case ISA_OPND_LABEL: strcat(out, "there"); return;
  case ISA_OPND_SYMBOL: strcat(out, "buffer"); return;
  case ISA_OPND_SPECIAL: strcat(out, "%laneid"); return;
  case ISA_OPND_TARGETS: strcat(out, "list"); return;
  case ISA_OPND_CALL: strcat(out, "helper"); return;
  default: break;
  }
  if (o->brace) {
    strcat(out, "{");
    for (int k = 0; k < o->count; k++) {
      if (k) strcat(out, ", ");
      write_register(out, o->cls, k + i);
    }
    strcat(out, o->closes ? "}]" : "}");
    return;
  }
  if (o->imm_ok && brace_immediate) {
    strcat(out, o->cls == 'f' ? "0f3f800000" : o->cls == 'd' ? "0d3ff0000000000000" : "1");
    return;
  }
  if (o->negatable && brace_immediate) strcat(out, "!");
  write_register(out, o->cls, i);
  if (o->pair_pred) strcat(out, "|%p3");
}

static void write_row(char *out, const IsaForm *f, int immediates) {
  strcat(out, "  ");
  strcat(out, f->opcode);
  for (int i = 0; i < f->nops; i++) {
    strcat(out, i ? ", " : " ");
    write_operand(out, f, &f->op[i], i, immediates && !f->op[i].writes);
  }
  strcat(out, ";\n");
}

static const char registers[] =
  "  .reg .pred %p<12>; .reg .b16 %h<12>; .reg .b32 %r<140>; .reg .b64 %l<12>; .reg .f32 %f<140>; .reg .f64 %d<12>;\n"
  "  .shared .align 16 .b8 buffer[1024];\n  .param .align 16 .b8 argument[64];\nlist: .branchtargets there;\n";

static void test_every_row(void **state) {
  (void)state;
  static char text[8000];
  for (int id = 1; id < ISA_COUNT; id++) {
    const IsaForm *f = isa_form((IsaId)id);
    for (int immediates = 0; immediates < 2; immediates++) {
      char device[32];
      char sm[8];
      snprintf(sm, sizeof sm, "%.*s", (int)strcspn(f->sm, " "), f->sm);
      snprintf(device, sizeof device, "sm_%s", sm);
      snprintf(text, sizeof text, ".version 9.0\n.target sm_%s\n.address_size 64\n.func helper()\n{\n  ret;\n}\n"
               ".visible .entry k(.param .u64 param)\n{\n%s", sm, registers);
      write_row(text, f, immediates);
      strcat(text, "there:\n  ret;\n}\n");
      SimCase c;
      unsigned code = case_load(&c, device, text);
      if (code) fail_msg("%s %s: %s\n%s", f->opcode, f->operands, last_message(), text);
      case_close(&c);
    }
  }
}

/* ---- refusals ---- */

typedef struct Refusal { const char *body, *says; int line; } Refusal;
static const Refusal refusals[] = { /* body begins on line 6 */
  {"  foo.b32 %r1, %r2;\n", "'foo.b32' is not an instruction", 6},
  {"  ret;\n  add.s32 %r1, %r2;\n", "operands do not fit 'add.s32'", 7},
  {"  add.s32 %r1, %r2, %l3;\n", "operands do not fit", 6},
  {"  add.s32 %r1, %r2, %x3;\n", "no register '%x3'", 6},
  {"  add.s32 %r1, %r2, %r12;\n", "no register '%r12'", 6},
  {"  bra nowhere;\n", "no label 'nowhere'", 6},
  {"a:\n  ret;\na:\n", "declared twice", 8},
  {"  mov.b32 %r1, 99999999999999999999999;\n", "64 bits", 6},
  {"  mov.f32 %f1, 0f3f8;\n", "8 hexadecimal digits", 6},
  {"  { .reg .b32 %r<3>;\n", "expected '}'", 8},
  {"  cp.async.cg.shared.global [%r1], [%l1], 8;\n", "operands do not fit", 6},
  {"  tcgen05.wait::ld.sync.aligned;\n", "not an instruction", 6},
  {"  elect.sync %r1|%p1, -1;\n", "needs sm_90", 6},
  {"  @%r1 bra a;\na:\n", "guard needs a predicate", 6},
  {"  ld.global.b32 %r1, [%r2];\n", "operands do not fit", 6},
  {"  ld.global.b32 %r1, [%l2+99999999999];\n", "32 bits", 6},
  {"  .shared .b8 big[100000000];\n", "an SM has", 6},
  {"  ret\n", "expected", 7},
  {"  /* no end\n", "not closed", 6},
  {"  .pragma nounroll;\n", "text in quotes", 6},
  {"  .local .b8 x[];\n", "needs a size", 6},
  {"  .tex .u64 t;\n", "not simulated", 6},
};

static void test_refusals(void **state) {
  (void)state;
  static char text[3000];
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    snprintf(text, sizeof text, ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 param) {\n"
             "  .reg .pred %%p<12>; .reg .b16 %%h<12>; .reg .b32 %%r<12>; .reg .b64 %%l<12>; .reg .f32 %%f<12>; .reg .f64 %%d<12>;\n%s}\n",
             refusals[i].body);
    SimCase c;
    char log[500] = "unset", line[32];
    unsigned options[] = {DRV_JIT_ERROR_LOG_BUFFER, DRV_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)sizeof log};
    OK(case_load(&c, "sm_80", PTX_HEAD));
    DrvModule m;
    unsigned code = cuModuleLoadDataEx(&m, text, 2, options, values);
    snprintf(line, sizeof line, "ptx line %d:", refusals[i].line);
    if (code != DRV_INVALID_PTX || !strstr(log, refusals[i].says) || !strstr(log, line))
      fail_msg("case %zu (%s): code %u, log: %s", i, refusals[i].body, code, log);
    case_close(&c);
  }
}

static void test_headers(void **state) {
  (void)state;
  static const struct { const char *text; unsigned code; const char *says; } heads[] = {
    {"", DRV_INVALID_PTX, ".version"},
    {".version 8.0\n", DRV_INVALID_PTX, ".version and .target"},
    {".version 99.0\n.target sm_80\n", DRV_UNSUPPORTED_PTX_VERSION, "newer"},
    {".version 8.0\n.target sm_90a\n.address_size 64\n", DRV_NO_BINARY_FOR_GPU, "does not run on this device"},
    {".version 8.0\n.target sm_80\n.address_size 32\n", DRV_INVALID_PTX, "address_size"},
    {".version 8.0\n.target banana\n", DRV_INVALID_PTX, "architecture"},
    {"\377\377\377", DRV_INVALID_PTX, "byte"},
    {".version 8.0\n.target sm_80\n.entry k(.param .u64 a, .param .u64 a) { ret; }", DRV_INVALID_PTX, "twice"},
    {".version 8.0\n.target sm_80\n.tex .u32 t;", DRV_INVALID_PTX, "directive"},
  };
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
    SimCase c;
    unsigned code = case_load(&c, "sm_80", heads[i].text);
    if (code != heads[i].code || !strstr(last_message(), heads[i].says))
      fail_msg("case %zu: %u %s", i, code, last_message());
    case_close(&c);
  }
}

/* What nvcc writes around the code is read past or understood. */
static void test_directives(void **state) {
  (void)state;
  SimCase c;
  case_open(&c, "sm_89",
            "//\n.version 7.8\n.target sm_80, texmode_independent\n.address_size 64\n"
            ".file 1 \"a b.lua\"\n.file\t2 \"x.cu\", 1234, 99\n"
            ".global .align 4 .b8 table[8] = {1, 2, 3, 4, 0x5, 6, 7, 8};\n"
            ".const .f32 one = 0f3f800000;\n.extern .shared .align 16 .b8 dyn[];\n"
            ".weak .entry other() .maxnreg 32 { { .reg .b32 %a; { .reg .b32 %a; mov.b32 %a, 1; } mov.b32 %a, 2; } ret; }\n"
            ".visible .entry k(\n\t.param .u64 .ptr .global .align 16 p,\n\t.param .align 8 .b8 q[24]\n)\n.maxntid 128, 1, 1\n.minnctapersm 2\n"
            "{\n  .reg .b32 %r<4>;\n  .loc 1 12 3\n  .loc 1 5 0, function_name $L__info, inlined_at 1 9 3\n  .pragma \"nounroll\";\n"
            "  mov.u32 %r1, dyn;\n  ld.param.b32 %r2, [q+4];\n$L__BB0_1:\n  bra.uni $L__BB0_2;\n$L__BB0_2:\n  ret;\n}\n"
            ".section .debug_str { .b8 1, 2, 3 }\n");
  DrvPtr table;
  size_t bytes;
  unsigned char b[8];
  OK(cuModuleGetGlobal_v2(&table, &bytes, c.module, "table"));
  assert_int_equal(bytes, 8);
  OK(cuMemcpyDtoH_v2(b, table, 8));
  assert_int_equal(b[4], 5);
  case_close(&c);
}

/* A report names the kernel's own file: what a header has inlined counts for the line that called it; an own inlined function for itself. */
static void test_inlined(void **state) {
  (void)state;
  static const struct { const char *loc; int line; } cases[] = {
    {".loc 1 12 3", 12}, {".loc 1 5 0, function_name $L__info, inlined_at 1 9 3", 5}, {".loc 2 112 3, function_name $L__info+14, inlined_at 1 9 3", 9},
    {".loc 2 112 3, function_name $L__info, inlined_at 1 10 3\n .loc 1 13 4", 13}, {".loc 2 7 3", 7}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    SimCase c;
    char text[600];
    kilnsim_finding found;
    snprintf(text, sizeof text, "%s.visible .entry k() {\n .loc 1 3 0\n %s\n trap;\n}\n.file 1 \"own.cu\"\n.file 2 \"header.hpp\"\n", PTX_HEAD, cases[i].loc);
    case_open(&c, "sm_80", text);
    assert_int_equal(case_launch(&c, 1, 32, 0, NULL), DRV_LAUNCH_FAILED);
    OK(kilnsim_report(c.ordinal, &found));
    assert_int_equal(found.line, cases[i].line);
    assert_string_equal(found.file, i == 4 ? "header.hpp" : "own.cu");
    case_close(&c);
  }
}

/* Deep scopes, long chains of names and many labels end in a module or a message, quickly. */
static void test_large(void **state) {
  (void)state;
  enum { N = 20000 };
  char *text = malloc(N * 64 + 2000);
  assert_non_null(text);
  char *p = text + sprintf(text, "%s.visible .entry k() {\n .reg .b32 %%r<%d>;\n", PTX_HEAD, N);
  for (int i = 0; i < N; i++) p += sprintf(p, "l%d: mov.b32 %%r%d, %d;\n", i, i, i);
  sprintf(p, "ret; }\n");
  SimCase c;
  case_open(&c, "sm_80", text);
  case_close(&c);
  p = text + sprintf(text, "%s.visible .entry k() {\n", PTX_HEAD);
  for (int i = 0; i < N; i++) *p++ = '{';
  *p = 0;
  assert_int_equal(case_load(&c, "sm_80", text), DRV_INVALID_PTX);
  assert_non_null(strstr(last_message(), "nested"));
  case_close(&c);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_row), cmocka_unit_test(test_refusals), cmocka_unit_test(test_headers),
                                     cmocka_unit_test(test_directives), cmocka_unit_test(test_inlined), cmocka_unit_test(test_large)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
