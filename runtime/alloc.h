/* alloc.h - the one allocation hook of generator, runtime and simulator.
 *
 * Every byte that kiln takes from the heap passes through kiln_mem, so that an embedder can account for it and tests can fail
 * the Nth request. The hook receives the old size as well, so counting and ceilings are exact. */
#ifndef KILN_ALLOC_H
#define KILN_ALLOC_H
#include <stddef.h>

/* new_bytes == 0 frees; ptr == NULL allocates. Returns NULL when out of memory (the old block then stays valid). */
typedef void *(*kiln_mem_fn)(void *user, void *ptr, size_t old_bytes, size_t new_bytes);

void *kiln_mem(void *ptr, size_t old_bytes, size_t new_bytes);
#if defined(__GNUC__)
__attribute__((visibility("default"))) /* exported by each library, since each carries its own copy of the hook */
#endif
void kiln_mem_hook(kiln_mem_fn fn, void *user); /* NULL restores realloc/free; set it before any other call */
#endif
