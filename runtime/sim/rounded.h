/* rounded.h - arithmetic in a rounding that is chosen at run time: 0 nearest even, 1 to zero, 2 down, 3 up. */
#ifndef KILN_SIM_ROUNDED_H
#define KILN_SIM_ROUNDED_H
#include <stdbool.h>
#include <stdint.h>

enum { SIM_ADD, SIM_SUB, SIM_MUL, SIM_FMA, SIM_DIV, SIM_RCP, SIM_SQRT, SIM_MIN, SIM_MAX, SIM_ABS, SIM_NEG }; /* min and beyond round nothing */
float sim_rounded_f32(int op, int how, float a, float b, float c);
double sim_rounded_f64(int op, int how, double a, double b, double c);
float sim_narrow_f64(int how, double a);
double sim_f64_of_int(int how, int64_t v, bool is_unsigned);
float sim_f32_of_int(int how, int64_t v, bool is_unsigned);
#endif
