#!/usr/bin/env python3
"""What others reach on this GPU: torch eager, torch.compile and cuBLAS (through torch), and the rate of a plain copy.

GPU time between events, the L2 cache flushed before each run, medians. Every candidate is timed twice, launched directly and
replayed from a CUDA graph, and the better of the two stands, so that no peer is charged for its launch overhead. The flush lasts
long enough for the CPU to queue what follows."""
import argparse
import ctypes
import json
import statistics
import sys

import torch

from driver import spread

NORM_SHAPES = [(65536, 8192), (8192, 4096), (32768, 1024)]
GEMM_SHAPES = [(4096, 4096, 4096)]
FLUSH_BYTES = 512 << 20


class Timer:
    def __init__(self, repeats):
        self.repeats = repeats
        self.scratch = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")

    def times_us(self, work):
        events = []
        for _ in range(self.repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.scratch.zero_()
            start.record()
            work()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1000 for start, end in events]

    def best_us(self, work):
        """(median, spread, how) of the better of direct launches and graph replays."""
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        candidates = {"direct": self.times_us(work)}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        candidates["graph"] = self.times_us(graph.replay)
        how = min(candidates, key=lambda k: statistics.median(candidates[k]))
        return statistics.median(candidates[how]), spread(candidates[how]), how


def copy_row(timer, nbytes):
    """cuMemcpyDtoD that reads and writes nbytes in all."""
    source = torch.empty(nbytes // 2, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    driver = ctypes.CDLL("libcuda.so.1")

    def work():
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        code = driver.cuMemcpyDtoDAsync_v2(ctypes.c_uint64(target.data_ptr()), ctypes.c_uint64(source.data_ptr()),
                                           ctypes.c_size_t(nbytes // 2), stream)
        if code != 0:
            raise RuntimeError(f"cuMemcpyDtoDAsync: {code}")

    us, spr, how = timer.best_us(work)
    return {"op": "copy", "shape": f"{nbytes} bytes", "peer": "cuMemcpyDtoD", "us": us, "spread": spr, "how": how, "bytes": nbytes,
            "gb_s": nbytes / us / 1e3}


def norm_rows(timer, rows, cols):
    x = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(cols, device="cuda", dtype=torch.bfloat16)
    nbytes = 2 * x.numel() * 2 + w.numel() * 2

    def functional(a, b):
        return torch.nn.functional.rms_norm(a, (cols,), b, 1e-6)

    def formula(a, b):
        f = a.float()
        return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6) * b.float()).to(a.dtype)

    peers = [("torch eager", functional), ("torch.compile rms_norm", torch.compile(functional, dynamic=False)),
             ("torch.compile formula", torch.compile(formula, dynamic=False))]
    result = [copy_row(timer, 2 * x.numel() * 2)]
    for name, function in peers:
        us, spr, how = timer.best_us(lambda: function(x, w))
        result.append({"op": "rms_norm", "shape": f"M={rows},N={cols}", "peer": name, "us": us, "spread": spr, "how": how,
                       "bytes": nbytes, "gb_s": nbytes / us / 1e3})
    return result


def gemm_rows(timer, m, n, k):
    a = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    us, spr, how = timer.best_us(lambda: torch.mm(a, b.t(), out=out))
    flop = 2 * m * n * k
    return [{"op": "gemm", "shape": f"M={m},N={n},K={k}", "peer": "cuBLAS", "us": us, "spread": spr, "how": how, "flop": flop,
             "tflops": flop / us / 1e6}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: peers.py --json peers.json")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("peers.py: torch sees no GPU")
    timer = Timer(options.repeats)
    rows = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'op':10} {'shape':22} {'peer':24} {'us':>9} {'spread':>7} {'how':>7}  rate")
    for work, shapes in ((gemm_rows, GEMM_SHAPES), (norm_rows, NORM_SHAPES)):
        for shape in shapes:
            for row in work(timer, *shape):
                rows.append(row)
                rate = f"{row['tflops']:.1f} TFLOP/s" if "tflops" in row else f"{row['gb_s']:.0f} GB/s"
                print(f"{row['op']:10} {row['shape']:22} {row['peer']:24} {row['us']:9.2f} {row['spread']:7.1%} {row['how']:>7}  {rate}",
                      flush=True)
                if options.json:
                    with open(options.json, "w") as file:
                        json.dump({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}, file, indent=1)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
