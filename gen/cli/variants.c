/* variants.c - see variants.h. */
#include "variants.h"
#include "../../runtime/cache.h"
#include "../../runtime/contract.h"
#include <inttypes.h>
#include <string.h>

static char *base_name(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  size_t n = strlen(name);
  if (n > 4 && strcmp(name + n - 4, ".ptx") == 0) n -= 4;
  return cli_text_n(name, n);
}

/* Notes what the command needs of a contract: settings that callers name, and which dim of a tensor is contiguous. */
static void study_contract(Group *g, const KilnDef *def, const Contract *c) {
  for (int i = 0; i < c->noption && g->noptions < OPTIONS_MAX_PAIRS; i++) {
    bool known = false;
    for (int k = 0; k < g->noptions; k++) known |= strcmp(g->option[k].key, c->option[i].key) == 0;
    if (!known) g->option[g->noptions++] = (kiln_gen_pair){cli_text(c->option[i].key), cli_text(c->option[i].value)};
  }
  bool fixed = false;
  for (int i = 0; i < c->ntensor; i++)
    for (int k = 0; k < c->tensor[i].rank; k++) fixed |= c->tensor[i].stride[k].symbol < 0;
  g->any_columns |= !fixed;
  for (int i = 0; i < c->ntensor; i++)
    for (int t = 0; def && t < def->ntensors; t++) {
      const ContractTensor *tensor = &c->tensor[i];
      if (strcmp(def->tensor[t].name, tensor->name) != 0 || g->majors.from_end[t]) continue;
      g->majors.may_lack[t] = tensor->lead > 0 && tensor->rank == def->tensor[t].rank;
      g->majors.may_be_one[t] = tensor->rank == def->tensor[t].rank && tensor->dim[0].or_one && !tensor->out;
      for (int k = 0; k < tensor->rank; k++)
        if (tensor->stride[k].symbol < 0) g->majors.from_end[t] = (uint8_t)(tensor->rank - k); /* a fixed stride: 1 */
    }
}

/* A file's name says most of a schedule, but not all: the second of a name gets a number. */
static void name_apart(const Group *g, const char *name, char *out, size_t bytes) {
  char *base = base_name(name);
  snprintf(out, bytes, "%s", name);
  for (int i = 0, number = 2; i < g->nvariants; i++) {
    char *other = base_name(out);
    bool taken = strcmp(other, g->variant[i].name) == 0;
    cli_free(other);
    if (!taken) continue;
    snprintf(out, bytes, "%s-%d.ptx", base, number++);
    i = -1; /* from the beginning */
  }
  cli_free(base);
}

/* One text: to the device, and to the list. */
static kiln_gen_status add_variant(Group *g, const char *path, const char *schedule, const char *text, size_t bytes, char *why,
                                   size_t why_bytes) {
  char name[4096];
  if (g->nvariants == VARIANTS_MAX) return KILN_GEN_OK;
  name_apart(g, path, name, sizeof name);
  kiln_status status = kiln_add_text(g->device.dev, name, text, bytes);
  for (int i = 0; i < g->nalso && status == KILN_OK; i++) status = kiln_add_text(g->also[i].dev, name, text, bytes);
  if (status != KILN_OK) {
    snprintf(why, why_bytes, "%s", kiln_error());
    return KILN_GEN_ERROR;
  }
  Contract c;
  if (contract_read(&c, name, text, bytes) != KILN_OK) {
    snprintf(why, why_bytes, "%s", kiln_error());
    return KILN_GEN_ERROR;
  }
  snprintf(g->op, sizeof g->op, "%s", c.op);
  Variant *v = &g->variant[g->nvariants++];
  v->name = base_name(name);
  snprintf(v->hash, sizeof v->hash, "%016" PRIx64, cache_hash(CACHE_HASH_START, text, bytes));
  v->schedule = cli_text(schedule ? schedule : c.schedule);
  v->offered = true;
  v->text = g->texts ? cli_text_n(text, bytes) : NULL;
  v->bytes = bytes;
  contract_free(&c);
  return KILN_GEN_OK;
}

/* The contracts are read a second time once the definition is there, because tracing it ends the texts' life. */
typedef struct Texts { char *text[VARIANTS_MAX]; size_t bytes[VARIANTS_MAX]; int n; } Texts;

static void keep_text(Texts *t, const char *text, size_t bytes) {
  const char *end = strstr(text, "//@ end");
  size_t head = end ? (size_t)(end - text) + 8 : bytes;
  if (head > bytes) head = bytes;
  if (t->n == VARIANTS_MAX) return;
  t->text[t->n] = cli_text_n(text, head);
  t->bytes[t->n++] = head;
}

static kiln_gen_status failed(const KilnGen *gen, kiln_gen_status status, char *why, size_t why_bytes) {
  snprintf(why, why_bytes, "%s", kiln_gen_message(gen));
  for (size_t n = strlen(why); n > 0 && why[n - 1] == '\n';) why[--n] = 0;
  return status;
}

static kiln_gen_status emit_one(Group *g, KilnGen *gen, kiln_gen_request *r, const char *schedule, Texts *texts, char *why,
                                size_t why_bytes) {
  const char *text, *name;
  size_t bytes;
  kiln_gen_status status = kiln_gen_emit(gen, r, &text, &bytes, &name);
  if (status != KILN_GEN_OK) return failed(gen, status, why, why_bytes);
  keep_text(texts, text, bytes);
  return add_variant(g, name, schedule, text, bytes, why, why_bytes);
}

/* ---- schedules beside those that are offered ---- */

typedef struct Schedules { char *at[VARIANTS_MAX]; int n; } Schedules;

static bool has_schedule(const Schedules *s, const char *text) {
  for (int i = 0; i < s->n; i++)
    if (strcmp(s->at[i], text) == 0) return true;
  return false;
}

/* "a=1 b=2" with another value of b; NULL: it has no such key. */
static char *with_value(const char *text, const char *key, const char *value, size_t value_bytes) {
  size_t n = strlen(key);
  const char *at = text;
  while (at && !(strncmp(at, key, n) == 0 && at[n] == '=')) at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL;
  if (!at) return NULL;
  char *made = cli_alloc(strlen(text) + value_bytes + 1);
  sprintf(made, "%.*s=%.*s%s", (int)(at + n - text), text, (int)value_bytes, value, at + strcspn(at, " "));
  return made;
}

/* Every schedule so far with each value of one key. A key that no schedule has, or more than there is room for, is an error. */
static bool widen(Schedules *s, const kiln_gen_pair *pair, char *why, size_t why_bytes) {
  int before = s->n;
  bool known = false;
  for (int i = 0; i < before; i++)
    for (const char *value = pair->value, *next; value; value = next) {
      size_t bytes = strcspn(value, "|");
      next = value[bytes] ? value + bytes + 1 : NULL;
      if (bytes == 0) return snprintf(why, why_bytes, "--schedule: a value is empty in %s=%s", pair->key, pair->value), false;
      char *text = with_value(s->at[i], pair->key, value, bytes);
      known |= text != NULL;
      if (text && !has_schedule(s, text)) {
        if (s->n == VARIANTS_MAX) {
          cli_free(text);
          return snprintf(why, why_bytes, "--schedule: more than %d schedules", VARIANTS_MAX), false;
        }
        s->at[s->n++] = text;
      } else {
        cli_free(text);
      }
    }
  if (!known) snprintf(why, why_bytes, "--schedule: no schedule that is offered has a %s; the first is %s", pair->key, s->n ? s->at[0] : "none");
  return known;
}

static kiln_gen_status emit_offered(Group *g, KilnGen *gen, const GroupRequest *want, Texts *texts, char *why, size_t why_bytes) {
  kiln_gen_request r = {.op = want->op, .target = g->device.target, .set = want->set, .nset = want->nset};
  const char *const *list;
  Schedules s = {.n = 0};
  int offered;
  kiln_gen_status status = kiln_gen_schedules(gen, &r, &list, &offered);
  if (status != KILN_GEN_OK) return failed(gen, status, why, why_bytes);
  if (offered > VARIANTS_MAX) offered = VARIANTS_MAX;
  for (; s.n < offered; s.n++) s.at[s.n] = cli_text(list[s.n]);
  for (int i = 0; i < want->nwiden && status == KILN_GEN_OK; i++)
    if (!widen(&s, &want->widen[i], why, why_bytes)) status = KILN_GEN_ERROR;
  Options *parsed = cli_alloc(sizeof *parsed);
  for (int i = 0; i < s.n && status == KILN_GEN_OK; i++) {
    parsed->nschedule = 0;
    parsed->used = 0;
    if (*s.at[i] && !options_pairs(parsed, "schedule", s.at[i], parsed->schedule, &parsed->nschedule, why, why_bytes)) {
      status = KILN_GEN_ERROR;
      break;
    }
    r.schedule = parsed->nschedule ? parsed->schedule : NULL;
    r.nschedule = parsed->nschedule;
    status = emit_one(g, gen, &r, s.at[i], texts, why, why_bytes);
    if (status == KILN_GEN_OK) g->variant[g->nvariants - 1].offered = i < offered;
    if (status == KILN_GEN_OK || status == KILN_GEN_NO_MEMORY || i < offered) continue;
    g->nrefused++; /* that is how the space is bounded */
    status = KILN_GEN_OK;
  }
  if (offered == 0 && status == KILN_GEN_OK) status = emit_one(g, gen, &r, NULL, texts, why, why_bytes);
  for (int i = 0; i < s.n; i++) cli_free(s.at[i]);
  cli_free(parsed);
  return status;
}

static kiln_gen_status add_file(Group *g, const char *path, Texts *texts, char *why, size_t why_bytes) {
  size_t bytes;
  char *text = cli_read_file(path, &bytes);
  snprintf(why, why_bytes, "%s cannot be read", path);
  if (!text) return KILN_GEN_ERROR;
  keep_text(texts, text, bytes);
  kiln_gen_status status = add_variant(g, path, NULL, text, bytes, why, why_bytes);
  cli_free(text);
  return status;
}

static kiln_gen_status fill_group(Group *g, KilnGen *gen, const GroupRequest *want, Texts *texts, char *why, size_t why_bytes) {
  kiln_gen_request r = {.op = want->op, .target = g->device.target, .set = want->set, .nset = want->nset};
  kiln_gen_status status;
  if (want->ptx) {
    status = add_file(g, want->ptx, texts, why, why_bytes);
  } else if (want->schedule) {
    r.schedule = want->schedule;
    r.nschedule = want->nschedule;
    status = emit_one(g, gen, &r, NULL, texts, why, why_bytes);
  } else {
    status = emit_offered(g, gen, want, texts, why, why_bytes);
  }
  if (status != KILN_GEN_OK) return status;
  r.schedule = NULL;
  r.nschedule = 0;
  const KilnDef *def;
  status = kiln_gen_define(gen, &r, &def);
  if (status != KILN_GEN_OK) return failed(gen, status, why, why_bytes);
  g->def = define_copy(def);
  if (forward_is_gradient(want->op)) status = forward_define(gen, want->op, g->def, want->set, want->nset, &g->forward, why, why_bytes);
  if (status != KILN_GEN_OK) return status;
  for (int i = 0; i < texts->n; i++) {
    Contract c;
    if (contract_read(&c, "contract", texts->text[i], texts->bytes[i]) != KILN_OK) continue; /* it was read before */
    study_contract(g, g->def, &c);
    contract_free(&c);
  }
  return KILN_GEN_OK;
}

/* "sim:sm_80,sms=132", "sim:sm_80,seed=4,policy=eager": the i-th of the devices that must agree. */
static void name_device(const GroupRequest *r, int i, char *where, size_t bytes) {
  static const char *const policies[] = {"lazy", "eager", "random"};
  if (r->seeds) snprintf(where, bytes, "%.90s,seed=%d,policy=%s", r->where, i, policies[i % 3]);
  else snprintf(where, bytes, "%.100s,sms=%d", r->where, r->sms[i]);
}

static bool open_devices(Group *g, const GroupRequest *r) {
  int n = r->seeds ? r->seeds : r->nsms;
  if (!n) return device_open(&g->device, r->where, r->target);
  for (int i = 0; i < n; i++) {
    char where[128];
    name_device(r, i, where, sizeof where);
    if (!device_open(i ? &g->also[g->nalso] : &g->device, where, r->target)) return false;
    g->nalso += i > 0;
  }
  return true;
}

kiln_gen_status group_open(Group *g, KilnGen *gen, const GroupRequest *r, char *why, size_t why_bytes) {
  memset(g, 0, sizeof *g);
  g->texts = r->texts;
  Texts texts = {.n = 0};
  if (!open_devices(g, r)) {
    snprintf(why, why_bytes, "%s cannot be opened", r->where);
    group_close(g);
    return KILN_GEN_ERROR;
  }
  size_t n = 0;
  for (int i = 0; i < r->nset && n < sizeof g->settings; i++)
    n += (size_t)snprintf(g->settings + n, sizeof g->settings - n, "%s%s=%s", i ? " " : "", r->set[i].key, r->set[i].value);
  kiln_gen_status status = fill_group(g, gen, r, &texts, why, why_bytes);
  for (int i = 0; i < texts.n; i++) cli_free(texts.text[i]);
  if (status != KILN_GEN_OK) group_close(g);
  return status;
}

/* ---- measured schedules ---- */

struct Follow { KilnGen *gen; GroupRequest request; Options options; }; /* options: for a schedule's pairs */

/* Emits a schedule of the op that is followed, and adds it to a device. */
static kiln_status supply(struct Follow *f, kiln_device *dev, const char *target, const char *schedule) {
  char why[256];
  const char *text, *name;
  size_t bytes;
  f->options.nschedule = 0;
  f->options.used = 0;
  if (!options_pairs(&f->options, "schedule", schedule, f->options.schedule, &f->options.nschedule, why, sizeof why)) return KILN_PROVIDER;
  kiln_gen_request r = {.op = f->request.op, .target = target, .set = f->request.set, .nset = f->request.nset,
                        .schedule = f->options.schedule, .nschedule = f->options.nschedule};
  if (kiln_gen_emit(f->gen, &r, &text, &bytes, &name) != KILN_GEN_OK) return KILN_PROVIDER;
  char apart[512];
  snprintf(apart, sizeof apart, "measured/%s", name);
  return kiln_add_text(dev, apart, text, bytes);
}

/* The runtime's provider: only what was measured is made here, the group has its own files otherwise. */
static kiln_status supply_measured(void *user, kiln_device *dev, const kiln_request *wanted) {
  return wanted->schedule ? supply(user, dev, wanted->target, wanted->schedule) : KILN_PROVIDER;
}

kiln_status group_add(const Group *g, kiln_device *dev, const char *variant, const char *schedule) {
  for (int i = 0; i < g->nvariants; i++)
    if (strcmp(g->variant[i].name, variant) == 0) {
      char name[300];
      snprintf(name, sizeof name, "%s.ptx", variant);
      return kiln_add_text(dev, name, g->variant[i].text, g->variant[i].bytes);
    }
  return g->follow ? supply(g->follow, dev, g->device.target, schedule) : KILN_PROVIDER;
}

void group_follow(Group *g, KilnGen *gen, const GroupRequest *r) {
  g->tuned = true;
  if (r->ptx || r->schedule) return; /* one file was asked for */
  g->follow = cli_alloc(sizeof *g->follow);
  g->follow->gen = gen;
  g->follow->request = *r;
  kiln_set_provider(g->device.dev, supply_measured, g->follow);
}

void group_close(Group *g) {
  for (int i = 0; i < g->nvariants; i++) {
    cli_free(g->variant[i].name);
    cli_free(g->variant[i].schedule);
    cli_free(g->variant[i].text);
  }
  for (int i = 0; i < g->noptions; i++) {
    cli_free((char *)g->option[i].key);
    cli_free((char *)g->option[i].value);
  }
  g->nvariants = g->noptions = 0;
  cli_free(g->follow);
  g->follow = NULL;
  define_free(g->def);
  define_free(g->forward);
  g->def = g->forward = NULL;
  for (int i = 0; i < g->nalso; i++) device_close(&g->also[i]);
  g->nalso = 0;
  device_close(&g->device);
}

bool variants_read_settings(const char *path, Options *into, char *op, size_t op_bytes) {
  size_t bytes;
  char *text = cli_read_file(path, &bytes), message[256];
  Contract c;
  if (!text) return false;
  bool done = contract_read(&c, path, text, bytes) == KILN_OK;
  if (!done) {
    cli_error("%s", kiln_error());
  } else {
    snprintf(op, op_bytes, "%s", c.op);
    if (into->target && strcmp(into->target, c.target) != 0) {
      snprintf(message, sizeof message, "%s is for %s; --target says %s", path, c.target, into->target);
      done = false;
    }
    if (done && *c.settings && !into->nset)
      done = options_pairs(into, path, c.settings, into->set, &into->nset, message, sizeof message);
    if (!done) cli_error("%s", message);
    contract_free(&c);
  }
  cli_free(text);
  return done;
}

/* ---- running ---- */

bool group_make(const Group *g, const Case *c, CaseData *d, Random *r, char *why, size_t why_bytes) {
  tensors_make(d, g->def, c, &g->majors, !g->device.info.simulated);
  tensors_fill(d, r);
  return !g->forward || forward_fill(g->forward, d, r, why, why_bytes);
}

kiln_status group_plan(const Group *g, const CaseData *d, const char *variant, kiln_plan **plan) {
  kiln_arg args[DEF_MAX_TENSORS + 8 + OPTIONS_MAX_PAIRS];
  int n = tensors_args(d, g->option, g->noptions, args, (int)(sizeof args / sizeof args[0]));
  kiln_plan_options options = {.variant = variant, .untuned = !g->tuned};
  return kiln_plan_create_with(plan, g->device.dev, g->op, args, n, &options);
}

kiln_status group_launch(const Group *g, const CaseData *d, const kiln_plan *plan) {
  kiln_plan_info info;
  void *pointers[DEF_MAX_TENSORS] = {0}, *workspace = NULL;
  kiln_status status = kiln_plan_query(plan, &info);
  if (status != KILN_OK) return status;
  tensors_pointers(d, plan, info.ntensors < DEF_MAX_TENSORS ? info.ntensors : DEF_MAX_TENSORS, pointers);
  kiln_scalar scalars[8];
  tensors_scalars(d, plan, info.nscalars < 8 ? info.nscalars : 8, scalars);
  if (info.workspace_bytes) status = kiln_malloc(g->device.dev, &workspace, info.workspace_bytes);
  kiln_call call = {.pointers = pointers, .scalars = scalars, .workspace = workspace};
  if (status == KILN_OK) status = kiln_launch(plan, &call, NULL);
  if (status == KILN_OK) status = kiln_sync(g->device.dev);
  if (workspace) kiln_free(g->device.dev, workspace);
  return status;
}
