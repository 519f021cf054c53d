/* alloc.c - see alloc.h. */
#include "alloc.h"
#include <stdlib.h>

static kiln_mem_fn hook_fn;
static void *hook_user;

void kiln_mem_hook(kiln_mem_fn fn, void *user) {
  hook_fn = fn;
  hook_user = user;
}

void *kiln_mem(void *ptr, size_t old_bytes, size_t new_bytes) {
  if (hook_fn) return hook_fn(hook_user, ptr, old_bytes, new_bytes);
  if (new_bytes == 0) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, new_bytes);
}
