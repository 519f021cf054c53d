/* script_run.c - one call of the generator inside Lua: load what it names, call the driver's function, copy what it returns.
 *
 * The driver is the table that lua/kiln/driver.lua returns:
 *   env                            what scripts see
 *   script(result, name)           registers the op or the list of ops that a script returned -> list of their names
 *   ops()                          -> list of {name=, doc=, family=, settings=}
 *   schedules(op, set, target)     -> list of "k=v k=v"
 *   emit(op, set, schedule or nil) -> name of the variant; statements and contract come through core
 *   define(op, set)                calls core.define
 *   curated()                      -> list of {path=, op=, target=, set=, schedule=}
 * set and schedule are tables key -> text, with the keys in the order given as their list part. */
#include "script_lua.h"
#include <string.h>

/* ---- modules ---- */

/* Runs the library module "kiln.trace" once; pushes its value. */
static void use_module(lua_State *L, const char *name) {
  Script *s = script_of(L);
  char path[96];
  lua_rawgetp(L, LUA_REGISTRYINDEX, &script_key_modules);
  if (lua_getfield(L, -1, name) == LUA_TNIL) {
    size_t n = strlen(name);
    if (n + 5 > sizeof path) script_fail(L, "use: there is no module '%s'", name);
    for (size_t i = 0; i < n; i++) path[i] = name[i] == '.' ? '/' : name[i];
    memcpy(path + n, ".lua", 5);
    ScriptFile *f = strchr(name, '/') ? NULL : script_find(s, path);
    if (!f || f->kind == SCRIPT_OP) script_fail(L, "use: there is no module '%s'", name);
    lua_pop(L, 1);
    lua_pushboolean(L, 0); /* under way */
    lua_setfield(L, -2, name);
    script_load(L, f);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) == LUA_TNIL || lua_type(L, -1) == LUA_TBOOLEAN) script_fail(L, "module '%s' returns nothing", name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
  } else if (lua_type(L, -1) == LUA_TBOOLEAN) {
    script_fail(L, "use: module '%s' needs itself", name);
  }
  lua_remove(L, -2);
}

static int base_use(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  use_module(L, lua_tostring(L, 1));
  return 1;
}

static void open_library(lua_State *L, Script *s) {
  lua_createtable(L, 0, 32);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &script_key_modules);
  script_core_open(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &script_key_core);
  script_base_open(L);
  lua_pushstring(L, "core");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &script_key_core);
  lua_rawset(L, -3);
  lua_pushstring(L, "use");
  lua_pushcfunction(L, base_use);
  lua_rawset(L, -3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &script_key_library);
  script_core_begin(L, s);
  if (!script_find(s, "kiln/driver.lua"))
    script_fail(L, "there is no Lua library in '%s': it lacks kiln/driver.lua", s->lua_dir ? s->lua_dir : "the program");
  use_module(L, "kiln.driver");
  if (lua_type(L, -1) != LUA_TTABLE || lua_getfield(L, -1, "env") != LUA_TTABLE)
    script_fail(L, "kiln.driver: its 'env' must be a table");
  script_base_complete(L, -1);
  script_seal(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &script_key_user);
  lua_pop(L, 1);
  s->ready = true;
}

/* Pushes a function of the driver. */
static void push_driver(lua_State *L, const char *name) {
  use_module(L, "kiln.driver");
  if (lua_getfield(L, -1, name) != LUA_TFUNCTION) script_fail(L, "kiln.driver: '%s' must be a function", name);
  lua_remove(L, -2);
}

/* ---- ops ---- */

/* The chunk on top of the stack is an op's script: runs it, has the driver register what it returned, pushes their names. */
static size_t register_ops(lua_State *L, const char *name) {
  int chunk = lua_gettop(L);
  push_driver(L, "script");
  lua_insert(L, chunk);
  lua_call(L, 0, LUA_MULTRET);
  int results = lua_gettop(L) - chunk; /* the driver's function stands where the chunk stood */
  if (results > 1) script_fail(L, "%s: the script returns %d values; several ops are returned as a list, return { a, b }", name, results);
  lua_settop(L, chunk + 1);
  if (lua_type(L, -1) == LUA_TNIL)
    script_fail(L, "%s: the script returns no op; its last line is 'return family.op \"name\" {...}'", name);
  lua_pushstring(L, name);
  lua_call(L, 2, 1);
  if (lua_type(L, -1) != LUA_TTABLE) script_fail(L, "kiln.driver: 'script' must return the list of names");
  size_t n = lua_rawlen(L, -1);
  if (!n) script_fail(L, "%s: the script returns no op", name);
  return n;
}

static void load_op_file(lua_State *L, ScriptFile *f) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &script_key_modules);
  if (lua_getfield(L, -1, f->path) == LUA_TNIL) {
    script_load(L, f);
    register_ops(L, f->name);
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -3, f->path);
  }
  lua_pop(L, 2);
}

/* core.load_op(name): registers the op of that name; false: there is none. */
int script_load_op(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_pushfstring(L, "ops/%s.lua", lua_tostring(L, 1));
  ScriptFile *f = script_find(script_of(L), lua_tostring(L, -1));
  if (f) load_op_file(L, f);
  lua_pushboolean(L, f != NULL);
  return 1;
}

static void load_all_ops(lua_State *L, Script *s) {
  for (int i = 1; i <= s->nfiles; i++)
    if (s->file[i].kind == SCRIPT_OP) load_op_file(L, &s->file[i]);
}

static void fail_unknown_op(lua_State *L, Script *s, const char *name) {
  char names[512] = "";
  size_t n = 0;
  for (int i = 1; i <= s->nfiles; i++) {
    if (s->file[i].kind != SCRIPT_OP) continue;
    const char *op = s->file[i].path + 4; /* after "ops/" */
    size_t length = strlen(op) - 4;       /* before ".lua" */
    if (n + length + 2 > sizeof names) break;
    names[n++] = ' ';
    memcpy(names + n, op, length);
    n += length;
    names[n] = 0;
  }
  script_fail(L, "unknown op '%s'; there are:%s. A script's path is taken as well (it ends in .lua)", name, n ? names : " none");
}

/* Where the path of "path.lua" or "path.lua:NAME" ends; 0: it is the name of an op. */
static size_t path_end(const char *op) {
  size_t n = strlen(op), end = 0;
  if (n > 4 && !strcmp(op + n - 4, ".lua")) return n;
  for (const char *at = op; (at = strstr(at, ".lua:")); at++) end = (size_t)(at - op) + 4;
  return end ? end : strchr(op, '/') ? n : 0;
}

/* Pushes the i-th name of the list on top of the stack; ops themselves will do, too. */
static void push_name(lua_State *L, size_t i) {
  if (lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TTABLE) {
    lua_getfield(L, -1, "name");
    lua_remove(L, -2);
  }
  if (lua_type(L, -1) != LUA_TSTRING) script_fail(L, "kiln.driver: 'script' must return the list of names");
}

/* Ops among the first n names of the list on top of the stack, without the gradients derived from them ("NAME.grad"). */
static size_t count_own(lua_State *L, size_t n) {
  size_t own = 0;
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    push_name(L, i);
    own += !strchr(lua_tostring(L, -1), '.');
  }
  return own;
}

/* Loads the script and pushes the name of the op that the request means: the only one, if it is not said. */
static void open_user_op(lua_State *L, const char *op, size_t end) {
  script_load_user(L, op, end);
  lua_pushlstring(L, op, end);
  const char *path = lua_tostring(L, -1);
  lua_insert(L, -2);
  size_t n = register_ops(L, path), own = count_own(L, n);
  const char *wanted = op[end] == ':' ? op + end + 1 : NULL;
  for (size_t i = 1; i <= n; i++) {
    push_name(L, i);
    if (wanted ? !strcmp(lua_tostring(L, -1), wanted) : own == 1) return;
    lua_pop(L, 1);
  }
  if (wanted) script_fail(L, "%s: the script has no op '%s'", path, wanted);
  script_fail(L, "%s: the script has %zu ops; choose one: %s:NAME", path, own, path);
}

/* Pushes the name of the request's op, registered. "rms_norm.grad" comes from ops/rms_norm.lua. */
static void open_op(lua_State *L, Script *s, const char *op) {
  size_t end = path_end(op);
  if (end) {
    open_user_op(L, op, end);
    return;
  }
  size_t n = strcspn(op, ".");
  lua_pushliteral(L, "ops/");
  lua_pushlstring(L, op, n);
  lua_pushliteral(L, ".lua");
  lua_concat(L, 3);
  ScriptFile *f = n ? script_find(s, lua_tostring(L, -1)) : NULL;
  if (!f) fail_unknown_op(L, s, op);
  load_op_file(L, f);
  lua_pop(L, 1);
  lua_pushstring(L, op);
}

static void push_pairs(lua_State *L, const char *what, const kiln_gen_pair *pair, int n) {
  lua_createtable(L, n, n);
  for (int i = 0; i < n; i++) {
    if (!pair[i].key || !*pair[i].key || !pair[i].value || !*pair[i].value)
      script_fail(L, "an empty %s; each is written key=value", what);
    if (lua_getfield(L, -1, pair[i].key) != LUA_TNIL) script_fail(L, "%s '%s' is given twice", what, pair[i].key);
    lua_pop(L, 1);
    lua_pushstring(L, pair[i].value);
    lua_setfield(L, -2, pair[i].key);
    lua_pushstring(L, pair[i].key);
    lua_rawseti(L, -2, i + 1);
  }
}

/* ---- what comes back: on top of the stack, copied into the arena ---- */

static const char *take_field(lua_State *L, const char *of, const char *field, bool required) {
  int type = lua_getfield(L, -1, field);
  if (type != LUA_TSTRING && (required || type != LUA_TNIL)) script_fail(L, "kiln.driver: '%s' of %s must be a text", field, of);
  const char *s = type == LUA_TSTRING ? script_copy(L, -1) : "";
  lua_pop(L, 1);
  return s;
}

static size_t check_list(lua_State *L, const char *what) {
  if (lua_type(L, -1) != LUA_TTABLE) script_fail(L, "kiln.driver: '%s' must return a list", what);
  size_t n = lua_rawlen(L, -1);
  if (n > 100000) script_fail(L, "kiln.driver: '%s' returns %zu elements", what, n);
  return n;
}

static void open_row(lua_State *L, const char *what, size_t i) {
  if (lua_rawgeti(L, -1, (lua_Integer)i) != LUA_TTABLE)
    script_fail(L, "kiln.driver: element %zu of '%s' must be a table", i, what);
}

static bool is_listed(lua_State *L, int names, const char *name) {
  bool found = false;
  lua_pushvalue(L, names);
  for (size_t i = 1, n = lua_rawlen(L, -1); i <= n && !found; i++, lua_pop(L, 1)) {
    push_name(L, i);
    found = !strcmp(lua_tostring(L, -1), name);
  }
  lua_pop(L, 1);
  return found;
}

/* The driver's list of ops; names: 0, or the stack index of the list of those wanted. */
static void take_ops(lua_State *L, ScriptCall *c, int names) {
  size_t n = check_list(L, "ops");
  c->ops = script_alloc(L, (n + 1) * sizeof *c->ops);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    open_row(L, "ops", i);
    kiln_gen_op op = {take_field(L, "an op", "name", true), take_field(L, "an op", "doc", false),
                      take_field(L, "an op", "family", false), take_field(L, "an op", "settings", false)};
    if (!names || is_listed(L, names, op.name)) c->ops[c->nops++] = op;
  }
  for (int i = 1; i < c->nops; i++) /* in order of name */
    for (int k = i; k > 0 && strcmp(c->ops[k].name, c->ops[k - 1].name) < 0; k--) {
      kiln_gen_op swap = c->ops[k];
      c->ops[k] = c->ops[k - 1];
      c->ops[k - 1] = swap;
    }
}

/* A table key -> text; the order is that of its list part, or else that of the keys. */
static const kiln_gen_pair *take_pairs(lua_State *L, const char *field, int *count) {
  *count = 0;
  int type = lua_getfield(L, -1, field);
  if (type == LUA_TNIL) {
    lua_pop(L, 1);
    return NULL;
  }
  if (type != LUA_TTABLE) script_fail(L, "kiln.driver: '%s' of a curated file must be a table", field);
  size_t listed = lua_rawlen(L, -1), n = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) n++;
  kiln_gen_pair *pair = script_alloc(L, (n + 1) * sizeof *pair);
  int table = lua_gettop(L);
  for (size_t i = 1; i <= listed; i++, lua_pop(L, 2)) {
    if (lua_rawgeti(L, table, (lua_Integer)i) != LUA_TSTRING)
      script_fail(L, "kiln.driver: the list part of '%s' holds keys", field);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) != LUA_TSTRING)
      script_fail(L, "kiln.driver: '%s' of '%s' must be a text", lua_tostring(L, -2), field);
    pair[*count] = (kiln_gen_pair){script_copy(L, -2), script_copy(L, -1)};
    (*count)++;
  }
  if (!listed) lua_pushnil(L);
  for (; !listed && lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
      script_fail(L, "kiln.driver: '%s' goes from texts to texts", field);
    int at = (*count)++;
    for (; at > 0 && strcmp(pair[at - 1].key, lua_tostring(L, -2)) > 0; at--) pair[at] = pair[at - 1];
    pair[at] = (kiln_gen_pair){script_copy(L, -2), script_copy(L, -1)};
  }
  lua_pop(L, 1);
  return pair;
}

static void take_curated(lua_State *L, ScriptCall *c) {
  size_t n = check_list(L, "curated");
  c->curated = script_alloc(L, (n + 1) * sizeof *c->curated);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    open_row(L, "curated", i);
    kiln_gen_curated *row = &c->curated[c->ncurated];
    row->path = take_field(L, "a curated file", "path", true);
    row->request.op = take_field(L, "a curated file", "op", true);
    row->request.target = take_field(L, "a curated file", "target", true);
    row->request.set = take_pairs(L, "set", &row->request.nset);
    row->request.schedule = take_pairs(L, "schedule", &row->request.nschedule);
    c->ncurated++;
  }
}

static void take_texts(lua_State *L, ScriptCall *c) {
  size_t n = check_list(L, "schedules");
  c->texts = script_alloc(L, (n + 1) * sizeof *c->texts);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    if (lua_rawgeti(L, -1, (lua_Integer)i) != LUA_TSTRING) script_fail(L, "kiln.driver: a schedule must be a text");
    c->texts[c->ntexts] = script_copy(L, -1);
    c->ntexts++;
  }
}

/* ---- the calls ---- */

static void list_ops(lua_State *L, Script *s) {
  ScriptCall *c = s->call;
  int names = 0;
  if (c->request) {
    size_t end = path_end(c->request->op);
    if (!end) end = strlen(c->request->op);
    script_load_user(L, c->request->op, end);
    lua_pushlstring(L, c->request->op, end);
    lua_insert(L, -2);
    register_ops(L, lua_tostring(L, -2));
    names = lua_gettop(L);
  } else {
    load_all_ops(L, s);
  }
  push_driver(L, "ops");
  lua_call(L, 0, 1);
  take_ops(L, c, names);
}

static void emit(lua_State *L, Script *s) {
  ScriptCall *c = s->call;
  open_op(L, s, c->request->op);
  push_driver(L, "emit");
  lua_insert(L, -2);
  push_pairs(L, "setting", c->request->set, c->request->nset);
  if (c->request->schedule) push_pairs(L, "schedule setting", c->request->schedule, c->request->nschedule);
  else lua_pushnil(L);
  lua_call(L, 3, 1);
  if (lua_type(L, -1) != LUA_TSTRING || !*lua_tostring(L, -1))
    script_fail(L, "kiln.driver: 'emit' must return the variant's name");
  c->name = script_copy(L, -1);
  if (c->tiles->open.n) script_fail(L, "a region is still open: core.open without core.close");
  if (!c->tiles->top.n) script_fail(L, "the op made no kernel");
}

int script_work(lua_State *L) {
  Script *s = script_of(L);
  ScriptCall *c = s->call;
  if (!s->ready) open_library(L, s);
  script_core_begin(L, s);
  switch (s->work) {
  case SCRIPT_OPS:
    list_ops(L, s);
    break;
  case SCRIPT_SCHEDULES:
    open_op(L, s, c->request->op);
    push_driver(L, "schedules");
    lua_insert(L, -2);
    push_pairs(L, "setting", c->request->set, c->request->nset);
    script_core_push_target(L);
    lua_call(L, 3, 1);
    take_texts(L, c);
    break;
  case SCRIPT_EMIT:
    emit(L, s);
    break;
  case SCRIPT_DEFINE:
    open_op(L, s, c->request->op);
    push_driver(L, "define");
    lua_insert(L, -2);
    push_pairs(L, "setting", c->request->set, c->request->nset);
    lua_call(L, 2, 0);
    if (!c->def) script_fail(L, "kiln.driver: 'define' defined nothing");
    break;
  case SCRIPT_CURATED:
    load_all_ops(L, s);
    push_driver(L, "curated");
    lua_call(L, 0, 1);
    take_curated(L, c);
    break;
  }
  return 0;
}
