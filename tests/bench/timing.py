"""GPU time and CPU time of a piece of work, and the time of a device copy of as many bytes.

GPU time. Two CUDA graphs are replayed in turn: one of n flushes of the L2 cache, and one of n times (flush, work). The work's time
is the median of the second graph's times between two events, less that of the first's, over n. Why so, and not otherwise:
* Between two events around one launch, a kernel of 5 us is measured with some 2 us of events and launch; within a graph of n
  repetitions both are paid once for all, and cancel in the difference.
* A graph of n copies of the work over rotating buffers has no flush to subtract, but needs n sets of inputs, outputs and
  autograd graphs, and lets what one copy leaves in L2 (kernels may ask to keep lines) meet the next one.
* The flush writes 256 MiB, more than four times the L2 cache of an H200. It leaves the cache full of its own dirty lines, so that
  the work pays for writing them back; in exchange the next flush writes back what the work left. Both are inside the graph, so
  that in the difference the work pays exactly for the bytes that it moves.
* The CPU takes no part while a graph runs: many small kernels (eager) are not charged for launches that a GPU waits for.
Kernels may ask L2 to keep lines (evict_last), and a flush need not drive those out: the works of one time can be several, over buffers
of their own, taking turns. Buffers of several times the L2 in all then leave nothing to find; --rotate does that, and a run says
for one row what it changes.
The work runs for a while before it is timed: behind a check by the reference, or a pause, the first ten milliseconds of large kernels came out
up to a tenth slower, by more than what anything else here is about.
n is such that the work takes about as long as a few flushes; long work has n = 1. What cannot be captured is timed between events
behind a flush, and says so ("events" instead of "graph").

CPU time. Calls are issued in batches that fit in the driver's queue, and only the issuing is timed; medians of batches."""
import ctypes
import gc
import statistics
import time

import torch

FLUSH_BYTES = 256 << 20
WARM_US = 20000 # for how long work runs before it is timed
WORK_US = 400  # about how long the works of one graph take together
MOST = 12      # repetitions in one graph


def spread(times):
    """Half of the distance between the 10th and the 90th percentile, over the median."""
    ordered = sorted(times)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return (high - low) / 2 / statistics.median(ordered)


class Timer:
    """Times work on the current stream, which must not be the default one (nothing can be captured there)."""

    def __init__(self, samples=15):
        self.samples = samples
        self.scratch = torch.empty(FLUSH_BYTES // 4, dtype=torch.float32, device="cuda")
        self.flush_graphs = {}
        self.copies = {}
        for _ in range(20):  # clocks up
            self.flush()
        torch.cuda.synchronize()
        # One pool of memory for all captures: only one graph of work is alive at a time, and the graphs of flushes, which use none of
        # it, keep it from being given back in between.
        self.pool = torch.cuda.graph_pool_handle()
        self.flushes(1)

    def flush(self):
        self.scratch.fill_(1.0)

    def capture(self, n, works):
        """A graph of n times (flush, work), the works taking turns; no works: flushes only."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        collecting = gc.isenabled()
        gc.disable()  # freeing another graph's memory within a capture would spoil it
        try:
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                for i in range(n):
                    self.flush()
                    if works:
                        works[i % len(works)]()
            finally:
                graph.capture_end()
        finally:
            if collecting:
                gc.enable()
        return graph

    def flushes(self, n):
        if n not in self.flush_graphs:
            self.flush_graphs[n] = self.capture(n, [])
            self.flush_graphs[n].replay()
        return self.flush_graphs[n]

    def between_events(self, works, samples):
        """Times in us of each of the works, taking turns."""
        pairs = [[] for _ in works]
        for _ in range(samples):
            for work, events in zip(works, pairs):
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                work()
                end.record()
                events.append((start, end))
        torch.cuda.synchronize()
        return [[start.elapsed_time(end) * 1000 for start, end in events] for events in pairs]

    def behind_flush(self, works, samples):
        """Times in us between events around a work, a flush before each."""
        events = []
        for i in range(samples):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.flush()
            start.record()
            works[i % len(works)]()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1000 for start, end in events]

    def gpu(self, *works):
        """{"us", "spread", "how"} of a work, or of several like ones that take turns."""
        for work in works:
            work()
        estimate = min(self.behind_flush(works, 3))
        n = max(1, min(MOST, int(WORK_US / max(estimate, 1.0))))
        n = -(-n // len(works)) * len(works)
        try:
            graph = self.capture(n, works)
            for _ in range(1 + int(WARM_US / (n * (max(estimate, 1.0) + 100)))):
                graph.replay()
            torch.cuda.synchronize()
        except RuntimeError as error:  # what allocates by itself, or waits for the device
            torch.cuda.synchronize()
            return self.by_events(works, str(error).splitlines()[0][:160])
        flushes = self.flushes(n)
        alone, together = self.between_events([flushes.replay, graph.replay], self.samples)
        graph.reset()
        us = (statistics.median(together) - statistics.median(alone)) / n
        if us <= 0:
            return self.by_events(works, "less than what a flush varies by")
        ordered = sorted(together)
        low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
        return {"us": us, "spread": (high - low) / 2 / n / us, "how": f"graph of {n}"}

    def by_events(self, works, why):
        times = self.behind_flush(works, self.samples)
        return {"us": statistics.median(times), "spread": spread(times), "how": "events", "why": why}

    def copy_us(self, nbytes):
        """Time of a device copy that reads and writes nbytes in all; one measurement per size."""
        half = max(16, nbytes // 2 // 16 * 16)
        if half not in self.copies:
            source = torch.empty(half // 4, dtype=torch.int32, device="cuda").random_()
            target = torch.empty_like(source)
            driver = ctypes.CDLL("libcuda.so.1")
            args = (ctypes.c_uint64(target.data_ptr()), ctypes.c_uint64(source.data_ptr()), ctypes.c_size_t(source.numel() * 4))

            def work():
                code = driver.cuMemcpyDtoDAsync_v2(*args, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
                if code != 0:
                    raise RuntimeError(f"cuMemcpyDtoDAsync: error {code}")

            # Large copies of a graph run at two thirds of the rate that the stream itself gives them: the better way counts.
            best = min(self.gpu(work)["us"], statistics.median(self.behind_flush([work], self.samples)))
            self.copies[half] = best * (nbytes / 2) / (source.numel() * 4)
            del source, target
        return self.copies[half]


def cpu_us(calls, batch=200, batches=21):
    """{name: CPU time in us that one call takes to issue its work}: the median over batches that take turns, so that all see the same
    machine; the device is idle at the start of each."""
    times = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(50):
            call()
    for _ in range(batches):
        for name, call in calls.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(batch):
                call()
            times[name].append((time.perf_counter() - start) / batch * 1e6)
    torch.cuda.synchronize()
    return {name: statistics.median(t) for name, t in times.items()}
