/* pool.h - a bump allocator over kiln_mem: everything that belongs to one contract is freed at once. */
#ifndef KILN_POOL_H
#define KILN_POOL_H
#include <stddef.h>

typedef struct PoolBlock PoolBlock;
typedef struct Pool {
  PoolBlock *blocks; /* newest first */
} Pool;

void *pool_alloc(Pool *pool, size_t bytes);                     /* zeroed, 8-byte aligned; NULL when out of memory */
char *pool_text(Pool *pool, const char *text, size_t bytes);    /* a copy that ends in NUL */
void *pool_grow(Pool *pool, void *at, int n, int *capacity, size_t elem_bytes); /* room for element n; NULL when out of memory */
void pool_free(Pool *pool);
#endif
