/* fuzz_contract.c - any bytes as a .ptx: the contract reader answers with a contract or with a message, and leaks nothing.
 *
 * A contract that was read is also evaluated with zeros and large values, and held against arguments of its own names with sizes and
 * strides from the input's hash; none of that may trap either. */
#include "bind.h"
#include "contract.h"
#include "error.h"
#include <stdlib.h>
#include <string.h>

static void evaluate(const Expr *e, bool real, const ExprValue *values) {
  int64_t i;
  double d;
  if (!e->n) return;
  if (real) expr_real(e, values, &d);
  else expr_int(e, values, &i);
}

static void evaluate_all(const Contract *c, int64_t filler) {
  ExprValue values[CONTRACT_MAX_SYMBOLS];
  for (int i = 0; i < CONTRACT_MAX_SYMBOLS; i++) values[i].i = filler;
  for (int i = 0; i < c->nitem; i++) evaluate(&c->item[i].expr, c->item[i].dtype == KILN_F32 || c->item[i].dtype == KILN_F64, values);
  for (int i = 0; i < c->nstep; i++) {
    for (int d = 0; d < 3; d++) {
      evaluate(&c->step[i].grid[d], false, values);
      evaluate(&c->step[i].cluster[d], false, values);
    }
    evaluate(&c->step[i].when, false, values);
  }
  evaluate(&c->cost, true, values);
}

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

/* Sizes and strides that matter: none, one, few, more than 32 bits, nearly all of 64. */
static int64_t pick_number(uint64_t *state) {
  static const int64_t numbers[] = {0, 1, 1, 2, 3, 8, 8, 16, 1000, 65536, 1ll << 31, 1ll << 40, INT64_MAX / 8, INT64_MAX, -1};
  return numbers[next_random(state) % (sizeof numbers / sizeof *numbers)];
}

/* Arguments as the contract names them; what is bound must have a launch that the device allows. */
static void bind_random(const Contract *c, uint64_t seed) {
  kiln_arg args[BIND_MAX_ARGS];
  kiln_tensor tensors[CONTRACT_MAX_TENSORS];
  int64_t shape[CONTRACT_MAX_TENSORS][CONTRACT_MAX_RANK], stride[CONTRACT_MAX_TENSORS][CONTRACT_MAX_RANK];
  ArgView views[BIND_MAX_ARGS];
  Binding binding;
  kiln_device dev = {.info = {.sms = 4, .bandwidth_bytes_ns = 100, .tensor_flop_ns = 1000},
                     .limits = {.grid = {2147483647, 65535, 65535}, .block_threads = 1024, .shared_bytes = 101376}};
  int n = 0;
  int64_t common = pick_number(&seed);
  for (int t = 0; t < c->ntensor && n < BIND_MAX_ARGS; t++) {
    for (int d = 0; d < c->tensor[t].rank; d++) {
      shape[t][d] = next_random(&seed) % 2 ? common : pick_number(&seed);
      stride[t][d] = pick_number(&seed);
    }
    void *data = (void *)(uintptr_t)((next_random(&seed) % 4) * 4096);
    tensors[t] = (kiln_tensor){data, (kiln_dtype)c->tensor[t].dtype, c->tensor[t].rank, shape[t],
                               next_random(&seed) % 2 ? stride[t] : NULL};
    args[n++] = (kiln_arg){.name = c->tensor[t].name, .tensor = &tensors[t]};
  }
  for (int i = 0; i < c->nscalar && n < BIND_MAX_ARGS; i++)
    args[n++] = (kiln_arg){.name = c->scalar[i].name, .scalar = (double)pick_number(&seed)};
  for (int i = 0; i < c->noption && n < BIND_MAX_ARGS; i++)
    args[n++] = (kiln_arg){.name = c->option[i].key, .text = c->option[i].value};
  if (bind_view(args, n, views) || bind_contract(&dev, c, views, n, next_random(&seed) % 2, &binding)) return;
  for (int i = 0; i < c->nstep; i++)
    if (binding.step[i].runs && (!binding.step[i].block || !binding.step[i].grid[0] || binding.step[i].grid[1] > 65535)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  Contract c;
  kiln_status s = contract_read(&c, "fuzz.ptx", (const char *)data, bytes);
  if (s == KILN_OK) {
    if (!c.op || !c.target || !c.nstep) abort();
    evaluate_all(&c, 0);
    evaluate_all(&c, INT64_MAX);
    evaluate_all(&c, INT64_MIN);
    uint64_t seed = bytes;
    for (size_t i = 0; i < bytes; i++) seed = seed * 31 + data[i];
    for (int i = 0; i < 16; i++) bind_random(&c, seed + (uint64_t)i);
  } else if (!*kiln_error() || !strstr(kiln_error(), "fuzz.ptx")) {
    abort(); /* every refusal says which file */
  }
  contract_free(&c);
  return 0;
}
