/* number.h - floating-point formats and one rounding, for the evaluator: everything is a double and the sign of what it leaves out. */
#ifndef EVALUATOR_NUMBER_H
#define EVALUATOR_NUMBER_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Format {
  int mantissa;       /* bits after the point */
  int emin, emax;     /* exponents of the smallest and the largest normal number */
  int bits;
  uint64_t nan;       /* the canonical one */
  uint64_t most;      /* largest finite number */
  bool infinite;      /* has infinities */
} Format;
extern const Format format_f16, format_bf16, format_f32, format_f64, format_e4m3, format_e5m2;

typedef enum Rounding { TO_NEAREST, TO_ZERO, TO_MINUS, TO_PLUS, TO_AWAY } Rounding; /* TO_AWAY: to nearest, ties away from zero */

/* The exact number is `at` plus something of sign `tail` that is smaller than at's last place. */
typedef struct Exact { double at; int tail; } Exact;
Exact exact_of(double x);
Exact exact_sum(double x, double y);
Exact exact_quotient(double x, double y);
Exact exact_root(double x);
Exact exact_integer(__int128 v); /* of at most 64 bits */

double number_value(const Format *f, uint64_t bits);         /* f64 too; a NaN is a NaN */
uint64_t number_round(const Format *f, Exact x, Rounding how); /* overflow as IEEE says; without infinities: NaN */
bool number_is_nan(const Format *f, uint64_t bits);
uint64_t number_flush(const Format *f, uint64_t bits);       /* a subnormal becomes zero of its sign */

double double_of(uint64_t bits);
uint64_t bits_of_double(double x);
#endif
