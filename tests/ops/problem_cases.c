/* problem_cases.c - the settings, sizes and scalars that each shipped op and its gradient are compared at. Every choice of
 * settings meets every size; scalars and layouts alternate. */
#include "problem_cases.h"
#include <stddef.h>

#define ROWS_OF_SAMPLES "B=1 M=1 N=1", "B=2 M=2x3 N=77", "B=3 M=2 N=1024", "B=1 M=17 N=24", "B=2 M=1 N=5000"
#define ROWS "M=1 N=1", "M=2x3 N=77", "M=9 N=1024", "M=3x2x3 N=24", "M=2 N=5000"
#define TWO_NORMS "B=1 M1=1 N1=1 M2=2 N2=3", "B=2 M1=3 N1=77 M2=2x2 N2=130", "B=1 M1=2 N1=1024 M2=5 N2=40"
#define TWO_ROWS "M1=1 N1=1 M2=2 N2=3", "M1=2x3 N1=77 M2=5 N2=130", "M1=2 N1=1024 M2=3 N2=40"
#define EXTREME_ROWS_OF_SAMPLES {"B=1 M=1 N=262144", "B=3 M=2x3000 N=8", "B=200 M=3x3 N=9", "B=2 M=0 N=24"}
#define EXTREME_ROWS {"M=1 N=262144", "M=2x20000 N=8", "M=30x60 N=9", "M=2x0 N=40"}
#define EXTREME_ROPE {"B=1 H=1 T=2 G=1 S=1 N=32768 P=4 R=128", "B=10 H=20 T=50 G=3 S=40 N=8 P=52 R=2"}
#define EPS "", "eps=0.25", "eps=1e-5"
#define ADALN {"", "dtype=f16", "dtype=f32 scale_dtype=f16", "scale_dtype=f32 shift_dtype=f32", "rstd=yes"}
#define ADALN_GRAD {"", "dtype=f16", "dtype=f32", "scale_dtype=f32 shift_dtype=f32 rstd=no", "dtype=f32 rstd=no", "dtype=f32 dx=no", \
                    "dtype=f32 dscale=no dshift=no"}
/* exactly as many rows of the table as are used; all channels turn, a part of them does, heads of one pair */
#define ROPE_CHANNELS "B=2 H=3 T=5 G=2 S=4 N=64 P=8 R=64", "B=1 H=2 T=9 G=1 S=12 N=40 P=14 R=24", "B=2 H=1 T=3 G=1 S=3 N=2 P=6 R=2"
/* two channels have no norm worth comparing: it is +-1 */
#define LN_ROPE_CHANNELS "B=2 H=3 T=5 G=2 S=4 N=64 P=8 R=64", "B=1 H=2 T=9 G=1 S=12 N=40 P=14 R=24", "B=2 H=1 T=3 G=1 S=3 N=6 P=6 R=2"
#define ROPE_SCALARS "", "q_rows=2 k_rows=3", "q_rows=0 k_rows=1", "eps=0.25"
#define ROPE_SETTINGS {"", "dtype=f32 k=no", "dtype=f16 pairs=halves", "dtype=f32 cos_dtype=f32 sin_dtype=f32", "k=no pairs=halves dtype=f32"}
#define ROPE_PAIRS "B=2 H=3 T=5 G=2 S=4 N=64 P=8 R=32", "B=1 H=2 T=4 G=1 S=7 N=40 P=9 R=8"
#define ROPE_PAIRS_SCALARS "pos=2", "", "pos=1 q_rows=3", "pos=2 k_rows=2"
#define ROPE_PAIRS_SETTINGS {"table=pair dtype=f32", "table=pair pairs=halves dtype=f16", "table=pair k=no", "table=pair pairs=halves dtype=f32"}

const OpCases op_cases[] = {
    {.op = "rms_norm",
     .forward = {"", "dtype=f16", "dtype=f32 w=no", "rstd=yes", "dtype=f16 w_dtype=f32 rstd=yes", "dtype=f32 w_B=yes"},
     .backward = {"", "dtype=f16", "dtype=f32 w=no", "rstd=no", "dtype=f16 w_dtype=f32", "dtype=f32 w_B=yes", "dtype=f32 rstd=no",
                  "dtype=f32 dx=no"},
     .sizes = {ROWS_OF_SAMPLES}, .extremes = EXTREME_ROWS_OF_SAMPLES,
     .scalars = {EPS}},
    {.op = "rms_norm2",
     .forward = {"", "dtype=f16 w1=no", "dtype=f32 w2=no", "rstd1=yes", "dtype=f32 w1_B=yes rstd2=yes", "w1_dtype=f32 w2_B=yes"},
     .backward = {"", "dtype=f16 w1=no", "dtype=f32 w2=no", "dtype=f32 rstd1=no rstd2=no", "dtype=f32 w1_B=yes", "w1_dtype=f32 w2_B=yes",
                  "dtype=f32 dx1=no dw2=no"},
     .sizes = {TWO_NORMS}, .extremes = {"B=1 M1=1 N1=70000 M2=2500 N2=8", "B=200 M1=3x3 N1=9 M2=2 N2=24"},
     .scalars = {EPS}},
    {.op = "layer_norm",
     .forward = {"", "dtype=f16", "dtype=f32 w=no b=no", "mean=yes rstd=yes", "dtype=f16 w_dtype=f32 b_dtype=f32", "dtype=f32 b=no rstd=yes"},
     .backward = {"", "dtype=f16", "dtype=f32 w=no b=no", "mean=no rstd=no", "dtype=f16 w_dtype=f32 b_dtype=f32", "dtype=f32 b=no",
                  "dtype=f32 mean=no rstd=no", "dtype=f32 dx=no"},
     .sizes = {ROWS}, .extremes = EXTREME_ROWS,
     .scalars = {EPS}},
    {.op = "head_layer_norm",
     .forward = {"", "dtype=f16", "dtype=f32"},
     .backward = {"", "dtype=f16", "dtype=f32", "dtype=f32 dq=no"},
     .sizes = {"M1=2x3x4 M2=2x3x5 N=64", "M1=1 M2=2 N=3", "M1=2x3 M2=7 N=128"},
     .extremes = {"M1=1 M2=2 N=131072", "M1=30x300 M2=2x3x300 N=8"},
     .scalars = {EPS}},
    {.op = "layer_norm_adaln",
     .forward = ADALN, .backward = ADALN_GRAD, .sizes = {ROWS_OF_SAMPLES},
     .extremes = {"B=1 M=1 N=50001", "B=3 M=2x3000 N=8", "B=300 M=3x3 N=9"}, .scalars = {EPS}},
    {.op = "rms_norm_adaln",
     .forward = ADALN, .backward = ADALN_GRAD, .sizes = {ROWS_OF_SAMPLES}, .extremes = {"B=2 M=1 N=20000", "B=1 M=6000 N=8"},
     .scalars = {EPS}},
    {.op = "add_rms_norm",
     .forward = {"", "dtype=f16", "dtype=f32 w=no", "rstd=yes", "dtype=f32 w_B=yes"},
     .backward = {"", "dtype=f16", "dtype=f32 w=no", "rstd=no", "dtype=f32 w_B=yes", "dtype=f32 rstd=no", "dtype=f32 dr=no"},
     .sizes = {ROWS_OF_SAMPLES}, .extremes = EXTREME_ROWS_OF_SAMPLES,
     .scalars = {EPS}},
    /* every row longer than eps, every row shorter, some of either */
    {.op = "l2_normalize",
     .forward = {"", "dtype=f16", "dtype=f32"},
     .backward = {"", "dtype=f16", "dtype=f32"},
     .sizes = {ROWS}, .extremes = EXTREME_ROWS,
     .scalars = {"", "eps=100", "eps=8.7"}},
    {.op = "l2_normalize2",
     .forward = {"", "dtype=f16", "dtype=f32"},
     .backward = {"", "dtype=f16", "dtype=f32", "dtype=f32 dx2=no"},
     .sizes = {TWO_ROWS}, .extremes = {"M1=1 N1=70000 M2=2500 N2=8", "M1=3x3 N1=100 M2=2000 N2=1"},
     .scalars = {"", "eps=100", "eps=8.7"}},
    {.op = "rope",
     .forward = ROPE_SETTINGS, .backward = ROPE_SETTINGS, .sizes = {ROPE_CHANNELS}, .extremes = EXTREME_ROPE,
     .scalars = {ROPE_SCALARS}},
    {.op = "rope",
     .forward = ROPE_PAIRS_SETTINGS, .backward = ROPE_PAIRS_SETTINGS, .sizes = {ROPE_PAIRS}, .extremes = EXTREME_ROPE,
     .scalars = {ROPE_PAIRS_SCALARS}},
    {.op = "ln_rope",
     .forward = ROPE_SETTINGS, .backward = ROPE_SETTINGS, .sizes = {LN_ROPE_CHANNELS}, .extremes = EXTREME_ROPE,
     .scalars = {ROPE_SCALARS}},
    {.op = "ln_rope",
     .forward = ROPE_PAIRS_SETTINGS, .backward = ROPE_PAIRS_SETTINGS, .sizes = {ROPE_PAIRS}, .extremes = EXTREME_ROPE,
     .scalars = {ROPE_PAIRS_SCALARS}},
    {.op = "rms_norm_rope",
     .forward = {"", "dtype=f16 w=no", "dtype=f32 pairs=neighbours", "rstd=yes w_dtype=f32"},
     .backward = {"", "dtype=f16 w=no", "dtype=f32 pairs=neighbours", "rstd=no", "dtype=f32 w_dtype=f16", "dtype=f32 rstd=no", "dtype=f32 dx=no"},
     .sizes = {"B=2 T=3 N=256 P=5 R=32", "B=1 T=5 N=96 P=7 R=24", "B=1 T=2 N=4 P=4 R=1"},
     .extremes = {"B=1 T=1 N=131072 P=3 R=64", "B=30 T=100 N=8 P=102 R=2"},
     .scalars = {"", "pos=2", "eps=0.25 pos=1"}},
    {.op = "rms_norm_rope",
     .forward = {"table=channel", "table=channel pairs=neighbours dtype=f32", "table=channel dtype=f32"},
     .backward = {"table=channel", "table=channel pairs=neighbours dtype=f32", "table=channel dtype=f32"},
     .sizes = {"B=2 T=3 N=256 P=5 R=64", "B=1 T=4 N=96 P=6 R=12"},
     .extremes = {"B=1 T=1 N=131072 P=3 R=64", "B=30 T=100 N=8 P=102 R=2"},
     .scalars = {"pos=2", ""}},
    {.op = "gated",
     .forward = {"", "act=gelu", "act=gelu_tanh", "dtype=f16 act=gelu", "dtype=f32", "dtype=f32 act=gelu_tanh"},
     .backward = {"dtype=f32", "dtype=f32 act=gelu", "dtype=f32 act=gelu_tanh", "", "act=gelu dtype=f16", "dgate=no", "dtype=f32 dup=no"},
     .sizes = {ROWS}, .extremes = EXTREME_ROWS,
     .scalars = {""},
     .spread = 3},
    {.op = "softmax",
     .forward = {"", "dtype=f16", "dtype=f32", "mask=no", "mask=no dtype=f32"},
     .backward = {"", "dtype=f16", "dtype=f32", "mask=no", "mask=no dtype=f32"},
     .sizes = {ROWS}, .extremes = EXTREME_ROWS,
     .scalars = {"", "scale=0.125", "scale=2"}},
    /* far from 0, where a difference of squares or an exponential of what was given would not do */
    {.op = "layer_norm",
     .forward = {"dtype=f32", "dtype=f32 w=no b=no mean=yes rstd=yes", "dtype=f16"},
     .backward = {"dtype=f32", "dtype=f32 mean=no rstd=no", "dtype=f16"},
     .sizes = {"M=9 N=1024", "M=2x3 N=77", "M=2 N=5000"}, .extremes = {"M=1 N=100000"},
     .scalars = {""},
     .offset = 300},
    {.op = "softmax",
     .forward = {"dtype=f32", "", "mask=no dtype=f16"},
     .backward = {"dtype=f32", "", "mask=no dtype=f16"},
     .sizes = {"M=9 N=1024", "M=2x3 N=77", "M=2 N=5000"}, .extremes = {"M=1 N=100000"},
     .scalars = {"", "scale=-2", "scale=0.25"},
     .offset = 1000},
    {.op = "gemm",
     .forward = {"b_major=n", "b_major=n dtype=f16 c=yes act=relu", "b_major=n act=gelu c=yes d_dtype=f32", "b_major=n act=gelu_tanh bias=yes",
                 "b_major=n act=silu bias=yes c=yes dtype=f16", "b_major=n dtype=f32 c=yes act=relu", "b_major=n dtype=f32 f32=tf32 bias=yes",
                 "b_major=n act=gelu bias=yes c=yes z=yes"},
     .backward = {"b_major=n", "b_major=n dtype=f16 c=yes act=relu", "b_major=n act=gelu c=yes d_dtype=f32", "b_major=n act=gelu_tanh bias=yes",
                  "b_major=n act=silu bias=yes c=yes dtype=f16", "b_major=n bias=yes c=yes c_dtype=f32 bias_dtype=f32 d_dtype=f32",
                  "b_major=n act=silu da=no", "b_major=n db=no", "b_major=n act=gelu bias=yes c=yes z=yes", "b_major=n act=silu z=yes dtype=f32 da=no"},
     .sizes = {"B=1 M=1 N=1 K=1", "B=2 M=33 N=17 K=70", "B=1 M=40 N=64 K=300", "B=2 M=70 N=72 K=136"},
     .scalars = {"", "alpha=0.5 beta=-2"},
     .contiguous = true},
    /* a product of nothing is 0 */
    {.op = "gemm",
     .forward = {"b_major=n", "b_major=n act=silu bias=yes"},
     .backward = {"b_major=n bias=yes", "b_major=n act=silu bias=yes c=yes"},
     .sizes = {"B=1 M=5 N=7 K=0"},
     .scalars = {"", "alpha=0.5 beta=-2"},
     .contiguous = true},
    {.op = "gated_mlp",
     .forward = {"b_major=n", "b_major=n dtype=f16 act=gelu", "b_major=n act=gelu_tanh y_dtype=f32", "b_major=n dtype=f32", "b_major=n gate=yes up=yes",
                 "b_major=n gate=yes act=gelu dtype=f32"},
     .backward = {"b_major=n", "b_major=n dtype=f16 act=gelu", "b_major=n act=gelu_tanh y_dtype=f32", "b_major=n dx=no dwu=no",
                  "b_major=n gate=yes up=yes", "b_major=n gate=yes up=yes act=gelu dtype=f16 dwg=no", "b_major=n up=yes", "b_major=n gate=yes dtype=f32"},
     .sizes = {"B=1 M=1 N=1 K=1", "B=2 M=33 N=17 K=70", "B=2 M=70 N=72 K=136"},
     .scalars = {""},
     .contiguous = true},
    {.op = "linear",
     .forward = {"b_major=n", "b_major=n bias=no act=relu dtype=f16", "b_major=n act=gelu y_dtype=f32", "b_major=n act=silu bias_dtype=f32",
                 "b_major=n act=gelu z=yes", "b_major=n bias=no z=yes dtype=f16"},
     .backward = {"b_major=n", "b_major=n bias=no act=relu dtype=f16", "b_major=n act=gelu y_dtype=f32", "b_major=n act=silu bias_dtype=f32",
                  "b_major=n act=gelu_tanh dx=no dw=no", "b_major=n act=gelu z=yes", "b_major=n act=relu z=yes bias=no dtype=f16",
                  "b_major=n act=silu z=yes y_dtype=f32 dw=no"},
     .sizes = {"M=1 N=1 K=1", "M=66 N=17 K=70", "M=140 N=72 K=136"},
     .scalars = {""},
     .contiguous = true},
    {.op = "fp8_gemm",
     .forward = {"b_major=n dtype=f32", "b_major=n a_dtype=e5m2 scale=row bias=yes", "b_major=n b_dtype=e5m2 accumulate=promoted dtype=f16",
                 "b_major=n scale=block dtype=f32", "b_major=n scale=block1 bias=yes bias_dtype=f32 d_dtype=f32",
                 "b_major=n a_dtype=e5m2 b_dtype=e5m2 scale=row accumulate=promoted"},
     .sizes = {"B=1 M=1 N=1 K=1 K_128=1 N_128=1", "B=2 M=33 N=17 K=70 K_128=1 N_128=1", "B=1 M=40 N=144 K=300 K_128=3 N_128=2",
               "B=2 M=70 N=72 K=144 K_128=2 N_128=1"},
     .scalars = {""},
     .contiguous = true},
    {.op = "fp8_linear",
     .forward = {"b_major=n dtype=f32", "b_major=n w_dtype=e5m2 scale=row bias=yes", "b_major=n format=e5m2 accumulate=promoted dtype=f16",
                 "b_major=n scale=block dtype=f32", "b_major=n scale=block1 bias=yes bias_dtype=f32 y_dtype=f32"},
     .sizes = {"B=1 M=1 N=1 K=1 K_128=1 N_128=1", "B=2 M=33 N=17 K=70 K_128=1 N_128=1", "B=1 M=40 N=144 K=300 K_128=3 N_128=2"},
     .scalars = {""},
     .contiguous = true},
    {.op = "fp8_gemm_wide",
     .forward = {"b_major=n dtype=f32", "b_major=n scale=row bias=yes", "b_major=n format=e5m2 accumulate=promoted dtype=f16",
                 "b_major=n scale=block dtype=f32"},
     .sizes = {"B=1 M=1 N=1 K=1 K_128=1 N_128=1", "B=2 M=33 N=17 K=70 K_128=1 N_128=1", "B=1 M=40 N=144 K=300 K_128=3 N_128=2"},
     .scalars = {""},
     .contiguous = true},
    {.op = NULL},
};

int texts_in(const char *const *list, int room) {
  int n = 0;
  while (n < room && list[n]) n++;
  return n;
}
