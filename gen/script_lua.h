/* script_lua.h - what the script*.c files share; private to them, as lua.h is.
 *
 *   script.c       the state, its ceilings, running files, errors
 *   script_base.c  what a script finds instead of Lua's libraries
 *   script_core.c  `core`: the calls by which the library records tile statements
 *   script_define.c  core.define: an op's definition
 *   script_run.c   the driver's functions and what they return
 *
 * Rule: a C function called by Lua raises only through Lua (script_fail) and touches the arena only by arena_try or inside
 * script_guard, so that no jump ever crosses a Lua frame. */
#ifndef KILN_SCRIPT_LUA_H
#define KILN_SCRIPT_LUA_H
#include "script.h"
#include <lauxlib.h>
#include <lua.h>

/* The ceilings. Each is far above what an honest script needs, and far below two seconds of CPU time. */
#define SCRIPT_MOST_STEPS 25000000      /* instructions, and units of work inside C functions */
#define SCRIPT_MOST_LIVE (64u << 20)    /* bytes alive: beyond it the next instruction is refused */
#define SCRIPT_HARD_LIVE (128u << 20)   /* bytes alive: a single request beyond it fails at once */
#define SCRIPT_MOST_CHURN (512u << 20)  /* bytes allocated in a call, freed or not */
#define SCRIPT_MOST_STRING (1u << 20)   /* bytes of one string */
#define SCRIPT_MOST_HASH (24u << 15)    /* bytes of a table's hash part: 32768 keys. Keys chosen to collide cost the square of their number */
#define SCRIPT_MOST_CPU_NS 1200000000   /* processor time of a call, looked at every SCRIPT_HOOK_STEPS */
#define SCRIPT_MOST_SOURCE (256u << 10) /* bytes of a script */
#define SCRIPT_GC_STARTS (24u << 20)    /* below this the collector sleeps: most calls end before it */
enum { SCRIPT_MOST_FILES = 256, SCRIPT_HOOK_STEPS = 1000 };

typedef enum { SCRIPT_LIBRARY, SCRIPT_FAMILY, SCRIPT_OP, SCRIPT_USER } ScriptKind;

typedef struct ScriptFile {
  const char *name;      /* as diagnostics and .file say it */
  const char *path;      /* below lua/, or the path as typed */
  const char *text;      /* NULL: not read yet */
  size_t bytes;
  const char *code;      /* bytecode of the same; of embedded files alone */
  size_t code_bytes;
  ScriptKind kind;
  uint16_t diag_index;   /* of the running call; 0: not used in it yet */
} ScriptFile;

typedef enum { SCRIPT_NO_BREACH, SCRIPT_STEPS, SCRIPT_LIVE, SCRIPT_CHURN, SCRIPT_STRING, SCRIPT_TABLE, SCRIPT_TIME } ScriptBreach;

struct Script {
  lua_State *L;
  char *lua_dir;            /* NULL: embedded */
  Arena arena;              /* as long as the state: names and texts of files */
  ScriptFile file[SCRIPT_MOST_FILES]; /* [0] unused; a chunk is called by its index */
  int nfiles;
  size_t live_bytes, churn_bytes, longest_string;
  int64_t steps;            /* left in this call */
  int64_t began_ns;         /* the thread's processor time when this call began */
  ScriptBreach breach;      /* the first one; it stays */
  bool gc_runs;
  bool reported;            /* the error that is being raised stands in diag already */
  bool refused;             /* core.refuse */
  bool about_request;       /* core.fail */
  bool exhausted;           /* the arena or the heap gave nothing */
  bool ready;               /* the library is there */
  bool parsing;             /* Lua reads a chunk */
  bool spent;               /* the next call wants a fresh state */
  ScriptWork work;
  ScriptCall *call;         /* NULL between calls */
  int at_file, at_line;     /* core.at; 0: off */
  int about_file, about_line; /* core.about; 0: off */
  char stage[48];           /* core.stage; "": none */
};

static inline Script *script_of(lua_State *L) { return *(Script **)lua_getextraspace(L); }

/* ---- script.c ---- */
_Noreturn void script_fail(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void script_fail_memory(lua_State *L);   /* the arena is exhausted */
_Noreturn void script_fail_reported(lua_State *L); /* diag has the message already */
void script_charge(lua_State *L, size_t units);    /* work inside a C function, in instructions' worth */
bool script_guard(Script *s, void (*body)(void *), void *with); /* false: the arena was exhausted in body */
void *script_alloc(lua_State *L, size_t bytes);    /* KEEP in the call's arena; raises */
const char *script_copy(lua_State *L, int index);  /* the string there, in the call's arena; raises */

/* Nearest frame outside lua/kiln; the innermost frame of lua/kiln if there is no other. False: no Lua frame. */
bool script_frame(lua_State *L, int *file, int *line);
bool script_loc(lua_State *L, int file, int line, Loc *loc); /* as diag says it; false: arena exhausted */

ScriptFile *script_find(Script *s, const char *path);        /* a file of lua/: "ops/gemm.lua"; NULL: there is none */
void script_load(lua_State *L, ScriptFile *f);               /* pushes the chunk, its environment set; raises */
int script_load_user(lua_State *L, const char *path, size_t n); /* the same for a user's script */

/* ---- script_base.c ---- */
void script_base_open(lua_State *L);       /* string methods; pushes the library's environment */
void script_base_complete(lua_State *L, int index); /* puts what scripts may use into the table there, where it lacks it */
void script_seal(lua_State *L);            /* pops a table, pushes one to read it through: unknown names raise, none is set */

/* ---- script_core.c ---- */
void script_core_open(lua_State *L);       /* pushes core */
void script_core_begin(lua_State *L, Script *s); /* core.target of this call */
void script_core_push_target(lua_State *L);      /* pushes it */

/* ---- script_define.c ---- */
int script_define(lua_State *L);           /* core.define */

/* ---- script_run.c ---- */
int script_work(lua_State *L);             /* under the one lua_pcall */
int script_load_op(lua_State *L);          /* core.load_op */

/* Environments and caches in the registry, by the address of: */
extern const char script_key_library, script_key_user, script_key_modules, script_key_core;
#endif
