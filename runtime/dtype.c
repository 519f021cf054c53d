/* dtype.c - names and sizes of element types. */
#include "kiln.h"
#include <string.h>

static const struct { char name[6]; uint8_t bytes; } dtypes[] = {
    [KILN_NO_DTYPE] = {"?", 0}, [KILN_F64] = {"f64", 8},   [KILN_F32] = {"f32", 4},   [KILN_F16] = {"f16", 2},
    [KILN_BF16] = {"bf16", 2},  [KILN_E4M3] = {"e4m3", 1}, [KILN_E5M2] = {"e5m2", 1}, [KILN_I64] = {"i64", 8},
    [KILN_I32] = {"i32", 4},    [KILN_I16] = {"i16", 2},   [KILN_I8] = {"i8", 1},     [KILN_U8] = {"u8", 1},
    [KILN_BOOL] = {"bool", 1},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

size_t kiln_dtype_bytes(kiln_dtype dtype) { return (unsigned)dtype < DTYPES ? dtypes[dtype].bytes : 0; }
const char *kiln_dtype_name(kiln_dtype dtype) { return (unsigned)dtype < DTYPES ? dtypes[dtype].name : "?"; }

kiln_dtype kiln_dtype_from_name(const char *name) {
  for (int i = KILN_NO_DTYPE + 1; name && i < DTYPES; i++)
    if (strcmp(name, dtypes[i].name) == 0) return (kiln_dtype)i;
  return KILN_NO_DTYPE;
}
