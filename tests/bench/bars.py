"""What a row has to reach, and the table that says whether it does. No framework needed.

A bar is a time. "k times faster" than a figure, as an aim, means max(figure / k, bytes / (0.97 of the copy rate)): nothing can be
asked to outrun memory. All fractions are of the copy rate of the same run: the time of a device copy that moves the row's bytes."""
from dataclasses import dataclass

import anchors
from cases import FUSED, FUSED_SHAPE, NORMS

ROOF = 0.97


@dataclass(frozen=True)
class Bar:
    name: str     # which row of the table of bars
    must_us: float
    aim_us: float
    why: str      # the figure that the must stands on

    def verdict(self, us):
        return "aim" if us <= self.aim_us else "must" if us <= self.must_us else "MISSED"


def faster(best_us, times, copy_us):
    return max(best_us / times, copy_us / ROOF)


def bars(case, copy_us, copy_ratio, peers):
    """The bars of a row. copy_us: a copy of the row's bytes, in this run; copy_ratio: time of this run's copy over the recorded
    one's; peers: {who: us} of this run."""
    result = []
    if case.big and case.way == "fwd":
        result.append(Bar("size", copy_us / 0.93, copy_us / 0.98, "0.93 copy"))
    if case.big and case.way == "bwd" and case.op in NORMS:
        result.append(Bar("size", copy_us / 0.85, copy_us / 0.95, "0.85 copy"))
    if case.op in FUSED and case.shape == FUSED_SHAPE:
        result.append(Bar("fused", copy_us / 0.9, copy_us / 0.95, "0.9 copy"))
    recorded = anchors.best(*case.key)
    if recorded and case.way == "fwd":
        figures = [(recorded[0] * copy_ratio, f"recorded {recorded[1]}")]
        if "compile" in peers:
            figures.append((peers["compile"], "torch.compile"))
        best_us, who = min(figures)
        result.append(easier("figures", (best_us, who), (copy_us / 0.95, "0.95 copy"), faster(best_us, 1.15, copy_us)))
    if recorded and case.way == "bwd":
        best_us, who = recorded[0], f"recorded {recorded[1]}"
        result.append(easier("figures", (best_us, who), (copy_us / 0.93, "0.93 copy"), faster(best_us, 1.5, copy_us)))
    return result


def easier(name, first, second, aim_us):
    """A bar whose must is the easier of two; an aim is never asked below its must."""
    must_us, why = max(first, second)
    return Bar(name, must_us, min(aim_us, must_us), why)


def worst(case_bars, us):
    """(bar, verdict) of the bar that is furthest from being held; (None, "") without bars."""
    if not case_bars:
        return None, ""
    order = ["MISSED", "must", "aim"]
    bar = min(case_bars, key=lambda b: (order.index(b.verdict(us)), b.must_us))
    return bar, bar.verdict(us)


# ---- rows of results, and their table ----

PEERS = ("eager", "compile", "triton")


def best_peer(row):
    """(us, who) of the fastest peer that gave a right result, or None."""
    figures = [(row["peers"][who]["us"], who) for who in PEERS if (row["peers"].get(who) or {}).get("us")]
    return min(figures) if figures else None


def judge(case, row, copy_ratio):
    """Adds the bars and verdicts to a row of results: {"kiln": {"us"..}, "copy_us", "peers": {who: {"us"..}}}."""
    peers = {who: cell["us"] for who, cell in row["peers"].items() if cell and cell.get("us")}
    row["bars"] = []
    us = (row.get("kiln") or {}).get("us")
    if not row.get("copy_us"):
        return
    found = bars(case, row["copy_us"], copy_ratio, peers)
    for bar in found:
        row["bars"].append({"bar": bar.name, "must_us": bar.must_us, "aim_us": bar.aim_us, "why": bar.why,
                            "verdict": bar.verdict(us) if us else "not measured"})
    if us:
        bar, verdict = worst(found, us)
    else:
        bar, verdict = min(found, key=lambda b: b.must_us, default=None), ""
    row["verdict"], row["must_us"] = verdict, bar.must_us if bar else None
    row["aim_us"], row["why"] = (bar.aim_us, bar.why) if bar else (None, "")


def number(value, digits=1):
    """A time in at most six places: 4.87, 36.8, 500, 12345."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.{digits}f}" if value < 1000 else f"{value:.0f}"


def cell(part):
    """A peer's cell: its time, or a word for what went wrong."""
    if not part:
        return "-"
    return number(part["us"]) if part.get("us") else part.get("word", "failed")


HEADER = ("op", "way", "shape", "dtype", "kiln us", "copy", "best peer", "ratio", "must us", "aim us", "must stands on", "verdict", "variant")
WIDE = HEADER[:-1] + PEERS + ("variant",)
LEFT = {"op", "way", "shape", "dtype", "best peer", "must stands on", "verdict", "variant"}


def table_row(case, row, wide=False):
    """Cells in the order of HEADER (WIDE: with every peer's)."""
    kiln = row.get("kiln") or {}
    us, peer = kiln.get("us"), best_peer(row)
    fraction = row["copy_us"] / us if us and row.get("copy_us") else None
    variant = kiln.get("variant") or "-"
    for prefix in (case.kiln_op() + "-", case.kiln_op().replace(".", "_") + "-"):
        variant = variant[len(prefix):] if variant.startswith(prefix) else variant
    variant = "-".join(part for part in variant.split("-") if "_dtype_" not in part)
    return (case.op, case.way, case.shape, case.dtype, cell(row.get("kiln")), "-" if fraction is None else f"{fraction:.3f}",
            f"{peer[1]} {number(peer[0])}" if peer else "-", f"{peer[0] / us:.2f}" if peer and us else "-",
            number(row.get("must_us")), number(row.get("aim_us")), row.get("why") or "-", row.get("verdict") or "-",
            *((cell(row["peers"].get(who)) for who in PEERS) if wide else ()), variant)


def table(lines, header=HEADER, left=LEFT):
    """Text of aligned columns."""
    lines = [header] + [tuple(str(c) for c in line) for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = []
    for line in lines:
        cells = [c.ljust(w) if h in left else c.rjust(w) for c, w, h in zip(line, widths, header)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def summary(rows):
    """Lines that say how many bars hold, and which do not."""
    count = {"aim": 0, "must": 0, "MISSED": 0, "not measured": 0}
    missed = []
    for row in rows:
        for bar in row.get("bars", []):
            count[bar["verdict"]] += 1
            if bar["verdict"] == "MISSED":
                us = row["kiln"]["us"]
                missed.append(f"  missed: {row['name']}: {number(us)} us, must {number(bar['must_us'])} ({bar['why']}), "
                              f"{us / bar['must_us']:.2f} times that")
    wrong = [f"  {row['name']}: {row['kiln'].get('word', 'failed')}: {row['kiln'].get('why', '')}" for row in rows
             if row.get("kiln") and not row["kiln"].get("us")]
    text = [f"bars: {count['aim']} reach their aim, {count['must']} more hold, {count['MISSED']} missed, {count['not measured']} not measured"]
    return text + missed + ([f"rows without a time of kiln: {len(wrong)}"] + wrong if wrong else [])


def failed(rows):
    """Whether anything that was measured misses its bar or is wrong."""
    return any(bar["verdict"] == "MISSED" for row in rows for bar in row.get("bars", [])) or \
        any(row.get("kiln") and not row["kiln"].get("us") for row in rows)
