/* test_contract.c - the contract reader: what it makes of a whole contract, and what it says of damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "alloc.h"
#include "contract.h"
#include "kiln.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char whole[] =
    "//@ kiln 1\n"
    "//@ op rms_norm\n"
    "//@ target sm_90a\n"
    "//@ set dtype=bf16 w=yes rstd=no act=silu\n"
    "//@ option act silu default none\n"
    "//@ schedule rows=1 warps=8 vec=8\n"
    "//@ collapse M0 M1 M2 M3\n"
    "//@ tensor x in bf16 [M0,M1,M2,M3,N] strides [x0,x1,x2,x3,1] align 16 lead 4\n"
    "//@ tensor y out bf16 [M0,M1,M2,M3,N] strides [y0,y1,y2,y3,1] align 16 lead 4 alias x exact\n"
    "//@ tensor w in f32 [N|1] strides [1] align 4\n"
    "//@ tensor sa in f32 []\n"
    "//@ scalar eps f32 default 9.9999999999999995e-07\n"
    "//@ scalar pos i64 call\n"
    "//@ derived inv_n f32 1/N\n"
    "//@ derived g fastdiv M2/M3\n"
    "//@ let parts min(ceildiv(M3, 32),256)\n"
    "//@ workspace dq f32 [M3,roundup(N,128)*M2] init zero\n"
    "//@ map x_map x dims [M3,N] strides [x3,1] box [64,64] swizzle 128 l2 256 fill nan\n"
    "//@ map dq_map dq dims [M3, N] strides [roundup(N,128)*M2, 1] swizzle 0 box [1,32] round tf32\n"
    "//@ require N%8==0 \"rows are read in 16-byte pieces\"\n"
    "//@ limit pos -1 M3-min(N, 4) \"the table has a row\"\n"
    "//@ cost 2*M3*N*2/bw\n"
    "//@ bytes 4*M3*N\n"
    "//@ flop 2*M3*N\n"
    "//@ step main entry rms_norm_bf16 grid M3,1,1 block 256 shared 0 when M3>0 args x w y x0 M3 N eps inv_n g parts dq sa pos\n"
    "//@ step last entry rms_norm_sum grid 1,1,1 block 32 shared 48*1024 cluster 2,1,1 attr coresident,pdl args dq x_map dq_map\n"
    "//@ end\n"
    ".version 8.0\n";

static void test_whole(void **state) {
  (void)state;
  Contract c;
  assert_int_equal(contract_read(&c, "a.ptx", whole, strlen(whole)), KILN_OK);
  assert_string_equal(c.op, "rms_norm");
  assert_string_equal(c.target, "sm_90a");
  assert_string_equal(c.settings, "dtype=bf16 w=yes rstd=no act=silu");
  assert_string_equal(c.schedule, "rows=1 warps=8 vec=8");
  assert_int_equal(c.nset, 4);
  assert_string_equal(c.set[3].value, "silu");
  assert_string_equal(c.option[0].fallback, "none");
  assert_int_equal(c.ntensor, 4);
  assert_int_equal(c.tensor[0].rank, 5);
  assert_int_equal(c.tensor[0].lead, 4);
  assert_int_equal(c.tensor[0].alias, -1);
  assert_int_equal(c.tensor[1].alias, 0);
  assert_true(c.tensor[1].out && !c.tensor[1].in);
  assert_true(c.tensor[0].dim[4].binds && !c.tensor[1].dim[4].binds);
  assert_true(c.tensor[2].dim[0].or_one);
  assert_int_equal(c.tensor[3].rank, 0);
  assert_int_equal(c.scalar[0].dtype, KILN_F32);
  assert_true(c.scalar[0].fallback == 1e-6);
  assert_true(c.scalar[1].call);
  assert_int_equal(c.ncall, 1);
  assert_int_equal(c.nlimit, 1);
  const ContractItem *limit = &c.item[c.nitem - 1];
  assert_int_equal(limit->kind, ITEM_LIMIT);
  assert_int_equal(limit->index, 0);
  assert_string_equal(limit->high.text, "M3-min(N, 4)");
  assert_string_equal(limit->text, "the table has a row");
  assert_int_equal(c.ncollapse, 4);
  assert_int_equal(c.collapse[3], contract_find(&c, "M3", 2));
  assert_true(c.workspace[0].zero);
  assert_int_equal(c.nmap, 2);
  assert_string_equal(c.map[0].name, "x_map");
  assert_int_equal(c.map[0].kind, ARG_TENSOR);
  assert_int_equal(c.map[0].dtype, KILN_BF16);
  assert_int_equal(c.map[0].rank, 2);
  assert_int_equal(c.map[0].box[0], 64);
  assert_int_equal(c.map[0].swizzle, 3);
  assert_int_equal(c.map[0].l2, 3);
  assert_true(c.map[0].nan && c.map[0].dim[1].n && c.map[0].stride[1].n);
  assert_int_equal(c.map[1].kind, ARG_WORKSPACE);
  assert_int_equal(c.map[1].dtype, KILN_F32);
  assert_int_equal(c.map[1].box[1], 32);
  assert_int_equal(c.map[1].swizzle, 0);
  assert_int_equal(c.map[1].l2, 0);
  assert_false(c.map[1].nan);
  assert_int_equal(c.nstep, 2);
  assert_int_equal(c.step[0].nargs, 13);
  assert_int_equal(c.step[0].args[0].kind, ARG_TENSOR);
  assert_int_equal(c.step[0].args[10].kind, ARG_WORKSPACE);
  assert_int_equal(c.step[0].args[12].kind, ARG_CALL);
  assert_true(c.step[0].args[8].fastdiv);
  assert_int_equal(c.step[1].args[2].kind, ARG_MAP);
  assert_int_equal(c.step[1].args[2].index, 1);
  assert_true(c.step[1].pdl && c.step[1].coresident && c.step[1].cluster[0].n);
  contract_free(&c);
}

static void test_derived_op(void **state) {
  (void)state;
  char text[4096];
  const char *at = strstr(whole, "op rms_norm");
  snprintf(text, sizeof text, "%.*sop rms_norm.grad%s", (int)(at - whole), whole, at + strlen("op rms_norm"));
  Contract c;
  assert_int_equal(contract_read(&c, "a.ptx", text, strlen(text)), KILN_OK);
  assert_string_equal(c.op, "rms_norm.grad");
  contract_free(&c);
}

/* Replaces the first `from` in the whole contract by `to`; the reader must then answer with the status, and say the words. */
static void assert_damaged(const char *from, const char *to, kiln_status status, const char *words) {
  char text[4096];
  const char *at = strstr(whole, from);
  if (!at) fail_msg("\"%s\" is not in the contract", from);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
  Contract c;
  kiln_status got = contract_read(&c, "a.ptx", text, strlen(text));
  if (got != status || !strstr(kiln_error(), words))
    fail_msg("\"%s\" -> \"%s\": %s: %s; expected %s: ... %s ...", from, to, kiln_status_name(got), kiln_error(), kiln_status_name(status),
             words);
  assert_int_equal(c.nsymbol, 0);
}

static void test_damage(void **state) {
  (void)state;
  assert_damaged("kiln 1", "kiln 2", KILN_NEWER, "a.ptx:1: contract version '2'");
  assert_damaged("kiln 1", "kiln one", KILN_BAD_CONTRACT, "version 'one'");
  assert_damaged("//@ kiln 1\n", "", KILN_BAD_CONTRACT, "does not begin with '//@ kiln 1'");
  assert_damaged("//@ end\n", "", KILN_TRUNCATED, "no '//@ end'");
  assert_damaged("//@ op rms_norm\n", "", KILN_BAD_CONTRACT, "no 'op' line");
  assert_damaged("//@ target sm_90a\n", "//@ target sm_90a\n//@ target sm_80\n", KILN_BAD_CONTRACT, "a.ptx:4: a second 'target'");
  assert_damaged("op rms_norm", "op rms norm", KILN_BAD_CONTRACT, "a.ptx:2: unexpected 'norm'");
  assert_damaged("op rms_norm", "op 9x", KILN_BAD_CONTRACT, "'9x' is no name");
  assert_damaged("op rms_norm", "op a.", KILN_BAD_CONTRACT, "'a.' is no name of an op");
  assert_damaged("op rms_norm", "op .a", KILN_BAD_CONTRACT, "'.a' is no name of an op");
  assert_damaged("op rms_norm", "op a..b", KILN_BAD_CONTRACT, "'a..b' is no name of an op");
  assert_damaged("w=yes", "w", KILN_BAD_CONTRACT, "'w' is no key=value");
  assert_damaged("w=yes", "dtype=f32", KILN_BAD_CONTRACT, "'dtype' stands twice");
  assert_damaged("//@ cost", "//@ image q of q dims [D]\n//@ cost", KILN_NEWER, "the line 'image'");
  assert_damaged("in bf16", "in bf17", KILN_NEWER, "dtype 'bf17'");
  assert_damaged("in bf16", "of bf16", KILN_BAD_CONTRACT, "where in, out or inout");
  assert_damaged("[x0,x1,x2,x3,1]", "[x0,x1,x2,1]", KILN_BAD_CONTRACT, "4 strides for 5 dims");
  assert_damaged("[x0,x1,x2,x3,1]", "[x0,x1,,x3,1]", KILN_BAD_CONTRACT, "an empty place among strides");
  assert_damaged("[x0,x1,x2,x3,1]", "[x0,x1,x2,x3,1", KILN_BAD_CONTRACT, "strides in [] are expected");
  assert_damaged("align 16 lead", "align 12 lead", KILN_BAD_CONTRACT, "no power of two");
  assert_damaged("lead 4 alias", "lead 9 alias", KILN_BAD_CONTRACT, "'9' where a number of leading dims from 0 to 5");
  assert_damaged("alias x exact", "alias q exact", KILN_BAD_CONTRACT, "alias 'q' is no tensor");
  assert_damaged("alias x exact", "alias x nearly", KILN_NEWER, "the word 'nearly'");
  assert_damaged("tensor w in f32 [N|1]", "tensor w in f32 [Q|1]", KILN_BAD_CONTRACT, "'Q|1' stands before");
  assert_damaged("tensor w in", "tensor x in", KILN_BAD_CONTRACT, "'x' is defined twice");
  assert_damaged("tensor sa in f32 []", "tensor sa in f32 [M2] strides [1]", KILN_BAD_CONTRACT, "some of the dims to collapse");
  assert_damaged("collapse M0 M1 M2 M3", "collapse M0 M1 M2 Q", KILN_BAD_CONTRACT, "a.ptx:7: 'Q' is no dim");
  assert_damaged("scalar eps f32", "scalar eps bf16", KILN_BAD_CONTRACT, "a scalar is f32, f64, i32 or i64");
  assert_damaged("default 9.9999999999999995e-07", "default tiny", KILN_BAD_CONTRACT, "default 'tiny' is no number");
  assert_damaged("i64 call", "i64 call default 3", KILN_BAD_CONTRACT, "has no default");
  assert_damaged("inv_n f32 1/N", "inv_n f32 1/inv_n", KILN_BAD_CONTRACT, "'inv_n' is not defined before");
  assert_damaged("inv_n f32 1/N", "inv_n f32 1/pos", KILN_BAD_CONTRACT, "'pos' changes at each launch");
  assert_damaged("parts min(", "parts eps+min(", KILN_BAD_CONTRACT, "'eps' is no integer");
  assert_damaged("parts min(", "parts g+min(", KILN_BAD_CONTRACT, "'g' is a divisor");
  assert_damaged("init zero", "init ones", KILN_NEWER, "init 'ones'");
  assert_damaged("map x_map x dims", "map x_map q dims", KILN_BAD_CONTRACT, "'q' is no tensor or workspace");
  assert_damaged("map x_map x dims", "map x_map M3 dims", KILN_BAD_CONTRACT, "'M3' is no tensor or workspace");
  assert_damaged("map x_map x dims", "map eps x dims", KILN_BAD_CONTRACT, "'eps' is defined twice");
  assert_damaged("x dims [M3,N] strides", "x dims [] strides", KILN_BAD_CONTRACT, "0 dims; a tensor map has 1 to 5");
  assert_damaged("x dims [M3,N] strides", "x dims [1,1,1,1,M3,N] strides", KILN_BAD_CONTRACT, "6 dims; a tensor map has 1 to 5");
  assert_damaged("x dims [M3,N] strides", "x dims [M1,M3,N] strides", KILN_BAD_CONTRACT, "2 strides for a map of 3 dims");
  assert_damaged("x dims [M3,N] strides", "x dims [M3,Q] strides", KILN_BAD_CONTRACT, "'Q' is not defined before");
  assert_damaged("x dims [M3,N] strides", "x strides", KILN_BAD_CONTRACT, "the map has no 'dims'");
  assert_damaged("[x3,1] box", "[1,x3] box", KILN_BAD_CONTRACT, "the last stride is 'x3'");
  assert_damaged("[x3,1] box", "[x3,1] dims [M3,N] box", KILN_NEWER, "the word 'dims'");
  assert_damaged("box [64,64]", "box [64]", KILN_BAD_CONTRACT, "1 sizes of a box for a map of 2 dims");
  assert_damaged("box [64,64]", "box [257,64]", KILN_BAD_CONTRACT, "'257' where a size of the box from 1 to 256");
  assert_damaged("box [64,64]", "box [N,64]", KILN_BAD_CONTRACT, "'N' where a size of the box");
  assert_damaged("box [64,64]", "box [0,64]", KILN_BAD_CONTRACT, "'0' where a size of the box");
  assert_damaged("box [64,64]", "box [64,60]", KILN_BAD_CONTRACT, "has 120 bytes; a multiple of 16");
  assert_damaged("box [64,64]", "box [64,128]", KILN_BAD_CONTRACT, "has 256 bytes, more than the swizzle's 128");
  assert_damaged("box [64,64] swizzle 128", "box [64,64]", KILN_BAD_CONTRACT, "the map has no 'swizzle'");
  assert_damaged("swizzle 128", "swizzle 96", KILN_NEWER, "swizzle '96'");
  assert_damaged("l2 256", "l2 32", KILN_NEWER, "l2 '32'");
  assert_damaged("fill nan", "fill one", KILN_NEWER, "fill 'one'");
  assert_damaged("fill nan", "round tf33", KILN_NEWER, "round 'tf33'");
  assert_damaged("fill nan", "round tf32", KILN_BAD_CONTRACT, "round tf32 is for f32, not for bf16");
  assert_damaged("fill nan", "interleave 16", KILN_NEWER, "the word 'interleave'");
  assert_damaged("tensor x in bf16", "tensor x in e4m3", KILN_BAD_CONTRACT, "fill nan is for f64, f32, f16 and bf16, not for e4m3");
  assert_damaged("parts min(", "parts x_map+min(", KILN_BAD_CONTRACT, "'x_map' is not defined before");
  assert_damaged("N%8==0 \"", "dq_map==0 \"", KILN_BAD_CONTRACT, "'dq_map' is a tensor map and has no value");
  assert_damaged("N%8==0 \"", "N%8=0 \"", KILN_BAD_CONTRACT, "column 4 of \"N%8=0\"");
  assert_damaged("\"rows are read in 16-byte pieces\"", "because", KILN_BAD_CONTRACT, "the reason in double quotes");
  assert_damaged("limit pos", "limit eps", KILN_BAD_CONTRACT, "'eps' is no i32 or i64 call scalar before this line");
  assert_damaged("limit pos", "limit elsewhere", KILN_BAD_CONTRACT, "'elsewhere' is no i32 or i64 call scalar");
  assert_damaged("i64 call", "f32 call", KILN_BAD_CONTRACT, "'pos' is no i32 or i64 call scalar");
  assert_damaged("limit pos -1", "limit pos pos", KILN_BAD_CONTRACT, "'pos' changes at each launch");
  assert_damaged("M3-min(N, 4)", "M3-eps", KILN_BAD_CONTRACT, "'eps' is no integer");
  assert_damaged(" \"the table has a row\"", "", KILN_BAD_CONTRACT, "the reason in double quotes is expected after the greatest value");
  assert_damaged("grid M3,1,1", "grid M3,1", KILN_BAD_CONTRACT, "grid needs three numbers");
  assert_damaged("grid M3,1,1 ", "", KILN_BAD_CONTRACT, "the step has no 'grid'");
  assert_damaged("args x w y", "args x w q", KILN_BAD_CONTRACT, "argument 'q' is not defined");
  assert_damaged("attr coresident,pdl", "attr coresident,warp", KILN_NEWER, "attribute 'warp'");
  assert_damaged("step last", "step main", KILN_BAD_CONTRACT, "step 'main' stands twice");
  assert_damaged("M3>0", "M3>0\t", KILN_BAD_CONTRACT, "is a control character");
  Contract c;
  assert_int_equal(contract_read(&c, "n.ptx", ".version 8.0\n", 13), KILN_NO_CONTRACT);
  assert_int_equal(contract_read(&c, "n.ptx", "", 0), KILN_NO_CONTRACT);
}

/* Cut anywhere before its end, a contract is never taken for a whole one. */
static void test_truncation(void **state) {
  (void)state;
  size_t end = (size_t)(strstr(whole, "//@ end") - whole) + 6;
  for (size_t n = 0; n < end; n++) {
    char *copy = malloc(n + 1); /* of the exact size, so that a sanitizer sees a read beyond it */
    memcpy(copy, whole, n);
    Contract c;
    assert_int_not_equal(contract_read(&c, "a.ptx", copy, n), KILN_OK);
    free(copy);
  }
}

static void test_tolerance(void **state) {
  (void)state;
  Contract c;
  char text[8192];
  size_t n = 0;
  n += (size_t)snprintf(text, sizeof text, "// edited by hand\r\n\r\n");
  for (const char *at = whole; *at; at++) { /* line ends of another system, and a comment among the lines */
    if (*at == '\n') text[n++] = '\r';
    text[n++] = *at;
    if (*at == '\n' && strncmp(at + 1, "//@ cost", 8) == 0) n += (size_t)snprintf(text + n, sizeof text - n, "// cost is measured\n");
  }
  assert_int_equal(contract_read(&c, "a.ptx", text, n), KILN_OK);
  contract_free(&c);
}

static void test_limits(void **state) {
  (void)state;
  static char text[200000];
  Contract c;
  int n = snprintf(text, sizeof text, "//@ kiln 1\n//@ op a\n//@ target sm_80\n");
  for (int i = 0; i < 300; i++) n += snprintf(text + n, sizeof text - (size_t)n, "//@ let v%d %d\n", i, i);
  assert_int_equal(contract_read(&c, "a.ptx", text, (size_t)n), KILN_BAD_CONTRACT);
  assert_non_null(strstr(kiln_error(), "more than 256 names"));
  n = snprintf(text, sizeof text, "//@ kiln 1\n//@ op a\n//@ target sm_90a\n//@ tensor x in f32 [N] strides [1]\n");
  for (int i = 0; i < 40; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, "//@ map m%d x dims [N] strides [1] box [4] swizzle 32\n", i);
  assert_int_equal(contract_read(&c, "a.ptx", text, (size_t)n), KILN_BAD_CONTRACT);
  assert_non_null(strstr(kiln_error(), "a.ptx:37: more than 32 maps"));
  n = snprintf(text, sizeof text, "//@ kiln 1\n//@ op ");
  memset(text + n, 'a', 5000);
  text[n + 5000] = '\n';
  assert_int_equal(contract_read(&c, "a.ptx", text, (size_t)n + 5001), KILN_BAD_CONTRACT);
  assert_non_null(strstr(kiln_error(), "longer than 4096 bytes"));
}

static int requests, fail_at;
static void *failing_mem(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user, (void)old_bytes;
  if (new_bytes && ++requests == fail_at) return NULL;
  if (new_bytes) return realloc(ptr, new_bytes);
  free(ptr);
  return NULL;
}

static void test_memory(void **state) {
  (void)state;
  Contract c;
  kiln_status s = KILN_NO_MEMORY;
  kiln_mem_hook(failing_mem, NULL);
  for (fail_at = 1; s != KILN_OK; fail_at++) {
    requests = 0;
    s = contract_read(&c, "a.ptx", whole, strlen(whole));
    if (s != KILN_OK) assert_int_equal(s, KILN_NO_MEMORY);
  }
  assert_true(fail_at > 2);
  contract_free(&c);
  kiln_mem_hook(NULL, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),     cmocka_unit_test(test_derived_op),     cmocka_unit_test(test_damage), cmocka_unit_test(test_truncation),
      cmocka_unit_test(test_tolerance), cmocka_unit_test(test_limits), cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
