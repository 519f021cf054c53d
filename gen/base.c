/* base.c - the arena, growing text, and diagnostics that quote the line they are about. */
#include "base.h"
#include "../runtime/alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- arena ---- */

struct ArenaBlock {
  ArenaBlock *next;
  size_t bytes; /* of the payload */
  size_t used;
  size_t pad; /* keeps the payload 16-byte aligned */
};

enum { ALIGN_BYTES = 16, BLOCK_BYTES = 64 * 1024 };

static char *payload(ArenaBlock *b) { return (char *)(b + 1); }

void arena_init(Arena *a, size_t limit_bytes) {
  _Static_assert(sizeof(ArenaBlock) % ALIGN_BYTES == 0, "payload must stay aligned");
  memset(a, 0, sizeof *a);
  a->limit_bytes = limit_bytes;
}

static ArenaBlock *add_block(Arena *a, Lifetime life, size_t bytes) {
  size_t payload_bytes = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
  size_t whole = sizeof(ArenaBlock) + payload_bytes;
  if (a->limit_bytes && (whole > a->limit_bytes || a->total_bytes > a->limit_bytes - whole)) {
    /* near the limit a block of just the size asked for may still fit */
    payload_bytes = bytes;
    whole = sizeof(ArenaBlock) + payload_bytes;
    if (whole > a->limit_bytes || a->total_bytes > a->limit_bytes - whole) return NULL;
  }
  ArenaBlock *b = kiln_mem(NULL, 0, whole);
  if (!b) return NULL;
  b->bytes = payload_bytes;
  b->used = 0;
  b->pad = 0;
  a->total_bytes += whole;
  /* a block made for one large request does not displace a current block that has more room left */
  ArenaBlock *head = a->blocks[life];
  if (head && bytes > BLOCK_BYTES && head->bytes - head->used > b->bytes - bytes) {
    b->next = head->next;
    head->next = b;
  } else {
    b->next = head;
    a->blocks[life] = b;
  }
  return b;
}

void *arena_try(Arena *a, Lifetime life, size_t bytes) {
  if (bytes > SIZE_MAX / 2) return NULL;
  bytes = bytes ? (bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1) : ALIGN_BYTES;
  ArenaBlock *b = a->blocks[life];
  if (!b || b->bytes - b->used < bytes) b = add_block(a, life, bytes);
  if (!b) return NULL;
  void *at = payload(b) + b->used;
  b->used += bytes;
  return memset(at, 0, bytes);
}

static _Noreturn void exhausted(Arena *a) {
  BUG_IF(!a->on_exhausted, "arena exhausted without a landing");
  longjmp(*a->on_exhausted, 1);
}

void *arena_alloc(Arena *a, Lifetime life, size_t bytes) {
  void *at = arena_try(a, life, bytes);
  if (!at) exhausted(a);
  return at;
}

char *arena_str(Arena *a, Lifetime life, const char *s, size_t n) {
  char *copy = arena_alloc(a, life, n + 1);
  if (n) memcpy(copy, s, n);
  return copy;
}

static char *format_in(Arena *a, Lifetime life, const char *fmt, va_list args, size_t *length) {
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  BUG_IF(n < 0, "format");
  char *out = arena_alloc(a, life, (size_t)n + 1);
  vsnprintf(out, (size_t)n + 1, fmt, again);
  va_end(again);
  *length = (size_t)n;
  return out;
}

char *arena_printf(Arena *a, Lifetime life, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  size_t n;
  char *out = format_in(a, life, fmt, args, &n);
  va_end(args);
  return out;
}

static void free_blocks(Arena *a, Lifetime life) {
  for (ArenaBlock *b = a->blocks[life], *next; b; b = next) {
    next = b->next;
    size_t whole = sizeof(ArenaBlock) + b->bytes;
    a->total_bytes -= whole;
    kiln_mem(b, whole, 0);
  }
  a->blocks[life] = NULL;
}

void arena_reset_pass(Arena *a) { free_blocks(a, PASS); }

void arena_free(Arena *a) {
  free_blocks(a, PASS);
  free_blocks(a, KEEP);
}

/* The newest allocation of a block can grow where it stands; everything else moves. */
static bool grow_in_place(Arena *a, Lifetime life, void *at, size_t old_bytes, size_t new_bytes) {
  ArenaBlock *b = a->blocks[life];
  old_bytes = (old_bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
  new_bytes = (new_bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
  if (!at || !b || old_bytes > b->used || (char *)at + old_bytes != payload(b) + b->used) return false;
  if (new_bytes - old_bytes > b->bytes - b->used) return false;
  memset(payload(b) + b->used, 0, new_bytes - old_bytes);
  b->used += new_bytes - old_bytes;
  return true;
}

void *vec_grow(Arena *a, Lifetime life, void *at, uint32_t n, uint32_t *cap, size_t elem_bytes) {
  if (*cap > UINT32_MAX / 2) exhausted(a);
  uint32_t more = *cap ? *cap * 2 : 8;
  size_t old_bytes = (size_t)*cap * elem_bytes, new_bytes = (size_t)more * elem_bytes;
  if (!grow_in_place(a, life, at, old_bytes, new_bytes)) {
    void *moved = arena_alloc(a, life, new_bytes);
    if (n) memcpy(moved, at, (size_t)n * elem_bytes);
    at = moved;
  }
  *cap = more;
  return at;
}

/* ---- text ---- */

void text_init(Text *t, Arena *a, Lifetime life) {
  memset(t, 0, sizeof *t);
  t->arena = a;
  t->life = life;
  t->at = arena_alloc(a, life, 1); /* always a string, also while empty */
  t->cap = 1;
}

static void text_reserve(Text *t, size_t more) {
  if (more > SIZE_MAX / 4) exhausted(t->arena);
  size_t need = t->n + more + 1;
  if (need <= t->cap) return;
  size_t cap = t->cap * 2 > 256 ? t->cap * 2 : 256;
  while (cap < need) cap *= 2;
  if (!grow_in_place(t->arena, t->life, t->at, t->cap, cap)) {
    char *moved = arena_alloc(t->arena, t->life, cap);
    memcpy(moved, t->at, t->n + 1);
    t->at = moved;
  }
  t->cap = cap;
}

void text_put(Text *t, const char *s, size_t n) {
  text_reserve(t, n);
  if (n) memcpy(t->at + t->n, s, n);
  t->n += n;
  t->at[t->n] = 0;
}

void text_str(Text *t, const char *s) { text_put(t, s, strlen(s)); }

static void text_vfmt(Text *t, const char *fmt, va_list args) {
  va_list again;
  va_copy(again, args);
  BUG_IF(!fmt, "format"); /* gcc 12 under sanitizers thinks that it may be */
  int n = vsnprintf(NULL, 0, fmt, args);
  BUG_IF(n < 0, "format");
  text_reserve(t, (size_t)n);
  vsnprintf(t->at + t->n, (size_t)n + 1, fmt, again);
  va_end(again);
  t->n += (size_t)n;
}

void text_fmt(Text *t, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  text_vfmt(t, fmt, args);
  va_end(args);
}

/* ---- diagnostics ---- */

enum { MOST_ERRORS = 20, QUOTED_COLUMNS = 120 };

void diag_init(Diag *d, Arena *a) {
  memset(d, 0, sizeof *d);
  d->arena = a;
  VEC_PUSH(a, KEEP, &d->files); /* 0: nowhere */
  text_init(&d->text, a, KEEP);
}

uint16_t diag_file(Diag *d, const char *name, const char *text) {
  for (uint32_t i = 1; i < d->files.n; i++)
    if (!strcmp(d->files.at[i].name, name)) {
      if (text && !d->files.at[i].text) d->files.at[i].text = text;
      return (uint16_t)i;
    }
  if (d->files.n > UINT16_MAX) return 0;
  const char *copy = arena_str(d->arena, KEEP, name, strlen(name));
  DiagFile *f = VEC_PUSH(d->arena, KEEP, &d->files);
  f->name = copy;
  f->text = text;
  return (uint16_t)(d->files.n - 1);
}

static const char *find_line(const char *text, uint32_t line, size_t *length) {
  for (uint32_t i = 1; i < line; i++) {
    text = strchr(text, '\n');
    if (!text) return NULL;
    text++;
  }
  *length = strcspn(text, "\r\n");
  return text;
}

/* The source line, clipped around the column, and a caret below; without a column the caret stands at the first word. */
static void quote_line(Text *out, const char *line, size_t n, size_t col) {
  size_t blank = 0;
  while (blank < n && (line[blank] == ' ' || line[blank] == '\t')) blank++;
  if (blank == n) return;
  size_t caret = col && col <= n ? col - 1 : col ? n : blank;
  size_t first = caret < QUOTED_COLUMNS - 20 ? 0 : caret - QUOTED_COLUMNS / 2;
  size_t last = n - first > QUOTED_COLUMNS ? first + QUOTED_COLUMNS : n;
  text_str(out, "  ");
  for (size_t i = first; i < last; i++) {
    unsigned char c = (unsigned char)line[i];
    text_put(out, c == '\t' ? " " : c < 0x20 || c == 0x7f ? "?" : (const char *)&c, 1);
  }
  text_fmt(out, "\n  %*s^\n", (int)(caret - first), "");
}

void diag_error(Diag *d, Loc at, const char *fmt, ...) {
  d->errors++;
  if (d->errors > MOST_ERRORS) {
    if (d->errors == MOST_ERRORS + 1) text_str(&d->text, "more errors\n");
    return;
  }
  const DiagFile *f = at.file && at.file < d->files.n ? &d->files.at[at.file] : NULL;
  if (f && at.line) text_fmt(&d->text, "%s:%u: ", f->name, at.line);
  else if (f) text_fmt(&d->text, "%s: ", f->name);
  va_list args;
  va_start(args, fmt);
  text_vfmt(&d->text, fmt, args);
  va_end(args);
  text_str(&d->text, "\n");
  size_t n = 0;
  const char *line = f && f->text && at.line ? find_line(f->text, at.line, &n) : NULL;
  if (line) quote_line(&d->text, line, n, at.col);
}

_Noreturn void kiln_bug(const char *file, int line, const char *what) {
  fprintf(stderr, "kiln: a mistake of kiln's own at %s:%d: %s\n", file, line, what);
  abort();
}
