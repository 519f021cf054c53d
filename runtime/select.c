/* select.c - see select.h. Candidates stand in order of preference in the device's store, so files for one target are
 * neighbours. */
#include "select.h"
#include "alloc.h"
#include "error.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Is the file one that the options ask for, or that may be taken without a wish? */
static bool is_asked(const Variant *v, const kiln_plan_options *options) {
  if (!options) return true;
  if (options->target && strcmp(options->target, v->contract.target) != 0) return false;
  if (!options->variant) return true;
  size_t n = strlen(options->variant);
  if (n > 4 && strcmp(options->variant + n - 4, ".ptx") == 0) n -= 4;
  return n == v->stem_bytes && memcmp(options->variant, v->stem, n) == 0;
}

static kiln_status no_target(const kiln_device *dev, const char *op, int first, int n) {
  char targets[256] = "";
  for (int i = first, used = 0; i < first + n && used < (int)sizeof targets - 64; i++) {
    const char *target = dev->variant[i]->contract.target;
    if (!strstr(targets, target))
      used += snprintf(targets + used, sizeof targets - (size_t)used, "%s%s", used ? " " : "", target);
  }
  return error_set(KILN_NO_TARGET, "%s: the files that were added are for %s; device %s takes %s, or a plain target not above it",
                   op, targets, dev->info.name, dev->info.target);
}

static kiln_status no_variant(const char *op, const kiln_plan_options *options, int n) {
  const char *target = options->target, *variant = options->variant;
  return error_set(KILN_NO_VARIANT, "%s: none of its %d file%s %s%s%s%s%s runs on this device; kiln_explain lists them", op, n,
                   n == 1 ? "" : "s", variant ? "named " : "", variant ? variant : "", variant && target ? " " : "",
                   target ? "for " : "", target ? target : "");
}

typedef struct Choice {
  int winner, closest; /* indices of the store; -1: none */
  kiln_status status;  /* of the closest refusal */
  double cost_ns;
  unsigned demand;     /* Binding.demand of the closest */
  int asked, runnable;
  int tuned;           /* index of the fastest by measurements; -1: they say nothing of what fits */
  TunedWin *win;       /* its measurement */
  double tuned_distance;
  TunedWin *missing;   /* a measurement of a schedule that no file has */
  double missing_distance;
} Choice;

/* Is the nearest measured winner this candidate, or one that is not there? Axes of two schedules may differ, and so may what was nearest. */
static void follow_measurements(kiln_device *dev, int index, const Binding *b, PreferMemo *memo, Choice *c) {
  Variant *v = dev->variant[index];
  TunedWin *w = prefer_nearest(dev, v, b->value, memo);
  if (!w) return;
  if (strcmp(w->schedule, v->contract.schedule) == 0) {
    bool nearer = c->tuned < 0 || memo->distance < c->tuned_distance;
    if (nearer || (memo->distance == c->tuned_distance && w->figure < c->win->figure))
      c->tuned = index, c->win = w, c->tuned_distance = memo->distance;
  } else if (!w->loaded && (!c->missing || memo->distance < c->missing_distance)) {
    c->missing = w, c->missing_distance = memo->distance;
  }
}

/* Targets come in order: once one target has a file that fits, files of the others are not looked at. */
static Choice choose(kiln_device *dev, int first, int n, const ArgView *views, int nviews, const kiln_plan_options *options,
                     Binding *scratch) {
  Choice choice = {.winner = -1, .closest = -1, .tuned = -1};
  PreferMemo memo = {.first = -1};
  bool follows = !options || !options->untuned;
  for (int i = first; i < first + n; i++) {
    const Variant *v = dev->variant[i];
    choice.runnable += v->preference >= 0;
    if (v->preference < 0 || !is_asked(v, options)) continue;
    choice.asked++;
    if (choice.winner >= 0 && v->preference != dev->variant[choice.winner]->preference) break;
    kiln_status s = bind_contract(dev, &v->contract, views, nviews, true, scratch);
    bool closer = s > choice.status || (s == choice.status && scratch->demand < choice.demand);
    if (s && (choice.closest < 0 || closer)) choice.closest = i, choice.status = s, choice.demand = scratch->demand;
    if (!s && (choice.winner < 0 || scratch->cost_ns < choice.cost_ns)) choice.winner = i, choice.cost_ns = scratch->cost_ns;
    if (!s && follows) follow_measurements(dev, i, scratch, &memo, &choice);
  }
  if (choice.tuned >= 0) choice.winner = choice.tuned;
  if (choice.tuned >= 0 && choice.missing && choice.tuned_distance <= choice.missing_distance) choice.missing = NULL;
  return choice;
}

kiln_status select_variant(kiln_device *dev, const char *op, const ArgView *views, int nviews, const kiln_plan_options *options,
                           Selection *out, Binding *binding) {
  int first, n = store_find(dev, op, &first);
  *out = (Selection){0};
  if (n == 0)
    return error_set(KILN_NO_OP, "%.64s: no file of this op was added (kiln_add; `kiln emit %.64s --target %s` makes one)", op,
                     op, dev->info.target);
  Choice choice = choose(dev, first, n, views, nviews, options, binding);
  if (choice.winner < 0 && !choice.runnable) return no_target(dev, op, first, n);
  if (choice.winner < 0 && !choice.asked) return no_variant(op, options, n);
  int which = choice.winner >= 0 ? choice.winner : choice.closest;
  Variant *v = dev->variant[which];
  kiln_status s = bind_contract(dev, &v->contract, views, nviews, false, binding); /* again: with its message, or its values */
  if (!s)
    *out = (Selection){v, choice.tuned >= 0, choice.missing};
  else if (choice.asked == 1)
    error_prefix(s, "%s (%s): ", op, v->file);
  else
    error_prefix(s, "%s: none of %d files fits; the closest is %s: ", op, choice.asked, v->file);
  return s;
}

/* ---- explanations ---- */

/* Copies that outlive the lock: the callback may call kiln. */
typedef struct Candidate {
  Variant *variant;
  kiln_status status;
  double cost_ns;
  bool wins, tuned;
} Candidate;

static void tell(kiln_device *dev, const Candidate *candidate, const ArgView *views, int nviews,
                 const kiln_plan_options *options, kiln_verdict_fn fn, void *user) {
  const Variant *v = candidate->variant;
  kiln_verdict verdict = {.file = v->file,
                          .variant = v->stem,
                          .target = v->contract.target,
                          .settings = v->contract.settings,
                          .schedule = v->contract.schedule,
                          .status = candidate->status,
                          .rule = "",
                          .cost_ns = candidate->cost_ns,
                          .wins = candidate->wins,
                          .tuned = candidate->tuned};
  Binding binding;
  if (v->preference < 0) {
    error_set(KILN_NO_TARGET, "made for %s; the device is %s", v->contract.target, dev->info.target);
    verdict.rule = kiln_error();
  } else if (!is_asked(v, options)) {
    verdict.rule = "not asked for";
  } else if (candidate->status) {
    bind_contract(dev, &v->contract, views, nviews, false, &binding);
    verdict.rule = kiln_error();
  }
  fn(user, &verdict);
}

static kiln_status collect(kiln_device *dev, const char *op, const ArgView *views, int nviews, const kiln_plan_options *options,
                           Candidate **list, int *n) {
  int first;
  Binding binding;
  *n = store_find(dev, op, &first);
  if (*n == 0) return error_set(KILN_NO_OP, "%.64s: no file of this op was added (kiln_add)", op);
  *list = kiln_mem(NULL, 0, (size_t)*n * sizeof **list);
  if (!*list) return error_set(KILN_NO_MEMORY, "kiln_explain: out of memory");
  Choice choice = choose(dev, first, *n, views, nviews, options, &binding);
  for (int i = 0; i < *n; i++) {
    Variant *v = dev->variant[first + i];
    v->refs++;
    (*list)[i] = (Candidate){.variant = v, .wins = first + i == choice.winner, .tuned = first + i == choice.tuned};
    if (v->preference < 0)
      (*list)[i].status = KILN_NO_TARGET;
    else if (!is_asked(v, options))
      (*list)[i].status = KILN_NO_VARIANT;
    else
      (*list)[i].status = bind_contract(dev, &v->contract, views, nviews, true, &binding);
    if (!(*list)[i].status) (*list)[i].cost_ns = isinf(binding.cost_ns) ? 0 : binding.cost_ns;
  }
  return KILN_OK;
}

kiln_status kiln_explain(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, const kiln_plan_options *options,
                         kiln_verdict_fn fn, void *user) {
  ArgView views[BIND_MAX_ARGS];
  if (!dev || !op || !fn || nargs < 0 || nargs > BIND_MAX_ARGS || (nargs && !args))
    return error_set(KILN_BAD_CALL, "kiln_explain: dev, op, fn or args is NULL, or nargs is not in 0 to %d", BIND_MAX_ARGS);
  kiln_status s = bind_view(args, nargs, views);
  if (s) return s;
  Candidate *list = NULL;
  int n = 0;
  pthread_mutex_lock(&dev->lock);
  s = collect(dev, op, views, nargs, options, &list, &n);
  pthread_mutex_unlock(&dev->lock);
  if (s) return s;
  for (int i = 0; i < n; i++) tell(dev, &list[i], views, nargs, options, fn, user);
  pthread_mutex_lock(&dev->lock);
  for (int i = 0; i < n; i++) store_release(dev, list[i].variant);
  pthread_mutex_unlock(&dev->lock);
  kiln_mem(list, (size_t)n * sizeof *list, 0);
  return KILN_OK;
}
