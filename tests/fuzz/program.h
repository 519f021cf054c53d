/* program.h - random valid PTX programs for fuzz_program.c: a text and what it is launched with. */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H
#include <stddef.h>
#include <stdint.h>

enum {
  PROGRAM_TEXT = 1 << 17,
  PROGRAM_IN_BYTES = 2048,      /* read by everybody */
  PROGRAM_SLOT_BYTES = 512,     /* a thread's own part of the output */
  PROGRAM_CELLS = 20,           /* 64-bit cells that everybody changes by atomics, each by one operation */
  PROGRAM_MAX_BLOCK = 128, PROGRAM_MAX_GRID = 2
};

/* Choices: the input's bytes while there are any, then a generator of random numbers that they seed. */
typedef struct Choices { const uint8_t *data; size_t left; uint64_t state; } Choices;
void choices_begin(Choices *c, const uint8_t *data, size_t bytes);
uint32_t choose(Choices *c, uint32_t below);
uint64_t choose_bits(Choices *c);

typedef struct FuzzProgram {
  unsigned grid, block;
  size_t length;
  char text[PROGRAM_TEXT];
  uint8_t in[PROGRAM_IN_BYTES];
} FuzzProgram;

/* Parameters of the entry "k": in, out (PROGRAM_SLOT_BYTES per thread), cells. */
void program_make(FuzzProgram *p, Choices *c);
#endif
