/* cases.c - see cases.h. */
#include "cases.h"
#include <string.h>

/* ---- lists ---- */

static Case *append(CaseList *list) {
  if (list->n == list->room) {
    int room = list->room ? 2 * list->room : 32;
    Case *at = cli_alloc((size_t)room * sizeof *at);
    if (list->n) memcpy(at, list->at, (size_t)list->n * sizeof *at);
    cli_free(list->at);
    list->at = at;
    list->room = room;
  }
  Case *c = &list->at[list->n++];
  c->nlead = 1;
  return c;
}

void cases_free(CaseList *list) {
  cli_free(list->at);
  memset(list, 0, sizeof *list);
}

/* Fixes what follows from the sizes: the product of leading dims, and the name. Every second case moves the scalars. */
static void complete(CaseList *list, const KilnDef *def) {
  Case *c = &list->at[list->n - 1];
  c->other_scalars = list->n % 2 == 0;
  size_t n = 0;
  for (int d = 0; d < def->ndims; d++) {
    if (!(def->lead_dims >> d & 1) || c->nlead < 2) {
      n += (size_t)snprintf(c->name + n, sizeof c->name - n, "%s%s=%lld", d ? "," : "", def->dims[d], (long long)c->size[d]);
    } else {
      c->size[d] = 1;
      for (int i = 0; i < c->nlead; i++) c->size[d] *= c->lead[i];
      n += (size_t)snprintf(c->name + n, sizeof c->name - n, "%s%s=", d ? "," : "", def->dims[d]);
      for (int i = 0; i < c->nlead && n < sizeof c->name; i++)
        n += (size_t)snprintf(c->name + n, sizeof c->name - n, "%s%lld", i ? "x" : "", (long long)c->lead[i]);
    }
    if (n >= sizeof c->name) return;
  }
  static const char *const layouts[] = {"", " strided", " unaligned"};
  snprintf(c->name + n, sizeof c->name - n, "%s%s", layouts[c->layout], c->special ? " special" : "");
}

bool case_has_memory(const KilnDef *def, const Case *c, char *message, size_t message_bytes) {
  double elems = case_elems(def, c);
  for (int d = 0; d < def->ndims; d++)
    if (c->size[d] > (int64_t)1 << 28) {
      snprintf(message, message_bytes, "%s=%lld: the command handles sizes up to 2^28", def->dims[d], (long long)c->size[d]);
      return false;
    }
  if (elems > 0x1p36) snprintf(message, message_bytes, "%s: %.3g elements are more than the command handles (2^36)", c->name, elems);
  return elems <= 0x1p36;
}

double case_elems(const KilnDef *def, const Case *c) {
  double all = 0;
  for (int t = 0; t < def->ntensors; t++) {
    double n = def->tensor[t].present;
    for (int i = 0; i < def->tensor[t].rank; i++) n *= (double)c->size[def->tensor[t].dim[i]];
    all += n;
  }
  return all;
}

/* ---- what dims are for ---- */

typedef struct Uses {
  uint32_t summed;  /* by a product */
  uint32_t reduced; /* by a sum, maximum or minimum: an empty one has no mean */
  uint32_t batch;   /* in every input that has a summed dim */
} Uses;

static Uses study(const KilnDef *def) {
  Uses u = {0};
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op == DEF_DOT) u.summed |= 1u << n->index;
    if (n->op == DEF_SUM || n->op == DEF_AMAX || n->op == DEF_AMIN) u.reduced |= 1u << n->index;
  }
  u.batch = u.summed ? ~0u : 0;
  for (int t = 0; t < def->ntensors; t++) {
    uint32_t dims = 0;
    for (int i = 0; i < def->tensor[t].rank; i++) dims |= 1u << def->tensor[t].dim[i];
    if (!def->tensor[t].is_out && def->tensor[t].present && dims & u.summed) u.batch &= dims;
  }
  u.batch &= ~(u.summed | u.reduced);
  return u;
}

/* ---- row-wise definitions: leading rows of some length ---- */

typedef struct RowCase {
  int64_t length;
  int64_t lead[4];
  int nlead;
  CaseLayout layout;
  bool special;
  uint8_t from; /* the least amount that has it: CASES_FULL only, .. */
} RowCase;

static const RowCase row_cases[] = {
    /* length   leading dims     n  layout            special from */
    {1,         {3},             1, LAYOUT_DENSE,     false,  CASES_QUICK},
    {64,        {2, 3},          2, LAYOUT_DENSE,     false,  CASES_ONE},
    {77,        {4},             1, LAYOUT_UNALIGNED, false,  CASES_QUICK},
    {104,       {2, 3, 2},       3, LAYOUT_STRIDED,   false,  CASES_QUICK},
    {256,       {17},            1, LAYOUT_DENSE,     true,   CASES_QUICK},
    {1024,      {3},             1, LAYOUT_DENSE,     false,  CASES_QUICK},
    {8200,      {2},             1, LAYOUT_STRIDED,   false,  CASES_QUICK},
    {64,        {0},             1, LAYOUT_DENSE,     false,  CASES_SOME},
    {1,         {1},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {2,         {5},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {7,         {4},             1, LAYOUT_DENSE,     false,  CASES_SOME},
    {8,         {3},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {100,       {33},            1, LAYOUT_DENSE,     false,  CASES_SOME},
    {128,       {130},           1, LAYOUT_DENSE,     false,  CASES_FULL},
    {255,       {9},             1, LAYOUT_DENSE,     true,   CASES_FULL},
    {1000,      {3, 5},          2, LAYOUT_UNALIGNED, false,  CASES_SOME},
    {520,       {2, 3, 2, 2},    4, LAYOUT_STRIDED,   false,  CASES_FULL},
    {2056,      {3, 4},          2, LAYOUT_STRIDED,   true,   CASES_SOME},
    {4096,      {6},             1, LAYOUT_DENSE,     false,  CASES_SOME},
    {5000,      {3},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {8192,      {2},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {16384,     {3},             1, LAYOUT_DENSE,     false,  CASES_SOME},
    {33001,     {2},             1, LAYOUT_UNALIGNED, true,   CASES_FULL},
    {65537,     {2},             1, LAYOUT_DENSE,     false,  CASES_FULL},
    {262144,    {1},             1, LAYOUT_DENSE,     false,  CASES_FULL},
};

static void add_row_cases(CaseList *list, const KilnDef *def, CaseAmount amount) {
  for (size_t i = 0; i < sizeof row_cases / sizeof row_cases[0]; i++) {
    const RowCase *r = &row_cases[i];
    if (r->from < amount) continue;
    Case *c = append(list);
    bool first = true; /* the first dim beside the leading one takes the length, others stay small */
    for (int d = 0; d < def->ndims; d++) {
      if (def->lead_dims >> d & 1) continue;
      c->size[d] = first ? r->length : 4;
      first = false;
    }
    c->nlead = r->nlead;
    memcpy(c->lead, r->lead, sizeof c->lead);
    for (int d = 0; d < def->ndims; d++)
      if (def->lead_dims >> d & 1) c->size[d] = r->lead[0];
    c->layout = r->layout;
    c->special = r->special;
    complete(list, def);
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
};

static void add_product_cases(CaseList *list, const KilnDef *def, Uses u, CaseAmount amount) {
  for (size_t i = 0; i < sizeof product_cases / sizeof product_cases[0]; i++) {
    const ProductCase *p = &product_cases[i];
    if (p->from < amount || (p->batch == 0 && !u.batch)) continue;
    Case *c = append(list);
    int nfree = 0;
    for (int d = 0; d < def->ndims; d++) {
      uint32_t bit = 1u << d;
      c->size[d] = u.summed & bit ? p->summed : u.batch & bit ? p->batch : p->free[nfree < 2 ? nfree : 0];
      if (!(bit & (u.summed | u.batch))) nfree++;
      if (c->size[d] == 0 && u.reduced & bit) c->size[d] = 1;
    }
    c->layout = p->layout;
    c->special = p->special;
    complete(list, def);
  }
}

/* ---- anything else: every dim takes its turn in the odd sizes ---- */

static void add_plain_cases(CaseList *list, const KilnDef *def, Uses u, CaseAmount amount) {
  static const int64_t base[] = {5, 3, 8, 2, 4, 3, 2, 2}, turn[] = {1, 0, 7, 64, 129, 1000};
  for (int d = -1; d < def->ndims; d++)
    for (size_t k = 0; k < (d < 0 ? 1 : sizeof turn / sizeof turn[0]); k++) {
      bool few = amount == CASES_QUICK || amount == CASES_ONE;
      if ((few && d >= 0 && k != 2) || (amount == CASES_ONE && d >= 0)) continue;
      if (d >= 0 && turn[k] == 0 && u.reduced >> d & 1) continue;
      Case *c = append(list);
      for (int j = 0; j < def->ndims; j++) c->size[j] = j == d ? turn[k] : base[j];
      c->layout = d < 0 ? LAYOUT_DENSE : (CaseLayout)(k % 3);
      c->special = k == 4;
      complete(list, def);
    }
}

void cases_generic(CaseList *list, const KilnDef *def, CaseAmount amount) {
  Uses u = study(def);
  if (def->lead_dims && !u.summed) add_row_cases(list, def, amount);
  else if (u.summed) add_product_cases(list, def, u, amount);
  else add_plain_cases(list, def, u, amount);
}

/* ---- given sizes ---- */

static int find_dim(const KilnDef *def, const char *name) {
  for (int d = 0; d < def->ndims; d++)
    if (strcmp(def->dims[d], name) == 0) return d;
  return -1;
}

static void list_dims(const KilnDef *def, char *text, size_t bytes) {
  *text = 0;
  for (int d = 0; d < def->ndims; d++)
    snprintf(text + strlen(text), bytes - strlen(text), "%s%s", d ? ", " : "", def->dims[d]);
}

/* Strides and offsets of every tensor must stay far inside 64 bits. */
static bool fits(const KilnDef *def, const Case *c) {
  for (int t = 0; t < def->ntensors; t++) {
    int64_t n = 1;
    for (int i = 0; i < def->tensor[t].rank; i++) {
      int64_t size = c->size[def->tensor[t].dim[i]];
      if (__builtin_mul_overflow(n, size > 0 ? size : 1, &n) || n > (int64_t)1 << 56) return false;
    }
  }
  return true;
}

bool cases_sizes(CaseList *list, const KilnDef *def, const Options *o, char *message, size_t message_bytes) {
  char known[128];
  list_dims(def, known, sizeof known);
  Case *c = append(list);
  uint32_t given = 0;
  for (int i = 0; i < o->nsizes; i++) {
    const Size *s = &o->size[i];
    int d = find_dim(def, s->name);
    if (d < 0) {
      snprintf(message, message_bytes, "--size: %s has no dim %s; its dims are %s", def->op, s->name, known);
      return list->n--, false;
    }
    if (s->nparts > 1 && !(def->lead_dims >> d & 1)) {
      snprintf(message, message_bytes, "--size: %s of %s cannot be split into leading dims", s->name, def->op);
      return list->n--, false;
    }
    c->size[d] = s->value;
    given |= 1u << d;
    if (def->lead_dims >> d & 1) {
      c->nlead = s->nparts;
      memcpy(c->lead, s->part, sizeof c->lead);
    }
  }
  Uses u = study(def);
  for (int d = 0; d < def->ndims; d++) {
    if (given >> d & 1) continue;
    if (!(u.batch >> d & 1)) {
      snprintf(message, message_bytes, "--size: %s also needs %s (its dims are %s)", def->op, def->dims[d], known);
      return list->n--, false;
    }
    c->size[d] = 1; /* one product unless a batch is asked for */
  }
  if (!fits(def, c)) {
    snprintf(message, message_bytes, "--size: a tensor of %s would have more than 2^56 elements", def->op);
    return list->n--, false;
  }
  complete(list, def);
  c->other_scalars = false;
  return true;
}

/* ---- lines of an op ---- */

static bool next_word(const char **at, const char *end, const char **word, size_t *n) {
  while (*at < end && (**at == ' ' || **at == '\t')) (*at)++;
  *word = *at;
  while (*at < end && **at != ' ' && **at != '\t') (*at)++;
  *n = (size_t)(*at - *word);
  return *n > 0;
}

static bool is_word(const char *word, size_t n, const char *what) { return strlen(what) == n && memcmp(word, what, n) == 0; }

void cases_settings(const char *line, size_t bytes, char *settings, size_t settings_bytes) {
  const char *at = line, *end = line + bytes, *word;
  size_t n, used = 0;
  *settings = 0;
  for (int i = 0; next_word(&at, end, &word, &n); i++)
    if (i > 0 && memchr(word, '=', n) && used + n + 2 < settings_bytes)
      used += (size_t)snprintf(settings + used, settings_bytes - used, "%s%.*s", used ? " " : "", (int)n, word);
}

bool cases_line(CaseList *list, const KilnDef *def, const char *line, size_t bytes, char *message, size_t message_bytes) {
  const char *at = line, *end = line + bytes, *word;
  size_t n;
  Options *o = cli_alloc(sizeof *o);
  char *sizes = NULL;
  bool done = next_word(&at, end, &word, &n);
  if (done) {
    sizes = cli_text_n(word, n);
    done = options_sizes(o, sizes, message, message_bytes) && cases_sizes(list, def, o, message, message_bytes);
  }
  while (done && next_word(&at, end, &word, &n)) {
    Case *c = &list->at[list->n - 1];
    if (is_word(word, n, "strided")) c->layout = LAYOUT_STRIDED;
    else if (is_word(word, n, "unaligned")) c->layout = LAYOUT_UNALIGNED;
    else if (is_word(word, n, "special")) c->special = true;
    else if (!memchr(word, '=', n)) {
      snprintf(message, message_bytes, "cases of %s: expected strided, unaligned, special or NAME=VALUE, got \"%.*s\"", def->op,
               (int)n, word);
      done = false;
      list->n--;
    }
  }
  if (done) complete(list, def);
  cli_free(sizes);
  cli_free(o);
  return done;
}
