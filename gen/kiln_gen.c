/* kiln_gen.c - the generator's public calls (kiln_gen.h): each runs the script, then the passes, and keeps its results in one
 * arena that the next call empties. The single landing of an exhausted arena is here. */
#include "kiln_gen.h"
#include "../runtime/alloc.h"
#include "compile.h"
#include "script.h"
#include <string.h>

enum { ARENA_LIMIT_BYTES = 1 << 30 };

struct KilnGen {
  Arena arena;
  Diag diag;
  TileProgram tiles;
  Script *script;
  const char *message;
};

static const char out_of_memory[] = "out of memory";

kiln_gen_status kiln_gen_open(KilnGen **out, const char *lua_dir) {
  *out = NULL;
  KilnGen *g = kiln_mem(NULL, 0, sizeof *g);
  if (!g) return KILN_GEN_NO_MEMORY;
  memset(g, 0, sizeof *g);
  g->message = "";
  g->script = script_open(lua_dir);
  if (!g->script) {
    kiln_gen_close(g);
    return KILN_GEN_NO_MEMORY;
  }
  arena_init(&g->arena, ARENA_LIMIT_BYTES);
  *out = g;
  return KILN_GEN_OK;
}

void kiln_gen_close(KilnGen *g) {
  if (!g) return;
  script_close(g->script);
  arena_free(&g->arena);
  kiln_mem(g, sizeof *g, 0);
}

const char *kiln_gen_message(const KilnGen *g) { return g->message; }

/* ---- one call: begin, body, end ---- */

typedef struct Call {
  const kiln_gen_request *request;
  const char *path, *pass;
  ScriptCall script;
  Text out, dump;
  const char *file;
} Call;
typedef kiln_gen_status (*CallBody)(KilnGen *g, Call *c);

static kiln_gen_status run_call(KilnGen *g, Call *c, CallBody body) {
  jmp_buf landing;
  arena_free(&g->arena);
  arena_init(&g->arena, ARENA_LIMIT_BYTES);
  g->message = "";
  g->arena.on_exhausted = &landing;
  kiln_gen_status status = KILN_GEN_NO_MEMORY;
  if (setjmp(landing) == 0) {
    diag_init(&g->diag, &g->arena);
    c->script.arena = &g->arena;
    c->script.diag = &g->diag;
    c->script.request = c->request;
    status = body(g, c);
  } else {
    status = KILN_GEN_NO_MEMORY; /* what was set before the jump is not to be trusted */
    script_drop(g->script);
  }
  g->arena.on_exhausted = NULL;
  if (status == KILN_GEN_NO_MEMORY) g->message = out_of_memory;
  else if (status != KILN_GEN_OK) g->message = g->diag.text.at;
  return status;
}

/* The target of the request, found. */
static bool choose_target(KilnGen *g, Call *c) {
  const char *name = c->request->target;
  c->script.target = name ? target_find(name) : NULL;
  if (c->script.target) return true;
  if (name) diag_error(&g->diag, (Loc){0}, "unknown target '%s'; there are: %s", name, target_names());
  else diag_error(&g->diag, (Loc){0}, "no target is given; there are: %s", target_names());
  return false;
}

static bool has_op(KilnGen *g, const char *op) {
  if (op && *op) return true;
  diag_error(&g->diag, (Loc){0}, "no op is given");
  return false;
}

/* ---- lists ---- */

static kiln_gen_status list_ops(KilnGen *g, Call *c) {
  kiln_gen_request script = {.op = c->path};
  if (c->path) c->script.request = &script;
  kiln_gen_status status = script_run(g->script, SCRIPT_OPS, &c->script);
  c->script.request = NULL;
  return status;
}

kiln_gen_status kiln_gen_ops(KilnGen *g, const kiln_gen_op **ops, int *nops) {
  Call c = {0};
  kiln_gen_status status = run_call(g, &c, list_ops);
  *ops = status == KILN_GEN_OK ? c.script.ops : NULL;
  *nops = status == KILN_GEN_OK ? c.script.nops : 0;
  return status;
}

kiln_gen_status kiln_gen_script_ops(KilnGen *g, const char *path, const kiln_gen_op **ops, int *nops) {
  Call c = {.path = path ? path : ""};
  kiln_gen_status status = run_call(g, &c, list_ops);
  *ops = status == KILN_GEN_OK ? c.script.ops : NULL;
  *nops = status == KILN_GEN_OK ? c.script.nops : 0;
  return status;
}

static kiln_gen_status list_schedules(KilnGen *g, Call *c) {
  if (!has_op(g, c->request->op) || !choose_target(g, c)) return KILN_GEN_ERROR;
  return script_run(g->script, SCRIPT_SCHEDULES, &c->script);
}

kiln_gen_status kiln_gen_schedules(KilnGen *g, const kiln_gen_request *r, const char *const **list, int *n) {
  Call c = {.request = r};
  kiln_gen_status status = run_call(g, &c, list_schedules);
  *list = status == KILN_GEN_OK ? c.script.texts : NULL;
  *n = status == KILN_GEN_OK ? c.script.ntexts : 0;
  return status;
}

static kiln_gen_status list_curated(KilnGen *g, Call *c) { return script_run(g->script, SCRIPT_CURATED, &c->script); }

kiln_gen_status kiln_gen_curated_set(KilnGen *g, const kiln_gen_curated **list, int *n) {
  Call c = {0};
  kiln_gen_status status = run_call(g, &c, list_curated);
  *list = status == KILN_GEN_OK ? c.script.curated : NULL;
  *n = status == KILN_GEN_OK ? c.script.ncurated : 0;
  return status;
}

/* ---- one variant ---- */

static kiln_gen_status define(KilnGen *g, Call *c) {
  if (!has_op(g, c->request->op)) return KILN_GEN_ERROR;
  if (c->request->target && !choose_target(g, c)) return KILN_GEN_ERROR;
  return script_run(g->script, SCRIPT_DEFINE, &c->script);
}

kiln_gen_status kiln_gen_define(KilnGen *g, const kiln_gen_request *r, const KilnDef **def) {
  Call c = {.request = r};
  kiln_gen_status status = run_call(g, &c, define);
  *def = status == KILN_GEN_OK ? c.script.def : NULL;
  return status;
}

/* The script's part: statements and contract. */
static kiln_gen_status trace(KilnGen *g, Call *c) {
  if (!has_op(g, c->request->op) || !choose_target(g, c)) return KILN_GEN_ERROR;
  tile_init(&g->tiles, &g->arena, &g->diag);
  c->script.tiles = &g->tiles;
  kiln_gen_status status = script_run(g->script, SCRIPT_EMIT, &c->script);
  if (status == KILN_GEN_OK && g->diag.errors) return KILN_GEN_ERROR;
  return status;
}

static kiln_gen_status compile(KilnGen *g, Call *c) {
  kiln_gen_status status = trace(g, c);
  if (status != KILN_GEN_OK) return status;
  text_init(&c->out, &g->arena, KEEP);
  text_init(&c->dump, &g->arena, KEEP);
  CompileJob job = {.arena = &g->arena, .diag = &g->diag, .tiles = &g->tiles, .target = c->script.target,
                    .contract = c->script.contract, .ncontract = c->script.ncontract, .name = c->script.name,
                    .out = &c->out, .dump_after = c->pass, .dump = &c->dump};
  if (!compile_program(&job)) {
    if (!g->diag.errors) diag_error(&g->diag, (Loc){0}, "the op could not be compiled");
    return job.refused ? KILN_GEN_REFUSED : KILN_GEN_ERROR;
  }
  if (!c->pass || c->dump.n) return KILN_GEN_OK;
  diag_error(&g->diag, (Loc){0}, "there is no pass '%s' to print after; there are: script layout hazard", c->pass);
  return KILN_GEN_ERROR;
}

static kiln_gen_status emit(KilnGen *g, Call *c) {
  kiln_gen_status status = compile(g, c);
  if (status == KILN_GEN_OK) c->file = arena_printf(&g->arena, KEEP, "%s.ptx", c->script.name);
  return status;
}

kiln_gen_status kiln_gen_emit(KilnGen *g, const kiln_gen_request *r, const char **text, size_t *bytes, const char **name) {
  Call c = {.request = r};
  kiln_gen_status status = run_call(g, &c, emit);
  *text = status == KILN_GEN_OK ? c.out.at : NULL;
  *bytes = status == KILN_GEN_OK ? c.out.n : 0;
  if (name) *name = status == KILN_GEN_OK ? c.file : NULL;
  return status;
}

kiln_gen_status kiln_gen_dump(KilnGen *g, const kiln_gen_request *r, const char *pass, const char **text) {
  Call c = {.request = r, .pass = pass};
  kiln_gen_status status = run_call(g, &c, compile);
  *text = status == KILN_GEN_OK ? c.dump.at : NULL;
  return status;
}
