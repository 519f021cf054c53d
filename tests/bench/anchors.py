"""Figures recorded on an NVIDIA H200 (2026-11-20; torch 2.11.0+cu130, Triton 3.6, driver 580): what row-wise kernels have to beat.

Facts only: microseconds of a median with the L2 cache flushed between runs. Three measurements of the same things are kept apart:
"norms" and "calls" are GPU time around direct calls, "graph" is GPU time alone, by a CUDA graph. "system" is the public Triton
package that the operation was first seen in, "liger" the Liger kernels. None: not measured. A shape is written as cases.py
labels it; what one measurement calls 8x1024x4096 and another 8192x4096 is one shape here."""

DEVICE = "NVIDIA H200"

# Device-to-device copies on that machine: bytes read + written, and the rate in bytes per microsecond.
COPY_RATES = [(2 * 64 << 20, 3.58e6), (2 * 256 << 20, 4.14e6), (2 << 30, 4.25e6), (16 << 30, 4.31e6)]

COPY_BYTES = COPY_RATES[0][0]  # the size at which a run compares its copy with the recorded one: that of most rows below

# op, direction, shape, dtype, measurement, {who: us}
_ROWS = """
rms_norm          fwd 8192x4096          bf16 norms eager=47 compile=41 liger=38
rms_norm          bwd 8192x4096          bf16 norms eager=121 compile=113 liger=127
layer_norm        fwd 8192x4096          bf16 norms eager=58 compile=51
layer_norm        bwd 8192x4096          bf16 norms eager=127 compile=143
rms_norm          fwd 32768x1024         bf16 norms eager=47 compile=68 liger=39
rms_norm          bwd 32768x1024         bf16 norms eager=182 liger=242
layer_norm        fwd 32768x1024         bf16 norms eager=80 compile=138
layer_norm        bwd 32768x1024         bf16 norms eager=215
rms_norm          fwd 4096x8192          bf16 norms eager=56 compile=65 liger=40
rms_norm          bwd 4096x8192          bf16 norms eager=136 liger=133
layer_norm        fwd 4096x8192          bf16 norms eager=62 compile=96
layer_norm        bwd 4096x8192          bf16 norms eager=140
rms_norm          fwd 65536x8192         bf16 norms eager=791 compile=820 liger=528
rms_norm          bwd 65536x8192         bf16 norms eager=2066 liger=1332
layer_norm        fwd 65536x8192         bf16 norms eager=869 compile=1385
layer_norm        bwd 65536x8192         bf16 norms eager=2056

rms_norm          fwd 8192x4096          bf16 calls system=60.3 eager=46.9 compile=42.2
rms_norm          bwd 8192x4096          bf16 calls system=700 eager=121 compile=130
rms_norm          fwd 32768x1024         bf16 calls system=40.7 eager=48.3 compile=37
rms_norm          bwd 32768x1024         bf16 calls system=695 eager=185 compile=106
rms_norm          fwd 4096x8192          bf16 calls system=69.2 eager=57.3 compile=36.9
rms_norm          bwd 4096x8192          bf16 calls system=1110 eager=139 compile=105
rms_norm          fwd 8192x4096          f16  calls system=56.6 eager=46.5 compile=41.1
rms_norm          bwd 8192x4096          f16  calls system=700 eager=114 compile=113
rms_norm2         fwd 2x(8x512x4096)     bf16 calls system=67.5 eager=53.7 compile=46.8
rms_norm2         bwd 2x(8x512x4096)     bf16 calls system=797 eager=134 compile=161
l2_normalize      fwd 8192x4096          bf16 calls system=57.2 eager=296 compile=40.8
l2_normalize      bwd 8192x4096          bf16 calls system=538 eager=1090 compile=64.6
l2_normalize      fwd 32768x1024         bf16 calls system=41.7 eager=303 compile=40.2
l2_normalize      bwd 32768x1024         bf16 calls system=162 eager=1103 compile=94.5
l2_normalize2     fwd 2x(8x512x4096)     bf16 calls system=66.6 eager=322 compile=45.5
l2_normalize2     bwd 2x(8x512x4096)     bf16 calls system=687 eager=1162 compile=155
head_layer_norm   fwd 4x16x4096x64       bf16 calls system=52.4 eager=574 compile=41.8
head_layer_norm   bwd 4x16x4096x64       bf16 calls system=100 eager=402 compile=166
head_layer_norm   fwd 4x16x4096x128      bf16 calls system=86.4 eager=560 compile=72.5
head_layer_norm   bwd 4x16x4096x128      bf16 calls system=121 eager=403 compile=147
rope              fwd 4x16x4096x64       bf16 calls system=85.1 eager=386 compile=40.1
rope              bwd 4x16x4096x64       bf16 calls system=140 eager=494 compile=83.6
rope              fwd 4x16x4096x128      bf16 calls system=93.2 eager=743 compile=74
rope              bwd 4x16x4096x128      bf16 calls system=94 eager=946 compile=90.3
ln_rope           fwd 4x16x4096x64       bf16 calls system=101 eager=955 compile=108
ln_rope           bwd 4x16x4096x64       bf16 calls system=164 eager=890 compile=170
ln_rope           fwd 4x16x4096x128      bf16 calls system=86.8 eager=1298 compile=150
ln_rope           bwd 4x16x4096x128      bf16 calls system=107 eager=1344 compile=304
rms_norm_rope     fwd 4x2048x4096        f16  calls system=294 eager=362 compile=59.3
rms_norm_rope     bwd 4x2048x4096        f16  calls eager=608 compile=150
quantize_u8       fwd 8192x4096          f16  calls system=39.6 eager=646 compile=46
dequantize_u8     fwd 8192x4096          f16  calls system=35.4 eager=513 compile=30.2
layer_norm_adaln  fwd 64x186x128         bf16 calls system=11.8 eager=35 compile=21.4
layer_norm_adaln  bwd 64x186x128         bf16 calls eager=114 compile=169
layer_norm_adaln  fwd 64x186x128         f32  calls system=19.3 eager=39.9 compile=23.9
layer_norm_adaln  bwd 64x186x128         f32  calls eager=127 compile=176
layer_norm_adaln  fwd 16x4096x1024       bf16 calls system=76 eager=509 compile=72.7
layer_norm_adaln  bwd 16x4096x1024       bf16 calls eager=490 compile=236
rms_norm_adaln    fwd 64x186x128         bf16 calls system=12.5 eager=28.8 compile=35.5
rms_norm_adaln    bwd 64x186x128         bf16 calls eager=125 compile=138
rms_norm_adaln    fwd 64x186x128         f32  calls system=12 eager=30.7 compile=32.3
rms_norm_adaln    bwd 64x186x128         f32  calls eager=89.4 compile=139
rms_norm_adaln    fwd 16x4096x1024       bf16 calls system=78.9 eager=452 compile=75.2
rms_norm_adaln    bwd 16x4096x1024       bf16 calls eager=480 compile=216

rms_norm          fwd 8192x4096          bf16 graph system=58 eager=47.4 compile=42.5
rms_norm          bwd 8192x4096          bf16 graph eager=119 compile=85.6
rms_norm          fwd 32768x1024         bf16 graph system=41.1 eager=48.3 compile=37.3
rms_norm          bwd 32768x1024         bf16 graph eager=183 compile=75
rms_norm          fwd 4096x8192          bf16 graph system=68.9 eager=57.5 compile=37.3
rms_norm          bwd 4096x8192          bf16 graph eager=138 compile=105
rms_norm          fwd 8192x4096          f16  graph system=57.3 eager=47.1 compile=41
rms_norm          bwd 8192x4096          f16  graph eager=113 compile=86.3
rms_norm2         fwd 2x(8x512x4096)     bf16 graph system=67.8 eager=51.9 compile=45.4
rms_norm2         bwd 2x(8x512x4096)     bf16 graph eager=129 compile=113
l2_normalize      fwd 8192x4096          bf16 graph system=57.5 eager=291 compile=41.1
l2_normalize      bwd 8192x4096          bf16 graph compile=54.7
l2_normalize      fwd 32768x1024         bf16 graph system=41.1 eager=298 compile=36.7
l2_normalize      bwd 32768x1024         bf16 graph system=161 compile=54.4
l2_normalize2     fwd 2x(8x512x4096)     bf16 graph system=67.5 eager=307 compile=44.3
l2_normalize2     bwd 2x(8x512x4096)     bf16 graph compile=58.1
head_layer_norm   fwd 4x16x4096x64       bf16 graph system=51.7 compile=40.1
head_layer_norm   bwd 4x16x4096x64       bf16 graph system=71.7 compile=56.3
head_layer_norm   fwd 4x16x4096x128      bf16 graph system=85.6 compile=70.8
head_layer_norm   bwd 4x16x4096x128      bf16 graph system=121 compile=102
rope              fwd 4x16x4096x64       bf16 graph system=84.6 eager=367 compile=39.9
rope              bwd 4x16x4096x64       bf16 graph system=84.4 compile=39.9
rope              fwd 4x16x4096x128      bf16 graph system=92.9 compile=73.6
rope              bwd 4x16x4096x128      bf16 graph system=94.4 compile=74.5
ln_rope           fwd 4x16x4096x64       bf16 graph system=47.5 compile=108
ln_rope           bwd 4x16x4096x64       bf16 graph system=58.7 compile=171
ln_rope           fwd 4x16x4096x128      bf16 graph system=86.7 compile=152
ln_rope           bwd 4x16x4096x128      bf16 graph system=108 compile=305
rms_norm_rope     fwd 4x2048x4096        f16  graph system=289 eager=350 compile=58.2
rms_norm_rope     bwd 4x2048x4096        f16  graph compile=146
quantize_u8       fwd 8192x4096          f16  graph system=30.8 compile=33.6
dequantize_u8     fwd 8192x4096          f16  graph system=29.4 compile=29.5
layer_norm_adaln  fwd 64x186x128         bf16 graph system=12.5 eager=31.7 compile=7.23
layer_norm_adaln  bwd 64x186x128         bf16 graph eager=40.6 compile=17.8
layer_norm_adaln  fwd 64x186x128         f32  graph system=13 eager=36.5 compile=9.22
layer_norm_adaln  bwd 64x186x128         f32  graph eager=41.6 compile=19.4
layer_norm_adaln  fwd 16x4096x1024       bf16 graph system=76 compile=72.4
layer_norm_adaln  bwd 16x4096x1024       bf16 graph compile=234
rms_norm_adaln    fwd 64x186x128         bf16 graph system=12.9 eager=26.2 compile=6.88
rms_norm_adaln    bwd 64x186x128         bf16 graph eager=38.5 compile=16.9
rms_norm_adaln    fwd 64x186x128         f32  graph system=12.8 eager=28.1 compile=9.44
rms_norm_adaln    bwd 64x186x128         f32  graph eager=39.8 compile=18.4
rms_norm_adaln    fwd 16x4096x1024       bf16 graph system=78.8 compile=74.7
rms_norm_adaln    bwd 16x4096x1024       bf16 graph compile=215
"""


def _parse(text):
    table = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        op, way, shape, dtype, measurement, *figures = line.split()
        for figure in figures:
            who, us = figure.split("=")
            table.setdefault((op, way, shape, dtype), []).append((float(us), who, measurement))
    return table


FIGURES = _parse(_ROWS)  # (op, direction, shape, dtype) -> [(us, who, measurement)]


def best(op, way, shape, dtype):
    """(us, who, measurement) of the smallest recorded figure, or None."""
    figures = FIGURES.get((op, way, shape, dtype))
    return min(figures) if figures else None


def recorded_copy_us(nbytes):
    """Time of a copy that reads and writes nbytes in all, by the recorded rates: between two sizes by the logarithm of the size."""
    from math import log
    if nbytes <= COPY_RATES[0][0]:
        return nbytes / COPY_RATES[0][1]
    for (small, low), (large, high) in zip(COPY_RATES, COPY_RATES[1:]):
        if nbytes <= large:
            part = log(nbytes / small) / log(large / small)
            return nbytes / (low + (high - low) * part)
    return nbytes / COPY_RATES[-1][1]
