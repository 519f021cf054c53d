/* mix.c - see mix.h. One pass over the lines of an entry notes instructions and labels; a branch to a label that stands above
 * it closes a loop. */
#include "mix.h"
#include "cli.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct Line { char opcode[48], target[64]; int number; } Line; /* an instruction; target: of a branch */
typedef struct Label { char name[64]; int at; int number; } Label;      /* stands before instruction `at` */

typedef struct Reader {
  Line *line;
  Label *label;
  int nlines, nlabels, room, label_room;
  MixEntry entry;
  int depth;
  bool inside;
} Reader;

static void copy_word(char *to, size_t room, const char *from, size_t n) { snprintf(to, room, "%.*s", (int)n, from); }

static size_t word_length(const char *s) {
  size_t n = 0;
  while (isalnum((unsigned char)s[n]) || s[n] == '_' || s[n] == '$' || s[n] == '%' || s[n] == '.') n++;
  return n;
}

static void *grow(void *at, int n, int *room, size_t bytes) {
  if (n < *room) return at;
  *room = *room ? 2 * *room : 256;
  void *wider = cli_alloc((size_t)*room * bytes);
  if (n) memcpy(wider, at, (size_t)n * bytes);
  cli_free(at);
  return wider;
}

static void count(Mix *m, const char *opcode) {
  m->total++;
  for (int i = 0; i < m->n; i++)
    if (strcmp(m->at[i].opcode, opcode) == 0) {
      m->at[i].n++;
      return;
    }
  if (m->n == 256) return;
  snprintf(m->at[m->n].opcode, sizeof m->at[0].opcode, "%s", opcode);
  m->at[m->n++].n = 1;
}

static int by_count(const void *a, const void *b) {
  const MixCount *x = a, *y = b;
  return x->n != y->n ? y->n - x->n : strcmp(x->opcode, y->opcode);
}

static void settle(Mix *m) { qsort(m->at, (size_t)m->n, sizeof m->at[0], by_count); }

/* ---- lines ---- */

static void take_instruction(Reader *r, const char *s, int number) {
  if (*s == '@') {
    s++;
    s += *s == '!';
    s += word_length(s);
    while (*s == ' ' || *s == '\t') s++;
  }
  size_t n = word_length(s);
  if (n == 0) return;
  r->line = grow(r->line, r->nlines, &r->room, sizeof *r->line);
  Line *line = &r->line[r->nlines++];
  memset(line, 0, sizeof *line);
  line->number = number;
  copy_word(line->opcode, sizeof line->opcode, s, n);
  if (strcmp(line->opcode, "bra") && strcmp(line->opcode, "bra.uni")) return;
  s += n;
  while (*s == ' ' || *s == '\t') s++;
  copy_word(line->target, sizeof line->target, s, word_length(s));
}

static void take_line(Reader *r, const char *s, int number) {
  while (*s == ' ' || *s == '\t') s++;
  if (!*s || *s == '\n' || (s[0] == '/' && s[1] == '/')) return;
  size_t n = word_length(s);
  if (n && s[n] == ':') {
    r->label = grow(r->label, r->nlabels, &r->label_room, sizeof *r->label);
    Label *l = &r->label[r->nlabels++];
    copy_word(l->name, sizeof l->name, s, n);
    l->at = r->nlines;
    l->number = number;
    take_line(r, s + n + 1, number);
    return;
  }
  if (*s == '.' || *s == '{' || *s == '}') return;
  take_instruction(r, s, number);
}

/* ---- loops ---- */

static int label_at(const Reader *r, const char *name) {
  for (int i = 0; i < r->nlabels; i++)
    if (strcmp(r->label[i].name, name) == 0) return i;
  return -1;
}

/* A loop that waits: nothing in it but a test of a barrier in memory, and branches. */
static bool waits(const Reader *r, int first, int last) {
  bool tests = false;
  for (int i = first; i <= last; i++) {
    bool test = strstr(r->line[i].opcode, "_wait") != NULL;
    if (!test && !*r->line[i].target) return false;
    tests |= test;
  }
  return tests;
}

/* Multiply-adds of one warp, from the shape in the opcode. */
static long macs_of(const char *opcode) {
  int m, n, k;
  for (const char *s = opcode; (s = strchr(s, '.')) && *++s;)
    if (*s == 'm' && sscanf(s, "m%dn%dk%d", &m, &n, &k) == 3) return (long)m * n * k / (*opcode == 'w' && opcode[1] == 'g' ? 4 : 1);
  return 0;
}

static bool holds_another(const Reader *r, int first, int last) {
  for (int i = first; i <= last; i++) {
    int l = *r->line[i].target ? label_at(r, r->line[i].target) : -1;
    if (l >= 0 && r->label[l].at <= i && r->label[l].at >= first && i < last && !waits(r, r->label[l].at, i)) return true;
  }
  return false;
}

static int by_length(const void *a, const void *b) {
  const MixLoop *x = a, *y = b;
  if (x->macs != y->macs) return x->macs < y->macs ? 1 : -1;
  return y->mix.total - x->mix.total;
}

static void find_loops(Reader *r) {
  MixEntry *e = &r->entry;
  for (int i = 0; i < r->nlines && e->nloops < MIX_LOOPS; i++) {
    int l = *r->line[i].target ? label_at(r, r->line[i].target) : -1;
    if (l < 0 || r->label[l].at > i || waits(r, r->label[l].at, i) || holds_another(r, r->label[l].at, i)) continue;
    MixLoop *loop = &e->loop[e->nloops++];
    memset(loop, 0, sizeof *loop);
    snprintf(loop->label, sizeof loop->label, "%s", r->label[l].name);
    loop->first_line = r->label[l].number;
    loop->last_line = r->line[i].number;
    for (int k = r->label[l].at; k <= i; k++) {
      count(&loop->mix, r->line[k].opcode);
      loop->macs += macs_of(r->line[k].opcode);
    }
    settle(&loop->mix);
  }
  qsort(e->loop, (size_t)e->nloops, sizeof e->loop[0], by_length);
}

/* ---- entries ---- */

static void begin_entry(Reader *r, const char *after) {
  memset(&r->entry, 0, sizeof r->entry);
  while (*after == ' ' || *after == '\t') after++;
  copy_word(r->entry.name, sizeof r->entry.name, after, word_length(after));
  r->nlines = r->nlabels = 0;
  r->depth = 0;
  r->inside = true;
}

static void note_threads(Reader *r, const char *line) {
  const char *at = strstr(line, ".reqntid");
  if (!at) at = strstr(line, ".maxntid");
  if (!at) return;
  int threads = 1;
  for (at += 8; *at && *at != '\n' && *at != '{';) {
    while (*at && *at != '\n' && !isdigit((unsigned char)*at)) at++;
    if (!isdigit((unsigned char)*at)) break;
    long n = strtol(at, (char **)&at, 10);
    if (n > 0 && n <= 1024) threads *= (int)n;
  }
  r->entry.threads = threads;
}

/* Braces of vector operands open and close within a line, so the balance of whole lines counts. */
static int balance(const char *line, size_t n) {
  int b = 0;
  for (size_t i = 0; i < n; i++) {
    if (line[i] == '/' && i + 1 < n && line[i + 1] == '/') break;
    b += line[i] == '{';
    b -= line[i] == '}';
  }
  return b;
}

void mix_read(const char *text, void (*fn)(void *user, const MixEntry *entry), void *user) {
  Reader *r = cli_alloc(sizeof *r);
  char line[1024];
  int number = 0;
  for (const char *at = text; *at;) {
    size_t n = strcspn(at, "\n");
    number++;
    copy_word(line, sizeof line, at, n);
    const char *entry = strstr(line, ".entry ");
    const char *comment = strstr(line, "//");
    if (!r->inside && entry && !(comment && comment < entry)) begin_entry(r, entry + 7);
    if (r->inside) {
      int before = r->depth;
      r->depth += balance(line, strlen(line));
      if (before == 0) note_threads(r, line);
      if (before > 0) take_line(r, line, number);
      if (before > 0 && r->depth <= 0) {
        for (int i = 0; i < r->nlines; i++) count(&r->entry.mix, r->line[i].opcode);
        settle(&r->entry.mix);
        find_loops(r);
        fn(user, &r->entry);
        r->inside = false;
      }
    }
    at += n + (at[n] == '\n');
  }
  cli_free(r->line);
  cli_free(r->label);
  cli_free(r);
}
