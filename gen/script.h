/* script.h - the Lua border as the rest of the generator sees it; Lua's own names stay behind it.
 *
 * A Script is one closed Lua state. The library (lua/kiln, lua/families) runs in a rich environment, ops and users' scripts in a
 * poor one. Nothing here reads a clock: what ends an endless script is a count of instructions and bytes. */
#ifndef KILN_SCRIPT_H
#define KILN_SCRIPT_H
#include "kiln_gen.h"
#include "tile.h"

typedef struct Script Script;

typedef enum {
  SCRIPT_OPS,       /* request NULL: the ops of lua/ops; otherwise those of the script request->op */
  SCRIPT_SCHEDULES, /* texts: the schedules that fit the request */
  SCRIPT_EMIT,      /* tiles, contract, name */
  SCRIPT_DEFINE,    /* def */
  SCRIPT_CURATED,   /* curated */
} ScriptWork;

/* One call into the script. All results lie in the arena. */
typedef struct ScriptCall {
  Arena *arena;
  Diag *diag;
  const kiln_gen_request *request;
  const Target *target;      /* NULL: none (ops, define, curated) */
  TileProgram *tiles;        /* emit: initialised by the caller */
  const char **contract;     /* emit: lines without "//@ " */
  int ncontract, contract_room;
  const char *name;          /* emit: name of the variant */
  KilnDef *def;              /* define */
  kiln_gen_op *ops;
  int nops;
  const char **texts;
  int ntexts;
  kiln_gen_curated *curated;
  int ncurated;
} ScriptCall;

Script *script_open(const char *lua_dir); /* NULL: no memory. lua_dir as in kiln_gen_open */
void script_close(Script *s);             /* NULL is fine */

/* After anything but KILN_GEN_OK, and after a user's script, the next call starts from a fresh state. Of errors diag tells; a
 * lack of memory is KILN_GEN_NO_MEMORY or the arena's landing. */
kiln_gen_status script_run(Script *s, ScriptWork work, ScriptCall *call);

/* Gives up the Lua state, if any. For a caller whose landing was taken. */
void script_drop(Script *s);
#endif
