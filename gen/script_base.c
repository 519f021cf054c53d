/* script_base.c - what a script finds instead of Lua's own libraries.
 *
 * Everything here gives the same result in every run and on every machine: pairs is sorted, no function shows an address, upper
 * and lower know ASCII only, exp and log are computed in long double. Work that grows with the arguments is charged to the
 * account of instructions (script_charge). */
#include "script_lua.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BYTES_PER_STEP = 64 }; /* what a byte-wise function does in the time of an instruction */

/* ---- arguments: numbers only; a text that reads as a number is none ---- */

static lua_Number check_number(lua_State *L, int arg) {
  luaL_checktype(L, arg, LUA_TNUMBER);
  return lua_tonumber(L, arg);
}

static lua_Integer check_integer(lua_State *L, int arg) {
  int exact;
  luaL_checktype(L, arg, LUA_TNUMBER);
  lua_Integer i = lua_tointegerx(L, arg, &exact);
  luaL_argcheck(L, exact, arg, "number has no integer representation");
  return i;
}

static lua_Integer opt_integer(lua_State *L, int arg, lua_Integer otherwise) {
  return lua_isnoneornil(L, arg) ? otherwise : check_integer(L, arg);
}

/* ---- names ---- */

static int fail_unknown(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) script_fail(L, "unknown name '%s'", lua_tostring(L, 2));
  script_fail(L, "unknown name");
}

static int fail_assign(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING)
    script_fail(L, "assignment to '%s', which is not local: write 'local %s = ...'", lua_tostring(L, 2), lua_tostring(L, 2));
  script_fail(L, "assignment to the environment");
}

void script_seal(lua_State *L) {
  int names = lua_gettop(L);
  if (lua_getmetatable(L, names)) script_fail(L, "an environment must have no metatable of its own");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, fail_unknown);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, names);
  lua_createtable(L, 0, 0); /* what scripts see: empty, so that each assignment is caught */
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, names);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, fail_assign);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_replace(L, names);
}

/* ---- values ---- */

static int base_error(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) script_fail(L, "error() takes a text, not a %s", luaL_typename(L, 1));
  lua_settop(L, 1);
  return lua_error(L);
}

static int base_assert(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_toboolean(L, 1)) return lua_gettop(L);
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_settop(L, 2);
    return lua_error(L);
  }
  script_fail(L, "assertion failed");
}

static int base_type(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushstring(L, luaL_typename(L, 1));
  return 1;
}

/* Pushes the text of the value there; a table without __tostring and a function have none but their address. */
static const char *push_text(lua_State *L, int index, size_t *n) {
  int type = lua_type(L, index);
  if (type == LUA_TTABLE || type == LUA_TUSERDATA) {
    if (!luaL_getmetafield(L, index, "__tostring"))
      script_fail(L, "a %s has no text: nothing of it is the same in every run", luaL_typename(L, index));
    lua_pop(L, 1);
  } else if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TNIL) {
    script_fail(L, "a %s has no text: nothing of it is the same in every run", luaL_typename(L, index));
  }
  return luaL_tolstring(L, index, n);
}

static int base_tostring(lua_State *L) {
  luaL_checkany(L, 1);
  push_text(L, 1, NULL);
  return 1;
}

static int base_tonumber(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_gettop(L) > 1) script_fail(L, "tonumber takes one value; another base than ten is not there");
  if (lua_type(L, 1) == LUA_TNUMBER) return 1;
  if (lua_type(L, 1) == LUA_TSTRING) {
    size_t n;
    const char *s = lua_tolstring(L, 1, &n);
    script_charge(L, n / 16);
    if (lua_stringtonumber(L, s) == n + 1) return 1;
  }
  lua_pushnil(L);
  return 1;
}

static int base_select(lua_State *L) {
  int n = lua_gettop(L);
  if (lua_type(L, 1) == LUA_TSTRING && lua_tostring(L, 1)[0] == '#') {
    lua_pushinteger(L, n - 1);
    return 1;
  }
  lua_Integer i = check_integer(L, 1);
  if (i < 0) i = n + i;
  else if (i > n) i = n;
  luaL_argcheck(L, 1 <= i, 1, "index out of range");
  script_charge(L, (size_t)n / 8);
  return n - (int)i;
}

static int base_rawequal(lua_State *L) {
  luaL_checkany(L, 1);
  luaL_checkany(L, 2);
  lua_pushboolean(L, lua_rawequal(L, 1, 2));
  return 1;
}

static int base_rawlen(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  return 1;
}

static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lua_rawget(L, 1);
  return 1;
}

static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  lua_rawset(L, 1);
  return 1;
}

static int base_setmetatable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, lua_isnoneornil(L, 2) || lua_istable(L, 2), 2, "nil or table");
  lua_settop(L, 2);
  static const char *const absent[] = {"__gc", "__mode"}; /* both would show when the collector runs */
  for (int i = 0; i < 2 && lua_istable(L, 2); i++) {
    lua_pushstring(L, absent[i]);
    if (lua_rawget(L, 2) != LUA_TNIL) script_fail(L, "%s is not there: it would depend on the collector", absent[i]);
    lua_pop(L, 1);
  }
  lua_setmetatable(L, 1);
  return 1;
}

static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) lua_pushnil(L);
  return 1;
}

/* ---- iteration ---- */

static int next_index(lua_State *L) {
  lua_Integer i = check_integer(L, 2) + 1;
  lua_pushinteger(L, i);
  return lua_geti(L, 1, i) == LUA_TNIL ? 1 : 2;
}

static int base_ipairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) != LUA_TTABLE) script_fail(L, "ipairs takes a list, not a %s", luaL_typename(L, 1));
  lua_pushcfunction(L, next_index);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  return 3;
}

/* pairs goes over a sorted snapshot of the keys: strings byte by byte, then numbers ascending, then false and true. */
typedef struct Key {
  uint8_t kind; /* 0 string, 1 number, 2 boolean */
  uint32_t at;  /* where in the list of keys */
  size_t n;
  const char *s;
  lua_Number number;
  lua_Integer integer;
} Key;

static int compare_keys(const Key *a, const Key *b) {
  if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
  if (a->kind == 0) {
    int c = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n);
    return c ? c : a->n < b->n ? -1 : a->n > b->n;
  }
  if (a->number != b->number) return a->number < b->number ? -1 : 1;
  return a->integer < b->integer ? -1 : a->integer > b->integer;
}

static void sift_key(Key *key, size_t i, size_t n) {
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && compare_keys(&key[child], &key[child + 1]) < 0) child++;
    if (compare_keys(&key[i], &key[child]) >= 0) return;
    Key swap = key[i];
    key[i] = key[child];
    key[child] = swap;
  }
}

/* In place and without the heap, which qsort may take. */
static void sort_keys(Key *key, size_t n) {
  for (size_t i = n / 2; i-- > 0;) sift_key(key, i, n);
  for (size_t last = n; last-- > 1;) {
    Key swap = key[0];
    key[0] = key[last];
    key[last] = swap;
    sift_key(key, 0, last);
  }
}

static void read_key(lua_State *L, int index, Key *key) {
  switch (lua_type(L, index)) {
  case LUA_TSTRING:
    key->s = lua_tolstring(L, index, &key->n);
    break;
  case LUA_TNUMBER:
    key->kind = 1;
    key->number = lua_tonumber(L, index);
    key->integer = lua_isinteger(L, index) ? lua_tointeger(L, index) : 0;
    break;
  case LUA_TBOOLEAN:
    key->kind = 2;
    key->integer = lua_toboolean(L, index);
    break;
  default: script_fail(L, "pairs: a %s as key has no order; keep such things in a list", luaL_typename(L, index));
  }
}

static int next_pair(lua_State *L) {
  const Key *key = lua_touserdata(L, lua_upvalueindex(3));
  lua_Integer n = lua_tointeger(L, lua_upvalueindex(4)), i = lua_tointeger(L, lua_upvalueindex(5));
  while (i < n) {
    lua_rawgeti(L, lua_upvalueindex(2), key[i++].at);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) { /* removed meanwhile */
      lua_pop(L, 2);
      continue;
    }
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(5));
    return 2;
  }
  lua_pushnil(L);
  return 1;
}

static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) != LUA_TTABLE) script_fail(L, "pairs takes a table, not a %s", luaL_typename(L, 1));
  lua_settop(L, 1);
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) n++;
  script_charge(L, n);
  lua_pushvalue(L, 1);
  lua_createtable(L, n < 1000000 ? (int)n : 0, 0);
  Key *key = lua_newuserdatauv(L, n * sizeof(Key), 0);
  memset(key, 0, n * sizeof(Key));
  uint32_t i = 0;
  for (lua_pushnil(L); lua_next(L, 1) && i < n; lua_pop(L, 1)) {
    read_key(L, -2, &key[i]);
    key[i].at = i + 1;
    lua_pushvalue(L, -2);
    lua_rawseti(L, 3, ++i);
  }
  size_t log2n = 1;
  while (log2n < 40 && n >> log2n) log2n++;
  script_charge(L, n * log2n * 2);
  sort_keys(key, n);
  lua_settop(L, 4);
  lua_pushinteger(L, (lua_Integer)n);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_pair, 5);
  return 1;
}

/* ---- string ---- */

static void check_length(lua_State *L, size_t n) {
  if (n > SCRIPT_MOST_STRING) script_fail(L, "a string of %zu bytes; the most is 1 MB", n);
  script_charge(L, n / BYTES_PER_STEP);
}

static int string_len(lua_State *L) {
  size_t n;
  luaL_checklstring(L, 1, &n);
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* The positions i..j of a string of n bytes, as Lua counts: negative from the end, clipped. */
static void clip_range(lua_Integer *i, lua_Integer *j, size_t n) {
  lua_Integer len = (lua_Integer)n;
  if (*i < 0) *i = *i < -len ? 1 : len + *i + 1;
  if (*i == 0) *i = 1;
  if (*j < 0) *j = *j < -len ? 0 : len + *j + 1;
  if (*j > len) *j = len;
}

static int string_sub(lua_State *L) {
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  lua_Integer i = check_integer(L, 2), j = opt_integer(L, 3, -1);
  clip_range(&i, &j, n);
  if (i > j) {
    lua_pushliteral(L, "");
  } else {
    script_charge(L, (size_t)(j - i) / BYTES_PER_STEP);
    lua_pushlstring(L, s + i - 1, (size_t)(j - i + 1));
  }
  return 1;
}

static int string_byte(lua_State *L) {
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  lua_Integer i = opt_integer(L, 2, 1), j = opt_integer(L, 3, i);
  clip_range(&i, &j, n);
  if (i > j) return 0;
  if (j - i >= 1000) script_fail(L, "string.byte gives at most 1000 values");
  luaL_checkstack(L, (int)(j - i + 1), "string.byte");
  for (lua_Integer k = i; k <= j; k++) lua_pushinteger(L, (unsigned char)s[k - 1]);
  return (int)(j - i + 1);
}

static int string_char(lua_State *L) {
  int n = lua_gettop(L);
  luaL_Buffer b;
  char *at = luaL_buffinitsize(L, &b, (size_t)n);
  for (int i = 1; i <= n; i++) {
    lua_Integer c = check_integer(L, i);
    luaL_argcheck(L, c >= 0 && c <= 255, i, "value out of range");
    at[i - 1] = (char)c;
  }
  luaL_pushresultsize(&b, (size_t)n);
  return 1;
}

static int change_case(lua_State *L, char first, char last) {
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  check_length(L, n);
  luaL_Buffer b;
  char *at = luaL_buffinitsize(L, &b, n);
  for (size_t i = 0; i < n; i++) at[i] = s[i] >= first && s[i] <= last ? (char)(s[i] ^ 0x20) : s[i];
  luaL_pushresultsize(&b, n);
  return 1;
}
static int string_upper(lua_State *L) { return change_case(L, 'a', 'z'); }
static int string_lower(lua_State *L) { return change_case(L, 'A', 'Z'); }

static int string_rep(lua_State *L) {
  size_t n, nsep;
  const char *s = luaL_checklstring(L, 1, &n);
  lua_Integer times = check_integer(L, 2);
  const char *sep = luaL_optlstring(L, 3, "", &nsep);
  if (times <= 0 || n + nsep == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (n > SCRIPT_MOST_STRING || nsep > SCRIPT_MOST_STRING || (size_t)times > SCRIPT_MOST_STRING / (n + nsep) + 1)
    script_fail(L, "string.rep would make a string of more than 1 MB");
  size_t whole = n * (size_t)times + nsep * ((size_t)times - 1);
  check_length(L, whole);
  luaL_Buffer b;
  char *at = luaL_buffinitsize(L, &b, whole), *to = at;
  for (lua_Integer i = 0; i < times; i++) {
    memcpy(to, s, n);
    to += n;
    if (i + 1 < times) {
      memcpy(to, sep, nsep);
      to += nsep;
    }
  }
  luaL_pushresultsize(&b, whole);
  return 1;
}

/* Plain text only: patterns can take exponential time, and tile descriptions need none. */
static int string_find(lua_State *L) {
  size_t n, m;
  const char *s = luaL_checklstring(L, 1, &n), *what = luaL_checklstring(L, 2, &m);
  lua_Integer from = opt_integer(L, 3, 1), to = -1;
  clip_range(&from, &to, n);
  script_charge(L, n / 16);
  const char *at = (size_t)(from - 1) > n ? NULL : m ? memmem(s + from - 1, n - (size_t)(from - 1), what, m) : s + from - 1;
  if (!at) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, at - s + 1);
  lua_pushinteger(L, at - s + (lua_Integer)m);
  return 2;
}

/* One conversion of a format, "%-08.3f": copied to spec with room for a length modifier. Returns the letter. */
static char read_spec(lua_State *L, const char **at, char *spec, size_t room) {
  const char *s = *at;
  size_t n = strspn(s, "-+ #0"), digits;
  if (n > 5) script_fail(L, "string.format: too many flags");
  n += digits = strspn(s + n, "0123456789");
  if (digits > 2) script_fail(L, "string.format: a width of more than 99");
  if (s[n] == '.') {
    n += 1 + (digits = strspn(s + n + 1, "0123456789"));
    if (digits > 2) script_fail(L, "string.format: a precision of more than 99");
  }
  if (n + 5 > room) script_fail(L, "string.format: conversion too long");
  spec[0] = '%';
  memcpy(spec + 1, s, n);
  spec[n + 1] = 0;
  *at = s + n + (s[n] ? 1 : 0);
  return s[n];
}

static void add_spec(luaL_Buffer *b, int arg, char letter, char *spec) {
  lua_State *L = b->L;
  char out[512]; /* the longest: %99.99f of 1e308 */
  script_charge(L, 16);
  size_t end = strlen(spec), n;
  int length = 0;
  switch (letter) {
  case 'd': case 'i': case 'x': case 'X': case 'o':
    snprintf(spec + end, 4, "ll%c", letter);
    length = snprintf(out, sizeof out, spec, (long long)check_integer(L, arg));
    break;
  case 'c':
    snprintf(spec + end, 2, "c");
    length = snprintf(out, sizeof out, spec, (int)check_integer(L, arg));
    break;
  case 'a': case 'A': case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
    snprintf(spec + end, 2, "%c", letter);
    length = snprintf(out, sizeof out, spec, (double)check_number(L, arg));
    script_charge(L, (size_t)length * 8); /* many digits take long */
    break;
  case 's': {
    luaL_checkany(L, arg);
    const char *s = push_text(L, arg, &n);
    check_length(L, n);
    if (end == 1) {
      luaL_addvalue(b);
      return;
    }
    if (n >= 400 && !strchr(spec, '.')) script_fail(L, "string.format: a string too long to be padded");
    snprintf(spec + end, 2, "s");
    length = snprintf(out, sizeof out, spec, s);
    lua_pop(L, 1);
    break;
  }
  default: script_fail(L, "string.format: there is no conversion '%%%c'", letter ? letter : ' ');
  }
  luaL_addlstring(b, out, (size_t)length);
}

static int string_format(lua_State *L) {
  size_t n;
  const char *at = luaL_checklstring(L, 1, &n), *end = at + n;
  int args = lua_gettop(L), arg = 1;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  check_length(L, n);
  while (at < end) {
    const char *next = memchr(at, '%', (size_t)(end - at));
    luaL_addlstring(&b, at, (size_t)((next ? next : end) - at));
    if (!next) break;
    at = next + 1;
    if (*at == '%') {
      luaL_addchar(&b, *at++);
      continue;
    }
    char spec[24];
    char letter = read_spec(L, &at, spec, sizeof spec);
    if (++arg > args) script_fail(L, "string.format: no value for conversion %d", arg - 1);
    add_spec(&b, arg, letter, spec);
    if (luaL_bufflen(&b) > SCRIPT_MOST_STRING) check_length(L, luaL_bufflen(&b));
  }
  luaL_pushresult(&b);
  return 1;
}

/* ---- table ---- */

static lua_Integer list_length(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  return (lua_Integer)lua_rawlen(L, 1);
}

static int table_insert(lua_State *L) {
  lua_Integer n = list_length(L) + 1, at = n;
  if (lua_gettop(L) == 3) {
    at = check_integer(L, 2);
    luaL_argcheck(L, at >= 1 && at <= n, 2, "position out of bounds");
    script_charge(L, (size_t)(n - at));
    for (lua_Integer i = n; i > at; i--) {
      lua_rawgeti(L, 1, i - 1);
      lua_rawseti(L, 1, i);
    }
  } else if (lua_gettop(L) != 2) {
    script_fail(L, "table.insert takes a list, maybe a position, and a value");
  }
  lua_rawseti(L, 1, at);
  return 0;
}

static int table_remove(lua_State *L) {
  lua_Integer n = list_length(L), at = opt_integer(L, 2, n);
  if (lua_gettop(L) > 1 && n + 1 != at) luaL_argcheck(L, n == 0 ? at == 0 : at >= 1 && at <= n, 2, "position out of bounds");
  lua_rawgeti(L, 1, at);
  if (at < n) script_charge(L, (size_t)(n - at));
  for (; at < n; at++) {
    lua_rawgeti(L, 1, at + 1);
    lua_rawseti(L, 1, at);
  }
  if (at >= 1) {
    lua_pushnil(L);
    lua_rawseti(L, 1, at);
  }
  return 1;
}

static int table_concat(lua_State *L) {
  lua_Integer n = list_length(L);
  size_t nsep, whole = 0;
  const char *sep = luaL_optlstring(L, 2, "", &nsep);
  lua_Integer i = opt_integer(L, 3, 1), last = opt_integer(L, 4, n);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (; i <= last; i++) {
    script_charge(L, 1);
    int type = lua_rawgeti(L, 1, i);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
      script_fail(L, "table.concat: element %lld is a %s", (long long)i, luaL_typename(L, -1));
    size_t part;
    lua_tolstring(L, -1, &part);
    whole += part + nsep;
    if (whole > SCRIPT_MOST_STRING) script_fail(L, "table.concat would make a string of more than 1 MB");
    luaL_addvalue(&b);
    if (i < last) luaL_addlstring(&b, sep, nsep);
    if (i == last) break; /* last may be the greatest integer */
  }
  script_charge(L, whole / BYTES_PER_STEP);
  luaL_pushresult(&b);
  return 1;
}

static int table_unpack(lua_State *L) {
  lua_Integer n = list_length(L), i = opt_integer(L, 2, 1), last = opt_integer(L, 3, n);
  if (i > last) return 0;
  if ((lua_Unsigned)last - (lua_Unsigned)i >= 4000) script_fail(L, "table.unpack gives at most 4000 values");
  int count = (int)(last - i) + 1;
  luaL_checkstack(L, count, "table.unpack");
  script_charge(L, (size_t)count / 4);
  for (int k = 0; k < count; k++) lua_rawgeti(L, 1, i + k);
  return count;
}

static bool sorts_before(lua_State *L, int a, int b) {
  if (lua_isnoneornil(L, 2)) return lua_compare(L, a, b, LUA_OPLT);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, a);
  lua_pushvalue(L, b);
  lua_call(L, 2, 1);
  bool before = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return before;
}

/* Merges from[lo,mid) and from[mid,hi) into to[lo,hi); equal elements keep their order. */
static void merge_runs(lua_State *L, int from, int to, lua_Integer lo, lua_Integer mid, lua_Integer hi) {
  lua_Integer i = lo, j = mid;
  for (lua_Integer k = lo; k < hi; k++) {
    int top = lua_gettop(L);
    lua_rawgeti(L, from, i);
    lua_rawgeti(L, from, j);
    bool right = i >= mid || (j < hi && sorts_before(L, top + 2, top + 1));
    lua_settop(L, right ? top + 2 : top + 1);
    lua_rawseti(L, to, k);
    lua_settop(L, top);
    if (right) j++;
    else i++;
  }
}

static int table_sort(lua_State *L) {
  lua_Integer n = list_length(L);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_createtable(L, n < 1000000 ? (int)n : 0, 0);
  int from = 1, to = 3;
  for (lua_Integer width = 1; width < n; width *= 2) {
    script_charge(L, (size_t)n * 2);
    for (lua_Integer lo = 1; lo <= n; lo += 2 * width) {
      lua_Integer mid = lo + width <= n + 1 ? lo + width : n + 1, hi = lo + 2 * width <= n + 1 ? lo + 2 * width : n + 1;
      merge_runs(L, from, to, lo, mid, hi);
    }
    from = 4 - from;
    to = 4 - to;
  }
  for (lua_Integer i = 1; from == 3 && i <= n; i++) {
    lua_rawgeti(L, 3, i);
    lua_rawseti(L, 1, i);
  }
  return 0;
}

/* ---- math ---- */

static int push_rounded(lua_State *L, lua_Number rounded) {
  lua_Integer i;
  if (lua_numbertointeger(rounded, &i)) lua_pushinteger(L, i);
  else lua_pushnumber(L, rounded);
  return 1;
}

static int math_floor(lua_State *L) {
  if (!lua_isinteger(L, 1)) return push_rounded(L, floor(check_number(L, 1)));
  lua_settop(L, 1);
  return 1;
}

static int math_ceil(lua_State *L) {
  if (!lua_isinteger(L, 1)) return push_rounded(L, ceil(check_number(L, 1)));
  lua_settop(L, 1);
  return 1;
}

static int math_abs(lua_State *L) {
  if (lua_isinteger(L, 1)) {
    lua_Integer i = lua_tointeger(L, 1);
    lua_pushinteger(L, i < 0 ? (lua_Integer)(0u - (lua_Unsigned)i) : i);
  } else {
    lua_pushnumber(L, fabs(check_number(L, 1)));
  }
  return 1;
}

static int pick(lua_State *L, bool largest) {
  int n = lua_gettop(L), best = 1;
  check_number(L, 1);
  for (int i = 2; i <= n; i++) {
    check_number(L, i);
    if (largest ? lua_compare(L, best, i, LUA_OPLT) : lua_compare(L, i, best, LUA_OPLT)) best = i;
  }
  lua_pushvalue(L, best);
  return 1;
}
static int math_min(lua_State *L) { return pick(L, false); }
static int math_max(lua_State *L) { return pick(L, true); }

static int math_tointeger(lua_State *L) {
  luaL_checkany(L, 1);
  int exact = 0;
  lua_Integer i = lua_type(L, 1) == LUA_TNUMBER ? lua_tointegerx(L, 1, &exact) : 0;
  if (exact) lua_pushinteger(L, i);
  else lua_pushnil(L);
  return 1;
}

static int math_type(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) != LUA_TNUMBER) lua_pushnil(L);
  else lua_pushstring(L, lua_isinteger(L, 1) ? "integer" : "float");
  return 1;
}

/* The C library's exp and log differ in the last bit between processors with and without fused multiply-add; rounded from long
 * double they don't. */
static int math_exp(lua_State *L) {
  lua_pushnumber(L, (lua_Number)expl((long double)check_number(L, 1)));
  return 1;
}

static int math_log(lua_State *L) {
  long double x = (long double)check_number(L, 1);
  lua_Number base = lua_isnoneornil(L, 2) ? 0 : check_number(L, 2);
  long double r = logl(x);
  if (base == 2) r = log2l(x);
  else if (base == 10) r = log10l(x);
  else if (!lua_isnoneornil(L, 2)) r /= logl((long double)base);
  lua_pushnumber(L, (lua_Number)r);
  return 1;
}

static int math_sqrt(lua_State *L) {
  lua_pushnumber(L, sqrt(check_number(L, 1)));
  return 1;
}

/* ---- the environments ---- */

static const luaL_Reg script_functions[] = {
    {"assert", base_assert}, {"error", base_error}, {"ipairs", base_ipairs}, {"pairs", base_pairs}, {"select", base_select},
    {"tonumber", base_tonumber}, {"tostring", base_tostring}, {"type", base_type}, {NULL, NULL}};

static const luaL_Reg library_functions[] = {
    {"getmetatable", base_getmetatable}, {"rawequal", base_rawequal}, {"rawget", base_rawget}, {"rawlen", base_rawlen},
    {"rawset", base_rawset}, {"setmetatable", base_setmetatable}, {NULL, NULL}};

static const luaL_Reg string_functions[] = {
    {"byte", string_byte}, {"char", string_char}, {"find", string_find}, {"format", string_format}, {"len", string_len},
    {"lower", string_lower}, {"rep", string_rep}, {"sub", string_sub}, {"upper", string_upper}, {NULL, NULL}};

static const luaL_Reg table_functions[] = {
    {"concat", table_concat}, {"insert", table_insert}, {"remove", table_remove}, {"sort", table_sort},
    {"unpack", table_unpack}, {NULL, NULL}};

static const luaL_Reg math_functions[] = {
    {"abs", math_abs}, {"ceil", math_ceil}, {"exp", math_exp}, {"floor", math_floor}, {"log", math_log}, {"max", math_max},
    {"min", math_min}, {"sqrt", math_sqrt}, {"tointeger", math_tointeger}, {"type", math_type}, {NULL, NULL}};

static void push_functions(lua_State *L, const luaL_Reg *f) {
  lua_createtable(L, 0, 16);
  luaL_setfuncs(L, f, 0);
}

static void push_math(lua_State *L) {
  push_functions(L, math_functions);
  lua_pushnumber(L, 3.141592653589793);
  lua_setfield(L, -2, "pi");
  lua_pushnumber(L, (lua_Number)HUGE_VAL);
  lua_setfield(L, -2, "huge");
  lua_pushinteger(L, LUA_MAXINTEGER);
  lua_setfield(L, -2, "maxinteger");
  lua_pushinteger(L, LUA_MININTEGER);
  lua_setfield(L, -2, "mininteger");
}

/* Sets the field unless the table at index has it; pops the value. */
static void set_absent(lua_State *L, int index, const char *name) {
  lua_pushstring(L, name);
  if (lua_rawget(L, index) != LUA_TNIL) {
    lua_pop(L, 2);
    return;
  }
  lua_pop(L, 1);
  lua_pushstring(L, name);
  lua_insert(L, -2);
  lua_rawset(L, index);
}

void script_base_complete(lua_State *L, int index) {
  index = lua_absindex(L, index);
  for (const luaL_Reg *f = script_functions; f->name; f++) {
    lua_pushcfunction(L, f->func);
    set_absent(L, index, f->name);
  }
  push_functions(L, string_functions);
  set_absent(L, index, "string");
  push_functions(L, table_functions);
  set_absent(L, index, "table");
  push_math(L);
  set_absent(L, index, "math");
}

void script_base_open(lua_State *L) {
  lua_pushliteral(L, ""); /* methods of strings: a table that no script can reach */
  lua_createtable(L, 0, 1);
  push_functions(L, string_functions);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  lua_createtable(L, 0, 32);
  luaL_setfuncs(L, library_functions, 0);
  script_base_complete(L, -1);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, fail_unknown);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, fail_assign);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
}
