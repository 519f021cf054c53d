/* same.c - see same.h. */
#include "same.h"
#include "number.h"
#include <string.h>

typedef struct Ran { char variant[256]; char *result[DEF_MAX_TENSORS]; } Ran; /* what a device chose, and left in memory */

static size_t bytes_of(const CaseTensor *t) { return (size_t)t->elems * number_bytes(t->def->dtype); }

static kiln_status download(const Group *g, const CaseData *d, Ran *ran) {
  for (int i = 0; i < d->ntensors; i++) {
    ran->result[i] = cli_alloc(bytes_of(&d->tensor[i]) + 1);
    kiln_status status = kiln_download(g->device.dev, ran->result[i], d->tensor[i].device, bytes_of(&d->tensor[i]));
    if (status != KILN_OK) return status;
  }
  return KILN_OK;
}

static void release(Ran *ran) {
  for (int i = 0; i < DEF_MAX_TENSORS; i++) cli_free(ran->result[i]);
}

/* The case once more, on device `also` of the group: same inputs, memory of its own. */
static bool run_also(const Group *g, const CaseData *d, int also, const char *variant, Ran *ran) {
  Group *other = cli_alloc(sizeof *other);
  CaseData *copy = cli_alloc(sizeof *copy);
  kiln_plan *plan = NULL;
  kiln_plan_info info;
  *other = *g;
  other->device = g->also[also];
  tensors_share(copy, d);
  bool done = tensors_upload(copy, &other->device);
  kiln_status status = done ? group_plan(other, copy, variant, &plan) : KILN_OK;
  if (done && status == KILN_OK) status = kiln_plan_query(plan, &info);
  if (done && status == KILN_OK) snprintf(ran->variant, sizeof ran->variant, "%s", info.variant);
  if (done && status == KILN_OK) status = group_launch(other, copy, plan);
  if (done && status == KILN_OK) status = download(other, copy, ran);
  kiln_plan_destroy(plan);
  tensors_unshare(copy, &other->device);
  cli_free(copy);
  cli_free(other);
  return done && status == KILN_OK;
}

static bool compare(const CaseData *d, const char *const *a, const Ran *b, const char *where, const char *variant, char *text,
                    size_t text_bytes) {
  for (int i = 0; i < d->ntensors; i++) {
    const CaseTensor *t = &d->tensor[i];
    size_t one = number_bytes(t->def->dtype);
    int64_t differ = 0, first = 0;
    for (int64_t k = 0; k < t->elems; k++)
      if (memcmp(a[i] + (size_t)k * one, b->result[i] + (size_t)k * one, one) != 0 && differ++ == 0) first = k;
    if (!differ) continue;
    snprintf(text, text_bytes, "%s: %lld elements are not the same on %s%s%s; first %lld elements from its beginning, %.9g there, %.9g here",
             t->def->name, (long long)differ, where, strcmp(variant, b->variant) ? ", which chose " : "",
             strcmp(variant, b->variant) ? b->variant : "", (long long)(first - t->first),
             number_load(t->def->dtype, b->result[i] + (size_t)first * one), number_load(t->def->dtype, a[i] + (size_t)first * one));
    return false;
  }
  return true;
}

bool same_results(const Group *g, const CaseData *d, const char *variant, const char *ran_here, char *text, size_t text_bytes) {
  Ran here = {0};
  bool same = download(g, d, &here) == KILN_OK;
  if (!same) snprintf(text, text_bytes, "%s", kiln_error());
  for (int k = 0; k < g->nalso && same; k++) {
    Ran there = {0};
    same = run_also(g, d, k, variant, &there);
    if (!same) snprintf(text, text_bytes, "%s: %s", g->also[k].where, kiln_error());
    else same = compare(d, (const char *const *)here.result, &there, g->also[k].where, ran_here, text, text_bytes);
    release(&there);
  }
  release(&here);
  return same;
}
