/* test_overlap.c - elements of one tensor, or of two, that share an address: against a comparison of all of them, and within bounded time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "overlap.h"
#include <string.h>

typedef struct Case { /* a view of bytes and what it points to */
  int64_t shape[CONTRACT_MAX_RANK];
  kiln_tensor tensor;
  kiln_arg arg;
  ArgView view;
} Case;

static void make(Case *c, int rank, const int64_t *shape, const int64_t *stride) {
  memset(c, 0, sizeof *c);
  memcpy(c->shape, shape, (size_t)rank * sizeof *shape);
  c->tensor = (kiln_tensor){NULL, KILN_U8, rank, c->shape, stride};
  c->arg = (kiln_arg){.name = "y", .tensor = &c->tensor};
  assert_int_equal(bind_view(&c->arg, 1, &c->view), KILN_OK);
}

/* s.d is the difference of two elements of the view that are one. */
static void assert_meet(const Case *c, const OverlapSteps *s) {
  int64_t sum = 0, size = 0;
  for (int k = 0; k < s->n; k++) {
    assert_true(s->d[k] > -c->shape[s->dim[k]] && s->d[k] < c->shape[s->dim[k]]);
    sum += s->d[k] * c->view.stride[s->dim[k]];
    size |= s->d[k];
  }
  assert_int_equal(sum, 0);
  assert_true(size != 0);
}

/* All elements, one by one. */
static bool meets(const Case *c) {
  static char taken[4096];
  int64_t at[CONTRACT_MAX_RANK] = {0};
  memset(taken, 0, sizeof taken);
  for (int64_t n = 0; n < c->view.elements; n++) {
    int64_t place = 0;
    for (int i = 0; i < c->tensor.rank; i++) place += at[i] * c->view.stride[i];
    if (taken[place]++) return true;
    for (int i = c->tensor.rank - 1; i >= 0 && ++at[i] == c->shape[i]; i--) at[i] = 0;
  }
  return false;
}

static uint64_t number = 1;
static int64_t below(int64_t n) {
  number = number * 6364136223846793005u + 1442695040888963407u;
  return (int64_t)(number >> 33) % n;
}

static void test_against_all_elements(void **state) {
  (void)state;
  int seen[2] = {0};
  for (int round = 0; round < 100000; round++) {
    int rank = 1 + (int)below(5);
    int64_t shape[5], stride[5];
    for (int i = 0; i < rank; i++) shape[i] = below(20) ? 1 + below(5) : below(12), stride[i] = below(40);
    Case c;
    OverlapSteps s;
    make(&c, rank, shape, stride);
    OverlapMeeting found = overlap_own(&c.view, &s);
    assert_int_equal(found, meets(&c) ? OVERLAP_MEET : OVERLAP_APART); /* at this size nothing takes too long to tell */
    if (found == OVERLAP_MEET) assert_meet(&c, &s);
    seen[found]++;
  }
  assert_true(seen[OVERLAP_APART] > 10000 && seen[OVERLAP_MEET] > 10000);
}

static OverlapMeeting tell(int rank, const int64_t *shape, const int64_t *stride, int most_visits) {
  Case c;
  OverlapSteps s;
  make(&c, rank, shape, stride);
  OverlapMeeting found = overlap_own(&c.view, &s);
  if (found == OVERLAP_MEET) assert_meet(&c, &s);
  assert_true(s.visits <= most_visits);
  return found;
}

static void test_ordinary(void **state) {
  (void)state;
  int64_t large[] = {1 << 20, 1 << 20, 1 << 20}, dense[] = {1ll << 40, 1 << 20, 1}, turned[] = {1, 1ll << 40, 1 << 20};
  int64_t padded[] = {(1ll << 40) + 77, (1 << 20) + 3, 1}, broadcast[] = {1 << 20, 0, 1};
  assert_int_equal(tell(3, large, dense, 0), OVERLAP_APART);
  assert_int_equal(tell(3, large, turned, 0), OVERLAP_APART);
  assert_int_equal(tell(3, (int64_t[]){1 << 20, 1 << 19, 99}, padded, 0), OVERLAP_APART);
  assert_int_equal(tell(3, large, broadcast, 0), OVERLAP_MEET);
  int64_t eights[] = {2, 3, 4, 5, 6, 7, 8, 9};
  assert_int_equal(tell(8, eights, NULL, 0), OVERLAP_APART);
}

/* Dims of which no two meet. */
static void test_of_three_dims(void **state) {
  (void)state;
  assert_int_equal(tell(3, (int64_t[]){2, 2, 2}, (int64_t[]){1, 2, 3}, 10), OVERLAP_MEET);
  assert_int_equal(tell(3, (int64_t[]){2, 2, 2}, (int64_t[]){3, 5, 7}, 10), OVERLAP_APART);
  assert_int_equal(tell(2, (int64_t[]){3, 2}, (int64_t[]){2, 3}, 10), OVERLAP_APART); /* interleaved, and every element has its own */
  int64_t large[] = {1000000007, 998244353};
  assert_int_equal(tell(2, (int64_t[]){998244353, 1000000007}, large, 10), OVERLAP_APART); /* meets at its sizes, not below them */
  assert_int_equal(tell(2, (int64_t[]){998244354, 1000000008}, large, 10), OVERLAP_MEET);
}

/* Whatever the strides, the answer comes after a bounded number of steps. */
static void test_bounded(void **state) {
  (void)state;
  int found[3] = {0};
  for (int round = 0; round < 20000; round++) {
    int64_t shape[CONTRACT_MAX_RANK], stride[CONTRACT_MAX_RANK];
    int rank = 3 + (int)below(6), bits = 4 + (int)below(48);
    for (int i = 0; i < rank; i++) shape[i] = 2 + below(round % 2 ? 3 : 1 << below(8)), stride[i] = 1 + below(1ll << 31) % (1ll << bits) * (1 + below(9));
    found[tell(rank, shape, stride, 4097)]++;
  }
  assert_true(found[OVERLAP_APART] > 1000 && found[OVERLAP_MEET] > 1000);
}

/* ---- two tensors ---- */

static void make_random(Case *c) {
  int64_t shape[3], stride[3];
  int rank = (int)below(4);
  for (int i = 0; i < rank; i++) shape[i] = below(25) ? 1 + below(5) : 0, stride[i] = below(16);
  make(c, rank, shape, stride);
  kiln_dtype dtypes[] = {KILN_U8, KILN_BF16, KILN_F32};
  c->tensor.dtype = dtypes[below(3)];
  c->view.extent_bytes = 0;
  assert_int_equal(bind_view(&c->arg, 1, &c->view), KILN_OK);
}

/* Marks the view's bytes from `from` on, or finds one that is marked. */
static bool walk(const Case *c, int64_t from, char *taken, bool mark) {
  int64_t at[CONTRACT_MAX_RANK] = {0}, bytes = (int64_t)kiln_dtype_bytes(c->tensor.dtype);
  for (int64_t n = 0; n < c->view.elements; n++) {
    int64_t place = from;
    for (int i = 0; i < c->tensor.rank; i++) place += at[i] * c->view.stride[i] * bytes;
    for (int64_t k = 0; k < bytes; k++) {
      if (mark) taken[place + k] = 1;
      else if (taken[place + k]) return true;
    }
    for (int i = c->tensor.rank - 1; i >= 0 && ++at[i] == c->shape[i]; i--) at[i] = 0;
  }
  return false;
}

static void test_two_against_all_elements(void **state) {
  (void)state;
  int seen[2] = {0};
  for (int round = 0; round < 100000; round++) {
    static char taken[2048];
    Case a, b;
    int64_t from[] = {below(160), below(160)};
    make_random(&a);
    make_random(&b);
    memset(taken, 0, sizeof taken);
    walk(&a, from[0], taken, true);
    bool want = walk(&b, from[1], taken, false);
    assert_int_equal(overlap_pair(&a.view, 4096 + (uint64_t)from[0], &b.view, 4096 + (uint64_t)from[1]), want);
    seen[want]++;
  }
  assert_true(seen[0] > 10000 && seen[1] > 10000);
}

/* Columns of one buffer whose batches are padded by no whole number of rows; one column more, and they meet. */
static void test_columns_of_padded_batches(void **state) {
  (void)state;
  int64_t stride[] = {(1ll << 32) + 40, 128, 1};
  Case a, b;
  make(&a, 3, (int64_t[]){1 << 20, 1 << 20, 64}, stride);
  make(&b, 3, (int64_t[]){1 << 20, 1 << 20, 64}, stride);
  assert_false(overlap_pair(&a.view, 1 << 20, &b.view, (1 << 20) + 64));
  assert_false(overlap_pair(&b.view, (1 << 20) + 64, &a.view, 1 << 20));
  assert_true(overlap_pair(&a.view, 1 << 20, &b.view, (1 << 20) + 63));
  assert_true(overlap_pair(&a.view, 1 << 20, &b.view, (1 << 20) + 65));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_all_elements), cmocka_unit_test(test_ordinary),
                                     cmocka_unit_test(test_of_three_dims), cmocka_unit_test(test_bounded),
                                     cmocka_unit_test(test_two_against_all_elements), cmocka_unit_test(test_columns_of_padded_batches)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
