#include <kiln.h> /* cc mlp.c $(pkg-config --cflags --libs kiln) -lm; ./a.out cuda:0 . */
#include <math.h>
#include <stdio.h>
#include <string.h>
#define TRY(call) do { if ((call) != KILN_OK) { fprintf(stderr, "%s\n", kiln_error()); return 1; } } while (0)
enum { ROWS = 48, HIDDEN = 64, INTER = 128 };

static uint16_t to_bf16(float v) { uint32_t u; memcpy(&u, &v, 4); return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16); }
static float from_bf16(uint16_t h) { uint32_t u = (uint32_t)h << 16; float v; memcpy(&v, &u, 4); return v; }

/* A matrix on the device, of bf16 with some values, or without any. */
static kiln_status matrix(kiln_device *dev, void **out, int rows, int columns, int step) {
  static uint16_t host[INTER * HIDDEN];
  for (int i = 0; i < rows * columns; i++) host[i] = to_bf16((float)(i * step % 13 - 6) / 16);
  kiln_status s = kiln_malloc(dev, out, sizeof *host * (size_t)(rows * columns));
  return s || !step ? s : kiln_upload(dev, *out, host, sizeof *host * (size_t)(rows * columns));
}

/* A plan of an op on tensors (and a setting), and its launch. Tensors are checked here, once; programs keep their plans. */
static kiln_status run(kiln_device *dev, const char *op, const kiln_arg *args, int nargs) {
  kiln_plan *plan;
  void *workspace = NULL;
  kiln_status s = kiln_plan_create(&plan, dev, op, args, nargs);
  if (!s && kiln_plan_workspace(plan, NULL)) s = kiln_malloc(dev, &workspace, kiln_plan_workspace(plan, NULL));
  if (!s) s = kiln_launch(plan, &(kiln_call){.workspace = workspace}, NULL);
  if (!s) s = kiln_sync(dev);
  if (workspace) kiln_free(dev, workspace);
  kiln_plan_destroy(plan);
  return s;
}

int main(int argc, char **argv) {
  kiln_device *dev;
  TRY(kiln_open(&dev, argc > 1 ? argv[1] : NULL));
  TRY(kiln_add(dev, argc > 2 ? argv[2] : ".")); /* a folder: every .ptx below it */
  void *px, *pg, *pu, *pd, *pb, *ph, *py, *pqd, *psd, *pz;
  TRY(matrix(dev, &px, ROWS, HIDDEN, 5));
  TRY(matrix(dev, &pg, INTER, HIDDEN, 7)); /* weights (N, K), as frameworks keep them */
  TRY(matrix(dev, &pu, INTER, HIDDEN, 11));
  TRY(matrix(dev, &pd, HIDDEN, INTER, 3));
  TRY(matrix(dev, &pb, 1, HIDDEN, 2));
  TRY(matrix(dev, &ph, ROWS, INTER, 0));
  TRY(matrix(dev, &py, ROWS, HIDDEN, 0));
  TRY(matrix(dev, &pz, ROWS, HIDDEN, 0));
  TRY(kiln_malloc(dev, &pqd, HIDDEN * INTER));
  TRY(kiln_malloc(dev, &psd, HIDDEN * sizeof(float)));

  const int64_t hidden[] = {HIDDEN}, rows_hidden[] = {ROWS, HIDDEN}, rows_inter[] = {ROWS, INTER};
  const int64_t k_up[] = {1, HIDDEN}, k_down[] = {1, INTER}; /* a weight (N, K) is K x N with these strides */
  const int64_t up_shape[] = {HIDDEN, INTER}, down_shape[] = {INTER, HIDDEN}, stored[] = {HIDDEN, INTER};
  kiln_tensor x = {px, KILN_BF16, 2, rows_hidden, NULL}, h = {ph, KILN_BF16, 2, rows_inter, NULL};
  kiln_tensor wg = {pg, KILN_BF16, 2, up_shape, k_up}, wu = {pu, KILN_BF16, 2, up_shape, k_up};
  kiln_tensor down = {pd, KILN_BF16, 2, down_shape, k_down}, bias = {pb, KILN_BF16, 1, hidden, NULL};
  kiln_tensor y = {py, KILN_BF16, 2, rows_hidden, NULL}, z = {pz, KILN_BF16, 2, rows_hidden, NULL};

  /* h = silu(x wg') * (x wu') in one kernel, y = h down' + bias */
  TRY(run(dev, "gated_mlp", (kiln_arg[]){{"x", &x, 0, NULL}, {"wg", &wg, 0, NULL}, {"wu", &wu, 0, NULL}, {"y", &h, 0, NULL}}, 4));
  TRY(run(dev, "linear", (kiln_arg[]){{"x", &h, 0, NULL}, {"w", &down, 0, NULL}, {"bias", &bias, 0, NULL}, {"y", &y, 0, NULL}}, 4));

  /* The same in eight bits. The weight is quantised once, and again when the program has changed it; h is on the way. */
  kiln_tensor w = {pd, KILN_BF16, 2, stored, NULL}, qw = {pqd, KILN_E4M3, 2, stored, NULL}, sw = {psd, KILN_F32, 1, hidden, NULL};
  kiln_tensor qdown = {pqd, KILN_E4M3, 2, down_shape, k_down};
  TRY(run(dev, "quantize_fp8", (kiln_arg[]){{"x", &w, 0, NULL}, {"q", &qw, 0, NULL}, {"scale", &sw, 0, NULL}, {"per", NULL, 0, "row"}}, 4));
  TRY(run(dev, "fp8_linear", (kiln_arg[]){{"x", &h, 0, NULL}, {"w", &qdown, 0, NULL}, {"scale_w", &sw, 0, NULL}, {"bias", &bias, 0, NULL},
      {"y", &z, 0, NULL}, {"scale", NULL, 0, "row"}}, 6));

  static uint16_t exact[ROWS * HIDDEN], short_[ROWS * HIDDEN];
  TRY(kiln_download(dev, exact, py, sizeof exact));
  TRY(kiln_download(dev, short_, pz, sizeof short_));
  float worst = 0, largest = 0;
  for (int i = 0; i < ROWS * HIDDEN; i++) {
    worst = fmaxf(worst, fabsf(from_bf16(exact[i]) - from_bf16(short_[i])));
    largest = fmaxf(largest, fabsf(from_bf16(exact[i])));
  }
  printf("%.2f %.2f %.2f %.2f\n", from_bf16(exact[0]), from_bf16(exact[1]), from_bf16(exact[HIDDEN]), from_bf16(exact[ROWS * HIDDEN - 1]));
  printf("eight bits: within %s of the largest\n", worst < 0.05f * largest ? "0.05" : "more than 0.05");
  return kiln_close(dev), 0;
}
