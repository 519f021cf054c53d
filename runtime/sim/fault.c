/* fault.c - findings: what, where in the PTX and the script, which CTA, warp and lane. The first of a CTA stays. */
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void place_finding(kilnsim_finding *f, const SimFunction *fn, const SimInstr *in) {
  snprintf(f->entry, sizeof f->entry, "%s", fn->name);
  if (!in) return;
  f->ptx_line = (int)in->line;
  f->line = (int)in->src_line;
  const SimBuf *files = &fn->module->files;
  if (in->src_file < SIM_COUNT(files, char *) && SIM_AT(files, char *, in->src_file))
    snprintf(f->file, sizeof f->file, "%s", SIM_AT(files, char *, in->src_file));
}

static void write_sentence(kilnsim_finding *f, const char *what) {
  char where[384] = "", who[96] = "";
  if (f->ptx_line && f->line) snprintf(where, sizeof where, "%s:%d: ptx line %d: ", f->file, f->line, f->ptx_line);
  else if (f->ptx_line) snprintf(where, sizeof where, "ptx line %d: ", f->ptx_line);
  if (f->warp >= 0 && f->lane >= 0)
    snprintf(who, sizeof who, "cta (%u,%u,%u) warp %d lane %d", f->cta[0], f->cta[1], f->cta[2], f->warp, f->lane);
  else if (f->warp >= 0) snprintf(who, sizeof who, "cta (%u,%u,%u) warp %d", f->cta[0], f->cta[1], f->cta[2], f->warp);
  else snprintf(who, sizeof who, "cta (%u,%u,%u)", f->cta[0], f->cta[1], f->cta[2]);
  if (f->address)
    snprintf(f->text, sizeof f->text, "%s%s: %s: %s %s [%s address 0x%llx]", where, f->entry, f->kind, who, what, f->space,
             (unsigned long long)f->address);
  else snprintf(f->text, sizeof f->text, "%s%s: %s: %s %s", where, f->entry, f->kind, who, what);
}

void sim_fault_text(kilnsim_finding *f, const SimFunction *fn, const SimInstr *in, const char *fmt, ...) {
  char what[512];
  va_list ap;
  place_finding(f, fn, in);
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  write_sentence(f, what);
}

int sim_fault(SimWarp *w, const SimInstr *in, int lane, DrvResult code, const char *kind, const char *space, uint64_t address,
              const char *fmt, ...) {
  const SimCta *c = w->cta;
  SimGroup *g = c->group;
  if (g->faulted) return STEP_YIELD;
  g->faulted = true;
  g->code = code;
  kilnsim_finding *f = &g->finding;
  *f = (kilnsim_finding){.cta = {c->id[0], c->id[1], c->id[2]}, .warp = (int)w->index, .lane = lane, .address = address};
  snprintf(f->kind, sizeof f->kind, "%s", kind);
  snprintf(f->space, sizeof f->space, "%s", space);
  place_finding(f, c->launch->fn, in);
  char what[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  write_sentence(f, what);
  return STEP_YIELD;
}

int sim_fault_global(SimWarp *w, const SimInstr *in, int lane, uint64_t address, uint32_t bytes, const char *verb) {
  const SimMemory *m = &w->cta->launch->dev->memory;
  SimAlloc *a = sim_memory_find(m, address), *near = sim_memory_nearest(m, address);
  if (a && a->freed)
    return sim_fault(w, in, lane, DRV_ILLEGAL_ADDRESS, "use_after_free", "global", address, "%s %u bytes of allocation %llu, which is freed",
                     verb, bytes, (unsigned long long)a->serial);
  if (near && address - near->base < near->bytes + SIM_GUARD_BYTES)
    return sim_fault(w, in, lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "global", address,
                     "%s %u bytes at offset %llu of allocation %llu, which has %llu bytes", verb, bytes,
                     (unsigned long long)(address - near->base), (unsigned long long)near->serial, (unsigned long long)near->bytes);
  return sim_fault(w, in, lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "global", address, "%s %u bytes where nothing is allocated", verb, bytes);
}
