"""The few CUDA driver calls that the microbenchmarks need, through ctypes: no CUDA SDK, no framework."""
import ctypes
import math
import statistics


class Driver:
    """A GPU's primary context and what is loaded into it."""

    def __init__(self, ordinal=0):
        self.lib = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        self.device = device
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *args):
        code = getattr(self.lib, name)(*args)
        if code != 0:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorName(code, ctypes.byref(text))
            raise RuntimeError(f"{name}: {text.value.decode() if text.value else code}")

    def attribute(self, number):
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, self.device)
        return value.value

    @property
    def sms(self):
        return self.attribute(16)

    @property
    def name(self):
        text = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", text, 128, self.device)
        return text.value.decode()

    def alloc(self, nbytes):
        ptr = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(ptr), ctypes.c_size_t(nbytes))
        return ptr

    def function(self, ptx, entry):
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx.encode()))
        self.call("cuModuleGetFunction", ctypes.byref(function), module, entry.encode())
        return function

    def registers(self, function):
        value = ctypes.c_int()
        self.call("cuFuncGetAttribute", ctypes.byref(value), 4, function)
        return value.value

    def launch(self, function, grid, block, args):
        pointers = (ctypes.c_void_p * len(args))(*[ctypes.cast(ctypes.byref(a), ctypes.c_void_p) for a in args])
        self.call("cuLaunchKernel", function, grid, 1, 1, block, 1, 1, 0, None, pointers, None)

    def sync(self):
        self.call("cuCtxSynchronize")

    def time_ms(self, work, repeats, before=lambda: None):
        """Median GPU time of work() in ms, and its spread (half of p90 - p10 over the median)."""
        events = []
        for _ in range(repeats):
            start, end = ctypes.c_void_p(), ctypes.c_void_p()
            self.call("cuEventCreate", ctypes.byref(start), 0)
            self.call("cuEventCreate", ctypes.byref(end), 0)
            before()
            self.call("cuEventRecord", start, None)
            work()
            self.call("cuEventRecord", end, None)
            events.append((start, end))
        self.sync()
        times = []
        for start, end in events:
            ms = ctypes.c_float()
            self.call("cuEventElapsedTime", ctypes.byref(ms), start, end)
            times.append(ms.value)
            self.call("cuEventDestroy_v2", start)
            self.call("cuEventDestroy_v2", end)
        return statistics.median(times), spread(times)


def spread(times):
    ordered = sorted(times)
    low, high = ordered[len(ordered) // 10], ordered[math.ceil(len(ordered) * 0.9) - 1]
    return (high - low) / 2 / statistics.median(ordered)
