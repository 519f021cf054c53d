/* text.h - a PTX text as a list of instructions with their operands, for run.c. */
#ifndef EVALUATOR_TEXT_H
#define EVALUATOR_TEXT_H
#include "evaluator.h"

enum { MAX_CODE = 4096, MAX_REGS = 128, MAX_OPERANDS = 6, MAX_LABELS = 256, MAX_PARAMS = 8 };

typedef enum OperandKind { OP_REGISTER, OP_VECTOR, OP_PAIR, OP_INTEGER, OP_MEMORY, OP_SPECIAL, OP_SYMBOL, OP_LABEL } OperandKind;
typedef struct EvalOperand {
  OperandKind kind;
  int n;
  int reg[8];         /* registers; of MEMORY the base, -1: none */
  bool negated;
  uint64_t value;     /* INTEGER: its bits; MEMORY: offset plus what a name stands for; SYMBOL: its address; LABEL: instruction */
  char name[24];      /* SPECIAL, and LABEL until all are known */
} EvalOperand;

typedef enum Action { ACT_MEANING, ACT_ACCESS, ACT_BRANCH, ACT_RETURN, ACT_BARRIER, ACT_COLLECTIVE, ACT_SPECIAL, ACT_NOTHING } Action;
typedef struct EvalInstr {
  char opcode[48];
  Action action;
  Meaning meaning;
  Access access;
  int guard;          /* register, -1: none */
  bool guard_negated;
  EvalOperand op[MAX_OPERANDS];
  int nops, line;
} EvalInstr;

typedef struct Program {
  EvalInstr code[MAX_CODE];
  int ncode;
  struct { char name[16]; int bits; } reg[MAX_REGS]; /* bits: 1 16 32 64 */
  int nregs;
  struct { char prefix[8]; int bits; } range[16];
  int nranges;
  struct { char name[24]; int at; } label[MAX_LABELS];
  int nlabels;
  char param[MAX_PARAMS][24];
  int nparams;
  struct { char name[24]; uint32_t at; } shared[8];
  int nshared;
  uint32_t shared_bytes;
} Program;

bool text_read(const char *text, Program *p, char *why, size_t bytes);
#endif
