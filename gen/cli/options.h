/* options.h - the options of the command line, as values. Parsing allocates nothing and prints nothing. */
#ifndef KILN_CLI_OPTIONS_H
#define KILN_CLI_OPTIONS_H
#include "../kiln_gen.h"
#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_MAX_PAIRS 128
#define OPTIONS_MAX_LEADS 4
#define OPTIONS_MAX_DEVICES 16
#define OPTIONS_MAX_SMS 4
#define OPTIONS_MAX_RANGED 256
#define OPTIONS_MAX_SEEDS 64
#define OPTIONS_REST (-1) /* for `most`: the operands are another program's command line */

/*       id         spelling       value               */
#define OPTION_TABLE(X)                                \
  X(HELP,     "--help",     NULL)                      \
  X(LUA,      "--lua",      "DIR")                     \
  X(SIZE,     "--size",     "M=2048,N=4096")           \
  X(SIZES,    "--size",     "M=4096,N=1024..8192*2")   \
  X(SET,      "--set",      "dtype=bf16,w=no")         \
  X(SCHEDULE, "--schedule", "rows=1,warps=8")          \
  X(TARGET,   "--target",   "sm_90a")                  \
  X(DEVICE,   "--device",   "cuda:0 or sim:sm_90a")    \
  X(PTX,      "--ptx",      "FILE")                    \
  X(SEED,     "--seed",     "N")                       \
  X(QUICK,    "--quick",    NULL)                      \
  X(MUTATE,   "--mutate",   NULL)                      \
  X(SMS,      "--sms",      "1,132")                   \
  X(SEEDS,    "--seeds",    "N")                       \
  X(JSON,     "--json",     NULL)                      \
  X(LINES,    "--lines",    NULL)                      \
  X(OUT,      "-o",         "FILE")                    \
  X(AS,       "--as",       "ptx or c")                \
  X(DUMP,     "--dump",     "PASS")                    \
  X(ALL,      "--all",      NULL)                      \
  X(DIFF,     "--diff",     NULL)                      \
  X(FORCE,    "--force",    NULL)                      \
  X(SECONDS,  "--seconds",  "N")                       \
  X(WORKER,   "--worker",   NULL)                      \
  X(TARGETS,  "--targets",  NULL)                      \
  X(VARIANTS, "--variants", NULL)                      \
  X(ISA,      "--isa",      NULL)

typedef enum OptionId {
#define OPTION_ID(id, spelling, value) OPTION_##id,
  OPTION_TABLE(OPTION_ID)
#undef OPTION_ID
  OPTION_COUNT
} OptionId;
#define TAKES(id) (1u << OPTION_##id)

typedef struct Size { /* one dim: M=2048, or M=2x3x5 for a dim that stands for several leading ones */
  const char *name;
  int64_t value;      /* their product */
  int64_t part[OPTIONS_MAX_LEADS];
  int nparts;
} Size;

typedef struct Options {
  const char *operand[4];
  int noperands;
  char **rest;        /* OPTIONS_REST: argv from the first operand (or from what follows "--") to its end; noperands of them */
  bool foreign;       /* OPTIONS_REST: the program brings its kernels, so a device may be any that the simulator has, which says so itself */
  uint32_t given;     /* bits of OptionId */
  const char *lua, *target, *ptx, *out, *as, *dump;
  kiln_gen_pair set[OPTIONS_MAX_PAIRS], schedule[OPTIONS_MAX_PAIRS];
  int nset, nschedule;
  Size size[DEF_MAX_DIMS];
  int nsizes;
  Size ranged[OPTIONS_MAX_RANGED]; /* values of --size with ranges: those of one name are alternatives */
  int nranged;
  int seconds;
  const char *device[OPTIONS_MAX_DEVICES]; /* each as kiln_open takes it, but for "sim" and "sim,...": every target */
  int ndevices;
  int sms[OPTIONS_MAX_SMS], nsms; /* SM counts that must give the same bits */
  int seeds;          /* of simulated devices, that must give the same bits; 0: not asked for */
  uint64_t seed;
  char store[8192];   /* the words above point into this */
  size_t used;
} Options;

/* Parses argv[0..argc-1] for a command that takes `allowed` (bits of OptionId) and up to `most` operands, or OPTIONS_REST. false: message says
 * what was expected and what came. o must not be copied afterwards: it points into itself. */
bool options_parse(Options *o, const char *command, uint32_t allowed, int most, int argc, char **argv, char *message,
                   size_t bytes);

/* The lists by themselves. Pairs may be divided by commas or blanks. */
bool options_pairs(Options *o, const char *what, const char *text, kiln_gen_pair *pairs, int *n, char *message, size_t bytes);
bool options_sizes(Options *o, const char *text, char *message, size_t bytes);

static inline bool options_has(const Options *o, OptionId id) { return o->given >> id & 1; }
#endif
