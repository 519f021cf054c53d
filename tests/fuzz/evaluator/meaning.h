/* meaning.h - what an arithmetic instruction does to the bits of its operands, written from the PTX ISA manual a second time. */
#ifndef EVALUATOR_MEANING_H
#define EVALUATOR_MEANING_H
#include "number.h"
#include <stddef.h>

typedef enum TypeKind { TYPE_NONE, TYPE_BITS, TYPE_UNSIGNED, TYPE_SIGNED, TYPE_FLOAT, TYPE_PRED, TYPE_TF32 } TypeKind;
typedef struct Type {
  TypeKind kind;
  int bits;              /* of one value */
  int count;             /* 2: two values packed */
  const Format *format;  /* FLOAT */
} Type;

typedef enum What {
  W_NONE, W_ADD, W_SUB, W_MUL, W_MAD, W_FMA, W_DIV, W_REM, W_MIN, W_MAX, W_NEG, W_ABS, W_COPYSIGN, W_RCP, W_SQRT, W_TESTP, W_AND, W_OR,
  W_XOR, W_NOT, W_CNOT, W_LOP3, W_SHL, W_SHR, W_SHF, W_PRMT, W_BFE, W_BFI, W_POPC, W_CLZ, W_BREV, W_BFIND, W_DP4A, W_DP2A, W_SAD, W_SETP,
  W_SET, W_SELP, W_SLCT, W_CVT, W_CVT_PACK, W_MOV, W_BMSK, W_SZEXT
} What;

typedef struct Meaning {
  What what;
  Type type, from;       /* the type; cvt, set and the like: of the destination, and of the source */
  Rounding how;
  bool integral;         /* cvt .rni and its kin */
  bool ftz, sat, relu, satfinite, propagates, xorsign, hi, wide, clamps, left, amount;
  int mode;              /* comparison, prmt mode, testp's class */
  int join;              /* setp: 0, 1 and, 2 or, 3 xor */
} Meaning;

/* false: it has no meaning here */
bool meaning_find(const char *opcode, Meaning *m);

/* Source bits as registers hold them (a predicate 0 or 1), each of width[i] bits; the destination's width. */
typedef struct Operation {
  uint64_t src[8];
  int src_bits[8], nsrc;
  uint64_t dst[8];
  int dst_bits[8], ndst;
} Operation;
void meaning_apply(const Meaning *m, Operation *o);
#endif
