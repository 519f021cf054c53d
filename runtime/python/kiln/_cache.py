"""The cache of plans, oldest first: what kiln.torch makes is kept here by all that specialises it."""
import threading

from . import errors

plans = {}
forget = []  # what clear() calls as well
lock = threading.Lock()
_limit = [4096]


def cache(limit=None):
    """Sets how many plans are kept (the oldest goes first), and says how many there are: cache(limit=100) -> {"plans": 7, "limit": 100}."""
    with lock:
        if limit is not None:
            if limit < 1:
                raise errors.BadCall("kiln.cache: limit is %s; expected 1 or more" % limit)
            _limit[0] = int(limit)
            _shrink()
        return {"plans": len(plans), "limit": _limit[0]}


def clear():
    """Forgets all plans, and the codes that fp8_linear keeps of weights; what is on a stream already is not affected."""
    with lock:
        plans.clear()
        for call in forget:
            call()


def keep(key, entry):
    with lock:
        plans[key] = entry
        _shrink()


def _shrink():
    while len(plans) > _limit[0]:
        del plans[next(iter(plans))]
