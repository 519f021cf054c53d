/* sim_program.c - a program of the driver API for tests/cli/sim.sh: one kernel, launched rightly or wrongly.
 *
 *   sim_program right|race|bounds|block|forgiving|refused|forked|exit N|signal N|arguments TEXT */
#include "../foreign/host.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char text[] =
  ".version 7.0\n.target sm_75\n.address_size 64\n.file 1 \"twice.cu\"\n"
  ".visible .entry twice(.param .u64 x, .param .u64 n)\n{\n"
  "  .reg .b32 %r<8>;\n  .reg .b64 %l<8>;\n  .reg .pred %p<2>;\n  .shared .align 4 .b8 tile[1024];\n"
  "  .loc 1 10 0\n"
  "  ld.param.b64 %l1, [x];\n  ld.param.b64 %l2, [n];\n  mov.u32 %r1, %tid.x;\n"
  "  shl.b32 %r3, %r1, 2;\n  mov.u32 %r4, tile;\n  add.s32 %r4, %r4, %r3;\n  mul.wide.u32 %l4, %r1, 4;\n  add.s64 %l5, %l1, %l4;\n"
  "  .loc 1 11 0\n  ld.global.b32 %r2, [%l5];\n  st.shared.b32 [%r4], %r2;\n  setp.ne.s64 %p1, %l2, 0;\n"
  "  @%p1 bra no_barrier;\n  .loc 1 12 0\n  bar.sync 0;\nno_barrier:\n"
  "  xor.b32 %r5, %r3, 128;\n  mov.u32 %r4, tile;\n  add.s32 %r4, %r4, %r5;\n"
  "  .loc 1 13 0\n  ld.shared.b32 %r6, [%r4];\n  .loc 1 14 0\n  add.s32 %r6, %r6, %r6;\n  st.global.b32 [%l5], %r6;\n  ret;\n}\n";

static int launch(unsigned room, unsigned threads, uint64_t no_barrier) { /* x[i] = 2 x[i ^ 32] */
  Host h = {0};
  CUfunction f;
  unsigned x[256], y[256];
  for (unsigned i = 0; i < 256; i++) x[i] = i * 7;
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&h.device, 0));
  CHECK(cuDevicePrimaryCtxRetain(&h.context, h.device));
  CHECK(cuCtxSetCurrent(h.context));
  CHECK(cuModuleLoadData(&h.module, text));
  CHECK(cuModuleGetFunction(&f, h.module, "twice"));
  CUdeviceptr d = host_upload(x, room * 4);
  CUresult result = cuLaunchKernel(f, 1, 1, 1, threads, 1, 1, 0, NULL, (void *[]){&d, &no_barrier}, NULL);
  if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
  if (result != CUDA_SUCCESS) return 3;
  CHECK(cuMemcpyDtoH(y, d, room * 4));
  for (unsigned i = 0; i < threads; i++) host_expect(y[i] == 2 * x[i ^ 32], "y[%u] is %u", i, y[i]);
  return host_verdict();
}

static int refuse(void) {
  CUmodule m;
  CUcontext c;
  CHECK(cuInit(0));
  CHECK(cuDevicePrimaryCtxRetain(&c, 0));
  CHECK(cuCtxSetCurrent(c));
  return cuModuleLoadData(&m, ".version 7.0\n.target sm_75\n.address_size 64\n.entry k() {\n  frobnicate;\n}\n") == CUDA_SUCCESS;
}

static int fork_two(void) { /* each of two children has its own driver; their reports come together */
  for (int i = 0; i < 2; i++)
    if (fork() == 0) _exit(launch(128, 128, 1));
  int status, all = 0;
  while (wait(&status) > 0) all += WEXITSTATUS(status) == 3;
  return all == 2 ? 4 : 5;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "right", *n = argc > 2 ? argv[2] : "0";
  if (!strcmp(what, "right")) return launch(128, 128, 0);
  if (!strcmp(what, "race")) return launch(128, 128, 1);
  if (!strcmp(what, "bounds")) return launch(100, 128, 0);
  if (!strcmp(what, "block")) return launch(128, 2000, 0);
  if (!strcmp(what, "forgiving")) return launch(128, 128, 1), launch(128, 128, 1), 0;
  if (!strcmp(what, "refused")) return refuse();
  if (!strcmp(what, "forked")) return fork_two();
  if (!strcmp(what, "exit")) return atoi(n);
  if (!strcmp(what, "signal")) return kill(getpid(), atoi(n));
  if (!strcmp(what, "arguments")) return printf("<%s>\n", n), 0;
  return 2;
}
