/* heap.c - memory of the simulator: kiln_mem with zeroing and growth. Every failure returns NULL and is handled by the caller. */
#include "sim.h"
#include "alloc.h"
#include <string.h>

void *sim_new(size_t bytes) {
  if (bytes == 0) bytes = 1;
  void *p = kiln_mem(NULL, 0, bytes);
  if (p) memset(p, 0, bytes);
  return p;
}

void sim_delete(void *p, size_t bytes) {
  if (p) kiln_mem(p, bytes ? bytes : 1, 0);
}

void *sim_push(SimBuf *b, size_t bytes) {
  if (bytes > b->cap - b->n) {
    size_t cap = b->cap ? b->cap * 2 : 256;
    while (cap - b->n < bytes) cap *= 2;
    void *p = kiln_mem(b->at, b->cap, cap);
    if (!p) return NULL;
    b->at = p;
    b->cap = cap;
  }
  void *r = (char *)b->at + b->n;
  memset(r, 0, bytes);
  b->n += bytes;
  return r;
}

void sim_buf_free(SimBuf *b) {
  if (b->at) kiln_mem(b->at, b->cap, 0);
  *b = (SimBuf){0};
}

char *sim_copy_text(const char *s, size_t n) {
  char *p = sim_new(n + 1);
  if (p) memcpy(p, s, n);
  return p;
}
