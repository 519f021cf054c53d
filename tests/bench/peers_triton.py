"""Every op in Triton, written for this bench: what a person who knows Triton would write in a day, without autotuning.

Rows live in registers, a program takes one row or as many as make 2048 elements; column sums are float32 partials of a number of
programs that follows from the shape, summed by a second kernel. work(data) gives a callable that launches a case's direction once,
into outputs that are allocated beforehand, and returns them by name."""
import torch
import triton
import triton.language as tl

RMS, LN, L2 = 0, 1, 2            # KIND of a norm
PLAIN, WEIGHTED, MODULATED = 0, 1, 2  # WEIGHT: none, w of a column, 1 + scale of a sample's column
PROGRAMS = 528                   # programs that share the rows of a column sum: four on each of 132 SMs


def launch(kernel, grid, *args, warps=4, **meta):
    """The one place that starts kernels; tests put another function here, to see what would be compiled."""
    kernel[grid](*args, num_warps=warps, **meta)


# ---- kernels: a tile of ROWS rows, BLOCK columns (a power of two that holds a row) ----

@triton.jit
def normalise(x, mask, n, eps, KIND: tl.constexpr):
    """(x hat, one over its length, whether the length counts) of a tile of float32."""
    if KIND == 1:
        x = tl.where(mask, x - (tl.sum(x, 1) / n)[:, None], 0.0)
    square = tl.sum(x * x, 1)
    if KIND == 2:
        counts = square > eps * eps
        rstd = tl.rsqrt(tl.maximum(square, eps * eps))
    else:
        counts = square >= 0
        rstd = tl.rsqrt(square / n + eps)
    return x * rstd[:, None], rstd, counts


@triton.jit
def normalise_back(g, hat, rstd, counts, n, KIND: tl.constexpr):
    """The gradient before a norm, of the one behind it."""
    along = tl.sum(g * hat, 1)
    if KIND == 2:
        g = g - hat * tl.where(counts, along, 0.0)[:, None]
    else:
        g = g - hat * (along / n)[:, None]
    return g, rstd


@triton.jit
def norm_forward(x_at, w_at, b_at, r_at, y_at, h_at, rows, sample_rows, n, eps, KIND: tl.constexpr, WEIGHT: tl.constexpr,
                 BIAS: tl.constexpr, ADD: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = column < n
    mask = (row < rows)[:, None] & inside[None, :]
    at = row[:, None] * n + column[None, :]
    x = tl.load(x_at + at, mask, 0.0)
    if ADD:
        h = x.to(tl.float32) + tl.load(r_at + at, mask, 0.0).to(tl.float32)
        x = h.to(h_at.dtype.element_ty)
        tl.store(h_at + at, x, mask)
    y, rstd, counts = normalise(x.to(tl.float32), mask, n, eps, KIND)
    if WEIGHT == 1:
        y = y * tl.load(w_at + column, inside, 0.0).to(tl.float32)[None, :]
        if BIAS:
            y = y + tl.load(b_at + column, inside, 0.0).to(tl.float32)[None, :]
    if WEIGHT == 2:
        of_sample = (row // sample_rows)[:, None] * n + column[None, :]
        y = y * (1.0 + tl.load(w_at + of_sample, mask, 0.0).to(tl.float32)) + tl.load(b_at + of_sample, mask, 0.0).to(tl.float32)
    tl.store(y_at + at, y.to(y_at.dtype.element_ty), mask)


@triton.jit
def norm_backward(x_at, w_at, dy_at, dh_at, dx_at, dw_at, db_at, sample_rows, n, eps, steps, KIND: tl.constexpr, WEIGHT: tl.constexpr,
                  BIAS: tl.constexpr, ADD: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Programs (part, sample): `steps` tiles of the sample's rows, and the column sums over them."""
    part, sample = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < n
    if WEIGHT == 1:
        factor = tl.load(w_at + column, inside, 0.0).to(tl.float32)[None, :]
    if WEIGHT == 2:
        factor = 1.0 + tl.load(w_at + sample * n + column, inside, 0.0).to(tl.float32)[None, :]
    sum_w = tl.zeros([ROWS, BLOCK], tl.float32)
    sum_b = tl.zeros([ROWS, BLOCK], tl.float32)
    for step in range(steps):
        row = (part * steps + step) * ROWS + tl.arange(0, ROWS)
        mask = (row < sample_rows)[:, None] & inside[None, :]
        at = (sample * sample_rows + row)[:, None] * n + column[None, :]
        x = tl.load(x_at + at, mask, 0.0).to(tl.float32)
        dy = tl.load(dy_at + at, mask, 0.0).to(tl.float32)
        hat, rstd, counts = normalise(x, mask, n, eps, KIND)
        if WEIGHT != 0:
            sum_w += dy * hat
            g = dy * factor
        else:
            g = dy
        if BIAS:
            sum_b += dy
        if KIND == 1:
            mean = tl.sum(g, 1) / n
        g, rstd = normalise_back(g, hat, rstd, counts, n, KIND)
        if KIND == 1:
            g = g - mean[:, None]
        dx = g * rstd[:, None]
        if ADD:
            dx += tl.load(dh_at + at, mask, 0.0).to(tl.float32)
        tl.store(dx_at + at, dx.to(dx_at.dtype.element_ty), mask)
    to = (sample * tl.num_programs(0) + part) * n + column
    if WEIGHT != 0:
        tl.store(dw_at + to, tl.sum(sum_w, 0), inside)
    if BIAS:
        tl.store(db_at + to, tl.sum(sum_b, 0), inside)


@triton.jit
def column_sum(part_at, out_at, parts, n, PARTS: tl.constexpr, COLUMNS: tl.constexpr):
    """Programs (columns, sample): the sum of the sample's partial rows."""
    sample = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([PARTS, COLUMNS], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        mask = (part < parts)[:, None] & (column < n)[None, :]
        total += tl.load(part_at + (sample * parts + part)[:, None] * n + column[None, :], mask, 0.0)
    tl.store(out_at + sample * n + column, tl.sum(total, 0).to(out_at.dtype.element_ty), column < n)


@triton.jit
def turn(x, cos, sin, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Pairs of neighbours turned: x cos + (-x1, x0) sin."""
    a, b = tl.split(tl.reshape(x, [ROWS, BLOCK // 2, 2]))
    return x * cos + tl.reshape(tl.join(-b, a), [ROWS, BLOCK]) * sin


@triton.jit
def turn_back(x, cos, sin, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    a, b = tl.split(tl.reshape(x * sin, [ROWS, BLOCK // 2, 2]))
    return x * cos + tl.reshape(tl.join(b, -a), [ROWS, BLOCK])


@triton.jit
def rope_rows(x_at, cos_at, sin_at, dy_at, out_at, rows, tokens, n, eps, NORM: tl.constexpr, BACK: tl.constexpr, ROWS: tl.constexpr,
              BLOCK: tl.constexpr):
    """Rotation of whole heads, forward or back, with or without a layer norm before it. BLOCK is the head's size."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    mask = (row < rows)[:, None] & (column < n)[None, :]
    at = row[:, None] * n + column[None, :]
    entry = (row % tokens)[:, None] * n + column[None, :]
    cos = tl.load(cos_at + entry, mask, 0.0).to(tl.float32)
    sin = tl.load(sin_at + entry, mask, 0.0).to(tl.float32)
    if BACK:
        y = turn_back(tl.load(dy_at + at, mask, 0.0).to(tl.float32), cos, sin, ROWS, BLOCK)
        if NORM:
            hat, rstd, counts = normalise(tl.load(x_at + at, mask, 0.0).to(tl.float32), mask, n, eps, 1)
            mean = tl.sum(y, 1) / n
            y, rstd = normalise_back(y, hat, rstd, counts, n, 1)
            y = (y - mean[:, None]) * rstd[:, None]
    else:
        y = tl.load(x_at + at, mask, 0.0).to(tl.float32)
        if NORM:
            y, rstd, counts = normalise(y, mask, n, eps, 1)
        y = turn(y, cos, sin, ROWS, BLOCK)
    tl.store(out_at + at, y.to(out_at.dtype.element_ty), mask)


@triton.jit
def norm_rope_forward(x_at, w_at, cos_at, sin_at, y_at, tokens, n, eps, HEADS: tl.constexpr, HALF: tl.constexpr):
    """A row of HEADS heads, its first and second halves as two tiles."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HEADS)[:, None] * (2 * HALF) + tl.arange(0, HALF)[None, :]
    entry = (row % tokens) * HALF + tl.arange(0, HALF)
    cos, sin = tl.load(cos_at + entry).to(tl.float32)[None, :], tl.load(sin_at + entry).to(tl.float32)[None, :]
    a = tl.load(x_at + row * n + at).to(tl.float32)
    b = tl.load(x_at + row * n + at + HALF).to(tl.float32)
    rstd = tl.rsqrt((tl.sum(tl.sum(a * a, 1), 0) + tl.sum(tl.sum(b * b, 1), 0)) / n + eps)
    a = a * rstd * tl.load(w_at + at).to(tl.float32)
    b = b * rstd * tl.load(w_at + at + HALF).to(tl.float32)
    tl.store(y_at + row * n + at, (a * cos - b * sin).to(y_at.dtype.element_ty))
    tl.store(y_at + row * n + at + HALF, (a * sin + b * cos).to(y_at.dtype.element_ty))


@triton.jit
def norm_rope_backward(x_at, w_at, cos_at, sin_at, dy_at, dx_at, dw_at, rows, tokens, n, eps, steps, HEADS: tl.constexpr,
                       HALF: tl.constexpr):
    part = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HEADS)[:, None] * (2 * HALF) + tl.arange(0, HALF)[None, :]
    wa, wb = tl.load(w_at + at).to(tl.float32), tl.load(w_at + at + HALF).to(tl.float32)
    sum_a = tl.zeros([HEADS, HALF], tl.float32)
    sum_b = tl.zeros([HEADS, HALF], tl.float32)
    for row in range(part * steps, tl.minimum(part * steps + steps, rows)):
        entry = (row % tokens) * HALF + tl.arange(0, HALF)
        cos, sin = tl.load(cos_at + entry).to(tl.float32)[None, :], tl.load(sin_at + entry).to(tl.float32)[None, :]
        a = tl.load(x_at + row * n + at).to(tl.float32)
        b = tl.load(x_at + row * n + at + HALF).to(tl.float32)
        da = tl.load(dy_at + row * n + at).to(tl.float32)
        db = tl.load(dy_at + row * n + at + HALF).to(tl.float32)
        rstd = tl.rsqrt((tl.sum(tl.sum(a * a, 1), 0) + tl.sum(tl.sum(b * b, 1), 0)) / n + eps)
        ga, gb = da * cos + db * sin, db * cos - da * sin
        a, b = a * rstd, b * rstd
        sum_a += ga * a
        sum_b += gb * b
        ga, gb = ga * wa, gb * wb
        along = (tl.sum(tl.sum(ga * a, 1), 0) + tl.sum(tl.sum(gb * b, 1), 0)) / n
        tl.store(dx_at + row * n + at, ((ga - a * along) * rstd).to(dx_at.dtype.element_ty))
        tl.store(dx_at + row * n + at + HALF, ((gb - b * along) * rstd).to(dx_at.dtype.element_ty))
    tl.store(dw_at + part * n + at, sum_a)
    tl.store(dw_at + part * n + at + HALF, sum_b)


@triton.jit
def gated_silu(gate_at, up_at, dy_at, y_at, dgate_at, dup_at, count, BACK: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    gate = tl.load(gate_at + at, mask, 0.0).to(tl.float32)
    up = tl.load(up_at + at, mask, 0.0).to(tl.float32)
    s = 1.0 / (1.0 + tl.exp(-gate))
    if BACK:
        dy = tl.load(dy_at + at, mask, 0.0).to(tl.float32)
        tl.store(dgate_at + at, (dy * up * s * (1.0 + gate * (1.0 - s))).to(dgate_at.dtype.element_ty), mask)
        tl.store(dup_at + at, (dy * gate * s).to(dup_at.dtype.element_ty), mask)
    else:
        tl.store(y_at + at, (gate * s * up).to(y_at.dtype.element_ty), mask)


@triton.jit
def softmax_rows(x_at, dy_at, out_at, rows, n, BACK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Forward: softmax of x. Back: x is the forward's result."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    mask = (row < rows)[:, None] & (column < n)[None, :]
    at = row[:, None] * n + column[None, :]
    if BACK:
        y = tl.load(x_at + at, mask, 0.0).to(tl.float32)
        dy = tl.load(dy_at + at, mask, 0.0).to(tl.float32)
        out = y * (dy - tl.sum(y * dy, 1)[:, None])
    else:
        x = tl.load(x_at + at, mask, -float("inf")).to(tl.float32)
        e = tl.exp(x - tl.max(x, 1)[:, None])
        out = e / tl.sum(e, 1)[:, None]
    tl.store(out_at + at, out.to(out_at.dtype.element_ty), mask)


@triton.jit
def largest(x_at, part_at, count, steps, BLOCK: tl.constexpr):
    """The largest magnitude among a program's elements."""
    first = tl.program_id(0).to(tl.int64) * steps * BLOCK
    top = tl.zeros([BLOCK], tl.float32)
    for step in range(steps):
        at = first + step * BLOCK + tl.arange(0, BLOCK)
        top = tl.maximum(top, tl.abs(tl.load(x_at + at, at < count, 0.0).to(tl.float32)))
    tl.store(part_at + tl.program_id(0), tl.max(top, 0))


@triton.jit
def quantize_tensor(x_at, part_at, q_at, scale_at, parts, count, U8: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """Every program takes the maximum of the partial ones itself: no kernel between, no atomics."""
    part = tl.arange(0, PARTS)
    top = tl.max(tl.load(part_at + part, part < parts, 0.0), 0)
    scale = 448.0 / top if U8 else top / 448.0
    if tl.program_id(0) == 0:
        tl.store(scale_at, scale)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_at + at, at < count, 0.0).to(tl.float32)
    if U8:
        code = tl.minimum(tl.maximum(x * scale, -448.0), 448.0) / 448.0 * 127.0
        code = (code + 12582912.0) - 12582912.0  # to the nearest integer, ties to even
        tl.store(q_at + at, (code + 128.0).to(tl.int32).to(tl.uint8), at < count)
    else:
        tl.store(q_at + at, (x * (1.0 / scale)).to(q_at.dtype.element_ty), at < count)


@triton.jit
def quantize_parts(x_at, q_at, scale_at, rows, n, PART: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """A scale for every PART columns of a row."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    mask = (row < rows)[:, None] & (column < n)[None, :]
    at = row[:, None] * n + column[None, :]
    x = tl.reshape(tl.load(x_at + at, mask, 0.0).to(tl.float32), [ROWS, BLOCK // PART, PART])
    scale = tl.max(tl.abs(x), 2) / 448.0
    part = tl.arange(0, BLOCK // PART)
    tl.store(scale_at + row[:, None] * tl.cdiv(n, PART) + part[None, :], scale, (row < rows)[:, None] & (part * PART < n)[None, :])
    code = (x * (1.0 / scale)[:, :, None]).to(q_at.dtype.element_ty)
    tl.store(q_at + at, tl.reshape(code, [ROWS, BLOCK]), mask)


@triton.jit
def dequantize(q_at, scale_at, y_at, count, U8: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    scale = tl.load(scale_at)
    if U8:
        code = tl.load(q_at + at, at < count, 128).to(tl.int32).to(tl.float32)
        y = ((code - 128.0) / 127.0 * 448.0 / scale).to(tl.float16)
    else:
        y = tl.load(q_at + at, at < count).to(tl.float32) * scale
    tl.store(y_at + at, y.to(y_at.dtype.element_ty), at < count)


# ---- launches ----

def tile_of(n):
    """(rows of a tile, columns, warps): some 16 elements of each tensor in a thread."""
    block = triton.next_power_of_2(n)
    rows = max(1, 2048 // block)
    return rows, block, max(4, min(16, rows * block // 512))


def flat(tensor):
    return tensor.numel() // tensor.shape[-1], tensor.shape[-1]


def norm_forward_work(x, y, eps, kind, weight=PLAIN, w=None, b=None, r=None, h=None):
    rows, n = flat(x)
    tile, block, warps = tile_of(n)
    sample_rows = x.shape[-2] if weight == MODULATED else rows
    none = x
    return lambda: launch(norm_forward, (triton.cdiv(rows, tile),), x, none if w is None else w, none if b is None else b,
                          none if r is None else r, y, none if h is None else h, rows, sample_rows, n, eps, warps=warps, KIND=kind,
                          WEIGHT=weight, BIAS=b is not None, ADD=r is not None, ROWS=tile, BLOCK=block)


def column_sum_work(parts, out, samples, count, n):
    columns = 32 if n * samples < 1 << 16 else 128
    return lambda: launch(column_sum, (triton.cdiv(n, columns), samples), parts, out, count, n, PARTS=32, COLUMNS=columns)


def norm_backward_work(x, dy, dx, eps, kind, weight=PLAIN, w=None, dw=None, db=None, dh=None):
    rows, n = flat(x)
    tile, block, warps = tile_of(n)
    samples = x.numel() // (x.shape[-2] * n) if weight == MODULATED else 1
    sample_rows = rows // samples
    if weight == PLAIN:
        count, steps = triton.cdiv(rows, tile), 1
    else:
        steps = max(1, triton.cdiv(triton.cdiv(sample_rows, tile), max(1, PROGRAMS // samples)))
        count = triton.cdiv(triton.cdiv(sample_rows, tile), steps)
    none, new = dx, lambda: torch.empty(samples * count * n, dtype=torch.float32, device=x.device)
    part_w, part_b = new() if dw is not None else None, new() if db is not None else None
    sums = [column_sum_work(p, o, samples, count, n) for p, o in ((part_w, dw), (part_b, db)) if o is not None]

    def work():
        launch(norm_backward, (count, samples), x, none if w is None else w, dy, none if dh is None else dh, dx,
               none if part_w is None else part_w, none if part_b is None else part_b, sample_rows, n, eps, steps, warps=warps, KIND=kind,
               WEIGHT=weight, BIAS=db is not None, ADD=dh is not None, ROWS=tile, BLOCK=block)
        for add in sums:
            add()
    return work


def rope_work(x, cos, sin, dy, out, eps, norm, back):
    rows, n = flat(x)
    tile, block, warps = tile_of(n)
    return lambda: launch(rope_rows, (triton.cdiv(rows, tile),), x, cos, sin, dy, out, rows, x.shape[-2], n, eps, warps=warps, NORM=norm,
                          BACK=back, ROWS=tile, BLOCK=block)


def norm_rope_work(i, dy, out, dw, eps, back):
    rows, n = flat(i["x"])
    half = i["cos"].shape[-1]
    heads, warps, tokens = n // (2 * half), max(4, min(16, n // 512)), i["x"].shape[-2]
    if not back:
        return lambda: launch(norm_rope_forward, (rows,), i["x"], i["w"], i["cos"], i["sin"], out, tokens, n, eps, warps=warps,
                              HEADS=heads, HALF=half)
    steps = triton.cdiv(rows, PROGRAMS)
    count = triton.cdiv(rows, steps)
    parts = torch.empty(count * n, dtype=torch.float32, device=out.device)
    add = column_sum_work(parts, dw, 1, count, n)

    def work():
        launch(norm_rope_backward, (count,), i["x"], i["w"], i["cos"], i["sin"], dy, out, parts, rows, tokens, n, eps, steps, warps=warps,
               HEADS=heads, HALF=half)
        add()
    return work


def quantize_work(x, q, scale, u8):
    count, block = x.numel(), 4096
    steps = triton.cdiv(triton.cdiv(count, block), 1024)
    parts = triton.cdiv(triton.cdiv(count, block), steps)
    part = torch.empty(parts, dtype=torch.float32, device=x.device)

    def work():
        launch(largest, (parts,), x, part, count, steps, warps=8, BLOCK=block)
        launch(quantize_tensor, (triton.cdiv(count, block),), x, part, q, scale, parts, count, warps=8, U8=u8,
               PARTS=triton.next_power_of_2(parts), BLOCK=block)
    return work


def quantize_parts_work(x, q, scale, part):
    rows, n = flat(x)
    tile, block, warps = tile_of(n)
    return lambda: launch(quantize_parts, (triton.cdiv(rows, tile),), x, q, scale, rows, n, warps=warps, PART=block if part is None else part,
                          ROWS=tile, BLOCK=block)


def softmax_work(x, dy, out, back):
    rows, n = flat(x)
    tile, block, warps = tile_of(n)
    return lambda: launch(softmax_rows, (triton.cdiv(rows, tile),), x, dy, out, rows, n, warps=warps, BACK=back, ROWS=tile, BLOCK=block)


def gated_work(i, dy, results, back):
    count, block = i["gate"].numel(), 2048
    first = next(iter(results.values()))
    return lambda: launch(gated_silu, (triton.cdiv(count, block),), i["gate"], i["up"], first if dy is None else dy, results.get("y", first),
                          results.get("dgate", first), results.get("dup", first), count, BACK=back, BLOCK=block)


# ---- what a case launches ----

TWO = {"rms_norm2": (("x1", "w1", "y1"), ("x2", "w2", "y2")), "l2_normalize2": (("x1", None, "y1"), ("x2", None, "y2")),
       "head_layer_norm": (("q", None, "yq"), ("k", None, "yk")), "rms_norm": (("x", "w", "y"),), "l2_normalize": (("x", None, "y"),),
       "layer_norm": (("x", "w", "y"),)}
KINDS = {"rms_norm": RMS, "rms_norm2": RMS, "l2_normalize": L2, "l2_normalize2": L2, "layer_norm": LN, "head_layer_norm": LN,
         "layer_norm_adaln": LN, "rms_norm_adaln": RMS}


def forward_works(op, i, o, eps):
    if op in TWO:
        return [norm_forward_work(i[x], o[y], eps, KINDS[op], WEIGHTED if w else PLAIN, i.get(w), i.get("b")) for x, w, y in TWO[op]]
    if op in ("layer_norm_adaln", "rms_norm_adaln"):
        return [norm_forward_work(i["x"], o["y"], eps, KINDS[op], MODULATED, i["scale"], i["shift"])]
    if op == "add_rms_norm":
        return [norm_forward_work(i["x"], o["y"], eps, RMS, WEIGHTED, i["w"], r=i["r"], h=o["h"])]
    if op in ("rope", "ln_rope"):
        return [rope_work(i[n], i["cos"], i["sin"], i[n], o["y" + n], eps, op == "ln_rope", False) for n in ("q", "k")]
    if op == "rms_norm_rope":
        return [norm_rope_work(i, None, o["y"], None, eps, False)]
    if op == "gated":
        return [gated_work(i, None, o, False)]
    if op == "softmax":
        return [softmax_work(i["x"], i["x"], o["y"], False)]
    if op in ("quantize_fp8", "quantize_u8"):
        return [quantize_work(i["x"], o["q"], o["scale"], op == "quantize_u8")]
    if op in ("quantize_row", "quantize_block"):
        return [quantize_parts_work(i["x"], o["q"], o["scale"], 128 if op == "quantize_block" else None)]
    if op in ("dequantize_fp8", "dequantize_u8"):
        count, block = i["q"].numel(), 4096
        return [lambda: launch(dequantize, (triton.cdiv(count, block),), i["q"], i["scale"], o["y"], count, warps=8,
                               U8=op == "dequantize_u8", BLOCK=block)]
    raise KeyError(op)


def backward_works(op, i, d, o, saved, eps):
    """i: inputs, d: incoming gradients, o: outputs, saved: what a forward left."""
    if op in TWO:
        return [norm_backward_work(i[x], d[y], o["d" + x], eps, KINDS[op], WEIGHTED if w else PLAIN, i.get(w), o.get("d" + w) if w else None,
                                   o.get("db")) for x, w, y in TWO[op]]
    if op in ("layer_norm_adaln", "rms_norm_adaln"):
        return [norm_backward_work(i["x"], d["y"], o["dx"], eps, KINDS[op], MODULATED, i["scale"], o["dscale"], o["dshift"])]
    if op == "add_rms_norm":
        return [norm_backward_work(saved()["h"], d["y"], o["dx"], eps, RMS, WEIGHTED, i["w"], o["dw"], dh=d["h"])]
    if op in ("rope", "ln_rope"):
        return [rope_work(i[n], i["cos"], i["sin"], d["y" + n], o["d" + n], eps, op == "ln_rope", True) for n in ("q", "k")]
    if op == "rms_norm_rope":
        return [norm_rope_work(i, d["y"], o["dx"], o["dw"], eps, True)]
    if op == "gated":
        return [gated_work(i, d["y"], o, True)]
    if op == "softmax":
        return [softmax_work(saved()["y"], d["y"], o["dx"], True)]
    raise KeyError(op)


def work(data, saved=None):
    """A callable that launches the case once and returns {name: result}. saved: a function that gives what a forward left."""
    case, i = data.case, data.inputs
    eps = case.spec.scalars.get("eps", 0.0)
    device = next(iter(i.values())).device
    from peers_torch import DTYPES
    results = {}
    if case.way == "fwd":
        for t in case.spec.outputs():
            results[t.name] = torch.empty(case.shape_of(t), dtype=DTYPES[case.dtype_of(t)], device=device)
        works = forward_works(case.op, i, results, eps)
    else:
        for name in case.spec.grads:
            results["d" + name] = torch.empty_like(i[name])
        works = backward_works(case.op, i, data.incoming, results, saved, eps)

    def run():
        for each in works:
            each()
        return results
    return run
