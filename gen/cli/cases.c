/* cases.c - lists of cases, and those that are given: by --size, by the lines of an op. See cases.h. */
#include "cases.h"
#include <math.h>
#include <string.h>

/* ---- lists ---- */

Case *cases_append(CaseList *list) {
  if (list->n == list->room) {
    int room = list->room ? 2 * list->room : 32;
    Case *at = cli_alloc((size_t)room * sizeof *at);
    if (list->n) memcpy(at, list->at, (size_t)list->n * sizeof *at);
    cli_free(list->at);
    list->at = at;
    list->room = room;
  }
  Case *c = &list->at[list->n++];
  memset(c, 0, sizeof *c);
  c->number = list->n - 1;
  return c;
}

void cases_free(CaseList *list) {
  cli_free(list->at);
  memset(list, 0, sizeof *list);
}

static size_t write_size(const KilnDef *def, const Case *c, int d, char *text, size_t bytes) {
  size_t n = (size_t)snprintf(text, bytes, "%s%s=", d ? "," : "", def->dims[d]);
  if (c->nlead[d] < 2) return n + (size_t)snprintf(n < bytes ? text + n : NULL, n < bytes ? bytes - n : 0, "%lld", (long long)c->size[d]);
  for (int i = 0; i < c->nlead[d] && n < bytes; i++)
    n += (size_t)snprintf(text + n, bytes - n, "%s%lld", i ? "x" : "", (long long)c->lead[d][i]);
  return n;
}

void cases_complete(CaseList *list, const KilnDef *def) {
  static const char *const layouts[LAYOUTS] = {"", " strided", " unaligned", " columns", " broadcast"};
  Case *c = &list->at[list->n - 1];
  size_t n = 0;
  c->scalars = c->number % 2 == 0 ? SCALARS_DEFAULT : c->number % 6 == 3 ? SCALARS_LARGE : SCALARS_OTHER;
  for (int d = 0; d < def->ndims; d++) {
    if (c->nlead[d] >= 2) {
      c->size[d] = 1;
      for (int i = 0; i < c->nlead[d]; i++) c->size[d] *= c->lead[d][i];
    }
  }
  for (int d = 0; d < def->ndims; d++) {
    int64_t block = def->block[d].size; /* such a dim follows from the one that it counts blocks of */
    if (block) c->size[d] = (c->size[def->block[d].of] + block - 1) / block;
    if (n < sizeof c->name) n += write_size(def, c, d, c->name + n, sizeof c->name - n);
  }
  if (n < sizeof c->name)
    snprintf(c->name + n, sizeof c->name - n, "%s%s%s", layouts[c->layout], c->special ? " special" : "",
             c->in_place ? " in_place" : "");
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

/* Numbers: near the default, or so large that what it guards against comes about (a norm below eps). Integers: a small offset,
 * or a limit that cuts in. */
double case_scalar(const DefScalar *s, CaseScalars which) {
  double x = s->has_default ? s->deflt : 1;
  bool whole = s->dtype == KILN_I32 || s->dtype == KILN_I64;
  if (which == SCALARS_DEFAULT) return x;
  if (whole) return x > 1 << 20 ? which + 1 : x + which + 1;
  if (which == SCALARS_LARGE && fabs(x) < 0.01) return 10;
  return x == 0 ? 0.5 : x * 1.375;
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

/* The size that dim d takes from a tensor before it: k's rows from q's, counted from the last dim. -1: none. */
static int like_before(const KilnDef *def, const Roles *r, uint32_t given, int d) {
  int rows[DEF_MAX_DIMS], first = -1;
  for (int t = 0; t < def->ntensors; t++) {
    if (!cases_rows(def, r, t, rows)) continue;
    const DefTensor *x = &def->tensor[t];
    if (first < 0) first = t;
    for (int i = 0; i < x->rank; i++) {
      int at = def->tensor[first].rank - (x->rank - i);
      if (x->dim[i] == d && t != first && at >= 0 && given >> def->tensor[first].dim[at] & 1) return def->tensor[first].dim[at];
    }
  }
  return -1;
}

/* Sizes of the dims that were not given: one product unless a batch is asked for, one sample of rows, equal second tensors, tables
 * that just suffice. Returns a dim that must be given, or -1. */
static int infer_sizes(Case *c, const KilnDef *def, uint32_t given) {
  Roles r = cases_roles(def);
  uint32_t used = 0;
  for (int t = 0; t < def->ntensors; t++)
    for (int i = 0; def->tensor[t].present && i < def->tensor[t].rank; i++) used |= 1u << def->tensor[t].dim[i];
  uint32_t open = ((1u << def->ndims) - 1u) & ~given & ~r.table & ~r.block, inner = 0;
  for (int t = 0; t < def->ntensors; t++) { /* the last row dim and the column of a tensor are asked for */
    int rows[DEF_MAX_DIMS], n = cases_rows(def, &r, t, rows);
    if (n) inner |= 1u << rows[n - 1];
  }
  for (int d = 0; d < def->ndims; d++) {
    if (!(open >> d & 1)) continue;
    int like = like_before(def, &r, given, d);
    bool one = r.batch >> d & 1 || !(used >> d & 1) || (!r.summed && r.row >> d & 1 && !(inner >> d & 1));
    if (like < 0 && !one) return d;
    c->size[d] = like >= 0 ? c->size[like] : 1;
  }
  cases_size_tables(c, def, &r, 0, given);
  return -1;
}

bool cases_sizes(CaseList *list, const KilnDef *def, const Options *o, char *message, size_t message_bytes) {
  char known[128];
  list_dims(def, known, sizeof known);
  Case *c = cases_append(list);
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
    if (def->block[d].size) {
      snprintf(message, message_bytes, "--size: %s of %s counts blocks of %s and follows from it", s->name, def->op,
               def->dims[def->block[d].of]);
      return list->n--, false;
    }
    c->nlead[d] = s->nparts;
    memcpy(c->lead[d], s->part, sizeof c->lead[d]);
  }
  int lacks = infer_sizes(c, def, given);
  if (lacks >= 0) {
    snprintf(message, message_bytes, "--size: %s also needs %s (its dims are %s)", def->op, def->dims[lacks], known);
    return list->n--, false;
  }
  if (!fits(def, c)) {
    snprintf(message, message_bytes, "--size: a tensor of %s would have more than 2^56 elements", def->op);
    return list->n--, false;
  }
  cases_complete(list, def);
  c->scalars = SCALARS_DEFAULT;
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
    else if (is_word(word, n, "columns")) c->layout = LAYOUT_COLUMNS;
    else if (is_word(word, n, "broadcast")) c->layout = LAYOUT_BROADCAST;
    else if (is_word(word, n, "special")) c->special = true;
    else if (is_word(word, n, "in_place")) c->in_place = true;
    else if (!memchr(word, '=', n)) {
      snprintf(message, message_bytes, "cases of %s: expected strided, unaligned, columns, broadcast, special, in_place or "
               "NAME=VALUE, got \"%.*s\"", def->op, (int)n, word);
      done = false;
      list->n--;
    }
  }
  if (done) cases_complete(list, def);
  cli_free(sizes);
  cli_free(o);
  return done;
}
