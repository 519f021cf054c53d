/* random.h - fresh numbers for inputs: a small generator with a printed seed, and normal deviates. */
#ifndef KILN_CLI_RANDOM_H
#define KILN_CLI_RANDOM_H
#include <stdint.h>

typedef struct Random { uint64_t s[4]; } Random;

uint64_t random_entropy(void);               /* a seed from the system */
void random_start(Random *r, uint64_t seed);
uint64_t random_bits(Random *r);
uint64_t random_below(Random *r, uint64_t n); /* 0 .. n-1; 0 for n == 0 */
double random_uniform(Random *r);             /* (0, 1) */
double random_normal(Random *r);              /* mean 0, variance 1 */
#endif
