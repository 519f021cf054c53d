"""libkiln through ctypes: where it is found, and its declarations (runtime/kiln.h, which rules)."""
import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, Structure, Union, c_char, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p

from . import errors

_HERE = os.path.dirname(os.path.abspath(__file__))


def _folders():
    """Where libkiln may lie: what KILN_BUILD says; the package itself (a wheel carries it); build/ of the source tree."""
    if os.environ.get("KILN_BUILD"):
        return [os.environ["KILN_BUILD"]]
    return [os.path.join(_HERE, "lib"), os.path.normpath(os.path.join(_HERE, "..", "..", "..", "build"))]


def _find(*names):
    for folder in _folders():
        for name in names:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path
    return None


def _load():
    path = _find("libkiln.so.0", "libkiln.so")
    if not path:
        raise ImportError("kiln: libkiln.so.0 is neither in %s; run ./bootstrap build, or let KILN_BUILD name the folder"
                          % " nor in ".join(_folders()))
    return ctypes.CDLL(path), path


LIB, LIBRARY_PATH = _load()
COMMAND_PATH = _find("kiln")  # for the shipped provider; None: looked for on PATH


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_int), ("rank", c_int), ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64))]


class Arg(Structure):
    _fields_ = [("name", c_char_p), ("tensor", POINTER(Tensor)), ("scalar", c_double), ("text", c_char_p)]


class DeviceInfo(Structure):
    _fields_ = [("name", c_char * 128), ("target", c_char * 16), ("compute_capability", c_int), ("ordinal", c_int),
                ("simulated", c_int), ("driver_version", c_int), ("sms", c_int), ("clock_khz", c_int), ("l2_bytes", c_int),
                ("shared_bytes_block", c_int), ("shared_bytes_sm", c_int), ("memory_bytes", c_uint64),
                ("bandwidth_bytes_ns", c_double), ("tensor_flop_ns", c_double)]


class PlanOptions(Structure):
    _fields_ = [("target", c_char_p), ("variant", c_char_p), ("untuned", c_int)]


class Verdict(Structure):
    _fields_ = [("file", c_char_p), ("variant", c_char_p), ("target", c_char_p), ("settings", c_char_p), ("schedule", c_char_p),
                ("status", c_int), ("rule", c_char_p), ("cost_ns", c_double), ("wins", c_int), ("tuned", c_int)]


VerdictFn = CFUNCTYPE(None, c_void_p, POINTER(Verdict))


class PlanInfo(Structure):
    _fields_ = [("op", c_char_p), ("variant", c_char_p), ("target", c_char_p), ("file", c_char_p), ("settings", c_char_p),
                ("schedule", c_char_p), ("ntensors", c_int), ("nscalars", c_int), ("nsteps", c_int), ("workspace_bytes", c_size_t),
                ("workspace_align", c_size_t), ("cost_ns", c_double), ("bytes", c_double), ("flop", c_double)]


class StepInfo(Structure):
    _fields_ = [("name", c_char_p), ("entry", c_char_p), ("grid", c_uint * 3), ("block", c_uint), ("cluster", c_uint * 3),
                ("shared_bytes", c_uint), ("static_shared_bytes", c_uint), ("local_bytes", c_uint), ("registers", c_uint),
                ("blocks_sm", c_uint), ("function", c_void_p)]


class Scalar(Union):
    _fields_ = [("f", c_double), ("i", c_int64)]


def _declare():
    status, text, handle = c_int, c_char_p, c_void_p
    for name, result, *arguments in [
            ("kiln_status_text", text, c_int), ("kiln_status_name", text, c_int), ("kiln_error", text), ("kiln_version", text),
            ("kiln_dtype_bytes", c_size_t, c_int), ("kiln_dtype_name", text, c_int), ("kiln_dtype_from_name", c_int, text),
            ("kiln_open", status, POINTER(handle), text), ("kiln_close", None, handle),
            ("kiln_device_query", status, handle, POINTER(DeviceInfo)), ("kiln_add", status, handle, text),
            ("kiln_driver_symbol", status, handle, text, POINTER(c_void_p)),
            ("kiln_add_text", status, handle, text, c_char_p, c_size_t),
            ("kiln_set_provider", status, handle, c_void_p, c_void_p),
            ("kiln_plan_create_with", status, POINTER(handle), handle, text, POINTER(Arg), c_int, POINTER(PlanOptions)),
            ("kiln_plan_destroy", None, handle), ("kiln_plan_query", status, handle, POINTER(PlanInfo)),
            ("kiln_plan_step", status, handle, c_int, POINTER(StepInfo)),
            ("kiln_plan_tensor_name", text, handle, c_int), ("kiln_plan_scalar_name", text, handle, c_int),
            ("kiln_plan_scalar_dtype", c_int, handle, c_int),
            ("kiln_plan_describe", c_size_t, handle, c_char_p, c_size_t),
            ("kiln_explain", status, handle, text, POINTER(Arg), c_int, POINTER(PlanOptions), VerdictFn, c_void_p),
            ("kiln_launch_parts", status, handle, c_char_p, c_char_p, c_void_p, c_void_p),
            ("kiln_malloc", status, handle, POINTER(c_void_p), c_size_t), ("kiln_free", status, handle, c_void_p),
            ("kiln_upload", status, handle, c_void_p, c_void_p, c_size_t),
            ("kiln_download", status, handle, c_void_p, c_void_p, c_size_t),
            ("kiln_copy", status, handle, c_void_p, c_void_p, c_size_t, c_void_p),
            ("kiln_sync", status, handle)]:
        function = getattr(LIB, name)
        function.restype, function.argtypes = result, arguments


_declare()


def check(status):
    """Raises the exception of a status that is not KILN_OK."""
    if status:
        raise error(status)


def error(status):
    """The exception of a call of this thread that just failed."""
    return errors.from_status(status, LIB.kiln_error().decode(errors="replace"))
