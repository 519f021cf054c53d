/* store.c - the files that were added to a device: read once, kept in order, found by op. */
#include "alloc.h"
#include "device.h"
#include "error.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 64 << 20, MAX_FOLDER_DEPTH = 16 };

/* ---- the list, under the lock ---- */

static void free_variant(const kiln_device *dev, Variant *v) {
  if (v->module) module_unload(dev, v);
  size_t steps = (size_t)v->contract.nstep;
  if (v->function) kiln_mem(v->function, steps * sizeof *v->function, 0);
  if (v->dynamic_bytes) kiln_mem(v->dynamic_bytes, steps * sizeof *v->dynamic_bytes, 0);
  contract_free(&v->contract);
  if (v->text) kiln_mem(v->text, v->text_bytes + 1, 0);
  if (v->file) kiln_mem(v->file, v->file_bytes + 1, 0);
  kiln_mem(v, sizeof *v, 0);
}

void store_release(const kiln_device *dev, Variant *v) {
  if (--v->refs == 0) free_variant(dev, v);
}

void store_free(kiln_device *dev) {
  for (int i = 0; i < dev->nvariant; i++) store_release(dev, dev->variant[i]);
  if (dev->variant) kiln_mem(dev->variant, (size_t)dev->capacity * sizeof *dev->variant, 0);
  dev->variant = NULL;
  dev->nvariant = dev->capacity = 0;
}

static int compare(const Variant *a, const Variant *b) {
  int order = strcmp(a->contract.op, b->contract.op);
  if (order) return order;
  if (a->preference != b->preference) return a->preference > b->preference ? -1 : 1;
  order = strcmp(a->name, b->name);
  return order ? order : strcmp(a->file, b->file);
}

int store_find(const kiln_device *dev, const char *op, int *first) {
  int low = 0, high = dev->nvariant;
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (strcmp(dev->variant[middle]->contract.op, op) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  *first = low;
  int n = 0;
  while (low + n < dev->nvariant && strcmp(dev->variant[low + n]->contract.op, op) == 0) n++;
  return n;
}

static void remove_file(kiln_device *dev, const char *file) {
  for (int i = 0; i < dev->nvariant; i++)
    if (strcmp(dev->variant[i]->file, file) == 0) {
      store_release(dev, dev->variant[i]);
      memmove(&dev->variant[i], &dev->variant[i + 1], (size_t)(dev->nvariant - i - 1) * sizeof *dev->variant);
      dev->nvariant--;
      return;
    }
}

static kiln_status insert(kiln_device *dev, Variant *v) {
  if (dev->nvariant == dev->capacity) {
    int more = dev->capacity ? dev->capacity * 2 : 32;
    Variant **wider = kiln_mem(dev->variant, (size_t)dev->capacity * sizeof *wider, (size_t)more * sizeof *wider);
    if (!wider) return error_set(KILN_NO_MEMORY, "out of memory while adding %s", v->file);
    dev->variant = wider;
    dev->capacity = more;
  }
  remove_file(dev, v->file);
  int at = dev->nvariant;
  while (at > 0 && compare(v, dev->variant[at - 1]) < 0) at--;
  memmove(&dev->variant[at + 1], &dev->variant[at], (size_t)(dev->nvariant - at) * sizeof *dev->variant);
  dev->variant[at] = v;
  dev->nvariant++;
  return KILN_OK;
}

/* ---- one text ---- */

/* Takes text (text_bytes + 1, ends in NUL), also on failure. */
static kiln_status add_owned(kiln_device *dev, const char *file, char *text, size_t text_bytes) {
  Variant *v = kiln_mem(NULL, 0, sizeof *v);
  if (!v) {
    kiln_mem(text, text_bytes + 1, 0);
    return error_set(KILN_NO_MEMORY, "out of memory while adding %s", file);
  }
  memset(v, 0, sizeof *v);
  v->refs = 1;
  v->text = text;
  v->text_bytes = text_bytes;
  v->file_bytes = strlen(file);
  v->file = kiln_mem(NULL, 0, v->file_bytes + 1);
  kiln_status s = v->file ? contract_read(&v->contract, file, text, text_bytes)
                          : error_set(KILN_NO_MEMORY, "out of memory while adding %s", file);
  if (s) {
    free_variant(dev, v);
    return s;
  }
  memcpy(v->file, file, v->file_bytes + 1);
  const char *slash = strrchr(v->file, '/');
  v->name = slash ? slash + 1 : v->file;
  v->stem_bytes = strlen(v->name);
  if (v->stem_bytes > 4 && strcmp(v->name + v->stem_bytes - 4, ".ptx") == 0) v->stem_bytes -= 4;
  v->stem = pool_text(&v->contract.pool, v->name, v->stem_bytes);
  if (!v->stem) {
    free_variant(dev, v);
    return error_set(KILN_NO_MEMORY, "out of memory while adding %s", file);
  }
  v->preference = device_preference(dev, v->contract.target);
  if (v->preference < 0) { /* kept for messages only */
    kiln_mem(v->text, v->text_bytes + 1, 0);
    v->text = NULL;
  }
  pthread_mutex_lock(&dev->lock);
  s = insert(dev, v);
  if (s) store_release(dev, v);
  pthread_mutex_unlock(&dev->lock);
  return s;
}

kiln_status kiln_add_text(kiln_device *dev, const char *name, const char *text, size_t bytes) {
  if (!dev || !name || !*name || !text)
    return error_set(KILN_BAD_CALL, "kiln_add_text: %s is %s",
                     !dev    ? "dev"
                     : !text ? "text"
                             : "name",
                     name && !*name ? "empty" : "NULL");
  if (bytes > MAX_FILE_BYTES)
    return error_set(KILN_FILE, "%s: %zu bytes; more than %d are no PTX of kiln", name, bytes, MAX_FILE_BYTES);
  const char *nul = memchr(text, 0, bytes); /* emitted arrays end in one */
  if (nul && nul + 1 < text + bytes)
    return error_set(KILN_BAD_CONTRACT, "%s: a zero byte at offset %zu: this is no PTX text", name, (size_t)(nul - text));
  if (nul) bytes--;
  char *copy = kiln_mem(NULL, 0, bytes + 1);
  if (!copy) return error_set(KILN_NO_MEMORY, "out of memory while adding %s", name);
  memcpy(copy, text, bytes);
  copy[bytes] = 0;
  return add_owned(dev, name, copy, bytes);
}

/* ---- files and folders ---- */

static kiln_status read_bytes(int file, const char *path, char *text, size_t bytes) {
  for (size_t got = 0; got < bytes;) {
    ssize_t n = read(file, text + got, bytes - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_set(KILN_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (n == 0) return error_set(KILN_FILE, "%s: became shorter while it was read", path);
    got += (size_t)n;
  }
  return memchr(text, 0, bytes) ? error_set(KILN_BAD_CONTRACT, "%s: contains a zero byte: this is no PTX text", path) : KILN_OK;
}

static kiln_status add_file(kiln_device *dev, const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
  if (file < 0) return error_set(errno == ENOENT ? KILN_NOT_FOUND : KILN_FILE, "%s: cannot be opened: %s", path, strerror(errno));
  struct stat about;
  kiln_status s = KILN_OK;
  char *text = NULL;
  size_t bytes = 0;
  if (fstat(file, &about) || !S_ISREG(about.st_mode))
    s = error_set(KILN_FILE, "%s: is no ordinary file", path);
  else if (about.st_size > MAX_FILE_BYTES)
    s = error_set(KILN_FILE, "%s: more than %d bytes are no PTX of kiln", path, MAX_FILE_BYTES);
  if (!s) {
    bytes = (size_t)about.st_size;
    text = kiln_mem(NULL, 0, bytes + 1);
    if (!text) s = error_set(KILN_NO_MEMORY, "out of memory while reading %s", path);
  }
  if (!s) {
    text[bytes] = 0;
    s = read_bytes(file, path, text, bytes);
  }
  close(file);
  if (!s) return add_owned(dev, path, text, bytes);
  if (text) kiln_mem(text, bytes + 1, 0);
  return s;
}

typedef struct Names {
  char **at;
  int n, capacity;
} Names;

static void free_names(Names *names) {
  for (int i = 0; i < names->n; i++) kiln_mem(names->at[i], strlen(names->at[i]) + 1, 0);
  if (names->at) kiln_mem(names->at, (size_t)names->capacity * sizeof *names->at, 0);
}

static bool push_path(Names *names, const char *folder, const char *name) {
  if (names->n == names->capacity) {
    int more = names->capacity ? names->capacity * 2 : 32;
    char **wider = kiln_mem(names->at, (size_t)names->capacity * sizeof *wider, (size_t)more * sizeof *wider);
    if (!wider) return false;
    names->at = wider;
    names->capacity = more;
  }
  size_t front = strlen(folder), back = strlen(name);
  while (front > 1 && folder[front - 1] == '/') front--;
  char *path = kiln_mem(NULL, 0, front + back + 2);
  if (!path) return false;
  memcpy(path, folder, front);
  path[front] = '/';
  memcpy(path + front + 1, name, back + 1);
  names->at[names->n++] = path;
  return true;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static kiln_status list_folder(const char *path, Names *names) {
  DIR *folder = opendir(path);
  if (!folder) return error_set(errno == ENOMEM ? KILN_NO_MEMORY : KILN_FILE, "%s: cannot be listed: %s", path, strerror(errno));
  kiln_status s = KILN_OK;
  for (struct dirent *entry; !s && (entry = readdir(folder));)
    if (entry->d_name[0] != '.' && !push_path(names, path, entry->d_name))
      s = error_set(KILN_NO_MEMORY, "out of memory while listing %s", path);
  closedir(folder);
  if (names->n) qsort(names->at, (size_t)names->n, sizeof *names->at, compare_names);
  return s;
}

typedef struct Adding { /* of a folder and those below it */
  int files;
  kiln_status first; /* the error that counts; the other files are added all the same */
  char *message;     /* its own, which later errors do not replace; NULL: out of memory */
  size_t message_bytes;
} Adding;

static void note_error(Adding *a, kiln_status s) {
  if (!s || a->first) return;
  a->first = s;
  a->message_bytes = strlen(kiln_error()) + 1;
  a->message = kiln_mem(NULL, 0, a->message_bytes);
  if (a->message) memcpy(a->message, kiln_error(), a->message_bytes);
}

static kiln_status end_adding(Adding *a) {
  if (a->message) {
    error_set(a->first, "%s", a->message);
    kiln_mem(a->message, a->message_bytes, 0);
  }
  return a->first;
}

static void add_folder(kiln_device *dev, const char *path, int depth, Adding *a) {
  Names names = {0};
  note_error(a, list_folder(path, &names));
  for (int i = 0; a->first != KILN_NO_MEMORY && i < names.n; i++) {
    struct stat about;
    size_t n = strlen(names.at[i]);
    bool ptx = n > 4 && strcmp(names.at[i] + n - 4, ".ptx") == 0;
    if (stat(names.at[i], &about)) continue; /* gone meanwhile, or a dangling link */
    if (S_ISDIR(about.st_mode) && depth < MAX_FOLDER_DEPTH) {
      add_folder(dev, names.at[i], depth + 1, a);
    } else if (S_ISREG(about.st_mode) && ptx) {
      note_error(a, add_file(dev, names.at[i]));
      a->files++;
    }
  }
  free_names(&names);
}

kiln_status kiln_add(kiln_device *dev, const char *path) {
  if (!dev || !path || !*path)
    return error_set(KILN_BAD_CALL, "kiln_add: %s is %s", dev ? "path" : "dev", dev && path ? "empty; \".\" is the current folder" : "NULL");
  struct stat about;
  if (stat(path, &about))
    return error_set(errno == ENOENT || errno == ENOTDIR ? KILN_NOT_FOUND : KILN_FILE,
                     "%.512s: %s; expected a .ptx file or a folder", path, strerror(errno));
  if (!S_ISDIR(about.st_mode)) return add_file(dev, path);
  Adding a = {0};
  add_folder(dev, path, 0, &a);
  kiln_status s = end_adding(&a);
  return s || a.files ? s : error_set(KILN_NOT_FOUND, "%s: no .ptx file in this folder or below", path);
}
