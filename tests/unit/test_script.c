/* test_script.c - the Lua border: what scripts lack, every ceiling, every kind of bad input with its message, core and definitions,
 * and that any allocation may fail. The language used is the small one of tests/unit/lua, not kiln's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../runtime/alloc.h"
#include "kiln_gen.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- an allocator that counts, and fails when told ---- */

static struct {
  size_t live, calls, fail_at; /* fail_at: number of the call that fails, 0: none */
  bool stays;                  /* all later ones fail as well */
} mem;

static void *counting(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  if (new_bytes == 0) {
    free(ptr);
    mem.live -= old_bytes;
    return NULL;
  }
  mem.calls++;
  if (mem.fail_at && (mem.calls == mem.fail_at || (mem.stays && mem.calls > mem.fail_at))) return NULL;
  void *at = realloc(ptr, new_bytes);
  assert_non_null(at);
  mem.live += new_bytes - old_bytes;
  return at;
}

/* ---- running scripts ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef SANITIZED
enum { MOST_SECONDS = 15 };
#else
enum { MOST_SECONDS = 2 };
#endif

static char library[512], folder[64];

static KilnGen *open_session(void) {
  KilnGen *g;
  assert_int_equal(kiln_gen_open(&g, library), KILN_GEN_OK);
  return g;
}

static void write_bytes(const char *text, size_t n) {
  FILE *f = fopen("t.lua", "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, n, f), n);
  fclose(f);
}

typedef enum { OPS, DEFINE, DUMP, EMIT } Work;

static kiln_gen_status work_on(KilnGen *g, Work work, const char *op) {
  const kiln_gen_op *ops;
  const KilnDef *def;
  const char *text;
  int n;
  kiln_gen_request r = {.op = op, .target = "sm_80"};
  if (work == OPS) return kiln_gen_script_ops(g, op, &ops, &n);
  if (work == DEFINE) return kiln_gen_define(g, &r, &def);
  size_t bytes;
  if (work == EMIT) return kiln_gen_emit(g, &r, &text, &bytes, NULL);
  return kiln_gen_dump(g, &r, "script", &text);
}

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Runs the text as t.lua in a session of its own: the status, and the message contains each of the two texts. */
static void expect(Work work, const char *script, kiln_gen_status want, const char *first, const char *second) {
  size_t before = mem.live;
  KilnGen *g = open_session();
  write_bytes(script, strlen(script));
  double start = cpu_seconds();
  kiln_gen_status status = work_on(g, work, "t.lua");
  double took = cpu_seconds() - start;
  const char *message = kiln_gen_message(g);
  if (status != want || !strstr(message, first) || !strstr(message, second))
    fail_msg("script:\n%s\nstatus %d, wanted %d; message:\n%s\nwanted: %s ... %s", script, status, want, message, first, second);
  if (took > MOST_SECONDS) fail_msg("script:\n%s\ntook %.2f s", script, took);
  kiln_gen_close(g);
  assert_int_equal(mem.live, before);
}
static void refuse(const char *script, const char *first, const char *second) { expect(OPS, script, KILN_GEN_ERROR, first, second); }

/* ---- what scripts lack ---- */

static void absent_names(void **state) {
  (void)state;
  static const char *const names[] = {"io", "os", "debug", "load", "loadstring", "loadfile", "dofile", "require", "package", "pcall", "xpcall",
    "coroutine", "setmetatable", "getmetatable", "rawset", "rawget", "rawequal", "rawlen", "collectgarbage", "print", "warn", "next", "utf8",
    "_G", "_VERSION", "core", "nothing"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char script[128], want[128];
    snprintf(script, sizeof script, "local a = 1\nlocal b = %s\n", names[i]);
    snprintf(want, sizeof want, "t.lua:2: unknown name '%s'\n  local b = %s\n            ^\n", names[i], names[i]);
    refuse(script, want, "");
  }
}

static void absent_fields(void **state) {
  (void)state;
  static const char *const names[] = {"string.gsub", "string.gmatch", "string.match", "string.dump", "string.pack", "string.reverse",
    "math.random", "math.randomseed", "table.move", "table.pack"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char script[128];
    snprintf(script, sizeof script, "return %s('a', 'b')\n", names[i]);
    refuse(script, "t.lua:1: attempt to call a nil value", strchr(names[i], '.') + 1);
  }
  refuse("return ('x'):gsub('x', 'y')", "attempt to call a nil value (method 'gsub')", "");
}

static void no_assignment(void **state) {
  (void)state;
  refuse("x = 1", "t.lua:1: assignment to 'x', which is not local", "");
  refuse("ipairs = 1", "assignment to 'ipairs'", "");
  refuse("function f() end", "assignment to 'f'", "");
  refuse("_ENV.op = 1", "assignment to 'op'", "");
}

static void no_addresses(void **state) {
  (void)state;
  refuse("return tostring({})", "a table has no text", "t.lua:1");
  refuse("return tostring(tostring)", "a function has no text", "");
  refuse("return string.format('%s', {})", "a table has no text", "");
  refuse("return string.format('%p', {})", "there is no conversion '%p'", "");
  refuse("return 'a' .. {}", "attempt to concatenate a table value", "");
  refuse("for k in pairs({ [{}] = 1 }) do end", "a table as key has no order", "");
  refuse("set_meta({}, { __gc = ipairs })", "__gc is not there", "");
  refuse("set_meta({}, { __mode = 'k' })", "__mode is not there", "");
}

/* What one script does to the tables that it sees does not reach the next. */
static void scripts_are_apart(void **state) {
  (void)state;
  KilnGen *g = open_session();
  static const char spoil[] = "string.rep = nil math.floor = nil table.insert = nil return op 'spoiler' {}";
  static const char need[] = "return op(string.rep('x', math.floor(2.5))) {}";
  write_bytes(spoil, strlen(spoil));
  assert_int_equal(work_on(g, OPS, "t.lua"), KILN_GEN_OK);
  write_bytes(need, strlen(need));
  const kiln_gen_op *ops;
  int n;
  assert_int_equal(kiln_gen_script_ops(g, "t.lua", &ops, &n), KILN_GEN_OK);
  assert_int_equal(n, 1);
  assert_string_equal(ops[0].name, "xx");
  assert_int_equal(kiln_gen_ops(g, &ops, &n), KILN_GEN_OK);
  for (int i = 0; i < n; i++) assert_string_not_equal(ops[i].name, "spoiler");
  kiln_gen_close(g);
}

static void base_library(void **state) {
  (void)state;
  KilnGen *g = open_session();
  char path[600];
  snprintf(path, sizeof path, "%s/scripts/base.lua", library);
  if (work_on(g, OPS, path) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  kiln_gen_close(g);
}

/* ---- ceilings ---- */

static const char steps[] = "t.lua:", endless[] = "does not come to an end";

static void endless_loops(void **state) {
  (void)state;
  refuse("while true do end", steps, endless);
  refuse("::top:: goto top", steps, endless);
  refuse("for i = 1, math.huge do end", steps, endless);
  refuse("local function f() return f() end return f()", steps, endless);
  refuse("local t = {} while true do t[1] = 1 end", steps, endless);
  refuse("repeat local n = ('x'):len() until false", steps, endless);
  refuse("local a, b = ('x'):rep(1000000) .. 'y', ('x'):rep(1000000) .. 'z' while true do local c = a < b end", steps, endless);
  refuse("local a = (' '):rep(1000000) .. '1' while true do for i = a, a do end end", steps, "");
  refuse("local a = (' '):rep(1000000) .. '1' while true do tonumber(a) end", steps, endless);
  refuse("local t = {} for i = 1, 50000 do t[i] = -i end while true do table.sort(t) end", steps, endless);
  refuse("local t = {} for i = 1, 50000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end", steps, endless);
  refuse("local t = {} for i = 1, 30000 do t['k' .. i] = i end while true do for k in pairs(t) do end end", steps, endless);
  refuse("local t = {} for i = 1, 3000 do t[i] = 'x' end while true do table.concat(t) end", steps, "");
  refuse("local s = ('x'):rep(1000000) while true do s:find('y') end", steps, endless);
  refuse("local s = ('x'):rep(500000) while true do s:upper() end", steps, "");
  refuse("local t = {} for i = 1, 3000 do t[i] = i end while true do select('#', table.unpack(t)) end", steps, endless);
  refuse("while true do string.format('%99.99f', 1e308) end", steps, "");
  /* keys that collide: a walk over all of them at each use, which no count shows */
  refuse("local t, k = {}, 0 for i = 1, 32767 do k = k + 32767 t[k] = 1 end while true do local v = t[32767] end", steps, endless);
  refuse("while true do local t, k = {}, 0 for i = 1, 32767 do k = k + 32767 t[k] = 1 end end", steps, endless);
  refuse("local t = {} for i = 1, 255 do t[i * 255] = 1 end while true do local v = t[255] end", steps, endless);
  expect(DUMP, "return op 'o' { emit = function() while true do end end }", KILN_GEN_ERROR, "t.lua:1", endless);
  expect(DEFINE, "return op 'o' { define = function() while true do end end }", KILN_GEN_ERROR, "t.lua:1", endless);
}

static void memory_greed(void **state) {
  (void)state;
#ifdef SANITIZED /* so slow that some of these end by the clock */
  static const char live[] = "", churn[] = "";
#else
  static const char live[] = "more than 64 MB", churn[] = "more than 512 MB in all";
#endif
  refuse("local t = {} while true do t[#t + 1] = {} end", steps, live);
  refuse("local t = {}\nlocal i = 0\nwhile true do\n  i = i + 1\n  t[i] = i\nend", "t.lua:", "");
  refuse("local t = {} for i = 1, 1e9 do t[i .. ''] = true end", steps, "more than 32768 keys");
  refuse("local t, k = {}, 0 while true do k = k + 32767 t[k] = 1 end", steps, ""); /* keys that collide: this, or the clock */
  refuse("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100000) .. i end", steps, live);
  refuse("local t = {} while true do t = { t, t } end", steps, live);
  refuse("local t = {} while true do t[#t + 1] = function() return t end end", steps, live);
  refuse("while true do local t = { 1, 2, 3, {}, {} } end", steps, churn);
  refuse("while true do local s = ('x'):rep(1000000) end", steps, "");
}

static void long_strings(void **state) {
  (void)state;
  refuse("return ('x'):rep(1e9 // 1 | 0)", "t.lua:1: string.rep would make a string of more than 1 MB", "");
  refuse("return ('x'):rep(math.maxinteger)", "more than 1 MB", "");
  refuse("return ('x'):rep(2, ('y'):rep(1048576))", "more than 1 MB", "");
  refuse("local s = 'x'\nfor i = 1, 60 do\n  s = s .. s\nend", "t.lua:3: the script makes a string of more than 1 MB", "s = s .. s");
  refuse("local s = ('x'):rep(1000000) return string.format('%s%s', s, s)", "the most is 1 MB", "");
  refuse("local s = ('x'):rep(1000000) return table.concat({ s, s })", "table.concat would make a string of more than 1 MB", "");
}

static void deep_recursion(void **state) {
  (void)state;
  refuse("local function f(n) return 1 + f(n) end return f(1)", "t.lua:1: stack overflow", "called from t.lua:1 in 'f'");
  refuse("local f f = function(a, b) table.sort({ 1, 2 }, f) return true end f()", "t.lua:1", "overflow");
  char *script = malloc(100000);
  assert_non_null(script);
  strcpy(script, "return ");
  memset(script + 7, '(', 90000);
  script[90007] = 0;
  refuse(script, "t.lua: the script's text nests too deeply", "");
  free(script);
}

static void too_many_nodes(void **state) {
  (void)state;
  expect(DUMP, "return op 'o' { emit = function() kernel('k', function()\n  for i = 1, 1e9 do node('cta', nil, { axis = 0 }) end\nend) end }",
         KILN_GEN_ERROR, "t.lua:2: more than 200000 statements", "called from t.lua:1 in ");
  expect(DUMP, "return op 'o' { emit = function() while true do contract 'x' end end }", KILN_GEN_ERROR, "core.contract: more than", "");
}

/* ---- bad input ---- */

static void bad_scripts(void **state) {
  (void)state;
  refuse("local x =\nreturn op 'x' {}", "t.lua:2: unexpected symbol near 'return'\n  return op 'x' {}\n  ^\n", "");
  refuse("local s = 'abc\n", "t.lua:1: unfinished string near ''abc'", "");
  refuse("goto nowhere", "t.lua:1:", "no visible label 'nowhere'");
  refuse("x = = 2", "t.lua:1: unexpected symbol near '='", "");
  refuse("local t = {}\nreturn t.x.y", "t.lua:2: attempt to index a nil value (field 'x')", "return t.x.y\n           ^");
  refuse("return 1 + {}", "attempt to perform arithmetic on a table value", "");
  refuse("return '1' + 1", "attempt to perform arithmetic on a string value", "");
  refuse("return #5", "attempt to get length of a number value", "");
  refuse("return {} < {}", "attempt to compare two table values", "");
  refuse("error 'so it is'", "t.lua:1: so it is", "");
  refuse("error {}", "error() takes a text, not a table", "");
  refuse("assert(false, 'that was false')", "t.lua:1: that was false", "");
  refuse("assert(nil)", "t.lua:1: assertion failed", "");
  refuse("assert()", "bad argument #1", "");
  refuse("library_fault({})", "t.lua:1: attempt to index a nil value (field 'a') [at kiln/kiln/mini.lua:", "library_fault({})");
  refuse("local function f()\n  error 'deep'\nend\nlocal function g()\n  f()\nend\ng()", "t.lua:2: deep",
         "  called from t.lua:5 in 'g'\n  called from t.lua:7\n");
  refuse("", "t.lua: the script returns no op", "");
  refuse("return {}", "t.lua: the script returns no op", "");
  refuse("return 5", "attempt to index a number value", "");
  refuse("use 'kiln.nothing'", "use: there is no module 'kiln.nothing'", "");
  refuse("use '../kiln.mini'", "there is no module", "");
  refuse("use 'ops.one'", "there is no module", "");
}

static void bad_arguments(void **state) {
  (void)state;
  refuse("return ('x'):rep('3')", "bad argument #1 to 'rep' (number expected, got string)", "t.lua:1");
  refuse("return ('x'):rep(1.5)", "no integer representation", "");
  refuse("return string.char(256)", "value out of range", "");
  refuse("return string.byte(('x'):rep(5000), 1, -1)", "at most 1000 values", "");
  refuse("return string.format('%d')", "no value for conversion 1", "");
  refuse("return string.format('%d', 'x')", "number expected, got string", "");
  refuse("return string.format('%', 1)", "there is no conversion", "");
  refuse("return string.format('%123d', 1)", "a width of more than 99", "");
  refuse("return string.format('%.123f', 1)", "a precision of more than 99", "");
  refuse("return string.format('%-+ #0-+ d', 1)", "too many flags", "");
  refuse("return string.format('%50s', ('x'):rep(500))", "too long to be padded", "");
  refuse("return table.concat({ {} })", "element 1 is a table", "");
  refuse("return table.concat({ 1 }, ',', 1, math.maxinteger)", "element 2 is a nil", "");
  refuse("table.insert({}, 5, 1)", "position out of bounds", "");
  refuse("table.insert({})", "table.insert takes", "");
  refuse("table.remove({ 1 }, 7)", "position out of bounds", "");
  refuse("return table.unpack({}, 1, 1e8 // 1 | 0)", "at most 4000 values", "");
  refuse("return table.unpack({}, math.mininteger, math.maxinteger)", "at most 4000 values", "");
  refuse("table.sort({ 1, 'x' })", "attempt to compare", "");
  refuse("table.sort({ 1 }, 5)", "function expected", "");
  refuse("return select(0)", "index out of range", "");
  refuse("return tonumber('z', 36)", "another base than ten is not there", "");
  refuse("for k in pairs(5) do end", "pairs takes a table, not a number", "");
  refuse("for k in ipairs(nil) do end", "ipairs takes a list, not a nil", "");
  refuse("return math.floor({})", "number expected, got table", "");
  refuse("return math.max()", "number expected, got no value", "");
}

static void bad_files(void **state) {
  (void)state;
  size_t before = mem.live;
  KilnGen *g = open_session();
  assert_int_equal(work_on(g, OPS, "missing.lua"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "cannot read 'missing.lua': No such file or directory\n");
  assert_int_equal(work_on(g, OPS, "."), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "cannot read '.'"));
  assert_int_equal(work_on(g, DEFINE, "nothing"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "unknown op 'nothing'; there are: one two. A script's path is taken as well (it ends in .lua)\n");
  assert_int_equal(work_on(g, DEFINE, ""), KILN_GEN_ERROR);
  assert_int_equal(work_on(g, DEFINE, "two.none"), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "there is no op 'two.none'"));
  write_bytes("\x1bLua\x54\x00", 6);
  assert_int_equal(work_on(g, OPS, "t.lua"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "'t.lua' is bytecode; kiln takes scripts as text only\n");
  write_bytes("return \0 1", 10);
  assert_int_equal(work_on(g, OPS, "t.lua"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "'t.lua' is no text: its byte 8 is zero\n");
  write_bytes("\xef\xbb\xbfreturn 5 +", 13); /* behind a byte order mark the script begins as ever */
  assert_int_equal(work_on(g, OPS, "t.lua"), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "t.lua:1: unexpected symbol near <eof>\n  return 5 +\n"));
  assert_int_equal(mkfifo("pipe.lua", 0600), 0); /* nobody writes to it */
  assert_int_equal(work_on(g, OPS, "pipe.lua"), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "cannot read 'pipe.lua': it is a pipe"));
  unlink("pipe.lua");
  char *big = malloc(300000);
  assert_non_null(big);
  memset(big, ' ', 300000);
  write_bytes(big, 300000);
  free(big);
  assert_int_equal(work_on(g, OPS, "t.lua"), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "'t.lua' is longer than 256 KB"));
  kiln_gen_close(g);
  assert_int_equal(kiln_gen_open(&g, "nowhere"), KILN_GEN_OK);
  assert_int_equal(work_on(g, DEFINE, "one"), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "there is no Lua library in 'nowhere'"));
  kiln_gen_close(g);
  assert_int_equal(mem.live, before);
}

static void names_of_ops(void **state) {
  (void)state;
  KilnGen *g = open_session();
  static const char several[] = "return list(op 'a' { define = { op = 'a', dims = {}, tensors = {}, nodes = {} } }, op 'b' {})";
  write_bytes(several, strlen(several));
  assert_int_equal(work_on(g, DEFINE, "t.lua:a"), KILN_GEN_OK);
  assert_int_equal(work_on(g, DEFINE, "t.lua:c"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "t.lua: the script has no op 'c'\n");
  assert_int_equal(work_on(g, DEFINE, "t.lua"), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "t.lua: the script has 2 ops; choose one: t.lua:NAME\n");
  const kiln_gen_op *ops;
  int n;
  assert_int_equal(kiln_gen_ops(g, &ops, &n), KILN_GEN_OK);
  assert_int_equal(n, 3);
  assert_string_equal(ops[0].name, "one");
  assert_string_equal(ops[0].doc, "an op of one kernel");
  assert_string_equal(ops[0].family, "mini");
  assert_string_equal(ops[2].name, "two.grad");
  kiln_gen_close(g);
}

/* ---- core ---- */

/* The script is the body of a kernel. */
static void body(const char *lines, const char *first, const char *second) {
  char script[1024];
  snprintf(script, sizeof script, "return op 'o' { emit = function() kernel('k', function()\n%s\nend) end }", lines);
  expect(DUMP, script, KILN_GEN_ERROR, first, second);
}

static void bad_statements(void **state) {
  (void)state;
  body("node('nothing')", "t.lua:2: unknown operation 'nothing'", "node('nothing')");
  body("node()", "the name of an operation is missing", "");
  body("node('cta')", "t.lua:2: cta: attribute 'axis' (an integer) is missing", "");
  body("node('cta', nil, { axis = 'x' })", "attribute 'axis' must be an integer", "");
  body("node('cta', nil, { axis = 0, zzz = 1, xxx = 2 })", "cta: has no attribute 'xxx'", "");
  body("node('cta', nil, { axis = 0, align = 1 })", "cta: has no attribute 'align'", "");
  body("node('cta', nil, { axis = node })", "attribute 'axis' cannot be a function", "");
  body("node('cta', nil, { 5 })", "attributes have names", "");
  body("node('cta', nil, 5)", "attributes come as a table", "");
  body("node('cta', 5)", "operands come as a list", "");
  body("node('neg', { 77 })", "operand 1 is no value of this kernel", "");
  body("node('neg', { 'x' })", "operand 1 is no value", "");
  body("node('neg', { 1.5 })", "operand 1 is no value", "");
  body("node('neg', { 0 })", "operand 1 is no value", "");
  body("node('neg')", "neg: operand 1 is missing", "");
  body("local t = {} for i = 1, 65 do t[i] = 1 end node('yield', t)", "65 operands; at most 64", "");
  body("node('const', nil, { dtype = 'f33', value = 1 })", "unknown dtype 'f33'", "");
  body("node('frag', nil, { dtype = 'f32', shape = { 1.5 } })", "attribute 'shape' must be a list of integers", "");
  body("node('frag', nil, { dtype = 'f32', shape = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 } })", "has 17 elements", "");
  body("open(1, 5)", "kernel has no region 5", "");
  body("open(99, 0)", "the statement is no value of this kernel", "");
  body("open('x', 0)", "the statement is no value of this kernel", "");
  body("close() close()", "core.close without core.open", "");
  body("local i = node('if', { node('const', nil, { dtype = 'bool', value = 1 }) }) open(i, 0)", "a region is still open", "");
  body("kind(5)", "is no value of this kernel", "");
  body("contract('')", "core.contract: a line of 0 bytes", "");
  body("contract('a\\nb')", "control characters", "");
  body("has('no_such_form')", "there is no PTX form 'no_such_form'", "");
  body("at(999, 1)", "core.at: no such place", "");
  body("at(where()) at(1, 7) line()", "kiln/families/line.lua:7: ", "");
  body("line(5)", "kiln/families/line.lua:3: add: operand 1 is no value", "called from t.lua:2");
  expect(DUMP, "return op 'o' { emit = function() end }", KILN_GEN_ERROR, "the op made no kernel", "");
  expect(DUMP, "return op 'o' { emit = function() node('cta', nil, { axis = 0 }) end }", KILN_GEN_ERROR, "t.lua:1: cta: stands outside of a kernel", "");
  expect(DUMP, "return op 'o' { emit = function() refuse 'sm_80 lacks it; sm_90a has it' end }", KILN_GEN_REFUSED, "sm_80 lacks it; sm_90a has it\n", "");
  expect(EMIT, "return op 'o' { emit = function() kernel('k', function()\n  node('tmem', nil, { dtype = 'f32', shape = { 128, 32 } })\nend) return 'o' end }",
         KILN_GEN_REFUSED, "t.lua:2: 'tmem' cannot be lowered for sm_80: ", "use a fragment");
  expect(DUMP, "return op 'o' { emit = function() fail 'no setting x' end }", KILN_GEN_ERROR, "no setting x", "");
  refuse("fail {}", "string expected, got table", "t.lua:1");
  refuse("node('cta', nil, { axis = 0 })", "statements can be recorded only while a kernel is emitted", "");
  refuse("contract 'x'", "only while a kernel is emitted", "");
  refuse("has 'x'", "no target is chosen here", "");
}

static void statements(void **state) {
  (void)state;
  KilnGen *g = open_session();
  static const char script[] = "return op 'o' { emit = function(set, schedule)\n"
    "  assert(set[1] == 'z' and set[2] == 'a' and set.a == '1' and set.z == '2' and #set == 2)\n"
    "  assert(schedule[1] == 's' and schedule.s == '3')\n"
    "  assert(target().name == 'sm_80' and target().shared_block == 166912)\n"
    "  local file, line = where()\n"
    "  assert(line == 5)\n"
    "  kernel('k', function()\n"
    "    local f = node('frag', nil, { dtype = 'bf16', shape = { 2, 3 } })\n"
    "    local k, d, s, m = kind(f)\n"
    "    assert(k == 'frag' and d == 'bf16' and #s == 2 and s[1] == 2 and s[2] == 3 and m)\n"
    "    local k, d, s = kind(node('order', nil, { groups = 2 }))\n"
    "    assert(k == 'order' and d == nil and #s == 0)\n"
    "  end)\n"
    "end }";
  write_bytes(script, strlen(script));
  kiln_gen_pair set[] = {{"z", "2"}, {"a", "1"}}, schedule[] = {{"s", "3"}}, twice[] = {{"a", "1"}, {"a", "1"}}, empty[] = {{"", "1"}};
  kiln_gen_request r = {.op = "t.lua", .target = "sm_80", .set = set, .nset = 2, .schedule = schedule, .nschedule = 1};
  const char *text;
  if (kiln_gen_dump(g, &r, "script", &text) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  assert_non_null(strstr(text, "bf16"));
  r.set = twice;
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_ERROR);
  assert_string_equal(kiln_gen_message(g), "setting 'a' is given twice\n");
  r.set = empty;
  r.nset = 1;
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "an empty setting"));
  r.nset = 0;
  r.target = "sm_1";
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_ERROR);
  assert_non_null(strstr(kiln_gen_message(g), "unknown target 'sm_1'; there are: sm_75"));
  r.target = NULL;
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_ERROR);
  kiln_gen_close(g);
}

/* A number that is converted when the kernel is made is what the hardware would make of it. */
static void constants_are_converted_as_by_hardware(void **state) {
  (void)state;
  static const struct {
    const char *from, *value, *to, *stored; /* stored: the instruction that has the number */
  } cases[] = {
    {"f32", "2.75", "i32", "%r1, 2;"}, {"f32", "-2.75", "i32", "%r1, -2;"}, {"f32", "3e9", "i32", "cvt.rzi.s32.f32"}, /* saturates */
    {"f32", "16777217.0", "i32", "%r1, 0x01000000;"}, {"i64", "4294967298", "i32", "%r1, 2;"}, {"i32", "-1", "i64", ", -1;"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char script[1024];
    snprintf(script, sizeof script,
             "return op 'o' { emit = function()\n  contract('tensor y out %s [N] strides [1] align 8')\n  kernel('k', function()\n"
             "    local y = node('view', nil, { tensor = 'y', rank = 1, dtype = '%s', align = 8, sizes = 'N', strides = '1' })\n"
             "    local c = node('cvt', { node('const', nil, { dtype = '%s', value = %s }) }, { dtype = '%s' })\n"
             "    node('store1', { y, c, node('const', nil, { dtype = 'i64', value = 0 }) })\n  end)\nend }",
             cases[i].to, cases[i].to, cases[i].from, cases[i].value, cases[i].to);
    KilnGen *g = open_session();
    write_bytes(script, strlen(script));
    kiln_gen_request r = {.op = "t.lua", .target = "sm_80"};
    const char *text;
    size_t bytes;
    if (kiln_gen_emit(g, &r, &text, &bytes, NULL) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
    if (!strstr(text, cases[i].stored)) fail_msg("%s of %s %s is not stored as %s:\n%s", cases[i].to, cases[i].from, cases[i].value, cases[i].stored, text);
    kiln_gen_close(g);
  }
}

/* Maps are parameters of their own, also of tensors whose names begin alike for longer than a parameter's name is. */
static void maps_have_names_of_their_own(void **state) {
  (void)state;
  KilnGen *g = open_session();
  static const char script[] = "return op 'o' { emit = function()\n"
    "  local names = { string.rep('n', 40) .. '1', string.rep('n', 40) .. '2' }\n"
    "  for _, t in ipairs(names) do contract('tensor ' .. t .. ' in f32 [M,N] strides [s,1] align 16') end\n"
    "  kernel('k', function()\n"
    "    for _, t in ipairs(names) do\n"
    "      local y = node('view', nil, { tensor = t, rank = 2, dtype = 'f32', align = 16, sizes = 'M,N', strides = 's,1' })\n"
    "      node('map', { y }, { dims = 'M,N', box = { 8, 4 } })\n"
    "    end\n"
    "  end)\n"
    "  contract('step main entry $entry0 grid 1,1,1 block $block0 shared $shared0 args $args0')\n"
    "end }";
  write_bytes(script, strlen(script));
  kiln_gen_request r = {.op = "t.lua", .target = "sm_90a"};
  const char *text;
  size_t bytes;
  if (kiln_gen_emit(g, &r, &text, &bytes, NULL) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  assert_non_null(strstr(text, " nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn_map["));
  assert_non_null(strstr(text, " nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn_map2["));
  kiln_gen_close(g);
}

/* The contract's line of a tensor map has names whole, however long they are. */
static void maps_of_long_names(void **state) {
  (void)state;
  KilnGen *g = open_session();
  static const char script[] = "return op 'o' { emit = function()\n"
    "  local sizes, strides = '', ''\n"
    "  for i = 1, 5 do\n"
    "    local name = string.rep('x', 58) .. i\n"
    "    sizes, strides = sizes .. (i > 1 and ',' or '') .. 's' .. name, strides .. (i > 1 and ',' or '') .. (i < 5 and 't' .. name or '1')\n"
    "  end\n"
    "  contract('tensor y in f32 [' .. sizes .. '] strides [' .. strides .. '] align 16')\n"
    "  kernel('k', function()\n"
    "    local y = node('view', nil, { tensor = 'y', rank = 5, dtype = 'f32', align = 16, sizes = sizes, strides = strides })\n"
    "    node('map', { y }, { dims = sizes, box = { 1, 1, 1, 1, 4 } })\n"
    "  end)\n"
    "  contract('step main entry $entry0 grid 1,1,1 block $block0 shared $shared0 args $args0')\n"
    "end }";
  write_bytes(script, strlen(script));
  kiln_gen_request r = {.op = "t.lua", .target = "sm_90a"};
  const char *text;
  size_t bytes;
  if (kiln_gen_emit(g, &r, &text, &bytes, NULL) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  const char *line = strstr(text, "//@ map y_map y dims [sxxxxx");
  if (!line || !strstr(line, "x5] strides [txx") || !strstr(line, "x4,1] box [1,1,1,1,4] swizzle 0 l2 128\n")) fail_msg("%s", text);
  kiln_gen_close(g);
}

static void lists(void **state) {
  (void)state;
  KilnGen *g = open_session();
  kiln_gen_pair set[] = {{"k", "v"}};
  kiln_gen_request r = {.op = "one", .target = "sm_90a", .set = set, .nset = 1};
  const char *const *list;
  const kiln_gen_curated *curated;
  int n;
  assert_int_equal(kiln_gen_schedules(g, &r, &list, &n), KILN_GEN_OK);
  assert_int_equal(n, 2);
  assert_string_equal(list[0], "for=sm_90a");
  assert_string_equal(list[1], "set=k");
  assert_int_equal(kiln_gen_curated_set(g, &curated, &n), KILN_GEN_OK);
  assert_int_equal(n, 2);
  assert_string_equal(curated[0].request.set[0].key, "z"); /* as listed */
  assert_string_equal(curated[1].request.set[0].key, "a"); /* sorted */
  assert_null(curated[0].request.schedule);
  assert_int_equal(curated[1].request.nschedule, 1);
  assert_string_equal(curated[1].request.schedule[0].value, "4");
  kiln_gen_close(g);
}

/* ---- definitions ---- */

static void definition(void **state) {
  (void)state;
  KilnGen *g = open_session();
  kiln_gen_request r = {.op = "one"};
  const KilnDef *d;
  if (kiln_gen_define(g, &r, &d) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  assert_string_equal(d->op, "one");
  assert_string_equal(d->dims[0], "N");
  assert_int_equal(d->lead_dims, 0);
  assert_int_equal(d->ntensors, 2);
  assert_true(d->tensor[1].is_out && d->tensor[1].present && d->tensor[1].value == 1);
  assert_int_equal(d->tensor[0].value, -1);
  assert_true(d->scalar[0].has_default && d->scalar[0].deflt == 0.5);
  assert_int_equal(d->nnodes, 2);
  assert_int_equal(d->node[1].op, DEF_ADD);
  assert_int_equal(d->node[1].dims, 1);
  assert_int_equal(d->node[1].loc.line, 19);
  assert_string_equal(d->cases, "N=3");
  kiln_gen_close(g);
}

/* tensors x [M,N] and y [M] (output); nodes as given. */
static void bad_definition(const char *nodes, const char *want) {
  char script[1200];
  snprintf(script, sizeof script, "return op 'o' { define = { op = 'o', dims = { 'M', 'N' }, tensors = { { name = 'x', dtype = 'f32', dims = { 'M', 'N' } },"
           " { name = 'y', dtype = 'f32', dims = { 'M' }, out = true, value = 1 } }, nodes = { %s } } }", nodes);
  expect(DEFINE, script, KILN_GEN_ERROR, want, "");
}
static void bad_table(const char *table, const char *want) {
  char script[600];
  snprintf(script, sizeof script, "return op 'o' { define = { op = 'o', %s } }", table);
  expect(DEFINE, script, KILN_GEN_ERROR, want, "");
}

static void bad_definitions(void **state) {
  (void)state;
  bad_definition("", "'value' is out of range");
  bad_definition("{ op = 'arg', index = 1 }", "output 'y' has no dim 'N', but the value assigned to it has");
  bad_definition("{ op = 'arg' }", "'arg' lacks its index");
  bad_definition("{ op = 'arg', index = 2 }", "'y' is no input that is there");
  bad_definition("{ op = 'arg', index = 3 }", "'index' is out of range");
  bad_definition("{ op = 'scalar', index = 1 }", "'index' is out of range");
  bad_definition("{ op = 'const' }", "a const lacks its value");
  bad_definition("{ op = 'dim', dim = 'K' }", "there is no dim 'K'");
  bad_definition("{ op = 'zzz' }", "there is no operation 'zzz'");
  bad_definition("{ op = 5 }", "'op' must be a text");
  bad_definition("5", "element 1 of the nodes must be a table");
  bad_definition("{ op = 'add', args = { 1, 1 } }", "operand 1 of 'add' is no earlier node");
  bad_definition("{ op = 'const', value = 1 }, { op = 'add', args = { 1 } }", "'add' takes 2 operands, 1 given");
  bad_definition("{ op = 'const', value = 1 }, { op = 'sum', args = { 1 }, dim = 'N' }", "an operand of 'sum' lacks the dim 'N'");
  bad_definition("{ op = 'const', value = 1 }, { op = 'round', args = { 1 } }", "'dtype' must be a text");
  bad_definition("{ op = 'const', value = 1, dtype = 'f31' }", "unknown dtype 'f31'");
  bad_definition("{ op = 'const', value = 1, dims = { 'M' } }", "the dims of 'const' do not follow");
  bad_table("", "'dims' must be a list");
  bad_table("dims = { 'M', 'M' }", "dim 'M' stands there twice");
  bad_table("dims = { '1M' }", "dim 1 is no name");
  bad_table("dims = { 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q' }", "has 17 elements; at most 16");
  bad_table("dims = {}, lead = 'M'", "'lead' must be a list");
  bad_table("dims = { 'N' }, lead = { 'M' }", "lead: its dim 1 is none of the op's");
  bad_table("dims = {}", "'nodes' must be a list");
  bad_table("dims = {}, nodes = {}", "'tensors' must be a list");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x y' } }", "'x y' is no name");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x', dtype = 'f32', dims = { 'M' } } }", "its dim 1 is none of the op's");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x', dtype = 'f32', dims = {}, present = false } }", "is not optional, yet absent");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x', dtype = 'f32', dims = {}, out = true } }", "output 'x' is never assigned");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x', dtype = 'f32', dims = {}, out = 1 } }", "'out' must be true or false");
  bad_table("dims = {}, nodes = {}, tensors = {}, scalars = { { name = 'x', dtype = 'f32', default = 'x' } }", "its default must be a number");
  bad_table("dims = {}, nodes = {}, tensors = {}, scalars = { { name = 'x', dtype = 'f32' }, { name = 'x', dtype = 'f32' } }", "two arguments are called 'x'");
  expect(DEFINE, "return op 'o' {}", KILN_GEN_ERROR, "'define' defined nothing", "");
  refuse("define {}", "no definition is asked for", "");
}

/* Integers and numbers do not mix, moves need their dim, tables two; what an output may lie over is an input before it. */
static void bad_definitions_by_position(void **state) {
  (void)state;
  bad_definition("{ op = 'index' }", "'dim' must be a text");
  bad_definition("{ op = 'size', dim = 'K' }", "there is no dim 'K'");
  bad_definition("{ op = 'index', dim = 'N' }, { op = 'neg', args = { 1 } }", "'neg' of integers and numbers mixed");
  bad_definition("{ op = 'index', dim = 'N' }, { op = 'const', value = 1 }, { op = 'add', args = { 1, 2 } }", "'add' of integers and numbers mixed");
  bad_definition("{ op = 'index', dim = 'N' }, { op = 'div', args = { 1, 1 } }", "'div' of integers and numbers mixed");
  bad_definition("{ op = 'const', value = 1 }, { op = 'mod', args = { 1, 1 } }", "'mod' of integers and numbers mixed");
  bad_definition("{ op = 'const', value = 1 }, { op = 'float', args = { 1 } }", "'float' of integers and numbers mixed");
  bad_definition("{ op = 'index', dim = 'N', dtype = 'f32' }", "'index' gives no f32");
  bad_definition("{ op = 'const', value = 1 }, { op = 'swap_pairs', args = { 1 }, dim = 'N' }", "an operand of 'swap_pairs' lacks the dim 'N'");
  bad_definition("{ op = 'arg', index = 1 }, { op = 'swap_halves', args = { 1, 1 }, dim = 'N' }", "'swap_halves' of integers and numbers mixed");
  bad_definition("{ op = 'index', dim = 'N' }, { op = 'const', value = 1 }, { op = 'lookup', args = { 2, 1, 1 } }", "'lookup' wants a tensor of two dims");
  bad_definition("{ op = 'arg', index = 1 }, { op = 'lookup', args = { 1, 1, 1 } }", "'lookup' of integers and numbers mixed");
  bad_table("dims = {}, nodes = {}, tensors = { { name = 'x', dtype = 'f32', dims = {}, over = 'z' } }", "over 'z', which is no input before it");
  bad_table("dims = {}, nodes = {}, tensors = {}, scalars = { { name = 'k', dtype = 'i32', call = 1 } }", "'call' must be true or false");
}

/* ---- determinism and lack of memory ---- */

static char *dump_one(void) {
  KilnGen *g = open_session();
  kiln_gen_request r = {.op = "one", .target = "sm_80"};
  const char *text;
  if (kiln_gen_dump(g, &r, "script", &text) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(g));
  char *copy = strdup(text);
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_OK);
  assert_string_equal(copy, text);
  kiln_gen_close(g);
  return copy;
}

static void same_bytes(void **state) {
  (void)state;
  char *first = dump_one();
  for (int i = 0; i < 20; i++) {
    char *again = dump_one(); /* a state of its own: its hashes are seeded anew */
    assert_string_equal(first, again);
    free(again);
  }
  free(first);
}

/* Everything of a session; a call that succeeds does it as if nothing had failed. */
static kiln_gen_status whole_session(const char *expected) {
  KilnGen *g;
  kiln_gen_status status = kiln_gen_open(&g, library);
  if (status != KILN_GEN_OK) {
    assert_null(g);
    return status;
  }
  kiln_gen_request r = {.op = "one", .target = "sm_80"};
  const KilnDef *def;
  const char *text;
  const kiln_gen_op *ops;
  int n;
  kiln_gen_status all[] = {kiln_gen_define(g, &r, &def), kiln_gen_dump(g, &r, "script", &text), KILN_GEN_OK, KILN_GEN_OK};
  if (all[1] == KILN_GEN_OK) assert_string_equal(text, expected);
  all[2] = kiln_gen_script_ops(g, "t.lua", &ops, &n);
  if (all[2] == KILN_GEN_ERROR && !strstr(kiln_gen_message(g), "t.lua:1: attempt to index")) fail_msg("%s", kiln_gen_message(g));
  if (all[2] == KILN_GEN_ERROR) all[2] = KILN_GEN_OK; /* that script is wrong */
  for (int i = 0; i < 3; i++) {
    if (all[i] == KILN_GEN_OK) continue;
    assert_int_equal(all[i], KILN_GEN_NO_MEMORY);
    status = all[i];
  }
  if (all[2] == KILN_GEN_NO_MEMORY) assert_string_equal(kiln_gen_message(g), "out of memory");
  mem.fail_at = 0;
  assert_int_equal(kiln_gen_define(g, &r, &def), KILN_GEN_OK); /* the session goes on after a lack of memory */
  assert_int_equal(kiln_gen_dump(g, &r, "script", &text), KILN_GEN_OK);
  assert_string_equal(text, expected);
  kiln_gen_close(g);
  return status;
}

static void any_allocation_fails(void **state) {
  (void)state;
  static const char wrong[] = "local t = {} return t.x.y";
  write_bytes(wrong, strlen(wrong));
  char *expected = dump_one();
  size_t before = mem.live;
  for (int stays = 0; stays < 2; stays++) {
    size_t failed = 0;
    mem.stays = stays;
    for (size_t k = 1;; k += k < 400 ? 1 : stays ? 13 : 3) {
      mem.calls = 0;
      mem.fail_at = k;
      kiln_gen_status status = whole_session(expected);
      size_t live = mem.live;
      mem.fail_at = 0;
      assert_int_equal(live, before);
      if (status == KILN_GEN_NO_MEMORY) failed++;
      if (mem.calls < k) break; /* the session needs fewer */
    }
    assert_true(failed > (stays ? 100u : 3u)); /* Lua gets over a single failure by collecting and asking again */
  }
  free(expected);
}

/* ---- the library inside the program ---- */

static void *copy_of(const char *text, size_t n) {
  char *copy = malloc(n + 1);
  assert_non_null(copy);
  return memcpy(copy, text, n + 1);
}

/* Each file of the curated set: the same bytes in a session that has emitted all before it, in one asked twice, and in a fresh one. */
static void emission_is_pure(void **state) {
  (void)state;
  KilnGen *list, *g, *fresh;
  const kiln_gen_curated *row;
  int n;
  assert_int_equal(kiln_gen_open(&list, NULL), KILN_GEN_OK);
  assert_int_equal(kiln_gen_open(&g, NULL), KILN_GEN_OK);
  if (kiln_gen_curated_set(list, &row, &n) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(list));
  assert_true(n > 0);
  for (int i = 0; i < n; i++) {
    const char *text, *name;
    size_t bytes;
    kiln_gen_status status = kiln_gen_emit(g, &row[i].request, &text, &bytes, &name);
    if (status != KILN_GEN_OK) fail_msg("%s: %s", row[i].path, kiln_gen_message(g));
    char *first = copy_of(text, bytes), *first_name = copy_of(name, strlen(name));
    assert_int_equal(kiln_gen_emit(g, &row[i].request, &text, &bytes, &name), KILN_GEN_OK);
    assert_string_equal(text, first);
    assert_int_equal(kiln_gen_open(&fresh, NULL), KILN_GEN_OK);
    assert_int_equal(kiln_gen_emit(fresh, &row[i].request, &text, &bytes, &name), KILN_GEN_OK);
    assert_string_equal(text, first);
    assert_string_equal(name, first_name);
    kiln_gen_close(fresh);
    free(first);
    free(first_name);
  }
  kiln_gen_close(g);
  kiln_gen_close(list);
}

/* A lack of memory that stays, from ever later allocations on: script, derived gradients, passes and text alike. */
static void emission_without_memory(void **state) {
  (void)state;
  static const char *const op[] = {"rms_norm", "gemm", "layer_norm.grad", "rope"};
  size_t before = mem.live, failed = 0;
  for (size_t k = 1;; k += 97 + k / 8) {
    KilnGen *g;
    const char *text, *name;
    size_t bytes;
    mem.calls = 0;
    mem.fail_at = k;
    mem.stays = true;
    kiln_gen_status status = kiln_gen_open(&g, NULL);
    for (int i = 0; status == KILN_GEN_OK && i < 4; i++) {
      kiln_gen_request r = {.op = op[i], .target = "sm_80"};
      status = kiln_gen_emit(g, &r, &text, &bytes, &name);
    }
    if (status != KILN_GEN_OK && status != KILN_GEN_NO_MEMORY) fail_msg("allocation %zu: %s", k, kiln_gen_message(g));
    mem.fail_at = 0;
    kiln_gen_close(g);
    assert_int_equal(mem.live, before);
    failed += status == KILN_GEN_NO_MEMORY;
    if (status == KILN_GEN_OK) break;
  }
  assert_true(failed > 10);
}

static int set_up(void **state) {
  (void)state;
  kiln_mem_hook(counting, NULL);
  const char *root = getenv("KILN_TEST_ROOT");
  snprintf(library, sizeof library, "%s/tests/unit/lua", root ? root : ".");
  char *full = realpath(library, NULL);
  if (!full) return -1;
  snprintf(library, sizeof library, "%s", full);
  free(full);
  strcpy(folder, "/tmp/kiln-script-XXXXXX");
  return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  unlink("t.lua");
  return chdir("/") || rmdir(folder);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test(absent_names), cmocka_unit_test(absent_fields), cmocka_unit_test(no_assignment), cmocka_unit_test(no_addresses),
    cmocka_unit_test(scripts_are_apart), cmocka_unit_test(base_library), cmocka_unit_test(endless_loops), cmocka_unit_test(memory_greed),
    cmocka_unit_test(long_strings), cmocka_unit_test(deep_recursion), cmocka_unit_test(too_many_nodes), cmocka_unit_test(bad_scripts),
    cmocka_unit_test(bad_arguments), cmocka_unit_test(bad_files), cmocka_unit_test(names_of_ops), cmocka_unit_test(bad_statements),
    cmocka_unit_test(statements), cmocka_unit_test(constants_are_converted_as_by_hardware), cmocka_unit_test(maps_of_long_names),
    cmocka_unit_test(maps_have_names_of_their_own),
    cmocka_unit_test(lists), cmocka_unit_test(definition), cmocka_unit_test(bad_definitions),
    cmocka_unit_test(bad_definitions_by_position),
    cmocka_unit_test(same_bytes), cmocka_unit_test(any_allocation_fails),
    cmocka_unit_test(emission_is_pure), cmocka_unit_test(emission_without_memory),
  };
  return cmocka_run_group_tests_name("script", tests, set_up, tear_down);
}
