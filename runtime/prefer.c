/* prefer.c - see prefer.h. The device's file is read at the first selection. Whatever is wrong with it, selection goes by cost. */
#include "prefer.h"
#include "alloc.h"
#include "tuned.h"
#include <stdlib.h>
#include <string.h>

struct TunedTable {
  CacheFile file; /* the winners' texts point into it */
  TunedWin *win;  /* in order of op, target, settings, axes, sizes */
  int n, capacity;
};

/* ---- axes ---- */

static bool add_symbol(TunedPlace *p, int symbol, int *n) {
  if (*n == (int)(sizeof p->symbol / sizeof *p->symbol)) return false;
  p->symbol[(*n)++] = (uint16_t)symbol;
  return true;
}

/* The list of dims that may merge in which a symbol stands; -1: none. */
static int list_of(const Contract *c, int symbol, int *from, int *to) {
  for (int k = 0, i = 0; k < c->ncollapse_list; k++) {
    *from = i, *to = c->collapse_end[k];
    for (; i < *to; i++)
      if (c->collapse[i] == symbol) return k;
  }
  return -1;
}

void prefer_axes(const Contract *c, TunedPlace *out) {
  uint32_t done = 0;
  int n = 0;
  bool fits = true;
  *out = (TunedPlace){0};
  for (int s = 0; fits && s < c->nsymbol; s++) {
    if (c->symbol[s].kind != SYMBOL_DIM) continue;
    int from = 0, to = 0, list = list_of(c, s, &from, &to);
    if (list >= 0 && done >> list & 1) continue;
    if (list >= 0) done |= 1u << list;
    fits = out->naxes < TUNED_MAX_AXES;
    if (list < 0) fits = fits && add_symbol(out, s, &n);
    for (int i = from; list >= 0 && i < to; i++) fits = fits && add_symbol(out, c->collapse[i], &n);
    if (fits) out->end[out->naxes++] = (uint8_t)n;
  }
  if (!fits) out->naxes = 0;
}

int64_t prefer_size(const TunedPlace *place, int axis, const ExprValue *value) {
  int64_t size = 1;
  for (int i = axis ? place->end[axis - 1] : 0; i < place->end[axis]; i++)
    if (__builtin_mul_overflow(size, value[place->symbol[i]].i, &size)) return INT64_MAX;
  return size;
}

/* ---- the table ---- */

/* A logarithm to base 2, exact for powers of it and straight in between: enough to say what is nearest, and without libm. */
static float level_of(int64_t size) {
  if (size <= 0) return 0;
  int k = 63 - __builtin_clzll((uint64_t)size);
  return (float)k + (float)((double)(size - ((int64_t)1 << k)) / (double)((int64_t)1 << k));
}

static bool is_usable(int64_t size) { return size > 0 && size < INT64_MAX / 4; } /* and so is its double */

/* "B*M=4096,N=1024" becomes "B*M,N" in place, and the sizes. */
static bool read_sizes(char *text, TunedWin *w) {
  char *to = text;
  w->axes = text;
  for (char *at = text; *at;) {
    char *equals = strchr(at, '=');
    if (!equals || w->naxes == TUNED_MAX_AXES) return false;
    size_t name = (size_t)(equals - at), digits = strcspn(equals + 1, ",");
    if (!expr_integer(equals + 1, digits, &w->size[w->naxes]) || !is_usable(w->size[w->naxes])) return false;
    w->level[w->naxes] = level_of(w->size[w->naxes]);
    char *next = equals + 1 + digits;
    bool more = *next == ',';
    memmove(to, at, name);
    to += name;
    *to++ = more ? ',' : 0;
    w->naxes++;
    at = more ? next + 1 : next;
    if (!more) return true;
  }
  return false;
}

static const char *blanks(const char *list) { /* as contracts write it */
  for (char *c = (char *)(uintptr_t)list; *c; c++)
    if (*c == ',') *c = ' ';
  return strcmp(list, "-") == 0 ? "" : list;
}

static bool read_win(char *line, TunedWin *w) {
  TunedLine l;
  *w = (TunedWin){0};
  if (!tuned_read(line, &l) || !tuned_figure(&l, &w->figure) || !read_sizes((char *)(uintptr_t)l.sizes, w)) return false;
  w->op = l.op, w->target = l.target, w->settings = blanks(l.settings), w->schedule = blanks(l.schedule);
  return true;
}

static int compare_group(const TunedWin *a, const TunedWin *b) {
  int order = strcmp(a->op, b->op);
  if (!order) order = strcmp(a->target, b->target);
  if (!order) order = strcmp(a->settings, b->settings);
  return order ? order : strcmp(a->axes, b->axes);
}

static int compare_sizes(const TunedWin *a, const TunedWin *b) {
  int order = compare_group(a, b);
  for (int i = 0; !order && i < a->naxes; i++) order = (a->size[i] > b->size[i]) - (a->size[i] < b->size[i]);
  return order;
}

static int compare_wins(const void *x, const void *y) {
  const TunedWin *a = x, *b = y;
  int order = compare_sizes(a, b);
  if (!order) order = (a->figure > b->figure) - (a->figure < b->figure);
  return order ? order : strcmp(a->schedule, b->schedule);
}

static void keep_winners(struct TunedTable *t) {
  int n = 0;
  qsort(t->win, (size_t)t->n, sizeof *t->win, compare_wins);
  for (int i = 0; i < t->n; i++)
    if (n == 0 || compare_sizes(&t->win[n - 1], &t->win[i]) != 0) t->win[n++] = t->win[i];
  t->n = n;
}

static bool is_of(const kiln_device_info *info, const char *line) {
  char header[TUNED_HEADER_BYTES];
  tuned_header(info, header);
  return strcmp(line, header) == 0;
}

/* The next line, cut at its end; NULL: there is none. */
static char *next_line(char **at) {
  char *line = *at, *end = strchr(line, '\n');
  if (!*line) return NULL;
  *at = end ? end + 1 : line + strlen(line);
  if (end) *end = 0;
  return line;
}

static void read_table(const kiln_device *dev, struct TunedTable *t) {
  char *at = t->file.text, *line = next_line(&at);
  if (!line || !is_of(&dev->info, line)) return;
  for (const char *c = at; *c; c++) t->capacity += *c == '\n';
  t->capacity++;
  t->win = kiln_mem(NULL, 0, (size_t)t->capacity * sizeof *t->win);
  if (!t->win) return;
  while ((line = next_line(&at)) && t->n < t->capacity) t->n += read_win(line, &t->win[t->n]);
  keep_winners(t);
}

static void load(kiln_device *dev) {
  char path[CACHE_PATH_BYTES + CACHE_NAME_BYTES];
  const char *wish = getenv("KILN_TUNED");
  CacheFile file;
  dev->tuned_read = true;
  if ((wish && strcmp(wish, "0") == 0) || !tuned_path(&dev->info, path, false) || !cache_read(path, &file)) return;
  struct TunedTable *t = kiln_mem(NULL, 0, sizeof *t);
  if (!t) {
    cache_free(&file);
    return;
  }
  *t = (struct TunedTable){.file = file};
  dev->tuned = t;
  read_table(dev, t);
}

void prefer_free(kiln_device *dev) {
  struct TunedTable *t = dev->tuned;
  if (!t) return;
  if (t->win) kiln_mem(t->win, (size_t)t->capacity * sizeof *t->win, 0);
  cache_free(&t->file);
  kiln_mem(t, sizeof *t, 0);
  dev->tuned = NULL;
}

/* ---- looking up ---- */

/* Do the axes of a contract read "B*M,N"? */
static bool has_axes(const Contract *c, const TunedPlace *p, const char *axes) {
  for (int a = 0, i = 0; a < p->naxes; a++)
    for (; i < p->end[a]; i++) {
      const char *name = c->symbol[p->symbol[i]].name;
      size_t n = strlen(name);
      if (strncmp(axes, name, n) != 0) return false;
      axes += n;
      char after = i + 1 < p->end[a] ? '*' : a + 1 < p->naxes ? ',' : 0;
      if (*axes != after) return false;
      axes += after != 0;
    }
  return true;
}

/* Once per variant: its winners, among which those of its own schedule are noted as there. */
static void look_up(const struct TunedTable *t, Variant *v) {
  const Contract *c = &v->contract;
  TunedPlace *p = &v->tuned;
  prefer_axes(c, p);
  p->looked = true;
  for (int i = 0; p->naxes && i < t->n; i++) {
    TunedWin *w = &t->win[i];
    if (strcmp(w->op, c->op) != 0 || strcmp(w->target, c->target) != 0 || strcmp(w->settings, c->settings) != 0) continue;
    if (w->naxes != p->naxes || !has_axes(c, p, w->axes)) continue;
    if (p->n++ == 0) p->first = i;
    w->loaded |= strcmp(w->schedule, c->schedule) == 0;
  }
}

/* The square of the distance between logarithms; below 0: more than a factor of 2 apart. */
static double distance_to(const TunedWin *w, const int64_t *size, const float *level) {
  double sum = 0;
  for (int a = 0; a < w->naxes; a++) {
    if (size[a] > w->size[a] * 2 || w->size[a] > size[a] * 2) return -1;
    double d = level[a] - w->level[a];
    sum += d * d;
  }
  return sum;
}

TunedWin *prefer_nearest(kiln_device *dev, Variant *v, const ExprValue *value, PreferMemo *memo) {
  int64_t size[TUNED_MAX_AXES];
  float level[TUNED_MAX_AXES];
  if (!dev->tuned_read) load(dev);
  if (!dev->tuned) return NULL;
  if (!v->tuned.looked) look_up(dev->tuned, v);
  if (!v->tuned.n) return NULL;
  if (memo->first == v->tuned.first) return memo->win;
  *memo = (PreferMemo){.first = v->tuned.first};
  for (int a = 0; a < v->tuned.naxes; a++) {
    size[a] = prefer_size(&v->tuned, a, value);
    if (!is_usable(size[a])) return NULL;
    level[a] = level_of(size[a]);
  }
  for (int i = 0; i < v->tuned.n; i++) {
    TunedWin *w = &dev->tuned->win[v->tuned.first + i];
    double d = distance_to(w, size, level);
    if (d >= 0 && (!memo->win || d < memo->distance)) memo->win = w, memo->distance = d;
  }
  return memo->win;
}
