/* tuned.c - see tuned.h. */
#include "tuned.h"
#include "error.h"
#include "expr.h"
#include "prefer.h"
#include "select.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- the file ---- */

enum { FIELDS = 8, HASH_DIGITS = 16 };

static uint64_t hash_of(const char *text, size_t bytes) { return cache_hash(CACHE_HASH_START, text, bytes); }

bool tuned_read(char *line, TunedLine *out) {
  char *field[FIELDS], seal[HASH_DIGITS + 1], *at = line;
  for (int i = 0; i < FIELDS; i++) {
    char *end = i < FIELDS - 1 ? strchr(at, ' ') : at + strlen(at);
    if (!end || end == at) return false;
    field[i] = at;
    at = end + 1;
  }
  snprintf(seal, sizeof seal, "%016" PRIx64, hash_of(line, (size_t)(field[FIELDS - 1] - line)));
  if (strcmp(seal, field[FIELDS - 1]) != 0 || strchr(field[FIELDS - 1], ' ')) return false;
  for (int i = 1; i < FIELDS; i++) field[i][-1] = 0;
  *out = (TunedLine){field[0], field[1], field[2], field[3], field[4], field[5], field[6]};
  return true;
}

int tuned_write(const TunedLine *l, char *text, size_t bytes) {
  int n = snprintf(text, bytes, "%s %s %s %s %s %s %s ", l->op, l->target, l->settings, l->sizes, l->schedule, l->result, l->ptx);
  if (n < 0 || (size_t)n + HASH_DIGITS + 2 > bytes) return n + HASH_DIGITS + 1;
  return n + snprintf(text + n, bytes - (size_t)n, "%016" PRIx64 "\n", hash_of(text, (size_t)n));
}

bool tuned_figure(const TunedLine *line, double *out) { return expr_decimal(line->result, strlen(line->result), out) && *out >= 0; }

const char *tuned_unit(const kiln_device_info *info) { return info->simulated ? "lane-instructions" : "ns"; }

void tuned_header(const kiln_device_info *info, char text[TUNED_HEADER_BYTES]) {
  snprintf(text, TUNED_HEADER_BYTES, "kiln tuned %d %s %s sms=%d %s", TUNED_VERSION, tuned_unit(info), info->target, info->sms, info->name);
}

bool tuned_path(const kiln_device_info *info, char path[CACHE_PATH_BYTES + CACHE_NAME_BYTES], bool make) {
  if (!cache_folder(path, make)) return false;
  uint64_t device = cache_hash(cache_hash_text(CACHE_HASH_START, info->name), &info->sms, sizeof info->sms);
  size_t n = strlen(path);
  snprintf(path + n, CACHE_PATH_BYTES + CACHE_NAME_BYTES - n, "/tuned-%s-%016" PRIx64 ".txt", info->target, device);
  return true;
}

/* ---- the key of arguments ---- */

/* "a=1 b=2" as a field. */
static bool put_list(char *out, const char *text) {
  size_t n = strlen(text);
  if (n >= TUNED_TEXT_BYTES) return false;
  snprintf(out, TUNED_TEXT_BYTES, "%s", n ? text : "-");
  for (char *c = out; *c; c++)
    if (*c == ' ') *c = ',';
  return true;
}

/* "B*M=4096,N=1024": the products of what may merge, in the contract's order. */
static bool put_sizes(char *out, const Contract *c, const TunedPlace *place, const ExprValue *value) {
  size_t used = 0;
  for (int a = 0, i = 0; a < place->naxes && used < TUNED_TEXT_BYTES; a++) {
    for (; i < place->end[a] && used < TUNED_TEXT_BYTES; i++)
      used += (size_t)snprintf(out + used, TUNED_TEXT_BYTES - used, "%s%s", i > (a ? place->end[a - 1] : 0) ? "*" : a ? "," : "",
                               c->symbol[place->symbol[i]].name);
    if (used < TUNED_TEXT_BYTES)
      used += (size_t)snprintf(out + used, TUNED_TEXT_BYTES - used, "=%" PRId64, prefer_size(place, a, value));
  }
  return place->naxes > 0 && used < TUNED_TEXT_BYTES;
}

static kiln_status fill_key(const Variant *v, const Binding *binding, TunedKey *out) {
  const Contract *c = &v->contract;
  TunedPlace place;
  prefer_axes(c, &place);
  bool done = put_list(out->settings, c->settings) && put_list(out->schedule, c->schedule) && put_sizes(out->sizes, c, &place, binding->value);
  int n = snprintf(out->op, sizeof out->op, "%s", c->op), m = snprintf(out->target, sizeof out->target, "%s", c->target);
  if (done && n < (int)sizeof out->op && m < (int)sizeof out->target) return KILN_OK;
  return error_set(KILN_UNSUPPORTED, "%s: more axes, or longer settings, than a measurement can be kept under", v->file);
}

kiln_status tuned_key(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, const char *variant, TunedKey *out) {
  ArgView views[BIND_MAX_ARGS];
  Binding binding;
  Selection chosen;
  kiln_plan_options options = {.variant = variant, .untuned = 1};
  if (nargs < 0 || nargs > BIND_MAX_ARGS) return error_set(KILN_BAD_CALL, "nargs is %d; expected 0 to %d", nargs, BIND_MAX_ARGS);
  kiln_status s = bind_view(args, nargs, views);
  if (s) return s;
  pthread_mutex_lock(&dev->lock);
  s = select_variant(dev, op, views, nargs, &options, &chosen, &binding);
  if (!s) s = fill_key(chosen.variant, &binding, out);
  pthread_mutex_unlock(&dev->lock);
  return s;
}
