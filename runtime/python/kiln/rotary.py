"""Tables of angles for the rotary embeddings."""
import math

from . import errors


def angles(base, rows, cols, dim):
    """The angles of axial_rope_table as rows of floats: rows * cols of them, dim / 2 each."""
    if dim <= 0 or dim % 4:
        raise errors.BadCall("axial_rope_table: dim is %s; expected a positive multiple of 4" % dim)
    if rows < 0 or cols < 0 or not base > 0:
        raise errors.BadCall("axial_rope_table: base %s, rows %s, cols %s; expected base above 0 and sizes from 0" % (base, rows, cols))
    count = dim // 4
    speeds = [math.pow(base, -p / count) for p in range(count)]
    return [[row * s for s in speeds] + [col * s for s in speeds] for row in range(rows) for col in range(cols)]


def axial_rope_table(base, rows, cols, dim):
    """(cos, sin) of a grid of patches, float32 NumPy arrays (rows * cols, dim / 2): an entry per pair, for table="pair".

    With P = dim / 4 and speed p = base^(-p / P): patch n stands at row n // cols and column n % cols; its pairs 0 .. P-1 turn by
    row * speed p, pairs P .. 2P-1 by column * speed p. Angles are in double, entries rounded once.
    """
    import numpy
    turned = numpy.array(angles(base, rows, cols, dim), numpy.float64).reshape(rows * cols, dim // 2)
    return numpy.cos(turned).astype(numpy.float32), numpy.sin(turned).astype(numpy.float32)
