"""How the tensors of a product lie, as the family gemm takes them: one dim of batches, rows and columns, either of the two contiguous.

A caller's tensors have any leading dims, which broadcast, and any strides. Leading dims become rows where one matrix stands on the right
for all of them, else batches; nothing is moved for it. Only a tensor without any contiguous dim, or whose leading dims cannot be counted
with one stride, has to be copied first.
"""
import collections

from . import errors

# views: {name: (shape, strides)}; settings: a_major, b_major; shape: the result's; copies: {name: the shape to expand to and to copy}, and
# where there are any, nothing else is there.
Arrangement = collections.namedtuple("Arrangement", "shape views settings copies")
# A tensor as the caller has it. turned: its last two dims are stored the other way round (weights (N, K)).
Given = collections.namedtuple("Given", "name shape strides turned")


def given(name, shape, strides, turned=False):
    return Given(name, tuple(shape), tuple(strides), turned)


def merged(shape, strides):
    """(size, stride) of several dims counted as one; None: they cannot be."""
    if 0 in shape:
        return 0, 0
    size, stride = 1, 0
    for n, s in zip(reversed(shape), reversed(strides)):
        if n == 1:
            continue
        if size == 1:
            size, stride = n, s
        elif s == stride * size:
            size *= n
        else:
            return None
    return size, stride


def _product(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def _matrix(t):
    """(leading sizes, leading strides, rows, columns, stride of rows, stride of columns) as the product sees the tensor."""
    (*_, r, c), (*_, sr, sc) = t.shape, t.strides
    return (t.shape[:-2], t.strides[:-2], c, r, sc, sr) if t.turned else (t.shape[:-2], t.strides[:-2], r, c, sr, sc)


def broadcast(op, tensors):
    """The leading dims of all tensors together."""
    rank = max(len(t.shape) - 2 for t in tensors)
    batch, owner = [1] * rank, [None] * rank
    for t in tensors:
        lead = t.shape[:-2]
        for i, n in enumerate(lead, rank - len(lead)):
            if n == 1:
                continue
            if batch[i] != 1 and batch[i] != n:
                raise errors.BadSize("%s: tensor %s: leading dim %d is %d; expected %d, as in tensor %s, or 1"
                                     % (op, t.name, i - (rank - len(lead)), n, batch[i], owner[i]), tensor=t.name, actual=str(n), expected=str(batch[i]))
            batch[i], owner[i] = n, t.name
    return tuple(batch)


def _expanded(lead, strides, batch):
    """Leading strides over the batch: 0 where a size repeats."""
    missing = len(batch) - len(lead)
    return (0,) * missing + tuple(s if n == b else 0 for n, s, b in zip(lead, strides, batch[missing:]))


def _check(op, left, rights, tile, vector):
    for t in [left] + rights:
        if len(t.shape) < 2:
            raise errors.BadRank("%s: tensor %s has %d dims; expected at least 2" % (op, t.name, len(t.shape)), tensor=t.name)
    _, _, m, k, _, _ = _matrix(left)
    n = _matrix(rights[0])[3]
    for t in rights:
        _, _, rows, columns, _, _ = _matrix(t)
        if rows != k:
            raise errors.BadSize("%s: tensor %s: dim %d (K) is %d; expected %d, as in tensor %s"
                                 % (op, t.name, len(t.shape) - (1 if t.turned else 2), rows, k, left.name),
                                 tensor=t.name, actual=str(rows), expected="%d, as in tensor %s" % (k, left.name))
        if columns != n:
            raise errors.BadSize("%s: tensor %s: dim %d (N) is %d; expected %d, as in tensor %s"
                                 % (op, t.name, len(t.shape) - (2 if t.turned else 1), columns, n, rights[0].name),
                                 tensor=t.name, actual=str(columns), expected="%d, as in tensor %s" % (n, rights[0].name))
    if vector is not None and vector.shape != (n,):
        raise errors.BadSize("%s: tensor %s is %s; expected [%d], the columns of the result" % (op, vector.name, list(vector.shape), n), tensor=vector.name,
                             actual=str(list(vector.shape)), expected="[%d]" % n)
    batch = broadcast(op, [left] + rights)
    if tile is not None:
        whole = batch + (m, n)
        missing = len(whole) - len(tile.shape)
        if missing < 0 or any(size not in (1, want) for size, want in zip(tile.shape, whole[missing:])):
            raise errors.BadSize("%s: tensor %s is %s; expected %s, the result's, or what broadcasts to it" % (op, tile.name, list(tile.shape), list(whole)),
                                 tensor=tile.name, actual=str(list(tile.shape)), expected=str(list(whole)))
    return batch, m, n, k


def scale_sizes(kind, lead, rows, k, is_left):
    """Sizes of an operand's scales: kind "tensor", "row" (of a; of b a column), "block" (128 of k; of b 128 x 128), "block1" (128 of k).
    rows: of a, or columns of b."""
    if kind == "tensor":
        return ()
    if kind == "row":
        return lead + (rows,)
    blocks = lambda n: (n + 127) // 128  # noqa: E731
    if is_left:
        return lead + (rows, blocks(k))
    return lead + (blocks(k), blocks(rows) if kind == "block" else rows)


def _unit(size, stride):
    return size <= 1 or stride == 1


def _scales(op, t, owner, whole):
    """The leading and other dims of an operand's scales, shape and strides each: the others are rows first for the left operand. whole: their
    sizes, for a message."""
    if t.shape != whole:
        raise errors.BadSize("%s: tensor %s is %s; expected %s, for tensor %s" % (op, t.name, list(t.shape), list(whole), owner.name), tensor=t.name,
                             actual=str(list(t.shape)), expected="%s, for tensor %s" % (list(whole), owner.name))
    lead = len(owner.shape) - 2
    return t.shape[:lead], t.strides[:lead], t.shape[lead:], t.strides[lead:]


def _arrange_scales(op, scales, left, rights, views, batch, rows, copies):
    """Views of scales, {name: (Given, name of the operand, sizes)}, beside those of the operands. rows: whether leading dims are rows."""
    for name, (t, owner, whole) in scales.items():
        if not whole:
            views[name] = ((), ())
            continue
        owner = next(o for o in [left] + rights if o.name == owner)
        lead, strides, rest, rest_strides = _scales(op, t, owner, whole)
        if rows and owner is left:
            found = merged(lead + rest[:1], strides + rest_strides[:1])
            view = None if found is None else ((1, found[0]) + rest[1:], (0, found[1]) + rest_strides[1:])
        elif _product(lead) == 1:
            view = ((1,) + rest, (0,) + rest_strides)
        else:
            found = merged(batch, _expanded(lead, strides, batch))
            view = None if found is None else ((_product(batch),) + rest, (found[1],) + rest_strides)
        if view is None:
            copies[name] = batch + rest
        else:
            views[name] = view


def _as_rows(left, rights, tile, m, n, k):
    """Views with the leading dims as rows; None where that needs rows with two strides."""
    lead, lead_strides, _, _, sm, sk = _matrix(left)
    rows = merged(lead + (m,), lead_strides + (sm,))
    if rows is None or not _unit(k, sk) and not _unit(*rows):
        return None
    views = {left.name: ((1, rows[0], k), (0, rows[1], sk))}
    for t in rights:
        views[t.name] = ((1, k, n), (0,) + _matrix(t)[4:])
    if tile is not None:
        tile_rows = merged(tile.shape[:-1], tile.strides[:-1])
        if tile_rows is None:
            return None
        views[tile.name] = ((1, rows[0], n), (0, tile_rows[1], tile.strides[-1]))
    return views


def _as_batches(left, rights, tile, batch, copies):
    """Views with the leading dims as batches; what has more than one stride for them goes to copies."""
    views, size = {}, _product(batch)
    for t in [left] + rights + [tile] * (tile is not None):
        lead, strides, rows, columns, sr, sc = _matrix(t)
        if t in rights and _product(lead) == 1:
            views[t.name] = ((1, rows, columns), (0, sr, sc))
            continue
        found = merged(batch, _expanded(lead, strides, batch))
        if found is None:
            copies[t.name] = batch + t.shape[-2:]
        else:
            views[t.name] = ((size, rows, columns), (found[1], sr, sc))
    return views


def arrange(op, left, rights, tile=None, vector=None, scales=None):
    """The Arrangement of left (..., M, K), rights (..., K, N), a tile that broadcasts to (..., M, N), and a vector (N), each a Given.

    scales: {name: (Given, name of its operand, sizes)}, as scale_sizes has the sizes.
    """
    batch, m, n, k = _check(op, left, rights, tile, vector)
    whole, copies, views = batch + (m, n), {}, None
    if tile is not None:
        missing = len(whole) - len(tile.shape)
        strides = (0,) * missing + tuple(s if size == want else 0 for size, s, want in zip(tile.shape, tile.strides, whole[missing:]))
        tile = Given(tile.name, whole, strides, False)
    if all(_product(t.shape[:-2]) == 1 for t in rights):
        views = _as_rows(left, rights, tile, m, n, k)
    rows = views is not None
    if not rows:
        views = _as_batches(left, rights, tile, batch, copies)
    if scales:
        _arrange_scales(op, scales, left, rights, views, batch, rows, copies)
    settings = _majors(left, rights, views, copies)
    if tile is not None and not _unit(n, tile.strides[-1]):
        copies[tile.name] = whole
    if vector is not None:
        views[vector.name] = (vector.shape, vector.strides)
        if not _unit(n, vector.strides[0]):
            copies[vector.name] = vector.shape
    return Arrangement(whole, views, settings, copies)


def _majors(left, rights, views, copies):
    """Which dim of each side is contiguous; a tensor in whose view none is goes to copies."""
    settings = {}
    if left.name in views:
        (_, rows, columns), (_, sr, sc) = views[left.name]
        settings["a_major"] = "k" if _unit(columns, sc) else "m"
        if settings["a_major"] == "m" and not _unit(rows, sr):
            copies[left.name] = left.shape
    seen = [(t, views[t.name]) for t in rights if t.name in views]
    if all(_unit(shape[1], strides[1]) for _, (shape, strides) in seen):
        settings["b_major"] = "k"
    elif all(_unit(shape[2], strides[2]) for _, (shape, strides) in seen):
        settings["b_major"] = "n"
    else:
        for t, (shape, strides) in seen:
            if not _unit(shape[1], strides[1]):  # in a copy the last dim as stored is contiguous: of weights (N, K) that is K
                copies[t.name] = t.shape
    return settings
