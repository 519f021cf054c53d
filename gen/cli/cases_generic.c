/* cases_generic.c - the generic classes of cases, by what the dims of a definition are for. */
#include "cases.h"
#include <string.h>

/* ---- row-wise definitions: leading rows of some length ---- */

typedef struct RowCase {
  int64_t length;
  int64_t lead[OPTIONS_MAX_LEADS];
  int nlead;
  CaseLayout layout;
  bool special;
  uint8_t from;  /* the least amount that has it: CASES_ALL only, CASES_FULL, .. */
  bool for_sums; /* only where rows are summed */
} RowCase;

static const RowCase row_cases[] = {
    /* length   leading dims     n  layout            special from         sums */
    {1,         {3},             1, LAYOUT_DENSE,     false,  CASES_QUICK, false},
    {64,        {2, 3},          2, LAYOUT_DENSE,     false,  CASES_ONE,   false},
    {77,        {4},             1, LAYOUT_UNALIGNED, false,  CASES_ONE,   false},
    {104,       {2, 3, 2},       3, LAYOUT_STRIDED,   false,  CASES_ONE,   false},
    {256,       {17},            1, LAYOUT_DENSE,     true,   CASES_QUICK, false},
    {1024,      {3},             1, LAYOUT_DENSE,     false,  CASES_QUICK, false},
    {100,       {5},             1, LAYOUT_COLUMNS,   false,  CASES_QUICK, false},
    {192,       {3, 4},          2, LAYOUT_BROADCAST, false,  CASES_QUICK, false},
    {8200,      {2},             1, LAYOUT_STRIDED,   false,  CASES_QUICK, false},
    {32,        {70},            1, LAYOUT_DENSE,     false,  CASES_QUICK, false},
    {64,        {0},             1, LAYOUT_DENSE,     false,  CASES_SOME,  false},
    {40,        {300},           1, LAYOUT_DENSE,     false,  CASES_ONE,   true},
    {1,         {1},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {2,         {5},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {7,         {4},             1, LAYOUT_DENSE,     false,  CASES_SOME,  false},
    {8,         {3},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {64,        {3, 0},          2, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {100,       {33},            1, LAYOUT_DENSE,     false,  CASES_SOME,  false},
    {128,       {130},           1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {384,       {260},           1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {48,        {200},           1, LAYOUT_STRIDED,   false,  CASES_FULL,  false},
    {255,       {9},             1, LAYOUT_DENSE,     true,   CASES_FULL,  false},
    {1000,      {3, 5},          2, LAYOUT_UNALIGNED, false,  CASES_SOME,  false},
    {520,       {2, 3, 2, 2},    4, LAYOUT_STRIDED,   false,  CASES_FULL,  false},
    {2056,      {3, 4},          2, LAYOUT_STRIDED,   true,   CASES_SOME,  false},
    {1030,      {2, 3},          2, LAYOUT_COLUMNS,   true,   CASES_FULL,  false},
    {600,       {2, 2, 3},       3, LAYOUT_BROADCAST, false,  CASES_FULL,  false},
    {4096,      {6},             1, LAYOUT_DENSE,     false,  CASES_SOME,  false},
    {5000,      {3},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {8192,      {2},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {16384,     {3},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {33001,     {2},             1, LAYOUT_UNALIGNED, true,   CASES_FULL,  false},
    {65537,     {2},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {262144,    {1},             1, LAYOUT_DENSE,     false,  CASES_FULL,  false},
    {128,       {8, 186},        2, LAYOUT_DENSE,     false,  CASES_FULL,  true},
    {96,        {777},           1, LAYOUT_STRIDED,   false,  CASES_SOME,  true},
    {512,       {2001},          1, LAYOUT_STRIDED,   false,  CASES_FULL,  true},
    {8,         {100003},        1, LAYOUT_DENSE,     false,  CASES_FULL,  true},
    {24,        {2, 3, 2, 3},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {32,        {3, 2, 5, 2},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {16,        {2, 2, 3, 4},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {120,       {3, 2, 2, 3},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {256,       {2, 4, 3, 2},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {1000,      {2, 3, 2, 3},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {2048,      {3, 2, 3, 2},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {4096,      {2, 3, 2},       3, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {4096,      {5},             1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {4096,      {7},             1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {3200,      {4},             1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {8192,      {2, 2, 3},       3, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {128,       {7, 300},        2, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {64,        {2, 3, 1},       3, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {64,        {2, 3, 4, 1},    4, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {256,       {2, 3, 2, 2},    4, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {64,        {1500},          1, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {64,        {1, 31},         2, LAYOUT_DENSE,     false,  CASES_ALL,   true}, /* 31 or 32 tiles of 1, 4, 8, 16, 32 rows: */
    {64,        {1, 125},        2, LAYOUT_DENSE,     false,  CASES_ALL,   true}, /* a step that adds their sums is full */
    {64,        {1, 250},        2, LAYOUT_DENSE,     false,  CASES_ALL,   true},
    {64,        {1, 500},        2, LAYOUT_DENSE,     false,  CASES_ALL,   true},
    {64,        {1, 1000},       2, LAYOUT_DENSE,     false,  CASES_ALL,   true},
    {32,        {1, 2100},       2, LAYOUT_DENSE,     false,  CASES_ALL,   true}, /* and one that adds many */
    {56,        {68000},         1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {264,       {8500},          1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {520,       {4300},          1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {640,       {390},           1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {896,       {260},           1, LAYOUT_STRIDED,   false,  CASES_ALL,   false},
    {2104,      {810},           1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
    {6200,      {810},           1, LAYOUT_DENSE,     false,  CASES_ALL,   false},
};

/* The last of the row dims that stands for several; -1: none does. */
static int dim_that_splits(const KilnDef *def, const int *dim, int n) {
  while (--n >= 0 && !(def->lead_dims >> dim[n] & 1)) {
  }
  return n;
}

/* Gives the row dims of one tensor the leading parts of a case: one each, what is left over to a dim that stands for several, or else,
 * as a product, to the last one. */
static void share_rows(Case *c, const KilnDef *def, const int *dim, int n, const int64_t *part, int parts, int shift, uint32_t *set) {
  int64_t other = c->number % 3 == 2 && parts < n ? 2 : 1;
  int extra = parts > n ? parts - n : 0, split = dim_that_splits(def, dim, n), wide = split >= 0 ? split : n - 1;
  for (int i = 0; i < n; i++) {
    int d = dim[i], at = parts > n ? i + (i > wide ? extra : 0) : i - (n - parts), last = at + (i == wide ? extra : 0);
    if (c->number % 3 == 1 && parts < n) at = last = i; /* the outer ones take them */
    if (*set >> d & 1) continue;
    *set |= 1u << d;
    c->size[d] = at >= 0 && at < parts ? part[at] : other;
    for (int k = at + 1; k <= last && k < parts; k++) c->size[d] *= part[k];
    if (last > at && split >= 0) {
      c->nlead[d] = last - at + 1;
      c->size[d] = 1;
      for (int k = at; k <= last; k++) c->size[d] *= c->lead[d][k - at] = part[k] + (k == last ? shift : 0);
    } else if (at >= 0 && at < parts) {
      c->size[d] += shift;
    }
  }
}

/* Sizes of all dims: each tensor with rows in turn, what it shares with one before it stays; second columns get other lengths. */
static void size_rows(Case *c, const KilnDef *def, const Roles *r, const RowCase *row, int64_t other_length) {
  uint32_t set = 0;
  int shift = 0;
  for (int t = 0; t < def->ntensors; t++) {
    int dim[DEF_MAX_DIMS], n = cases_rows(def, r, t, dim);
    uint32_t before = set;
    if (n == 0) continue;
    share_rows(c, def, dim, n, row->lead, row->nlead, shift, &set);
    int column = def->tensor[t].dim[n];
    if (!(set >> column & 1)) c->size[column] = r->column & before ? other_length : row->length;
    /* A pair, where something rotates; two, where a row is centred, too: of one pair the gradient is nothing but rounding. */
    int64_t least = !r->table ? 1 : r->reduced >> column & 1 ? 4 : 2;
    if (c->size[column] < least) c->size[column] = least;
    set |= 1u << column;
    if (set != before) shift++; /* the next tensor with rows of its own gets more of them */
  }
  for (int d = 0; d < def->ndims; d++)
    if (!((set | r->table | r->block) >> d & 1)) c->size[d] = 4;
}

static bool may_lie_over(const KilnDef *def) {
  for (int t = 0; t < def->ntensors; t++)
    if (def->tensor[t].is_out && def->tensor[t].present && def->tensor[t].over >= 0) return true;
  return false;
}

/* Do sums over rows make an output? Those are checked with many rows, too. */
static bool sums_rows(const KilnDef *def, const Roles *r) { return def->ndims && (r->reduced & r->row) != 0; }

static void add_row_cases(CaseList *list, const KilnDef *def, const Roles *r, CaseAmount amount) {
  enum { ROWS = sizeof row_cases / sizeof row_cases[0] };
  bool over = may_lie_over(def);
  for (int i = 0; i < ROWS; i++) {
    const RowCase *row = &row_cases[i];
    if (row->from < amount || (row->for_sums && !sums_rows(def, r))) continue;
    int64_t other = row_cases[(i + 3) % 12].length;
    Case *c = cases_append(list);
    c->layout = row->layout;
    c->special = row->special;
    c->in_place = over && row->layout != LAYOUT_BROADCAST && i % 3 == 1;
    other = row->length > 100 * other ? other : row->length * 3 / 4 + other % 7;
    if (row->length % 8 == 0) other = (other + 7) / 8 * 8; /* where the first column goes in pieces of 16 bytes, so does the second */
    size_rows(c, def, r, row, other);
    cases_complete(list, def);
    cases_size_tables(c, def, r, i, 0);
    cases_complete(list, def); /* its name again, with the tables */
  }
}

/* ---- products: free dims, summed dims, batch dims ---- */

typedef struct ProductCase {
  int64_t free[2], summed, batch; /* third and further free dims take the first one's size */
  CaseLayout layout;
  bool special;
  uint8_t from;
} ProductCase;

static const ProductCase product_cases[] = {
    /* free       summed batch layout            special from */
    {{64, 64},    64,    1,    LAYOUT_DENSE,     false,  CASES_ONE},
    {{3, 5},      7,     1,    LAYOUT_UNALIGNED, false,  CASES_QUICK},
    {{33, 72},    40,    1,    LAYOUT_STRIDED,   false,  CASES_QUICK},
    {{130, 136},  96,    2,    LAYOUT_DENSE,     false,  CASES_QUICK},
    {{16, 24},    32,    1,    LAYOUT_DENSE,     true,   CASES_QUICK},
    {{1, 1},      1,     1,    LAYOUT_DENSE,     false,  CASES_QUICK},
    {{0, 5},      7,     1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{5, 0},      7,     1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{5, 7},      0,     1,    LAYOUT_DENSE,     false,  CASES_SOME},
    {{8, 8},      8,     0,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{1, 128},    64,    1,    LAYOUT_DENSE,     false,  CASES_SOME},
    {{128, 1},    64,    1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{64, 64},    1,     1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{16, 8},     16,    1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{33, 65},    129,   1,    LAYOUT_DENSE,     false,  CASES_SOME},
    {{100, 50},   72,    3,    LAYOUT_STRIDED,   false,  CASES_SOME},
    {{128, 128},  128,   1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{129, 257},  65,    1,    LAYOUT_UNALIGNED, false,  CASES_FULL},
    {{200, 264},  320,   1,    LAYOUT_STRIDED,   false,  CASES_FULL},
    {{128, 256},  512,   1,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{40, 48},    2000,  2,    LAYOUT_DENSE,     true,   CASES_FULL},
    {{72, 264},   328,   3,    LAYOUT_STRIDED,   false,  CASES_ALL},
    {{136, 72},   456,   2,    LAYOUT_STRIDED,   false,  CASES_ALL},
    {{392, 520},  1096,  2,    LAYOUT_DENSE,     false,  CASES_ALL}, /* several tiles for a CTA, and rings that come round */
    {{264, 264},  40,    1,    LAYOUT_DENSE,     false,  CASES_ALL}, /* and that do not, within a tile: at whichever slot a CTA ends */
    {{264, 264},  72,    3,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{264, 264},  136,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{264, 264},  200,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{264, 264},  328,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{264, 264},  456,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{400, 528},  1168,  2,    LAYOUT_DENSE,     false,  CASES_ALL}, /* the same for bytes, of which 16 lie together */
    {{272, 272},  80,    1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{272, 272},  144,   3,    LAYOUT_DENSE,     false,  CASES_FULL},
    {{272, 272},  400,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{272, 272},  656,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{272, 272},  912,   1,    LAYOUT_DENSE,     false,  CASES_ALL},
    {{4000, 24},  16,    1,    LAYOUT_DENSE,     false,  CASES_ALL}, /* sums over rows with many shares */
};

static void add_product_cases(CaseList *list, const KilnDef *def, const Roles *u, CaseAmount amount) {
  /* A gradient sums over every dim in some product: then the first two take the sizes of free ones. */
  uint32_t summed = u->summed;
  for (int d = 0; d < def->ndims && __builtin_popcount(summed | u->batch) > def->ndims - 2; d++) summed &= ~(1u << d);
  for (size_t i = 0; i < sizeof product_cases / sizeof product_cases[0]; i++) {
    const ProductCase *p = &product_cases[i];
    if (p->from < amount || (p->batch == 0 && !u->batch)) continue;
    Case *c = cases_append(list);
    int nfree = 0;
    for (int d = 0; d < def->ndims; d++) {
      uint32_t bit = 1u << d;
      c->size[d] = summed & bit ? p->summed : u->batch & bit ? p->batch : p->free[nfree < 2 ? nfree : 0];
      if (!(bit & (summed | u->batch))) nfree++;
      if (c->size[d] == 0 && u->reduced & bit) c->size[d] = 1;
    }
    c->layout = p->layout;
    c->special = p->special;
    cases_complete(list, def);
  }
}

/* ---- anything else: every dim takes its turn in the odd sizes ---- */

static void add_plain_cases(CaseList *list, const KilnDef *def, const Roles *u, CaseAmount amount) {
  static const int64_t base[] = {5, 3, 8, 2, 4, 3, 2, 2}, turn[] = {1, 0, 7, 64, 129, 1000};
  for (int d = -1; d < def->ndims; d++)
    for (size_t k = 0; k < (d < 0 ? 1 : sizeof turn / sizeof turn[0]); k++) {
      bool few = amount == CASES_QUICK || amount == CASES_ONE;
      if ((few && d >= 0 && k != 2) || (amount == CASES_ONE && d >= 0)) continue;
      if (d >= 0 && turn[k] == 0 && u->reduced >> d & 1) continue;
      Case *c = cases_append(list);
      for (int j = 0; j < def->ndims; j++) c->size[j] = j == d ? turn[k] : base[j];
      c->layout = d < 0 ? LAYOUT_DENSE : (CaseLayout)(k % 3);
      c->special = k == 4;
      cases_complete(list, def);
    }
}

void cases_generic(CaseList *list, const KilnDef *def, CaseAmount amount) {
  Roles r = cases_roles(def);
  if (r.summed) add_product_cases(list, def, &r, amount);
  else if (r.column) add_row_cases(list, def, &r, amount);
  else add_plain_cases(list, def, &r, amount);
}
