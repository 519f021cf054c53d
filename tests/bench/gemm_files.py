"""kiln's variants of the products in products.py: what they are asked for by, and their emission. No framework needed."""
import os

import kiln_side


def settings_of(row):
    """What a variant of the row is asked for by."""
    settings = dict(row.settings)
    if row.dtype == "tf32":
        settings.update(dtype="f32", f32="tf32")
    elif row.op == "fp8_gemm":
        settings.update(dtype="bf16", scale=row.scales)  # the result's; operands are e4m3 unless said
    else:
        settings["dtype"] = row.dtype
    return settings


class Files:
    """Variants of the rows, emitted many at a time into a folder per op, settings and target."""

    def __init__(self, build, folder, target, schedules=()):
        self.build, self.folder, self.target, self.schedules = build, folder, target, list(schedules)
        self.emitters, self.found = {}, {}

    def key(self, row):
        return row.op, kiln_side.settings_text(settings_of(row)), row.target or self.target

    def emitter(self, target):
        if target not in self.emitters:
            self.emitters[target] = kiln_side.Emitter(self.build, target, os.path.join(self.folder, target))
        return self.emitters[target]

    def prepare(self, rows):
        """Queues the emission of all rows' variants."""
        for row in rows:
            if self.key(row) not in self.found:
                self.found[self.key(row)] = self.queue(row)

    def queue(self, row):
        emitter, settings = self.emitter(row.target or self.target), settings_of(row)
        folder = emitter.group_folder(row.op, settings)
        try:
            wanted = [(f"given{i}", s) for i, s in enumerate(self.schedules)] or emitter.variants(row.op, settings)
        except kiln_side.Refused as why:
            return why
        os.makedirs(folder, exist_ok=True)
        paths = [os.path.join(folder, name + ".ptx") for name, _ in wanted]
        return folder, [(p, emitter.pool.submit(emitter.emit, row.op, settings, s, p)) for p, (_, s) in zip(paths, wanted)]

    def of(self, row):
        """({variant: schedule}, folder, contract of one, [what was refused]); raises Refused where there is none."""
        found = self.found[self.key(row)]
        if isinstance(found, kiln_side.Refused):
            raise found
        folder, jobs = found
        schedules, contract, refused = {}, None, []
        for path, job in jobs:
            try:
                job.result()
            except kiln_side.Refused as why:
                refused.append(str(why))
                continue
            with open(path) as file:
                contract = kiln_side.read_contract(file.read(1 << 16))
            schedules[os.path.basename(path)[:-4]] = contract["schedule"]
        if not schedules:
            raise kiln_side.Refused(refused[0] if refused else "no variant is offered")
        return schedules, folder, contract, refused
