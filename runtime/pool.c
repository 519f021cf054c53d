/* pool.c - see pool.h. */
#include "pool.h"
#include "alloc.h"
#include <stdint.h>
#include <string.h>

struct PoolBlock {
  PoolBlock *next;
  size_t capacity, used; /* bytes after this header */
};
enum { FIRST_BYTES = 4096 - sizeof(PoolBlock) };

void *pool_alloc(Pool *pool, size_t bytes) {
  if (bytes > SIZE_MAX / 4) return NULL;
  bytes = (bytes + 7) & ~(size_t)7;
  PoolBlock *b = pool->blocks;
  if (!b || b->capacity - b->used < bytes) {
    size_t capacity = b ? b->capacity * 2 : FIRST_BYTES;
    if (capacity < bytes) capacity = bytes;
    b = kiln_mem(NULL, 0, sizeof *b + capacity);
    if (!b) return NULL;
    *b = (PoolBlock){pool->blocks, capacity, 0};
    pool->blocks = b;
  }
  void *at = (char *)(b + 1) + b->used;
  b->used += bytes;
  memset(at, 0, bytes);
  return at;
}

char *pool_text(Pool *pool, const char *text, size_t bytes) {
  char *copy = pool_alloc(pool, bytes + 1);
  if (copy && bytes) memcpy(copy, text, bytes);
  return copy;
}

void *pool_grow(Pool *pool, void *at, int n, int *capacity, size_t elem_bytes) {
  if (n < *capacity) return at;
  int more = *capacity ? *capacity * 2 : 8;
  void *wider = pool_alloc(pool, elem_bytes * (size_t)more);
  if (!wider) return NULL;
  if (n) memcpy(wider, at, elem_bytes * (size_t)n);
  *capacity = more;
  return wider;
}

void pool_free(Pool *pool) {
  for (PoolBlock *b = pool->blocks, *next; b; b = next) {
    next = b->next;
    kiln_mem(b, sizeof *b + b->capacity, 0);
  }
  pool->blocks = NULL;
}
