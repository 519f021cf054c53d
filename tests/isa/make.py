#!/usr/bin/env python3
"""make.py FOLDER [--check | --every] - writes the test files of the PTX forms, one each, from the rows of gen/isa/*.def and from what the
manual says that they do (meaning.py and the modules beside it; exact integers and fractions). --check: only compares with what is there.
--every: writes the files that are not kept in the repository (products of warpgroups of most numbers of columns), and nothing else."""
import glob
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import elementwise  # noqa: E402
import memory  # noqa: E402
import warp  # noqa: E402
import matrix  # noqa: E402
import fragments  # noqa: E402
import scalar  # noqa: E402
import hopper  # noqa: E402

ROW = re.compile(r'^ISA\((\w+),\s*"([^"]*)",\s*"([^"]*)",\s*"([^"]*)",\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.M)
FILES = ("int", "float", "half", "cvt", "mem", "sync", "mma", "async", "mbarrier", "tma", "cluster", "control", "wgmma")
HOPPER = ("mbarrier", "tma", "cluster", "wgmma")
TARGET = {"100f": "100a", "100": "100a"}


MODIFIER = re.compile(r"^MODIFIER\(([\w:]+),\s*'(.)',\s*\"([^\"]*)\",\s*\"([^\"]*)\",\s*\"([^\"]*)\",\s*(\d+),", re.M)
# memory forms that show each modifier of theirs; arithmetic ones are shown in every form that they fit
SHOWN = ("ld_global_b32", "ld_shared_b32", "ld_b32", "st_global_b32", "st_shared_b32", "st_b32", "atom_global_add_u32", "atom_shared_add_u32",
         "atom_add_u32", "red_global_add_u32", "red_shared_add_u32", "red_add_u32", "wmma_load_a_sync_aligned_row_m16n16k16_f16",
         "wmma_store_d_sync_aligned_row_m16n16k16_f32")


class Form:
    def __init__(self, row):
        self.id, self.opcode, operands, sm, version, self.flags, self.section = row
        self.sm, self.version = TARGET.get(sm.split()[0], sm.split()[0]), max(int(version), 86 if sm.startswith("100") else 0)
        self.operands = operands.split()
        self.parts = self.opcode.split(".")
        self.result = self.operands[0][1:] if self.operands and self.operands[0][:1] == "=" else ""
        self.sources = self.operands[1:] if self.result else self.operands


class Variant(Form):
    """A form with words of modifier.def in its opcode."""

    def __init__(self, form, words, places, needs):
        self.__dict__.update(form.__dict__)
        self.base, self.id = form.id, form.id + "-" + re.sub(r"\W+", "_", "_".join(words))
        self.parts = list(form.parts)
        for word, place in sorted(zip(words, places), key=lambda x: -x[1]):
            self.parts.insert(int(place), word)
        self.opcode = ".".join(self.parts)
        self.sm = max([form.sm] + [sm for sm, _ in needs], key=lambda s: int(re.sub(r"\D", "", s)))
        self.version = max([form.version] + [version for _, version in needs])


def place_of(form, word, group):
    """Where a modifier stands among an opcode's parts, by the manual's syntax."""
    op, n = form.parts[0], len(form.parts)
    if group in "ms":
        return 1
    if group in "cenp" or (group == "h" and op in ("ld", "st")):
        return 2 if form.parts[1] in ("global", "shared") else 1
    if op in ("set", "cvt"):
        return n - 2
    return 1 if op in ("min", "max", "slct") else n - 1


def variants(form, modifiers):
    for word, group, opcodes, last, sm, version in modifiers:
        if not any(form.opcode == o or form.opcode.startswith(o + ".") for o in opcodes.split()):
            continue
        if (last and form.parts[-1] not in last.split()) or word in form.parts or (group not in "ft" and form.id not in SHOWN):
            continue
        on_global = form.parts[1] == "global" if form.parts[0] in ("ld", "st", "atom", "red") else True
        if group in "cenph" and not on_global or form.parts[0] in ("atom", "red") and word in ("weak", "volatile"):
            continue
        if not fits_arithmetic(form, word, group):
            continue
        words = {"s": ["relaxed", word]}.get(group, [word])
        if word in ("relaxed", "acquire", "release", "acq_rel"):
            words.append("gpu")
        if group == "s" and word == "gpu":
            continue  # relaxed shows it
        made = Variant(form, words, [place_of(form, w, group) + i / 8 for i, w in enumerate(words)], [(sm, int(version))])
        if made.opcode not in OPCODES:  # else a row of its own
            yield made


OPCODES = set()


def fits_arithmetic(form, word, group):
    """What the manual's syntax leaves out."""
    op, parts = form.parts[0], form.parts
    if group not in "ft":
        return True
    if op == "cvt":
        floats = [p for p in parts[-2:] if p in ("f16", "bf16", "f32", "f64")]
        if group == "f":
            return "sat" not in parts and "f32" in parts[-2:] and not any(p in parts for p in ("rna", "relu", "satfinite")) and "bf16" not in parts \
                and not any("x2" in p or p == "tf32" for p in parts)
        return len(floats) == 2 and parts[-2] != "bf16" and parts[-1] != "bf16" and "x2" not in parts[-2] and not any(
            p in parts for p in ("relu", "satfinite", "tf32"))
    if "approx" in parts or "ftz" in parts or (group == "f" and "relu" in parts) or (group == "t" and "relu" in parts):
        return False
    if op == "slct":
        return parts[-1] == "f32"
    if op == "set" and parts[-1] in ("f16", "f16x2"):
        return True
    return form.flags[4] == "-"


def is_elementwise(form):
    plain = all(re.fullmatch(r"!?[hrlfdp]i?|#", o) for o in form.sources) and re.fullmatch(r"[hrlfdp]", form.result or "")
    return bool(plain) and form.flags[0] == "P" and form.flags[4] == "-" and not form.opcode.startswith("cvta")


def kernels_of(form):
    if form.file in HOPPER:
        maker = hopper.find(form)
        return [maker(form)] if maker else []
    if form.parts[0] == "mma":
        return matrix.products(form)
    maker = fragments.fragments if form.parts[0] == "wmma" else matrix.find(form) or warp.find(form) or memory.find(form) or scalar.find(form)
    if maker:
        return [maker(form)]
    return [elementwise.make(form)] if is_elementwise(form) else []


def products(here):
    """The rows of wgmma.mma_async, which macros write: as recorded with what ptxas said of them."""
    lines = [line.split(" | ") for line in open(os.path.join(here, "verdicts.txt")) if re.match(r"wgmma_\w+_n\d+ ", line)]
    return [(i, what.split(" ", 1)[0], what.split(" ", 1)[1], "90a", oldest.split()[1].replace(".", "").rstrip(":"), "--------",
             "Asynchronous Warpgroup-level Matrix: wgmma.mma_async") for i, what, oldest, *_ in lines]


# forms that get no file
WITHOUT = ((r"trap|brkpt", "the kernel ends there"), (r"tma_reduce_(inc|dec)_.*", "they take maps of u32, which contracts have not"))


def write_coverage(path, record, made, elsewhere, check):
    """tested.def: for each form its test files, and the kernels that gpu.txt lists: a comment line with date and device, then names. Names of
    `elsewhere`, whose files are not kept, count when they are listed."""
    lines = open(record).read().split("\n") if os.path.exists(record) else []
    compared = {line for line in lines if line and line[0] != "#"}
    counts = {}
    for name in sorted([n[:-4] for n in made] + list(compared.intersection(elsewhere))):
        form = counts.setdefault(name.split("-")[0], [0, 0])
        form[0] += name not in elsewhere
        form[1] += name in compared
    text = "/* tested.def - written by tests/isa/make.py: TESTED(form, test files kept here, kernels that a GPU agreed with). */\n"
    text += 'COMPARED_ON("%s")\n' % next((line[1:].strip() for line in lines if line.startswith("#")), "")
    text += "".join(f"TESTED({form}, {files}, {on_gpu})\n" for form, (files, on_gpu) in counts.items())
    if os.path.exists(path) and open(path).read() == text:
        return []
    if not check:
        open(path, "w").write(text)
    return [path]


def why_without(names):
    """How many forms have no file, the first few of each reason."""
    reasons = {}
    for name in names:
        reasons.setdefault(next((why for pattern, why in WITHOUT if re.fullmatch(pattern, name)), "nothing makes one"), []).append(name)
    few = [" ".join(those[:3]) + (f" and {len(those) - 3} more" if len(those) > 3 else "") + f" ({why})" for why, those in reasons.items()]
    return f"{len(names)} forms without: {'; '.join(few)}" if names else "no form without"


def forms_of_tables(here):
    """Each form, with the modifiers' variants of it last."""
    texts = {name: open(os.path.join(here, "../../gen/isa", name + ".def")).read() for name in FILES}
    modifiers = MODIFIER.findall(open(os.path.join(here, "../../gen/isa/modifier.def")).read())
    OPCODES.update(row[1] for text in texts.values() for row in ROW.findall(text))
    for name, text in texts.items():
        for row in ROW.findall(text) + (products(here) if name == "wgmma" else []):
            form = Form(row)
            form.file = name
            yield form, list(variants(form, modifiers))


def write_every(folder, here):
    os.makedirs(folder, exist_ok=True)
    forms = [form for form, _ in forms_of_tables(here) if not hopper.is_shown(form)]
    for form in forms:
        for k in kernels_of(form):
            open(os.path.join(folder, k.name + ".ptx"), "w").write(k.text())
    print(f"{len(forms)} files of forms that have none in the repository")


def main():
    (folder,), check = [a for a in sys.argv[1:] if a[0] != "-"], "--check" in sys.argv
    here = os.path.dirname(os.path.abspath(__file__))
    if "--every" in sys.argv:
        return write_every(folder, here)
    without, elsewhere, made, differ = [], set(), {}, []
    for form, more in forms_of_tables(here):
        if not hopper.is_shown(form):
            elsewhere.add(form.id)
            continue
        kernels = [k for k in kernels_of(form) if k]
        if not kernels:
            without.append(form.id)
        for k in kernels + [k for variant in more for k in kernels_of(variant)[:1] if k]:
            made[k.name + ".ptx"] = k.text()
    for name, text in made.items():
        path = os.path.join(folder, name)
        have = open(path).read() if os.path.exists(path) else None
        if have == text:
            continue
        differ.append(name)
        if not check:
            open(path, "w").write(text)
    differ += write_coverage(os.path.join(here, "../../gen/isa/tested.def"), os.path.join(here, "gpu.txt"), made, elsewhere, check)
    for path in glob.glob(os.path.join(folder, "*.ptx")):
        if os.path.basename(path) not in made:
            differ.append(os.path.basename(path) + " (no form makes it)")
    print(f"{len(made)} files, {len(differ)} {'differ' if check else 'written'}; {len(elsewhere)} more by --every; {why_without(without)}")
    if check and differ:
        print("\n".join(differ[:20]))
        sys.exit(1)


if __name__ == "__main__":
    main()
