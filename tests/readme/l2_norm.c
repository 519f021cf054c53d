#include <kiln.h> /* cc l2_norm.c $(pkg-config --cflags --libs kiln); ./a.out cuda:0 l2_norm.ptx */
#include <stdio.h>
#define TRY(call) do { if ((call) != KILN_OK) { fprintf(stderr, "%s\n", kiln_error()); return 1; } } while (0)
int main(int argc, char **argv) {
  float x[2][4] = {{3, 4, 0, 0}, {1, 1, 1, 1}}, y[2][4];
  void *dx, *dy;
  kiln_device *dev;
  kiln_plan *plan;
  TRY(kiln_open(&dev, argc > 1 ? argv[1] : NULL));
  TRY(kiln_add(dev, argc > 2 ? argv[2] : "l2_norm.ptx"));
  TRY(kiln_malloc(dev, &dx, sizeof x));
  TRY(kiln_malloc(dev, &dy, sizeof y));
  TRY(kiln_upload(dev, dx, x, sizeof x));
  kiln_tensor tx = {dx, KILN_F32, 2, (int64_t[]){2, 4}, NULL}, ty = {dy, KILN_F32, 2, (int64_t[]){2, 4}, NULL};
  TRY(kiln_plan_create(&plan, dev, "l2_norm", (kiln_arg[]){{"x", &tx, 0, NULL}, {"y", &ty, 0, NULL}}, 2));
  TRY(kiln_launch(plan, NULL, NULL)); /* NULL: the pointers given to the plan; the default stream */
  TRY(kiln_download(dev, y, dy, sizeof y));
  for (int i = 0; i < 2; i++) printf("%.4f %.4f %.4f %.4f\n", y[i][0], y[i][1], y[i][2], y[i][3]);
  return kiln_plan_destroy(plan), kiln_close(dev), 0;
}
