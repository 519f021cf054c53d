#!/usr/bin/env python3
"""The tables of row-wise ops and of products in docs/performance.md, from the results.json that tests/gpu.sh leaves.

    tests/bench/tables.py /tmp/kiln-gpu/results.json
"""
import argparse
import json
import signal


def figure(us):
    """Microseconds with the digits that a run repeats."""
    return f"{us:.0f}" if us >= 1000 else f"{us:.1f}" if us >= 10 else f"{us:.2f}"


def line(*cells):
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def rowwise_table(rows):
    """A line per op, shape and dtype; forward and backward beside each other, in the order in which they were measured."""
    ways = {}
    for row in rows:
        ways.setdefault((row["op"], row["shape"], row["dtype"]), {})[row["way"]] = row

    def cells(row):
        if row is None:
            return ["", "", ""]
        us = row["kiln"]["us"]
        peers = {name: peer["us"] for name, peer in row["peers"].items() if peer.get("us")}
        best = min(peers, key=peers.get, default=None)
        copy = f"{row['copy_us'] / us:.3f}" if us >= 20 else "-"  # below that a copy is all start and end
        return [figure(us), copy, f"{figure(peers[best])} {best}" if best else ""]

    yield line("op", "shape", "forward us", "of the copy", "best peer", "backward us", "of the copy", "best peer")
    yield "|" + "---|" * 8
    for (op, shape, dtype), way in ways.items():
        name = shape if dtype == "bf16" else f"{shape} {dtype}"
        yield line(op, name, *cells(way.get("fwd")), *cells(way.get("bwd")))


def product_table(results):
    """A line per product and bar; the peer is the best of those that the bar names."""
    yield line("product", "kiln us", "TFLOP/s", "best peer", "its us", "of its speed", "must", "aim")
    yield "|" + "---|" * 8
    for row in results:
        kiln, must, aim = row["kiln"], row["must"], row["aim"]
        shared = must["peers"] == aim["peers"]
        for bar, other in [(must, aim)] if shared else [(must, None), (aim, None)]:
            first = bar is must
            yield line(row["row"] if first else "", figure(kiln["us"]) if first else "", f"{row['flop'] / kiln['us'] / 1e6:.0f}" if first else "",
                       bar["best"], figure(row["peers"][bar["best"]]["us"]), f"{kiln['shares']['must' if first else 'aim']:.3f}",
                       f"{must['share']:.2f}" if first else "", f"{(other or bar)['share']:.2f}" if other or not first else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="results.json of tests/gpu.sh rowwise gemm")
    with open(parser.parse_args().results) as file:
        parts = json.load(file)["parts"]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if "rowwise" in parts:
        print("\n".join(rowwise_table(parts["rowwise"]["rows"])))
    if "gemm" in parts:
        print("\n" + "\n".join(product_table(parts["gemm"]["results"])))


if __name__ == "__main__":
    main()
