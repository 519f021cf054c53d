/* kiln_gen.h - the generator as a library: script + settings + target + schedule -> PTX text. A pure function.
 *
 * Nothing here prints, exits or reads the environment. Every call takes a session; a session serves one thread at a time. */
#ifndef KILN_GEN_H
#define KILN_GEN_H
#include "define.h"
#include "target.h"

typedef struct KilnGen KilnGen;

typedef enum {
  KILN_GEN_OK,
  KILN_GEN_ERROR,     /* the script, a setting or the schedule is wrong: kiln_gen_message says where and what to do */
  KILN_GEN_REFUSED,   /* right in itself, but this target lacks what it needs (bf16 mma on sm_75); message says which has it */
  KILN_GEN_NO_MEMORY,
} kiln_gen_status;

typedef struct kiln_gen_pair { const char *key, *value; } kiln_gen_pair;

typedef struct kiln_gen_request {
  const char *op;               /* "rms_norm", a script's path, or "path.lua:NAME" */
  const char *target;           /* "sm_80" */
  const kiln_gen_pair *set;     /* settings: dtype=bf16, act=silu, w=no ...; what is not set takes the op's default */
  int nset;
  const kiln_gen_pair *schedule;/* NULL: the family's choice of default */
  int nschedule;
} kiln_gen_request;

typedef struct kiln_gen_op {    /* a row of `kiln list` */
  const char *name, *doc, *family;
  const char *settings;         /* "dtype=bf16|f16|f32 w=yes|no ..." default first */
} kiln_gen_op;

/* lua_dir: read kiln/ families/ ops/ from this folder instead of the embedded copy; NULL: embedded. */
kiln_gen_status kiln_gen_open(KilnGen **out, const char *lua_dir);
void kiln_gen_close(KilnGen *g);
const char *kiln_gen_message(const KilnGen *g); /* of the last failed call; valid until the next call on g */

/* All results live until the next call on g or its close, whichever comes first. */
kiln_gen_status kiln_gen_ops(KilnGen *g, const kiln_gen_op **ops, int *nops); /* the embedded ops, in order of name */
kiln_gen_status kiln_gen_script_ops(KilnGen *g, const char *path, const kiln_gen_op **ops, int *nops);

/* Schedules that the family offers for this request, best default first: each a ready "k=v k=v" text for `schedule`. */
kiln_gen_status kiln_gen_schedules(KilnGen *g, const kiln_gen_request *r, const char *const **list, int *n);

/* Emits one variant. name: its file name without folder, "rms_norm-bf16-w-r4x256.ptx". */
kiln_gen_status kiln_gen_emit(KilnGen *g, const kiln_gen_request *r, const char **text, size_t *bytes, const char **name);

/* The definition under the request's settings (target and schedule are not needed). */
kiln_gen_status kiln_gen_define(KilnGen *g, const kiln_gen_request *r, const KilnDef **def);

/* The tile IR after a pass, as text ("script", "layout", "hazard"): for `kiln emit --dump PASS`. */
kiln_gen_status kiln_gen_dump(KilnGen *g, const kiln_gen_request *r, const char *pass, const char **text);

/* The curated set of ptx_out: op, target, settings and schedule of each file, from lua/ops/<op>.lua's `curated`. */
typedef struct kiln_gen_curated { const char *path; kiln_gen_request request; } kiln_gen_curated;
kiln_gen_status kiln_gen_curated_set(KilnGen *g, const kiln_gen_curated **list, int *n);
#endif
