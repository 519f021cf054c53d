#!/usr/bin/env python3
"""The ceiling of mma.sync m16n8k16 bf16 on this GPU: nothing but products, from registers with random contents.

Each warp keeps a 4 x 4 grid of independent accumulators, as a GEMM's inner loop does, and multiplies two sets of fragments in
turn. One CTA per SM; 4 and 8 warps. Prints TFLOP/s; --json FILE writes the figures."""
import argparse
import ctypes
import json
import sys

from driver import Driver

ROWS, COLS, SETS = 4, 4, 2  # A fragments, B fragments, sets that take turns
FLOP_PER_MMA = 2 * 16 * 8 * 16
FLOP_PER_ROUND = SETS * ROWS * COLS * FLOP_PER_MMA  # of a warp


def ptx_text():
    """The whole kernel: mma_ceiling(u64 out, u32 iterations)."""
    n_regs = SETS * (ROWS * 4 + COLS * 2)
    lines = [
        ".version 7.0", ".target sm_80", ".address_size 64",
        ".visible .entry mma_ceiling(.param .u64 out, .param .u32 iterations) .maxntid 256, 1, 1 {",
        "  .reg .pred %p<2>;", f"  .reg .b32 %r<{n_regs}>;", f"  .reg .f32 %f<{ROWS * COLS * 4}>;",
        "  .reg .b32 %seed, %left, %thread;", "  .reg .b64 %at, %step;", "  .reg .f32 %sum;",
        "  mov.u32 %thread, %tid.x;",
        "  mov.u32 %seed, %ctaid.x;", "  mad.lo.u32 %seed, %seed, 256, %thread;", "  ld.param.u32 %left, [iterations];",
    ]
    for i in range(n_regs):  # both halves: random sign and mantissa, magnitude between 0.5 and 2
        lines += ["  mad.lo.u32 %seed, %seed, 1664525, 1013904223;", f"  shr.u32 %r{i}, %seed, 3;",
                  f"  xor.b32 %r{i}, %r{i}, %seed;", f"  and.b32 %r{i}, %r{i}, 0x80ff80ff;", f"  or.b32 %r{i}, %r{i}, 0x3f003f00;"]
    lines += [f"  mov.f32 %f{i}, 0f00000000;" for i in range(ROWS * COLS * 4)]
    lines.append("again:")
    for s in range(SETS):
        base = s * (ROWS * 4 + COLS * 2)
        for i in range(ROWS):
            for j in range(COLS):
                a = ", ".join(f"%r{base + i * 4 + k}" for k in range(4))
                b = ", ".join(f"%r{base + ROWS * 4 + j * 2 + k}" for k in range(2))
                c = ", ".join(f"%f{(i * COLS + j) * 4 + k}" for k in range(4))
                lines.append(f"  mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {{{c}}}, {{{a}}}, {{{b}}}, {{{c}}};")
    lines += ["  sub.u32 %left, %left, 1;", "  setp.ne.u32 %p1, %left, 0;", "  @%p1 bra again;", "  mov.f32 %sum, 0f00000000;"]
    lines += [f"  add.f32 %sum, %sum, %f{i};" for i in range(ROWS * COLS * 4)]
    lines += ["  ld.param.u64 %at, [out];", "  mov.u32 %seed, %ctaid.x;", "  mad.lo.u32 %seed, %seed, 256, %thread;",
              "  mul.wide.u32 %step, %seed, 4;", "  add.u64 %at, %at, %step;", "  st.global.f32 [%at], %sum;", "  ret;", "}"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: mma_ceiling.py --json ceiling.json")
    parser.add_argument("--iterations", type=int, default=20000, help="rounds of 32 products per warp (20000: some 5 ms)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--print-ptx", action="store_true", help="print the kernel and stop")
    options = parser.parse_args()
    if options.print_ptx:
        sys.stdout.write(ptx_text())
        return
    gpu = Driver()
    function = gpu.function(ptx_text(), "mma_ceiling")
    sms = gpu.sms
    out = gpu.alloc(sms * 256 * 4)
    result = {"device": gpu.name, "sms": sms, "registers": gpu.registers(function), "tflops": {}}
    for warps in (4, 8):
        work = lambda: gpu.launch(function, sms, warps * 32, [out, ctypes.c_uint32(options.iterations)])
        work()
        gpu.sync()
        ms, spread = gpu.time_ms(work, options.repeats)
        flop = sms * warps * options.iterations * FLOP_PER_ROUND
        result["tflops"][str(warps)] = flop / ms / 1e9
        print(f"mma.sync m16n8k16 bf16, {warps} warps per SM: {flop / ms / 1e9:7.1f} TFLOP/s   ({ms:.2f} ms, spread {spread:.1%})")
    result["ceiling_tflops"] = max(result["tflops"].values())
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
