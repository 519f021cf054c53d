/* cache.h - the folder below $XDG_CACHE_HOME in which kiln keeps what can be made again, and its files: read whole, hashed, written to a
 * temporary name and renamed, so that a reader sees a whole one or none. */
#ifndef KILN_CACHE_H
#define KILN_CACHE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CACHE_PATH_BYTES = 1024, CACHE_NAME_BYTES = 200, CACHE_MAX_BYTES = 16 << 20 };

/* FNV-1a, 64 bits. Of a text: with its NUL, so that neighbours do not run together. */
#define CACHE_HASH_START 0xcbf29ce484222325u
uint64_t cache_hash(uint64_t h, const void *data, size_t bytes);
uint64_t cache_hash_text(uint64_t h, const char *text);

/* $XDG_CACHE_HOME/kiln, or ~/.cache/kiln, with room for a file's name (CACHE_NAME_BYTES) behind it. make: it is there afterwards, and can be
 * written. false: it has no place, or cannot be. */
bool cache_folder(char path[CACHE_PATH_BYTES], bool make);

typedef struct CacheFile {
  char *text;          /* ends in NUL, which bytes does not count */
  size_t bytes, capacity;
  bool no_memory;      /* that is why it could not be read */
} CacheFile;
bool cache_read(const char *path, CacheFile *f); /* false: there is none, or it is empty, too large or cannot be read */
void cache_free(CacheFile *f);

bool cache_write_all(int file, const char *text, size_t bytes);
#endif
