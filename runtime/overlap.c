/* overlap.c - see overlap.h. */
#include "overlap.h"

/* ---- two views ---- */

enum { MAX_VISITS = 4096 }; /* of a search: some 100 us; layouts whose dims lie within one another need few or none */

/* Bytes that a view covers within one period: strides that are multiples of it only move by whole periods. */
static int64_t covered(const ArgView *v, int64_t period_bytes, int64_t element) {
  const kiln_tensor *t = v->arg->tensor;
  int64_t bytes = element;
  for (int i = 0; i < t->rank; i++)
    if (t->shape[i] > 1 && v->stride[i] * element % period_bytes) bytes += (t->shape[i] - 1) * v->stride[i] * element;
  return bytes;
}

static bool apart_by_period(const ArgView *a, const ArgView *b, int64_t distance, int64_t period) {
  int64_t in_a = covered(a, period, (int64_t)kiln_dtype_bytes(a->arg->tensor->dtype));
  int64_t in_b = covered(b, period, (int64_t)kiln_dtype_bytes(b->arg->tensor->dtype));
  int64_t from = ((distance % period) + period) % period;
  return from >= in_a && from + in_b <= period;
}

/* Two views meet where a sum of steps, each taken 0 to `most` times, is a certain number: the steps to an element of one and, counted from
 * its last, to one of the other, and to a byte of either. (These end in steps of single bytes, so that no divisor narrows the choice as it
 * does in search_meeting.) */
enum { MOST_STEPS = 2 * CONTRACT_MAX_RANK + 1 };
typedef struct StepSum {
  int n, visits;
  int64_t step[MOST_STEPS], most[MOST_STEPS], reach[MOST_STEPS]; /* by step; reach: the most that those before add up to */
} StepSum;

static void add_step(StepSum *s, int64_t step, int64_t most) {
  int at = s->n;
  if (!step || !most) return;
  for (int k = 0; k < s->n; k++)
    if (s->step[k] == step) {
      s->most[k] += most;
      return;
    }
  for (; at > 0 && s->step[at - 1] > step; at--) s->step[at] = s->step[at - 1], s->most[at] = s->most[at - 1];
  s->step[at] = step, s->most[at] = most;
  s->n++;
}

static void add_view(StepSum *s, const ArgView *v) {
  const kiln_tensor *t = v->arg->tensor;
  int64_t element = (int64_t)kiln_dtype_bytes(t->dtype);
  for (int i = 0; i < t->rank; i++) add_step(s, v->stride[i] * element, t->shape[i] - 1);
  add_step(s, 1, element - 1);
}

static OverlapMeeting find_sum(StepSum *s, int k, int64_t rest) {
  if (k < 0) return rest ? OVERLAP_APART : OVERLAP_MEET;
  int64_t step = s->step[k], least = rest > s->reach[k] ? (rest - s->reach[k] + step - 1) / step : 0, most = rest / step;
  if (most > s->most[k]) most = s->most[k];
  for (int64_t times = most; times >= least; times--) {
    if (++s->visits > MAX_VISITS) return OVERLAP_UNTOLD;
    OverlapMeeting found = find_sum(s, k - 1, rest - times * step);
    if (found != OVERLAP_APART) return found;
  }
  return OVERLAP_APART;
}

/* `distance`: from a's first byte to b's. */
static OverlapMeeting search_pair(const ArgView *a, const ArgView *b, int64_t distance) {
  StepSum s = {0};
  int64_t reach = 0;
  if (a->extent_bytes > INT64_MAX / 4 || b->extent_bytes > INT64_MAX / 4) return OVERLAP_UNTOLD; /* no memory is so large */
  add_view(&s, a);
  add_view(&s, b);
  for (int k = 0; k < s.n; k++) {
    s.reach[k] = reach;
    reach += s.most[k] * s.step[k];
  }
  return find_sum(&s, s.n - 1, distance + b->extent_bytes - 1);
}

bool overlap_pair(const ArgView *a, uint64_t a_address, const ArgView *b, uint64_t b_address) {
  if (!a->elements || !b->elements) return false;
  if (a_address + (uint64_t)a->extent_bytes <= b_address || b_address + (uint64_t)b->extent_bytes <= a_address) return false;
  const ArgView *both[] = {a, b};
  for (int k = 0; k < 2; k++) {
    const kiln_tensor *t = both[k]->arg->tensor;
    for (int i = 0; i < t->rank; i++) {
      int64_t period = t->shape[i] > 1 ? both[k]->stride[i] * (int64_t)kiln_dtype_bytes(t->dtype) : 0;
      if (period > 0 && apart_by_period(a, b, (int64_t)(b_address - a_address), period)) return false;
    }
  }
  return search_pair(a, b, (int64_t)(b_address - a_address)) != OVERLAP_APART;
}

bool overlap_same_elements(const ArgView *a, const ArgView *b) {
  const kiln_tensor *x = a->arg->tensor, *y = b->arg->tensor;
  if (x->rank != y->rank || kiln_dtype_bytes(x->dtype) != kiln_dtype_bytes(y->dtype)) return false;
  for (int i = 0; i < x->rank; i++)
    if (x->shape[i] != y->shape[i] || (x->shape[i] > 1 && a->stride[i] != b->stride[i])) return false;
  return true;
}

/* ---- an output's own elements ---- */

/* The greatest common divisor of a and b > 0, and through *x the factor for which a * x is that, but for multiples of b. */
static int64_t common_divisor(int64_t a, int64_t b, int64_t *x) {
  int64_t from = 1, to = 0;
  while (b) {
    int64_t whole = a / b, rest = a % b, next = from - whole * to;
    a = b, b = rest;
    from = to, to = next;
  }
  *x = from;
  return a;
}

/* Chooses d[k] and those before it so that they add up to -rest; `none`: those behind it are all 0, and then the first other than 0 may as well
 * be positive. */
static OverlapMeeting search_meeting(OverlapSteps *s, int k, int64_t rest, bool none) {
  if (k == 0) {
    s->d[0] = -rest / s->stride[0];
    return none ? OVERLAP_APART : OVERLAP_MEET;
  }
  int64_t reach = s->reach[k], step = s->stride[k], period = s->period[k], most = s->size[k] - 1, least = none ? 0 : -most;
  int64_t below = -reach - rest, above = reach - rest; /* between them lies d[k] * step; divided towards the inside */
  below = below / step + (below > 0 && below % step);
  above = above / step - (above < 0 && above % step);
  if (below > least) least = below;
  if (above < most) most = above;
  int64_t residue = rest / (s->divisor[k] / period) % period;
  int64_t at = (int64_t)(-(__int128)residue * s->inverse[k] % period), gap = (at - least) % period;
  for (at = least + (gap < 0 ? gap + period : gap); at <= most; at += period) {
    if (++s->visits > MAX_VISITS) return OVERLAP_UNTOLD;
    s->d[k] = at;
    OverlapMeeting found = search_meeting(s, k - 1, rest + at * step, none && at == 0);
    if (found != OVERLAP_APART) return found;
  }
  return OVERLAP_APART;
}

OverlapMeeting overlap_own(const ArgView *v, OverlapSteps *s) {
  const kiln_tensor *t = v->arg->tensor;
  bool nested = true;
  s->n = s->visits = 0;
  for (int i = 0; v->elements && i < t->rank; i++) {
    int at = s->n;
    if (t->shape[i] <= 1) continue;
    for (; at > 0 && s->stride[at - 1] > v->stride[i]; at--)
      s->stride[at] = s->stride[at - 1], s->size[at] = s->size[at - 1], s->dim[at] = s->dim[at - 1];
    s->stride[at] = v->stride[i], s->size[at] = t->shape[i], s->dim[at] = i;
    s->n++;
  }
  int64_t reach = 0;
  for (int k = 0; k < s->n; k++) {
    s->d[k] = 0;
    s->reach[k] = reach;
    nested &= s->stride[k] > reach;
    reach += (s->size[k] - 1) * s->stride[k];
  }
  if (nested) return OVERLAP_APART;
  if (s->stride[0] == 0) return s->d[0] = 1, OVERLAP_MEET;
  int64_t divisor = s->stride[0];
  for (int k = 1; k < s->n; k++) {
    s->divisor[k] = divisor;
    divisor = common_divisor(s->stride[k], divisor, &s->inverse[k]);
    s->period[k] = s->divisor[k] / divisor;
  }
  return search_meeting(s, s->n - 1, 0, true);
}
