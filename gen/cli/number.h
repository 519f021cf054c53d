/* number.h - the command's own view of element types: sizes, names, and conversion to and from double.
 *
 * Written apart from generator, runtime and simulator on purpose: a mistake in one of them must show against this. */
#ifndef KILN_CLI_NUMBER_H
#define KILN_CLI_NUMBER_H
#include "../../runtime/kiln.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

size_t number_bytes(kiln_dtype t);            /* of an element; 0 for an unknown type */
bool number_is_float(kiln_dtype t);

double number_load(kiln_dtype t, const void *at);
void number_store(kiln_dtype t, void *at, double x); /* rounds to nearest even; integers clamp, towards zero */
double number_round(kiln_dtype t, double x);         /* the value that number_store would leave */

double number_unit(kiln_dtype t);  /* relative error of one rounding: 2^-8 for bf16; 0 for integers */
double number_tiny(kiln_dtype t);  /* absolute error of one rounding near zero: half the smallest subnormal */
double number_largest(kiln_dtype t);

/* Pattern that no kernel writes: a NaN of unusual payload, or 0xA5 in every byte. Fills what must stay untouched. */
uint64_t number_poison(kiln_dtype t);
uint64_t number_bits(kiln_dtype t, const void *at);
void number_fill(kiln_dtype t, void *at, size_t elems, uint64_t bits);
#endif
