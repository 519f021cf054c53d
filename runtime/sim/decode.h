/* decode.h - what decode.c and decode_async.c share: an opcode in words, and the row being decoded. */
#ifndef KILN_SIM_DECODE_H
#define KILN_SIM_DECODE_H
#include "parse.h"
#include <string.h>

enum { MAX_WORDS = 16 };
typedef struct Words { const char *at[MAX_WORDS]; uint32_t n[MAX_WORDS]; int count; } Words;

typedef struct Decode {
  SimParser *p;
  const IsaForm *form;
  SimInstr *in;
  const SimOpnd *ops;
  int nops;
  uint32_t line;
  Words w;
} Decode;

static inline void split_words(const char *opcode, uint32_t len, Words *w) {
  w->count = 0;
  for (const char *s = opcode, *end = s + len; s < end && w->count < MAX_WORDS; s++) {
    const char *dot = memchr(s, '.', (size_t)(end - s));
    w->at[w->count] = s;
    w->n[w->count] = (uint32_t)((dot ? dot : end) - s);
    s += w->n[w->count];
    const IsaSpelling *other = isa_spelling(w->at[w->count], w->n[w->count]);
    if (other) w->at[w->count] = other->row, w->n[w->count] = (uint32_t)strlen(other->row);
    w->count++;
  }
}

static inline bool word_is(const Words *w, int i, const char *s) {
  return i < w->count && strlen(s) == w->n[i] && memcmp(s, w->at[i], w->n[i]) == 0;
}

static inline int has_word(const Words *w, const char *s) { /* its place, or 0 */
  for (int i = 1; i < w->count; i++)
    if (word_is(w, i, s)) return i;
  return 0;
}

static inline int find_in(const Words *w, int i, const char *const *list, int n) {
  for (int k = 0; k < n; k++)
    if (word_is(w, i, list[k])) return k;
  return -1;
}

static inline bool refuse(Decode *d) {
  return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "'%s' is not simulated", d->form->opcode);
}

static inline bool use(Decode *d, const char *name) {
  int h = sim_handler_find(name, strlen(name));
  if (h < 0) return refuse(d);
  d->in->handler = (uint16_t)h;
  return true;
}

/* decode_async.c: mbarriers, bulk copies, clusters, products of a warpgroup */
bool sim_decode_async(Decode *d);
bool sim_is_async(const Words *w);
#endif
