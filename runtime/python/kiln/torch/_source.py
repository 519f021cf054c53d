"""The text of the functions that are written out per op: `launch`, and what users call. The templates say what they do; what stands in
braces comes from the op's row of the table."""
import linecache

from .. import ops

# (inputs, scalars, settings, and what says which outputs are wanted) -> a tuple of all outputs, None where not wanted. The key of a plan holds
# one device, so the others are looked at in each call. torch may keep a sign beside the memory (z.conj().imag): what is_neg() is read resolved.
LAUNCH = '''\
def launch({parameters}):
    device = {first}.get_device()
    if {elsewhere}:
        misplaced(OP, ({inputs},))
    if {negated}:
{resolved}
        return launch({again})
    if MANY and current_device() != device:
        with guard(device):
            return launch({again})
{addresses}
    align = ({together}) & 15
    if align:
        align = ({apart},)
    key = (NAME, device, align, {key})
    entry = find(key)
    if entry is None:
        entry = miss(OP, key, {given})
    outs = entry.outs
{results}
    if entry.scratch is None:
        buffer = scratch = None
    else:
        buffer = empty(*entry.scratch)
        scratch = pointer(buffer.data_ptr())
    queue = stream(device)
    queue = pointer(queue) if queue else None
    status = call(entry.handle, entry.pack({pointers}), {values}, scratch, queue)
    if status:
        refused(OP, status, {given}, ({pointers},), ({calls}), scratch, queue)
    return {outputs}
'''

FUNCTION = '''\
def general({arguments}):
    check_call(OP, ({inputs},), ({words}))
{masks}
    if not {first}.is_cuda:
        out = mathematics({arguments})
        return {pick}
{promote}
{check}
    out = OPERATOR({arguments}{save})
    return {pick_library}

def {name}({signature}):
    if (compiling() or {special} or modes() or transforms()
            or forward_ad._current_level >= 0 or not {first}.is_cuda{differ}):
        return general({arguments})
{check_moved}
{masks}
    if ({wants}) and recording():
        out = with_gradient({arguments})
    else:
        out = launch({arguments}{unsaved})
    return {pick}
'''

IN_PLACE = '''
def {name}_({signature}):
    if ({wants}) and recording():
        raise no_gradient("{name}_")
{check_moved}
    if compiling() or {special} or {negated} or modes() or transforms() or not {first}.is_cuda:
        IN_PLACE({arguments})
    else:
        launch({arguments}, True)
    return {over}
'''


def condition(op, t):
    """What an output's being written hangs on, as an expression of launch's parameters."""
    if op.of is not None:
        return "want_" + t.name
    if t.saved:
        return "save"
    return "%s is not None" % t.beside if t.optional else "True"


def parameters(op):
    """launch's parameters: inputs, scalars, settings, then what says which outputs are wanted."""
    names = [t.name for t in op.inputs] + [s.name for s in op.scalars] + list(op.settings)
    if op.of is not None:
        return names + ["want_" + t.name for t in op.outputs]
    return names + ["save"] * any(t.saved for t in op.outputs)


def is_in_place(op):
    return op.of is None and any(t.over for t in op.outputs)


def _filled(template, lines, words):
    """The template with whole lines (those that are a name in braces alone, indented by four) and words put in."""
    out = []
    for line in template.split("\n"):
        name = line.strip("{}")
        out += ["    " + text for text in lines[name]] if name in lines and line == "{%s}" % name else [line.format(**words)]
    return "\n".join(out)


def _address(t):
    if not t.optional:
        return ["p_{0} = {0}.data_ptr()".format(t.name)]
    return [line.format(t.name) for line in (
        "if {0} is None:", "    p_{0}, k_{0} = 0, None", "else:", "    p_{0}, k_{0} = {0}.data_ptr(), ({0}.shape, {0}.stride(), {0}.dtype)")]


def _result(op, i, t):
    make, when = "empty(*outs[%d])" % i, condition(op, t)
    if t.over and is_in_place(op):
        make = "%s if in_place else %s" % (t.over, make)
    lines = [line.format(t.name, make) for line in ("{0} = {1}", "p_{0} = {0}.data_ptr()")]
    if when == "True":
        return lines
    return ["if %s:" % when] + ["    " + line for line in lines] + ["else:", "    {0}, p_{0} = None, 0".format(t.name)]


def launch(op):
    """The text of launch."""
    in_place, calls = is_in_place(op), [s.name for s in op.scalars if s.call]
    keys = ["k_" + t.name if t.optional else "{0}.shape, {0}.stride(), {0}.dtype".format(t.name) for t in op.inputs]
    keys += [p for p in parameters(op)[len(op.inputs):] if p not in calls] + ["in_place"] * in_place
    over = "{%s} if in_place else None" % ", ".join("%r: %s" % (t.name, t.over) for t in op.outputs if t.over)
    words = {
        "parameters": ", ".join(parameters(op)) + ", in_place=False" * in_place,
        "again": ", ".join(parameters(op)) + ", in_place" * in_place,
        "first": op.inputs[0].name,
        "inputs": ", ".join(t.name for t in op.inputs),
        "elsewhere": _each(op.inputs[1:], "{0}.get_device() != device") or "False",
        "negated": _each(op.inputs, "{0}.is_neg()"),
        "together": " | ".join("p_" + t.name for t in op.inputs),
        "apart": ", ".join("p_%s & 15" % t.name for t in op.inputs),
        "key": ", ".join(keys) + ",",
        "given": "(%s,), (%s), (%s), (%s,), %s" % (
            ", ".join(t.name for t in op.inputs), "".join(s.name + ", " for s in op.scalars),
            "".join("(%r, %s), " % (s, s) for s in op.settings), ", ".join(condition(op, t) for t in op.outputs), over if in_place else None),
        "pointers": ", ".join("p_" + t.name for t in op.inputs + op.outputs),
        "values": "entry.scalars(%s) if entry.scalars else None" % ", ".join(calls) if calls else "None",
        "calls": "".join(c + ", " for c in calls),
        "outputs": ", ".join(t.name for t in op.outputs) + "," * (len(op.outputs) == 1),
    }
    lines = {"addresses": [line for t in op.inputs for line in _address(t)],
             "resolved": ["    " + line.format(t.name) for t in op.inputs for line in ("if {0} is not None:", "    {0} = {0}.resolve_neg()")],
             "results": [line for i, t in enumerate(op.outputs) for line in _result(op, i, t)]}
    return _filled(LAUNCH, lines, words)


def signature(op):
    """As users see it: what is not optional has no default, and stands before a bare star."""
    last = max(i for i, t in enumerate(op.inputs) if not t.optional)
    parts = [t.name + "=None" * (t.optional and i > last) for i, t in enumerate(op.inputs)]
    words = ["%s=%r" % (s.name, s.default) for s in op.scalars] + ["%s=%r" % (k, v[0]) for k, v in op.settings.items()]
    return ", ".join(parts + (["*"] + words if words else []))


def activations(op):
    """Inputs that have the op's dtype: those without one of their own."""
    return [t for t in op.inputs if not t.own and t.dtype is None]


def _each(tensors, test):
    """A test of some tensors, true if it is of one that is there."""
    return " or ".join(("({0} is not None and %s)" % test if t.optional else test).format(t.name) for t in tensors)


def functions(op):
    """The text of the functions that users call."""
    saves, kept = any(t.saved for t in op.outputs), [i for i, t in enumerate(op.outputs) if not t.saved]
    maybe = next((t for t in op.outputs if t.optional and not t.saved), None)
    pick = ", ".join("out[%d]" % i for i in kept)
    pick = "out[0] if %s is None else (%s)" % (maybe.beside, pick) if maybe else pick
    first, wants = op.inputs[0].name, _each(ops.differentiable_inputs(op), "{0}.requires_grad")
    alike = activations(op)
    differ = _each(alike[1:], "{0}.dtype is not %s.dtype" % alike[0].name)
    names = ", ".join(t.name for t in alike)
    check = ["check(OP, (%s,), (%s,))" % (", ".join(t.name for t in op.inputs), ", ".join(s.name for s in op.scalars))]
    moves = any(s.name == "pos" for s in op.scalars)
    lines = {
        "masks": [line.format(t.name, first) for t in op.inputs if t.dtype == "bool"
                  for line in ("if {0} is not None and {0}.shape != {1}.shape:", "    {0} = {0}.expand({1}.shape)")],
        "promote": ["if %s:" % differ, "    %s = promote(OP, %s)" % (names, names)] if differ else [],
        "check": check * moves,
        "check_moved": ["if pos:", "    " + check[0]] if moves else [],
    }
    words = {
        "inputs": ", ".join(t.name for t in op.inputs), "words": "".join(k + ", " for k in op.settings),
        "name": op.name, "first": first, "signature": signature(op), "pick": pick, "wants": wants,
        "arguments": ", ".join([t.name for t in op.inputs] + [s.name for s in op.scalars] + list(op.settings)),
        "special": _each(op.inputs, "type({0}) not in PLAIN"),
        "differ": " or " + differ if differ else "",
        "save": ", recording() and (%s)" % wants if saves else "", "unsaved": ", False" * saves,
        "pick_library": "out" if len(op.outputs) == 1 else pick,
    }
    text = _filled(FUNCTION, lines, words)
    if is_in_place(op):
        words["negated"] = _each([t for t in op.inputs if any(o.over == t.name for o in op.outputs)], "{0}.is_neg()")
        words["over"] = "%s if %s is None else (%s)" % (op.outputs[0].over, maybe.beside, ", ".join(t.over for t in op.outputs))
        text += _filled(IN_PLACE, lines, words)
    return text


def compiled(name, text, names):
    """What the text defines, with a source that tracebacks can show."""
    path = "<kiln.torch %s>" % name
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)
    space = dict(names)
    exec(compile(text, path, "exec"), space)
    return space
