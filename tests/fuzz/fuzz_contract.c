/* fuzz_contract.c - any bytes as a .ptx: the contract reader answers with a contract or with a message, and leaks nothing.
 *
 * A contract that was read is also evaluated with zeros and large values, which must not trap either. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  Contract c;
  kiln_status s = contract_read(&c, "fuzz.ptx", (const char *)data, bytes);
  if (s == KILN_OK) {
    if (!c.op || !c.target || !c.nstep) abort();
    evaluate_all(&c, 0);
    evaluate_all(&c, INT64_MAX);
    evaluate_all(&c, INT64_MIN);
  } else if (!*kiln_error() || !strstr(kiln_error(), "fuzz.ptx")) {
    abort(); /* every refusal says which file */
  }
  contract_free(&c);
  return 0;
}
