#!/usr/bin/env python3
"""How long the first plan of a gemm takes in a process of its own: first_plan.py FOLDER MxNxK DTYPE, KILN_BUILD set. No framework.

The folder's files are added before; the plan selects one, and the driver assembles its PTX or finds it in its cache (CUDA_CACHE_PATH).
Prints JSON: open_ms (the device, context included), plan_ms, variant."""
import json
import os
import sys
import time

import kiln_side


def main():
    folder, shape, dtype = sys.argv[1:]
    kiln = kiln_side.load_package(os.environ["KILN_BUILD"])
    m, n, k = (int(size) for size in shape.split("x"))
    times = [time.perf_counter()]
    device = kiln.Device("cuda:0", provider=False)
    times.append(time.perf_counter())
    device.add(folder)
    a, b, d = (device.empty(s, dtype) for s in ((m, k), (n, k), (m, n)))
    times.append(time.perf_counter())
    plan = kiln.Plan(device, "gemm", {"a": a, "b": b.strided((k, n), (1, k)), "d": d}, settings={"dtype": dtype})
    times.append(time.perf_counter())
    print(json.dumps({"open_ms": (times[1] - times[0]) * 1000, "plan_ms": (times[3] - times[2]) * 1000, "variant": plan.variant}))


if __name__ == "__main__":
    main()
