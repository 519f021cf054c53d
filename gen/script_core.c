/* script_core.c - `core`: the calls by which the library records tile statements. The library only: scripts never see them. */
#include "script_lua.h"
#include <stdio.h>
#include <string.h>

/* ---- operations ---- */

enum { MOST_OPERANDS = 64, MOST_LIST = 16 };

typedef struct Draft { /* one node on its way */
  Script *s;
  TileOp op;
  TileId arg[MOST_OPERANDS];
  TileAttr attr[TA_COUNT];
  int64_t list[TA_COUNT][MOST_LIST];
  int nargs, nattrs;
  Loc loc;
  TileId id;
} Draft;

static TileProgram *check_tiles(lua_State *L) {
  TileProgram *p = script_of(L)->call->tiles;
  if (!p) script_fail(L, "statements can be recorded only while a kernel is emitted");
  return p;
}

static uint32_t check_id(lua_State *L, const TileProgram *p, int index, const char *what) {
  int exact = 0;
  lua_Integer i = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : 0;
  if (!exact || i < 1 || i >= (lua_Integer)p->nodes.n) script_fail(L, "%s is no value of this kernel", what);
  return (uint32_t)i;
}

/* Names are looked up in tables made once: upvalue 1 operations, upvalue 2 attributes. */
static TileOp read_op(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) script_fail(L, "core.node: the name of an operation is missing");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER) script_fail(L, "unknown operation '%s'", lua_tostring(L, 1));
  TileOp op = (TileOp)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return op;
}

static void read_operands(lua_State *L, const TileProgram *p, Draft *d) {
  if (lua_isnoneornil(L, 2)) return;
  const char *name = lua_tostring(L, 1);
  if (lua_type(L, 2) != LUA_TTABLE) script_fail(L, "%s: operands come as a list", name);
  size_t n = lua_rawlen(L, 2);
  if (n > MOST_OPERANDS) script_fail(L, "%s: %zu operands; at most %d are possible", name, n, MOST_OPERANDS);
  for (size_t i = 0; i < n; i++) {
    int exact = 0;
    lua_Integer id = lua_rawgeti(L, 2, (lua_Integer)i + 1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || id < 1 || id >= (lua_Integer)p->nodes.n)
      script_fail(L, "%s: operand %zu is no value of this kernel", name, i + 1);
    d->arg[i].i = (uint32_t)id;
    lua_pop(L, 1);
  }
  d->nargs = (int)n;
}

static void read_list(lua_State *L, const char *op, const char *name, int64_t *list, TileAttr *a) {
  size_t n = lua_rawlen(L, -1);
  if (n > MOST_LIST) script_fail(L, "%s: attribute '%s' has %zu elements; at most %d are possible", op, name, n, MOST_LIST);
  for (size_t i = 0; i < n; i++) {
    int exact = 0;
    list[i] = lua_rawgeti(L, -1, (lua_Integer)i + 1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact) script_fail(L, "%s: attribute '%s' must be a list of integers", op, name);
    lua_pop(L, 1);
  }
  a->kind = 'l';
  a->i = (int64_t)n;
  a->list = list;
}

/* The value on top of the stack as an attribute; whether the operation wants that kind, tile_node knows. */
static void read_attr(lua_State *L, const char *op, const char *name, Draft *d, TileAttr *a) {
  switch (lua_type(L, -1)) {
  case LUA_TBOOLEAN:
    a->kind = 'b';
    a->i = lua_toboolean(L, -1);
    break;
  case LUA_TNUMBER:
    a->kind = lua_isinteger(L, -1) ? 'i' : 'n';
    a->i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    a->n = lua_tonumber(L, -1);
    break;
  case LUA_TSTRING:
    a->kind = 's';
    a->s = lua_tostring(L, -1);
    if (a->key != TA_dtype && a->key != TA_right) break;
    a->kind = 'd';
    a->i = tile_dtype_find(a->s);
    if (!a->i) script_fail(L, "%s: unknown dtype '%s'; there are f64 f32 f16 bf16 e4m3 e5m2 i64 i32 i16 i8 u8 bool", op, a->s);
    break;
  case LUA_TTABLE:
    read_list(L, op, name, d->list[a->key], a);
    break;
  default: script_fail(L, "%s: attribute '%s' cannot be a %s", op, name, luaL_typename(L, -1));
  }
}

/* The table has no order: the attributes are put into that of their keys. Strings stay where they are, in the table. */
static void read_attrs(lua_State *L, Draft *d) {
  if (lua_isnoneornil(L, 3)) return;
  const char *op = lua_tostring(L, 1);
  if (lua_type(L, 3) != LUA_TTABLE) script_fail(L, "%s: attributes come as a table", op);
  const char *unknown = NULL;
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) script_fail(L, "%s: attributes have names", op);
    const char *name = lua_tostring(L, -2);
    lua_pushvalue(L, -2);
    int type = lua_rawget(L, lua_upvalueindex(2));
    uint8_t key = (uint8_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (type != LUA_TNUMBER) {
      if (!unknown || strcmp(name, unknown) < 0) unknown = name;
      continue;
    }
    TileAttr a = {.key = key};
    read_attr(L, op, name, d, &a);
    int at = d->nattrs++;
    for (; at > 0 && d->attr[at - 1].key > key; at--) d->attr[at] = d->attr[at - 1];
    d->attr[at] = a;
  }
  if (unknown) script_fail(L, "%s: has no attribute '%s'", op, unknown);
}

static void make_node(void *with) {
  Draft *d = with;
  d->id = tile_node(d->s->call->tiles, d->op, d->arg, d->nargs, d->attr, d->nattrs, d->loc);
}

static void read_loc(lua_State *L, Script *s, Loc *loc) {
  int file = s->at_file, line = s->at_line;
  if (!file) script_frame(L, &file, &line);
  if (!script_loc(L, file, line, loc)) script_fail_memory(L);
}

/* core.node(op, {id...}|nil, {attr=value...}|nil) -> id */
static int core_node(lua_State *L) {
  Draft d;
  d.s = script_of(L);
  d.nargs = d.nattrs = 0;
  d.id.i = 0;
  lua_settop(L, 3);
  const TileProgram *p = check_tiles(L);
  d.op = read_op(L);
  read_operands(L, p, &d);
  read_attrs(L, &d);
  read_loc(L, d.s, &d.loc);
  if (!script_guard(d.s, make_node, &d)) script_fail_memory(L);
  if (!d.id.i) script_fail_reported(L);
  lua_pushinteger(L, d.id.i);
  return 1;
}

typedef struct Opening { TileProgram *p; TileId id; int region; const char *name; } Opening;
static void open_region(void *with) {
  Opening *o = with;
  tile_open(o->p, o->id, o->region);
}
static void name_value(void *with) {
  Opening *o = with;
  tile_name(o->p, o->id, o->name);
}

/* core.open(id, region): the following nodes go there, until core.close() */
static int core_open(lua_State *L) {
  Opening o = {.p = check_tiles(L)};
  o.id.i = check_id(L, o.p, 1, "core.open: the statement");
  lua_Integer region = luaL_optinteger(L, 2, 0);
  int regions = tile_at(o.p, o.id)->nregions;
  if (region < 0 || region >= regions)
    script_fail(L, "core.open: %s has no region %lld", tile_op_info((TileOp)tile_at(o.p, o.id)->op)->name, (long long)region);
  o.region = (int)region;
  if (!script_guard(script_of(L), open_region, &o)) script_fail_memory(L);
  return 0;
}

static int core_close(lua_State *L) {
  TileProgram *p = check_tiles(L);
  if (!p->open.n) script_fail(L, "core.close without core.open");
  tile_close(p);
  return 0;
}

/* core.name(id, text): a name for the text form */
static int core_name(lua_State *L) {
  Opening o = {.p = check_tiles(L)};
  o.id.i = check_id(L, o.p, 1, "core.name: the value");
  o.name = luaL_checkstring(L, 2);
  if (!script_guard(script_of(L), name_value, &o)) script_fail_memory(L);
  return 0;
}

static const char *kind_name(int kind) {
  switch (kind) {
  case TK_SCALAR: return "scalar";
  case TK_FRAG: return "frag";
  case TK_VIEW: return "view";
  case TK_MAP: return "map";
  case TK_SMEM: return "smem";
  case TK_TMEM: return "tmem";
  case TK_RING: return "ring";
  case TK_SLOT: return "slot";
  case TK_ORDER: return "order";
  case TK_BARRIER: return "barrier";
  case TK_SEMAPHORE: return "semaphore";
  case TK_SCHED: return "sched";
  case TK_VAR: return "var";
  case TK_CARRY: return "carry";
  case TK_OPERANDS: return "operands";
  case TK_WALK: return "walk";
  default: return "none";
  }
}

/* core.type(id) -> kind, dtype or nil, shape (a list; empty for what has none), mutable */
static int core_type(lua_State *L) {
  const TileProgram *p = check_tiles(L);
  const TileType *t = &p->nodes.at[check_id(L, p, 1, "core.type: the value")].type;
  lua_pushstring(L, kind_name(t->kind));
  if (t->dtype) lua_pushstring(L, tile_dtype_name(t->dtype));
  else lua_pushnil(L);
  lua_createtable(L, t->rank, 0);
  for (int i = 0; i < t->rank && i < TILE_RANK; i++) {
    lua_pushinteger(L, t->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushboolean(L, t->is_mutable);
  return 4;
}

/* ---- contract, target, places ---- */

enum { MOST_LINES = 4096, MOST_LINE_BYTES = 16384 };

/* core.contract(text): a line, without the "//@ " */
static int core_contract(lua_State *L) {
  ScriptCall *c = script_of(L)->call;
  check_tiles(L);
  size_t n;
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *s = lua_tolstring(L, 1, &n);
  if (!n || n > MOST_LINE_BYTES) script_fail(L, "core.contract: a line of %zu bytes", n);
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)s[i] < 0x20) script_fail(L, "core.contract: a line with control characters");
  if (c->ncontract >= MOST_LINES) script_fail(L, "core.contract: more than %d lines", MOST_LINES);
  if (c->ncontract == c->contract_room) {
    int room = c->contract_room ? c->contract_room * 2 : 32;
    const char **at = script_alloc(L, (size_t)room * sizeof *at);
    if (c->ncontract) memcpy(at, c->contract, (size_t)c->ncontract * sizeof *at);
    c->contract = at;
    c->contract_room = room;
  }
  c->contract[c->ncontract] = script_copy(L, 1);
  c->ncontract++;
  return 0;
}

/* core.has(form) -> does the target run this PTX form? */
static int core_has(lua_State *L) {
  const Target *t = script_of(L)->call->target;
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *name = lua_tostring(L, 1);
  if (!t) script_fail(L, "core.has: no target is chosen here");
  script_charge(L, ISA_COUNT / 8);
  for (int i = 1; i < ISA_COUNT; i++) {
    const IsaForm *f = isa_form((IsaId)i);
    if (strcmp(f->name, name)) continue;
    lua_pushboolean(L, target_runs(t, f->sm));
    return 1;
  }
  script_fail(L, "core.has: there is no PTX form '%s'", name);
}

/* core.where() -> file, line: of the op, family or script that led here. The file is a number that stays the same. */
static int core_where(lua_State *L) {
  int file, line;
  script_frame(L, &file, &line);
  lua_pushinteger(L, file);
  lua_pushinteger(L, line);
  return 2;
}

/* core.at(file, line): following nodes and errors stand there; core.at(): where they are */
static int core_at(lua_State *L) {
  Script *s = script_of(L);
  lua_Integer file = luaL_optinteger(L, 1, 0), line = luaL_optinteger(L, 2, 0);
  if (file < 0 || file > s->nfiles || line < 0 || line > 0xffffff) script_fail(L, "core.at: no such place");
  s->at_file = (int)file;
  s->at_line = (int)line;
  return 0;
}

/* core.about(file, line): what goes wrong in a family is about that place of a user's script, its op. `return softmax(x)` leaves no frame
   of the script's behind, and its nodes and errors would stand at the line of the family that called the op's function. */
static int core_about(lua_State *L) {
  Script *s = script_of(L);
  lua_Integer file = luaL_optinteger(L, 1, 0), line = luaL_optinteger(L, 2, 0);
  if (file < 0 || file > s->nfiles || line < 0 || line > 0xffffff) script_fail(L, "core.about: no such place");
  if (file && s->file[file].kind != SCRIPT_USER) file = 0; /* those who write families want their own lines */
  s->about_file = (int)file;
  s->about_line = (int)line;
  return 0;
}

/* core.stage(name): what is refused from here on is refused of that stage of a chain; core.stage(): of the op */
static int core_stage(lua_State *L) {
  Script *s = script_of(L);
  snprintf(s->stage, sizeof s->stage, "%s", luaL_optstring(L, 1, ""));
  return 0;
}

static int raise_of_stage(lua_State *L) {
  const Script *s = script_of(L);
  lua_settop(L, 1);
  if (*s->stage) lua_pushfstring(L, "stage '%s': %s", s->stage, lua_tostring(L, 1));
  return lua_error(L);
}

/* core.refuse(message): right in itself, but not on this target */
static int core_refuse(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  script_of(L)->refused = true;
  return raise_of_stage(L);
}

/* core.fail(message): the request is wrong (a setting, a schedule), not a line of a script */
static int core_fail(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  script_of(L)->about_request = true;
  return raise_of_stage(L);
}

/* ---- the table ---- */

static void push_names(lua_State *L) {
  lua_createtable(L, 0, TILE_OPS);
  for (int op = 1; op < TILE_OPS; op++) {
    lua_pushinteger(L, op);
    lua_setfield(L, -2, tile_op_info((TileOp)op)->name);
  }
  lua_createtable(L, 0, TA_COUNT);
  for (int key = 0; key < TA_COUNT; key++) {
    lua_pushinteger(L, key);
    lua_setfield(L, -2, tile_attr_name((TileAttrKey)key));
  }
}

void script_core_open(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"about", core_about}, {"at", core_at}, {"close", core_close}, {"contract", core_contract}, {"define", script_define}, {"fail", core_fail},
    {"has", core_has}, {"load_op", script_load_op}, {"name", core_name}, {"open", core_open}, {"refuse", core_refuse},
    {"stage", core_stage}, {"type", core_type}, {"where", core_where}, {NULL, NULL}};
  lua_createtable(L, 0, 16);
  luaL_setfuncs(L, functions, 0);
  push_names(L);
  lua_pushcclosure(L, core_node, 2);
  lua_setfield(L, -2, "node");
}

/* core.target: a table, or nil where no target is chosen. */
void script_core_begin(lua_State *L, Script *s) {
  const Target *t = s->call->target;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &script_key_core);
  if (t) {
    lua_createtable(L, 0, 8);
    lua_pushstring(L, t->name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, t->shared_block);
    lua_setfield(L, -2, "shared_block");
    lua_pushinteger(L, t->shared_sm);
    lua_setfield(L, -2, "shared_sm");
    lua_pushinteger(L, t->threads_sm);
    lua_setfield(L, -2, "threads_sm");
    lua_pushinteger(L, t->ctas_sm);
    lua_setfield(L, -2, "ctas_sm");
  } else {
    lua_pushnil(L);
  }
  lua_setfield(L, -2, "target");
  lua_pop(L, 1);
}

void script_core_push_target(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &script_key_core);
  lua_getfield(L, -1, "target");
  lua_remove(L, -2);
}
