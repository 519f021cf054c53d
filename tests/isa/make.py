#!/usr/bin/env python3
"""make.py FOLDER [--check] - writes the test files of the PTX forms, one each, from the rows of gen/isa/*.def and from what the
manual says that they do (meaning.py and the modules beside it; exact integers and fractions). --check: only compares with what is there."""
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

ROW = re.compile(r'^ISA\((\w+),\s*"([^"]*)",\s*"([^"]*)",\s*"([^"]*)",\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.M)
FILES = ("int", "float", "half", "cvt", "mem", "sync", "mma", "async", "control")
TARGET = {"100f": "100a", "100": "100a"}


class Form:
    def __init__(self, row):
        self.id, self.opcode, operands, sm, version, self.flags, self.section = row
        self.sm, self.version = TARGET.get(sm.split()[0], sm.split()[0]), max(int(version), 86 if sm.startswith("100") else 0)
        self.operands = operands.split()
        self.parts = self.opcode.split(".")
        self.result = self.operands[0][1:] if self.operands and self.operands[0][:1] == "=" else ""
        self.sources = self.operands[1:] if self.result else self.operands


def is_elementwise(form):
    plain = all(re.fullmatch(r"!?[hrlfdp]i?|#", o) for o in form.sources) and re.fullmatch(r"[hrlfdp]", form.result or "")
    return bool(plain) and form.flags[0] == "P" and form.flags[4] == "-" and not form.opcode.startswith("cvta")


def kernels_of(form):
    if form.parts[0] == "mma":
        return matrix.products(form)
    maker = matrix.find(form) or warp.find(form) or memory.find(form)
    if maker:
        return [maker(form)]
    return [elementwise.make(form)] if is_elementwise(form) else []


def main():
    folder, check = sys.argv[1], "--check" in sys.argv
    here = os.path.dirname(os.path.abspath(__file__))
    without, made, differ = [], {}, []
    for name in FILES:
        for row in ROW.findall(open(os.path.join(here, "../../gen/isa", name + ".def")).read()):
            form = Form(row)
            kernels = [k for k in kernels_of(form) if k]
            if not kernels:
                without.append(form.id)
            for k in kernels:
                made[k.name + ".ptx"] = k.text()
    for name, text in made.items():
        path = os.path.join(folder, name)
        have = open(path).read() if os.path.exists(path) else None
        if have == text:
            continue
        differ.append(name)
        if not check:
            open(path, "w").write(text)
    for path in glob.glob(os.path.join(folder, "*.ptx")):
        if os.path.basename(path) not in made:
            differ.append(os.path.basename(path) + " (no form makes it)")
    print(f"{len(made)} files, {len(differ)} {'differ' if check else 'written'}; forms without: {' '.join(without) or 'none'}")
    if check and differ:
        print("\n".join(differ[:20]))
        sys.exit(1)


if __name__ == "__main__":
    main()
