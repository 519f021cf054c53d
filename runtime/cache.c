/* cache.c - see cache.h. */
#define _GNU_SOURCE
#include "cache.h"
#include "alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t cache_hash(uint64_t h, const void *data, size_t bytes) {
  const unsigned char *at = data;
  for (size_t i = 0; i < bytes; i++) h = (h ^ at[i]) * 0x100000001b3u;
  return h;
}

uint64_t cache_hash_text(uint64_t h, const char *text) { return cache_hash(h, text, strlen(text) + 1); }

static bool make_folder(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
    *slash = '/';
    if (!made) return false;
  }
  return (mkdir(path, 0700) == 0 || errno == EEXIST) && access(path, W_OK | X_OK) == 0;
}

bool cache_folder(char path[CACHE_PATH_BYTES], bool make) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = 0;
  if (base && *base == '/')
    n = snprintf(path, CACHE_PATH_BYTES, "%s/kiln", base);
  else if (home && *home == '/')
    n = snprintf(path, CACHE_PATH_BYTES, "%s/.cache/kiln", home);
  return n > 0 && n < CACHE_PATH_BYTES - CACHE_NAME_BYTES && (!make || make_folder(path));
}

void cache_free(CacheFile *f) {
  if (f->text) kiln_mem(f->text, f->capacity, 0);
  *f = (CacheFile){0};
}

bool cache_read(const char *path, CacheFile *f) {
  struct stat about;
  *f = (CacheFile){0};
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
  if (file < 0) return false;
  bool whole = fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0 && about.st_size < CACHE_MAX_BYTES;
  if (whole) {
    f->capacity = (size_t)about.st_size + 1;
    f->text = kiln_mem(NULL, 0, f->capacity);
    whole = f->text != NULL;
    f->no_memory = !whole;
  }
  while (whole && f->bytes < f->capacity - 1) {
    ssize_t got = read(file, f->text + f->bytes, f->capacity - 1 - f->bytes);
    if (got < 0 && errno == EINTR) continue;
    whole = got > 0;
    if (whole) f->bytes += (size_t)got;
  }
  close(file);
  bool no_memory = f->no_memory;
  if (whole)
    f->text[f->bytes] = 0;
  else
    cache_free(f);
  f->no_memory = no_memory;
  return whole;
}

bool cache_write_all(int file, const char *text, size_t bytes) {
  while (bytes) {
    ssize_t n = write(file, text, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text += n, bytes -= (size_t)n;
  }
  return true;
}
