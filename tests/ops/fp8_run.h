/* fp8_run.h - runs an op with values of the test's own on the simulator through generator, contract and runtime; and the eight-bit formats by hand. */
#ifndef KILN_TESTS_FP8_RUN_H
#define KILN_TESTS_FP8_RUN_H
#include "runtime/kiln.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FP8_RANK 5

typedef struct Fp8Tensor {
  const char *name;
  kiln_dtype dtype;
  int rank;
  int64_t shape[FP8_RANK], stride[FP8_RANK];
  void *data;         /* room elements */
  size_t room;
  bool out;           /* read back */
} Fp8Tensor;

bool fp8_start(void);  /* opens the generator; false: it cannot be */
void fp8_end(void);
/* where: "sim:sm_80,cores=1". settings: "dtype=f16 format=u8". The runtime chooses
 * among all variants that are offered. */
extern const char *fp8_only; /* not NULL: only among those whose schedule has this text */
void fp8_run(const char *op, const char *settings, const char *where, Fp8Tensor *tensor, int n);

/* ---- by hand: by search among all values of a format, with no arithmetic on bits ---- */
double fp8_value(kiln_dtype format, uint8_t code);      /* NaN, infinities of e5m2 */
uint8_t fp8_nearest(kiln_dtype format, double x);       /* nearest, of two the even code; saturating; 0x7f for NaN */
double fp8_f16(uint16_t bits);
double fp8_bf16(uint16_t bits);
double fp8_largest(kiln_dtype format);
#endif
