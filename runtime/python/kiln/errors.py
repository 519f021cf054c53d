"""One exception class per status of libkiln (runtime/status.def), each with what was expected, what came, and of which tensor.

    try:
        kiln.Plan(device, "rms_norm", {"x": x, "y": y})
    except kiln.BadStride as e:
        print(e.tensor, e.actual, e.expected)

All derive from KilnError; some from the builtin that a Python programmer would look for as well (MemoryError, FileNotFoundError).
"""
import re

_SUBJECT = re.compile(r"\b(?:tensor|output|argument|scalar|setting|workspace) ([A-Za-z_][A-Za-z0-9_]*)")
_POINTER = re.compile(r"pointer (?:(0x[0-9a-f]+|\(nil\)) )?of tensor ([A-Za-z_][A-Za-z0-9_]*)")
_FACT = re.compile(r"(?:^|: )(?P<actual>[^;]*?); (?:expected|this variant takes|this variant has|the device takes) (?P<expected>[^\n]*)")
_LEAD = re.compile(r"^(?:(?:tensor|output|argument|scalar|setting|workspace) [A-Za-z_][A-Za-z0-9_]*:?\s*)(?:is |has )?")

_SPECIAL = [(r"pointer of tensor \w+ \(number \d+\) is null", "null", "a device pointer"),
            (r"this (tensor|scalar) is missing", "missing", "given"), (r"is given twice", "given twice", "given once"),
            (r"a tensor is expected", "no tensor", "a tensor"), (r"a scalar is expected", "no scalar", "a scalar"),
            (r"this variant has none of that name|this variant has no such setting", "given", "not given")]


class KilnError(RuntimeError):
    """What libkiln refused.

    status    the number of runtime/kiln.h (KILN_BAD_STRIDE is 39); 0 for what only this package checks
    message   the whole text
    tensor    the tensor, argument, scalar or setting that it is about; None if it is about none
    actual    what came, and
    expected  what would have been taken, as the message words them; None where it words no such pair
    """

    status = 0

    def __init__(self, message="", tensor=None, expected=None, actual=None):
        super().__init__(message)
        self.message = message
        found = _read(message)
        self.tensor = tensor if tensor is not None else found[0]
        self.expected = expected if expected is not None else found[1]
        self.actual = actual if actual is not None else found[2]


def _read(message):
    """(tensor, expected, actual) of a message of libkiln: "...: tensor x: dim 1 (N) is 5; expected 8, as in tensor w"."""
    subject, fact = _SUBJECT.search(message), _FACT.search(message)
    pointer = _POINTER.search(message)
    tensor = pointer.group(2) if pointer else subject.group(1) if subject else None
    for pattern, actual, expected in _SPECIAL:
        if re.search(pattern, message):
            return tensor, expected, pointer.group(1) if pointer and actual is None else actual
    if not fact:
        return tensor, None, None
    if pointer:
        return tensor, fact.group("expected").strip(), pointer.group(1)
    actual = fact.group("actual")
    if subject and subject.start() > fact.start("actual"):  # the file's name and colons stand before it
        actual = message[subject.start():fact.end("actual")]
    return tensor, fact.group("expected").strip(), _LEAD.sub("", actual).strip()


def _status(value, name, *also):
    return type(name, (KilnError,) + also, {"status": value, "__module__": "kiln.errors", "__doc__": None})


BadCall = _status(1, "BadCall", ValueError)
NoMemory = _status(2, "NoMemory", MemoryError)
NoDeviceMemory = _status(3, "NoDeviceMemory", MemoryError)
NoDevice = _status(10, "NoDevice")
DriverTooOld = _status(11, "DriverTooOld")
NoSimulator = _status(12, "NoSimulator")
DriverError = _status(13, "DriverError")
KernelFault = _status(14, "KernelFault")
NotFound = _status(20, "NotFound", FileNotFoundError)
FileFailed = _status(21, "FileFailed", OSError)
NoContract = _status(22, "NoContract")
BadContract = _status(23, "BadContract")
Truncated = _status(24, "Truncated")
Newer = _status(25, "Newer")
BadPtx = _status(26, "BadPtx")
NoOp = _status(30, "NoOp", LookupError)
NoTarget = _status(31, "NoTarget", LookupError)
NoVariant = _status(32, "NoVariant", LookupError)
BadSetting = _status(33, "BadSetting", ValueError)
UnknownArg = _status(34, "UnknownArg", TypeError)
MissingArg = _status(35, "MissingArg", TypeError)
BadDtype = _status(36, "BadDtype", TypeError)
BadRank = _status(37, "BadRank", ValueError)
BadSize = _status(38, "BadSize", ValueError)
BadStride = _status(39, "BadStride", ValueError)
BadAlign = _status(40, "BadAlign", ValueError)
BadPointer = _status(41, "BadPointer", ValueError)
NullPointer = _status(42, "NullPointer", ValueError)
Overlap = _status(43, "Overlap", ValueError)
Requirement = _status(44, "Requirement", ValueError)
TooLarge = _status(45, "TooLarge", OverflowError)
Unsupported = _status(46, "Unsupported")
ProviderFailed = _status(47, "ProviderFailed")

BY_STATUS = {c.status: c for c in list(globals().values()) if isinstance(c, type) and issubclass(c, KilnError) and c.status}


def from_status(status, message):
    """The exception of a status that libkiln returned."""
    return BY_STATUS.get(status, KilnError)(message)
