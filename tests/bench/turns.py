"""GPU times of several pieces of work that take turns, and the clock and power of the GPU meanwhile.

A product at 8192^3 draws all the power that the card may draw, so its clock falls, and drifts for seconds: one side measured after the other
is measured on another machine. Here each round runs every side once, in an order that moves on by one from round to round, each behind a
write that leaves the L2 cache full of something else; what is compared are the rounds, and medians are taken last. All are launched directly:
the write lasts longer than the CPU needs to queue what follows. A launch between two events costs some 2 us more than its kernel, for
every side."""
import ctypes
import statistics
import threading
import time

import torch

FLUSH_BYTES = 256 << 20
LEAST, MOST = 11, 150  # rounds


class Turns:
    """seconds: of GPU time that a comparison may take, a third as much to warm up before it."""

    def __init__(self, seconds=0.3, watch=True):
        self.seconds = seconds
        self.scratch = torch.empty(FLUSH_BYTES // 4, dtype=torch.float32, device="cuda")
        self.meter = Meter(torch.cuda.current_device()) if watch else None

    def round(self, works, first):
        """Queues one round; pairs of events in the order of works."""
        pairs = [None] * len(works)
        for i in range(len(works)):
            at = (first + i) % len(works)
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.scratch.fill_(1.0)
            start.record()
            works[at]()
            end.record()
            pairs[at] = (start, end)
        return pairs

    def times(self, works, rounds):
        """times[i][r] in us: work i in round r."""
        queued = [self.round(works, r) for r in range(rounds)]
        torch.cuda.synchronize()
        return [[start.elapsed_time(end) * 1000 for start, end in of_one] for of_one in zip(*queued)]

    def compare(self, works):
        """{name: work} -> ({name: times by round}, what the meter saw)."""
        sides = list(works.values())
        self.times(sides, 2)  # what is made at a first call
        start = time.perf_counter()
        self.times(sides, 3)
        each = (time.perf_counter() - start) / 3
        self.times(sides, max(1, int(self.seconds / 3 / each)))
        rounds = min(MOST, max(LEAST, int(self.seconds / each)))
        if not self.meter:
            return dict(zip(works, self.times(sides, rounds))), {}
        with self.meter:
            found = self.times(sides, rounds)
        return dict(zip(works, found)), self.meter.seen()


def share(times, of):
    """How much of the speed of the other one has: the median over rounds of its time over that of `times`."""
    return statistics.median(b / a for a, b in zip(times, of))


def spread(times):
    """Half of the distance between the 10th and the 90th percentile, over the median."""
    ordered = sorted(times)
    return (ordered[-1 - len(ordered) // 10] - ordered[len(ordered) // 10]) / 2 / statistics.median(ordered)


class Meter:
    """Samples clock and power by NVML on a thread of its own, while it is entered. Sees nothing where there is no NVML."""

    SM_CLOCK, EVERY = 1, 0.004

    def __init__(self, ordinal):
        self.handle, self.samples = None, []
        try:
            self.lib = ctypes.CDLL("libnvidia-ml.so.1")
            handle = ctypes.c_void_p()
            bus = torch.cuda.get_device_properties(ordinal)
            found = getattr(bus, "pci_bus_id", None)
            if self.lib.nvmlInit_v2() == 0 and self._find(handle, bus, found, ordinal):
                self.handle = handle
        except (OSError, AttributeError):
            pass

    def _find(self, handle, properties, bus, ordinal):
        if bus is not None:  # CUDA may number GPUs otherwise than NVML does
            text = "%08x:%02x:%02x.0" % (getattr(properties, "pci_domain_id", 0), bus, getattr(properties, "pci_device_id", 0))
            if self.lib.nvmlDeviceGetHandleByPciBusId_v2(text.encode(), ctypes.byref(handle)) == 0:
                return True
        return self.lib.nvmlDeviceGetHandleByIndex_v2(ordinal, ctypes.byref(handle)) == 0

    def _watch(self):
        clock, power = ctypes.c_uint(), ctypes.c_uint()
        while not self.done.wait(self.EVERY):
            if self.lib.nvmlDeviceGetClockInfo(self.handle, self.SM_CLOCK, ctypes.byref(clock)) == 0:
                known = self.lib.nvmlDeviceGetPowerUsage(self.handle, ctypes.byref(power)) == 0
                self.samples.append((clock.value, power.value / 1000 if known else None))

    def __enter__(self):
        self.samples, self.done = [], threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True) if self.handle else None
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.thread:
            self.thread.join()

    def seen(self):
        """{"mhz": median, "least_mhz", "watts": most} of the last time; {} where nothing was seen."""
        if not self.samples:
            return {}
        clocks, watts = [c for c, _ in self.samples], [w for _, w in self.samples if w is not None]
        return {"mhz": statistics.median(clocks), "least_mhz": min(clocks), "watts": max(watts) if watts else None}
