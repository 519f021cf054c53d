/* probe.c - does the simulator take a form of the table? A module with one instruction of it is read, as any other would be. */
#include "api.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct Text { char at[8192]; size_t n; } Text;

static void __attribute__((format(printf, 2, 3))) put(Text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t->at + t->n, sizeof t->at - t->n, fmt, ap);
  va_end(ap);
  if (n > 0) t->n += (size_t)n < sizeof t->at - t->n ? (size_t)n : sizeof t->at - t->n - 1;
}

static void put_memory(Text *t, const IsaOperand *o, int k) {
  if (o->opens) put(t, "[%%l9");
  else if (o->cls == 'p') put(t, k ? "[param]" : "[piece+16]");
  else put(t, "[%%l9+16]");
}

static void put_registers(Text *t, const IsaOperand *o, int k) {
  if (o->brace) put(t, "{");
  for (int i = 0; i < o->count; i++) put(t, "%s%%%c%d", i ? ", " : "", o->cls, k + i);
  if (o->brace) put(t, o->closes ? "}]" : "}");
  if (o->pair_pred) put(t, "|%%p3");
}

static void put_operand(Text *t, const IsaForm *f, int k) {
  const IsaOperand *o = &f->op[k];
  switch (o->kind) {
  case ISA_OPND_REG: put_registers(t, o, k); break;
  case ISA_OPND_MEM: put_memory(t, o, k); break;
  case ISA_OPND_IMM: put(t, "%d", o->fixed ? o->value : strncmp(f->opcode, "setmaxnreg", 10) == 0 ? 64 : 1); break;
  case ISA_OPND_LABEL: put(t, "there"); break;
  case ISA_OPND_SYMBOL: put(t, "array"); break;
  case ISA_OPND_SPECIAL: put(t, "%%laneid"); break;
  case ISA_OPND_SINK: put(t, "_"); break;
  case ISA_OPND_TARGETS: put(t, "list"); break;
  case ISA_OPND_CALL: put(t, "helper"); break;
  }
}

static void put_module(Text *t, const IsaForm *f, int smlen) {
  put(t, ".version 9.0\n.target sm_%.*s\n.address_size 64\n.func helper()\n{\n  ret;\n}\n", smlen, f->sm);
  put(t, ".visible .entry k(.param .u64 param)\n{\n  .reg .pred %%p<12>; .reg .b16 %%h<12>; .reg .b32 %%r<140>; .reg .b64 %%l<12>;\n");
  put(t, "  .reg .f32 %%f<140>; .reg .f64 %%d<12>;\n  .shared .align 16 .b8 array[64];\n  .param .align 16 .b8 piece[64];\n");
  put(t, "list: .branchtargets there;\n  %s ", f->opcode);
  for (int k = 0; k < f->nops; k++) {
    if (k) put(t, ", ");
    put_operand(t, f, k);
  }
  put(t, ";\nthere:\n  ret;\n}\n");
}

static DrvResult probe(const IsaForm *f) {
  char name[32], log[800];
  int smlen = (int)strcspn(f->sm, " ");
  SimDevice dev = {.sms = 1, .level = sim_level(NULL, 0), .memory.total_bytes = (uint64_t)1 << 30};
  Text text = {.n = 0};
  DrvResult code;
  snprintf(name, sizeof name, "sm_%.*s", smlen, f->sm);
  dev.target = sim_target_find(name, strlen(name));
  if (!dev.target) return sim_say(DRV_NOT_SUPPORTED, "%s is not simulated", name);
  put_module(&text, f, smlen);
  SimModule *m = sim_parse_module(&dev, text.at, &code, log, sizeof log);
  if (m) sim_module_free(m);
  sim_memory_close(&dev.memory);
  return m ? DRV_SUCCESS : sim_say(code == DRV_OUT_OF_MEMORY ? code : DRV_NOT_SUPPORTED, "%s", log);
}

DRV_EXPORT unsigned kilnsim_simulates(const char *form) {
  sim_enter();
  if (!form) return sim_leave(DRV_INVALID_VALUE);
  for (int id = 1; id < ISA_COUNT; id++)
    if (strcmp(isa_form((IsaId)id)->name, form) == 0) return sim_leave(probe(isa_form((IsaId)id)));
  return sim_leave(sim_say(DRV_NOT_FOUND, "no form '%.60s'", form));
}
