/* cli.h - what the subcommands of `kiln` share: options, messages, exit codes, the generator's session. */
#ifndef KILN_CLI_H
#define KILN_CLI_H
#include "../kiln_gen.h"
#include "options.h"
#include <stdio.h>

/* Exit codes. What a user typed wrong is 2; what went wrong, or was found wrong, is 1. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

typedef struct Command {
  const char *name, *summary; /* one line for the list of commands */
  const char *help;           /* what `kiln NAME --help` prints: usage, options, examples */
  uint32_t options;           /* which options it takes: bits of OptionId */
  int least, most;            /* operands; most may be OPTIONS_REST */
  int (*run)(const Options *o);
} Command;

extern const Command command_list, command_emit, command_check, command_bench, command_inspect, command_tune, command_sim;

/* Messages go to standard error and begin with "kiln: ". */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* the same, and returns CLI_USAGE */

/* Memory of the command itself. Running out ends the process with a message; every block is released by cli_free. */
void *cli_alloc(size_t bytes);        /* zeroed */
char *cli_text(const char *s);        /* a copy */
char *cli_text_n(const char *s, size_t n);
void cli_free(void *p);

/* The generator's session (embedded Lua, or --lua DIR); NULL after a message. */
KilnGen *cli_open_generator(const Options *o);
/* Reports a failed generator call: message as it is for errors, "refused: .." where the target lacks something. CLI_FAILED. */
int cli_generator_failed(const KilnGen *g, kiln_gen_status status);

bool cli_is_path(const char *op); /* a script's path, not the name of an op */

/* Names of the ops that an operand means: every op ("all"), those of a script, or the op itself. Owned by the caller. */
typedef struct OpList {
  int n;
  char **name;      /* as a request takes it: "rms_norm", "my.lua:NAME" */
  char **settings;  /* "dtype=bf16|f16 w=yes|no" */
} OpList;
bool cli_list_ops(KilnGen *g, const char *operand, OpList *out); /* false after a message */
/* The same for a command that takes one op: a script's op and its gradient mean the op. false after a message. */
bool cli_list_one(KilnGen *g, const char *command, const char *operand, OpList *out);
void cli_free_ops(OpList *ops);
/* NAME of "path.lua:NAME"; NULL: the operand names none. */
const char *cli_named(const char *operand);
/* Is it this op, "rms_norm" or "my.lua:rms_norm" as the lists above name it, that a contract calls so? */
bool cli_is_op(const char *listed, const char *op);

/* The whole of a file, ended by NUL; NULL after a message. */
char *cli_read_file(const char *path, size_t *bytes);
#endif
