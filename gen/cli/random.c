/* random.c - see random.h. xoshiro256++ (Blackman and Vigna), seeded by splitmix64; normal deviates by a ziggurat of 128 layers
 * (Marsaglia and Tsang), because a matrix of 16 million of them must not cost a second. */
#include "random.h"
#include <math.h>
#include <sys/random.h>
#include <time.h>

uint64_t random_entropy(void) {
  uint64_t seed;
  if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed) return seed;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000007u + (uint64_t)t.tv_nsec;
}

static uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

void random_start(Random *r, uint64_t seed) {
  for (int i = 0; i < 4; i++) {
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    r->s[i] = z ^ z >> 31;
  }
}

uint64_t random_bits(Random *r) {
  uint64_t *s = r->s, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

uint64_t random_below(Random *r, uint64_t n) { return n ? random_bits(r) % n : 0; }

double random_uniform(Random *r) { return ((double)(random_bits(r) >> 11) + 0.5) * 0x1p-53; }

/* Layer i lies between x[i+1] and x[i]; all have the same area v. Filled at the first use. */
#define LAYERS 128
static double layer_x[LAYERS + 1], layer_y[LAYERS + 1];
static const double tail = 3.442619855899, area = 9.91256303526217e-3;

static void build_layers(void) {
  layer_x[0] = area / exp(-0.5 * tail * tail); /* the base: as wide as a rectangle of its area would be */
  layer_x[1] = tail;
  layer_y[0] = 0;
  layer_y[1] = exp(-0.5 * tail * tail);
  for (int i = 2; i < LAYERS; i++) {
    layer_y[i] = layer_y[i - 1] + area / layer_x[i - 1];
    layer_x[i] = sqrt(-2 * log(layer_y[i]));
  }
  layer_x[LAYERS] = 0;
  layer_y[LAYERS] = 1;
}

static double draw_tail(Random *r, double sign) {
  double x, y;
  do {
    x = -log(random_uniform(r)) / tail;
    y = -log(random_uniform(r));
  } while (y + y < x * x);
  return sign * (tail + x);
}

double random_normal(Random *r) {
  if (layer_y[LAYERS] == 0) build_layers();
  for (;;) {
    uint64_t bits = random_bits(r);
    unsigned i = bits & (LAYERS - 1);
    double sign = bits & LAYERS ? -1.0 : 1.0, x = (double)(bits >> 11) * 0x1p-53 * layer_x[i];
    if (x < layer_x[i + 1]) return sign * x;
    if (i == 0) return draw_tail(r, sign);
    double y = layer_y[i] + random_uniform(r) * (layer_y[i + 1] - layer_y[i]);
    if (y < exp(-0.5 * x * x)) return sign * x;
  }
}
