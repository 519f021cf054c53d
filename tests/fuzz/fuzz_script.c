/* fuzz_script.c - any bytes as a script: each call answers with a result or with a message, and leaks nothing.
 *
 * The bytes are a file in memory, since scripts are given by path; the library is the one inside the program. */
#include "kiln_gen.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_answer(const KilnGen *g, kiln_gen_status status, const void *result) {
  if (status == KILN_GEN_OK ? !result : !*kiln_gen_message(g)) abort();
}

static void try_op(KilnGen *g, const char *path) {
  kiln_gen_request r = {.op = path, .target = "sm_80"};
  const KilnDef *def;
  const char *text, *name;
  size_t bytes;
  kiln_gen_status status = kiln_gen_define(g, &r, &def);
  check_answer(g, status, def);
  if (status == KILN_GEN_OK && !def->nnodes) abort();
  status = kiln_gen_emit(g, &r, &text, &bytes, &name);
  check_answer(g, status, text);
  if (status == KILN_GEN_OK && (strlen(text) != bytes || !strstr(name, ".ptx"))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  int fd = memfd_create("fuzz.lua", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) abort();
  char path[256];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  KilnGen *g;
  if (kiln_gen_open(&g, NULL) != KILN_GEN_OK) abort();
  const kiln_gen_op *ops;
  int n;
  kiln_gen_status status = kiln_gen_script_ops(g, path, &ops, &n);
  check_answer(g, status, ops);
  if (status == KILN_GEN_OK && n == 1) try_op(g, path);
  kiln_gen_close(g);
  close(fd);
  return 0;
}
