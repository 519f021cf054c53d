/* meter.c - see meter.h. */
#include "meter.h"
#include "table.h"
#include <stdlib.h>
#include <string.h>

static const char *const spaces[KILNSIM_SPACES] = {"global", "shared", "local", "param", "const"};

/* ---- sums of rows ---- */

static void add_row(MeterSum *s, const kilnsim_meter_row *r) {
  s->lanes += (double)r->lane_instructions;
  s->shared_requests += (double)r->shared_requests;
  s->shared_wavefronts += (double)r->shared_wavefronts;
  s->shared_ideal += (double)r->shared_ideal;
  s->global_requests += (double)r->global_requests;
  s->global_sectors += (double)r->global_sectors;
  s->global_ideal += (double)r->global_ideal;
  for (int i = 0; i < KILNSIM_SPACES; i++) {
    s->read[i] += (double)r->read[i];
    s->written[i] += (double)r->written[i];
  }
}

static void add_mix(MeterSum *s, const kilnsim_meter_row *r) {
  int i = 0;
  while (i < s->nmix && strcmp(s->mix[i].opcode, r->opcode) != 0) i++;
  if (i == METER_OPCODES) return;
  if (i == s->nmix) s->mix[s->nmix++] = (MeterMix){r->opcode, 0};
  s->mix[i].lanes += (double)r->lane_instructions;
}

/* The sum that a row belongs to, new if there is none; line 0: that of the kernel. */
static MeterSum *sum_of(MeterSum *list, int *n, const kilnsim_meter_row *r, bool by_line) {
  for (int i = 0; i < *n; i++)
    if (strcmp(list[i].entry, r->entry) == 0 && (!by_line || (list[i].line == r->line && strcmp(list[i].file, r->file) == 0))) return &list[i];
  MeterSum *s = &list[(*n)++];
  snprintf(s->entry, sizeof s->entry, "%s", r->entry);
  if (by_line) snprintf(s->file, sizeof s->file, "%s", r->file), s->line = r->line;
  return s;
}

static int by_lanes(const void *a, const void *b) {
  double x = ((const MeterMix *)a)->lanes, y = ((const MeterMix *)b)->lanes;
  return x < y ? 1 : x > y ? -1 : strcmp(((const MeterMix *)a)->opcode, ((const MeterMix *)b)->opcode);
}

static int by_place(const void *a, const void *b) {
  const MeterSum *x = a, *y = b;
  int order = strcmp(x->entry, y->entry);
  if (!order) order = strcmp(x->file, y->file);
  return order ? order : x->line - y->line;
}

static bool read_rows(const Device *dev, Meter *out) {
  unsigned (*row)(int, int, kilnsim_meter_row *) = NULL;
  kilnsim_meter_row r;
  int ordinal = dev->info.ordinal, n = 0;
  if (kiln_driver_symbol(dev->dev, "kilnsim_meter", (void **)&row) != KILN_OK || !row) return false;
  while (row(ordinal, n, &r) == 0) n++;
  out->kernel = cli_alloc(((size_t)n + 1) * sizeof *out->kernel);
  out->line = cli_alloc(((size_t)n + 1) * sizeof *out->line);
  for (int i = 0; i < n && row(ordinal, i, &r) == 0; i++) {
    MeterSum *kernel = sum_of(out->kernel, &out->nkernels, &r, false);
    add_row(kernel, &r);
    add_mix(kernel, &r);
    add_row(sum_of(out->line, &out->nlines, &r, true), &r);
  }
  for (int i = 0; i < out->nkernels; i++) qsort(out->kernel[i].mix, (size_t)out->kernel[i].nmix, sizeof(MeterMix), by_lanes);
  qsort(out->line, (size_t)out->nlines, sizeof *out->line, by_place);
  return n > 0;
}

/* ---- the launch ---- */

static bool launch(Group *g, CaseData *d, const char *variant, Meter *out) {
  unsigned (*reset)(int) = NULL;
  kiln_plan *plan = NULL;
  bool done = kiln_driver_symbol(g->device.dev, "kilnsim_meter_reset", (void **)&reset) == KILN_OK && reset &&
              reset(g->device.info.ordinal) == 0 && group_plan(g, d, variant, &plan) == KILN_OK && group_launch(g, d, plan) == KILN_OK;
  kiln_plan_destroy(plan);
  return done && read_rows(&g->device, out);
}

bool meter_run(const Group *g, const CaseData *d, const kiln_plan_info *plan, Meter *out, char *why, size_t why_bytes) {
  Group *metered = cli_alloc(sizeof *metered);
  CaseData *copy = cli_alloc(sizeof *copy);
  char where[128];
  bool done = false;
  memset(out, 0, sizeof *out);
  *metered = *g;
  snprintf(where, sizeof where, "%.115s,meter=on", g->device.where);
  snprintf(why, why_bytes, "the meter: %s cannot be opened", where);
  if (device_open(&metered->device, where, g->device.target)) {
    tensors_share(copy, d);
    done = group_add(g, metered->device.dev, plan->variant, plan->schedule) == KILN_OK && tensors_upload(copy, &metered->device) &&
           launch(metered, copy, plan->variant, out);
    if (!done) snprintf(why, why_bytes, "the meter: %s", kiln_error());
    tensors_unshare(copy, &metered->device);
    device_close(&metered->device);
  }
  cli_free(copy);
  cli_free(metered);
  return done;
}

void meter_free(Meter *m) {
  cli_free(m->kernel);
  cli_free(m->line);
}

/* ---- as text ---- */

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static const char *put(char *text, size_t bytes, const char *format, double x) {
  snprintf(text, bytes, format, x);
  return text;
}

static void print_accesses(const MeterSum *s, int n, bool by_line) {
  Table t;
  char c[11][40], name[320];
  table_start(&t, stdout,
              by_line ? "  line|>instructions|>shared requests|>wavefronts|>ideal|>conflicts|>global requests|>sectors|>per request|>ideal"
                      : "  kernel|>instructions|>shared requests|>wavefronts|>ideal|>conflicts|>global requests|>sectors|>per request|>ideal",
              true);
  for (int i = 0; i < n; i++, s++) {
    if (by_line) snprintf(name, sizeof name, "  %s:%d", *s->file ? s->file : s->entry, s->line);
    else snprintf(name, sizeof name, "  %s", s->entry);
    table_row(&t, (const char *const[]){name, put(c[0], 40, "%.0f", s->lanes), put(c[1], 40, "%.0f", s->shared_requests),
                                        put(c[2], 40, "%.0f", s->shared_wavefronts), put(c[3], 40, "%.0f", s->shared_ideal),
                                        put(c[4], 40, "%.0f", s->shared_wavefronts - s->shared_ideal), put(c[5], 40, "%.0f", s->global_requests),
                                        put(c[6], 40, "%.0f", s->global_sectors), put(c[7], 40, "%.2f", ratio(s->global_sectors, s->global_requests)),
                                        put(c[8], 40, "%.0f", s->global_ideal)});
  }
  table_end(&t);
}

static void print_bytes(const MeterSum *s, int n) {
  Table t;
  char read[40], written[40], name[140];
  table_start(&t, stdout, "  kernel|memory|>bytes read|>bytes written", true);
  for (int i = 0; i < n; i++, s++)
    for (int k = 0; k < KILNSIM_SPACES; k++) {
      if (s->read[k] + s->written[k] == 0) continue;
      snprintf(name, sizeof name, "  %s", s->entry);
      table_row(&t, (const char *const[]){name, spaces[k], put(read, 40, "%.0f", s->read[k]), put(written, 40, "%.0f", s->written[k])});
    }
  table_end(&t);
}

static void print_mix(const MeterSum *s, int n) {
  Table t;
  char lanes[40], share[40], name[140];
  table_start(&t, stdout, "  kernel|opcode|>instructions|>%", true);
  for (int i = 0; i < n; i++, s++)
    for (int k = 0; k < s->nmix && k < 12; k++) {
      snprintf(name, sizeof name, "  %s", s->entry);
      table_row(&t, (const char *const[]){name, s->mix[k].opcode, put(lanes, 40, "%.0f", s->mix[k].lanes),
                                          put(share, 40, "%.1f", 100 * ratio(s->mix[k].lanes, s->lanes))});
    }
  table_end(&t);
}

void meter_print(const Meter *m, bool lines) {
  printf("  one launch, counted by lane (instructions, bytes) or by warp (requests):\n");
  print_accesses(m->kernel, m->nkernels, false);
  print_bytes(m->kernel, m->nkernels);
  print_mix(m->kernel, m->nkernels);
  if (lines) print_accesses(m->line, m->nlines, true);
}

/* ---- as JSON ---- */

static void print_sum(const MeterSum *s) {
  printf("\"lane_instructions\": %.0f, \"shared_requests\": %.0f, \"shared_wavefronts\": %.0f, \"shared_ideal\": %.0f, "
         "\"global_requests\": %.0f, \"global_sectors\": %.0f, \"global_ideal\": %.0f, \"bytes\": {",
         s->lanes, s->shared_requests, s->shared_wavefronts, s->shared_ideal, s->global_requests, s->global_sectors, s->global_ideal);
  for (int k = 0; k < KILNSIM_SPACES; k++)
    printf("%s\"%s\": {\"read\": %.0f, \"written\": %.0f}", k ? ", " : "", spaces[k], s->read[k], s->written[k]);
  putchar('}');
}

static void print_lines(const Meter *m, const char *entry) {
  bool any = false;
  printf(", \"lines\": [");
  for (int i = 0; i < m->nlines; i++) {
    const MeterSum *s = &m->line[i];
    if (strcmp(s->entry, entry) != 0) continue;
    printf("%s{\"file\": \"", any ? ", " : "");
    for (const char *c = s->file; *c; c++) {
      if (*c == '"' || *c == '\\') putchar('\\');
      if ((unsigned char)*c >= 32) putchar(*c);
    }
    printf("\", \"line\": %d, ", s->line);
    print_sum(s);
    putchar('}');
    any = true;
  }
  putchar(']');
}

void meter_print_json(const Meter *m, bool lines) {
  printf("\"meter\": [");
  for (int i = 0; i < m->nkernels; i++) {
    const MeterSum *s = &m->kernel[i];
    printf("%s{\"kernel\": \"%s\", ", i ? ", " : "", s->entry);
    print_sum(s);
    printf(", \"mix\": {");
    for (int k = 0; k < s->nmix; k++) printf("%s\"%s\": %.0f", k ? ", " : "", s->mix[k].opcode, s->mix[k].lanes);
    putchar('}');
    if (lines) print_lines(m, s->entry);
    putchar('}');
  }
  putchar(']');
}
