/* fuzz_contract.c - any bytes as a .ptx: the contract reader answers with a contract or with a message, and leaks nothing.
 *
 * A contract that was read is also evaluated with zeros and large values, and held against arguments of its own names with sizes and
 * strides from the input's hash; none of that may trap either, and what comes to the driver as a tensor map is one. */
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
  for (int i = 0; i < c->nitem; i++) {
    evaluate(&c->item[i].expr, c->item[i].dtype == KILN_F32 || c->item[i].dtype == KILN_F64, values);
    evaluate(&c->item[i].high, false, values);
  }
  for (int i = 0; i < c->nstep; i++) {
    for (int d = 0; d < 3; d++) {
      evaluate(&c->step[i].grid[d], false, values);
      evaluate(&c->step[i].cluster[d], false, values);
    }
    evaluate(&c->step[i].when, false, values);
  }
  for (int i = 0; i < c->nmap; i++)
    for (int d = 0; d < c->map[i].rank; d++) {
      evaluate(&c->map[i].dim[d], false, values);
      evaluate(&c->map[i].stride[d], false, values);
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

static DrvResult current_context(DrvContext *context) { return *context = NULL, DRV_SUCCESS; }

/* The driver's rules. A runtime that asks for what breaks one has not checked. */
static DrvResult encode(struct CUtensorMap_st *map, unsigned type, uint32_t rank, void *address, const uint64_t *dims, const uint64_t *strides,
                        const uint32_t *box, const uint32_t *element_strides, unsigned interleave, unsigned swizzle, unsigned l2,
                        unsigned fill) {
  static const unsigned bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
  if ((uintptr_t)map % 64 || type > 9 || rank < 1 || rank > 5 || (uintptr_t)address % 16 || interleave || swizzle > 3 || l2 > 3 || fill > 1)
    abort();
  unsigned inner = box[0] * bytes[type];
  if (inner % 16 || (swizzle && inner > 16u << swizzle) || (fill && type < 6)) abort();
  for (uint32_t i = 0; i < rank; i++)
    if (!dims[i] || dims[i] > 1ull << 32 || !box[i] || box[i] > 256 || element_strides[i] != 1) abort();
  for (uint32_t i = 0; i + 1 < rank; i++)
    if (strides[i] % 16 || strides[i] >> 40) abort();
  return dims[0] % 7 == 6 ? DRV_INVALID_VALUE : DRV_SUCCESS; /* and at times it refuses all the same */
}

static DrvResult replace(struct CUtensorMap_st *map, void *address) { return (void)map, (void)address, DRV_SUCCESS; }
static DrvResult name_error(DrvResult error, const char **text) { return (void)error, *text = "an error", DRV_SUCCESS; }

/* Arguments as the contract names them; what is bound must have a launch that the device allows. */
static void bind_random(const Contract *c, uint64_t seed) {
  kiln_arg args[BIND_MAX_ARGS];
  kiln_tensor tensors[CONTRACT_MAX_TENSORS];
  int64_t shape[CONTRACT_MAX_TENSORS][CONTRACT_MAX_RANK], stride[CONTRACT_MAX_TENSORS][CONTRACT_MAX_RANK];
  ArgView views[BIND_MAX_ARGS];
  Binding binding;
  static const DriverTable driver = {.cuCtxGetCurrent = current_context, .cuTensorMapEncodeTiled = encode,
                                     .cuTensorMapReplaceAddress = replace, .cuGetErrorName = name_error, .cuGetErrorString = name_error};
  kiln_device dev = {.driver = &driver,
                     .info = {.sms = 4, .bandwidth_bytes_ns = 100, .tensor_flop_ns = 1000},
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
