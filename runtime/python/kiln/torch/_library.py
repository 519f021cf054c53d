"""The ops in torch's library: torch.ops.kiln.NAME and NAME_grad with kernels for CUDA and CPU, shapes for tracing, and autograd.

What a schema's results hold: all of the op's outputs; one that is not wanted is an empty tensor.
"""
import torch

from .. import ops
from . import _core, _gradients, _math, _source

LIBRARY = torch.library.Library("kiln", "DEF")
_SCALARS = {"f32": "float", "f64": "float", "i32": "SymInt", "i64": "SymInt"}
# Compilers keep the strides that the shapes for tracing assumed: outputs are laid out as inputs are.
_PT2 = (torch.Tag.pt2_compliant_tag, getattr(torch.Tag, "needs_exact_strides", None) or torch.Tag.needs_fixed_stride_order)


def torch_name(op):
    return op.name.replace(".grad", "_grad")


def _schema(op):
    parts = ["Tensor%s %s" % ("?" if t.optional else "", t.name) for t in op.inputs]
    parts += ["%s %s" % (_SCALARS[s.dtype], s.name) for s in op.scalars] + ["str %s" % s for s in op.settings]
    parts += ["bool " + p for p in _source.parameters(op)[len(parts):]]
    results = ", ".join("Tensor" for _ in op.outputs)
    return "%s(%s) -> %s" % (torch_name(op), ", ".join(parts), "(%s)" % results if len(op.outputs) > 1 else results)


def _wanted(op, args):
    """Per output whether it is written, from the arguments in launch's order."""
    named = dict(zip(_source.parameters(op), args))
    return [eval(_source.condition(op, t), {}, named) for t in op.outputs]


def _filled(op, args, outs):
    """The outputs as a schema has them: an empty tensor for None, and the one of one."""
    outs = [args[0].new_empty(0) if x is None else x for x in outs]
    return tuple(outs) if len(outs) > 1 else outs[0]


def _present(op, args):
    return {t.name: x for t, x in zip(op.inputs, args) if x is not None}


def _fake(op):
    def fake(*args):
        present = _present(op, args)
        return _filled(op, args, [_core.empty_output(op, t, present) if want else None for t, want in zip(op.outputs, _wanted(op, args))])
    return fake


def _cuda(op):
    launch = _core.launcher(op)

    def cuda(*args):
        return _filled(op, args, launch(*args))
    return cuda


def _laid_out(op, args, values):
    """Values of plain mathematics in tensors of their own, as CUDA's would be."""
    present, outs = _present(op, args), []
    for t, want, value in zip(op.outputs, _wanted(op, args), values):
        outs.append(_core.empty_output(op, t, present).copy_(value) if want else None)
    return _filled(op, args, outs)


def _cpu(op):
    mathematics, count = getattr(_math, op.name), _gradients.argument_count(op)

    def cpu(*args):
        return _laid_out(op, args, mathematics(*args[:count]))
    return cpu


class _Recording:
    """Autograd at work inside of a kernel, which torch calls with it switched off."""
    KEYS = [getattr(torch._C.DispatchKey, k) for k in ("AutogradCPU", "AutogradOther", "AutogradFunctionality", "ADInplaceOrView")
            if hasattr(torch._C.DispatchKey, k)]

    def __enter__(self):
        self.excluded = [torch._C._dispatch_tls_is_dispatch_key_excluded(k) for k in self.KEYS]
        for k in self.KEYS:
            torch._C._dispatch_tls_set_dispatch_key_excluded(k, False)
        self.grad = torch.enable_grad()
        self.grad.__enter__()

    def __exit__(self, *what):
        self.grad.__exit__(*what)
        for k, was in zip(self.KEYS, self.excluded):
            torch._C._dispatch_tls_set_dispatch_key_excluded(k, was)


def _cpu_grad(op):
    """A gradient by autograd of the forward's mathematics. It is offered what the kernels are, so what the forward had and they do not
    read (softmax's x, add_rms_norm's x and r) is first found again."""
    forward = ops.FORWARD[op.of]
    mathematics = getattr(_math, op.of)
    ins = [t.name for t in forward.inputs]

    def cpu(*args):
        named = dict(zip(_source.parameters(op), args))
        with _Recording():
            leaf = {n: named[n].detach().requires_grad_() if torch.is_tensor(named.get(n)) and named[n].is_floating_point() else named.get(n)
                    for n in ins}
            extra = _restore(op.of, named, leaf)
            values = mathematics(*[leaf[n] for n in ins], *[named[s.name] for s in forward.scalars], *[named[s] for s in forward.settings])
            outs = [(y, named["d" + t.name]) for t, y in zip(forward.outputs, values) if not t.saved and named.get("d" + t.name) is not None]
            wanted = [t for t in op.outputs if named["want_" + t.name]]
            found = torch.autograd.grad([y for y, _ in outs], [leaf[t.like] for t in wanted], [dy for _, dy in outs], allow_unused=True)
        grads = {t.name: g if g is not None else torch.zeros_like(leaf[t.like]) for t, g in zip(wanted, found)}
        return _laid_out(op, args, [extra(t.name, grads.get(t.name)) if extra else grads.get(t.name) for t in op.outputs])
    return cpu


def _restore(name, named, leaf):
    if name == "softmax":  # softmax(log y) = y; d/dx of softmax(scale x) is scale times that of softmax
        leaf["x"] = named["y"].to(torch.float64 if named["y"].dtype == torch.float64 else torch.float32).log().detach().requires_grad_()
        scale = named["scale"]
        named["scale"] = 1.0
        return lambda _, g: None if g is None else torch.nan_to_num(g * scale, nan=0.0).masked_fill(named["y"] == 0, 0.0)
    if name == "add_rms_norm":  # h + 0 = h
        leaf["x"] = named["h"].detach().requires_grad_()
        leaf["r"] = torch.zeros_like(named["h"]).requires_grad_()
    if name == "rope":  # linear: any q and k will do
        leaf["q"] = torch.zeros_like(named["dyq"]).requires_grad_()
        leaf["k"] = None if named["dyk"] is None else torch.zeros_like(named["dyk"]).requires_grad_()
    return None


def _autograd(op):
    """(setup_context, backward) of an op in the library: all of its outputs are there, those for the backward alone without gradient."""
    backward = _gradients.make(op, getattr(torch.ops.kiln, torch_name(ops.GRADIENT[op.name])).default)

    def setup_context(ctx, inputs, output):
        outs = output if isinstance(output, tuple) else (output,)
        for t, y in zip(op.outputs, outs):
            if t.saved:
                ctx.mark_non_differentiable(y)
        _gradients.remember(op, ctx, inputs, [y if y.numel() or not t.optional else None for t, y in zip(op.outputs, outs)])

    return setup_context, backward


def _define_in_place(op):
    """NAME_: the same into the tensors that its outputs may be (rope_: q and k)."""
    over = {t.over for t in op.outputs if t.over}
    parts, letter = [], ord("a")
    for t in op.inputs:
        if t.name in over:
            parts.append("Tensor(%s!)%s %s" % (chr(letter), "?" if t.optional else "", t.name))
            letter += 1
        else:
            parts.append("Tensor%s %s" % ("?" if t.optional else "", t.name))
    parts += ["%s %s" % (_SCALARS[s.dtype], s.name) for s in op.scalars] + ["str %s" % s for s in op.settings]
    name = op.name + "_"
    launch, mathematics = _core.launcher(op), getattr(_math, op.name)

    def cpu(*args):
        named = dict(zip(_source.parameters(op), args))
        for t, y in zip(op.outputs, mathematics(*args)):
            if y is not None:
                named[t.over].copy_(y)

    LIBRARY.define("%s(%s) -> ()" % (name, ", ".join(parts)), tags=_PT2)
    LIBRARY.impl(name, lambda *args: launch(*args, True) and None, "CUDA")
    LIBRARY.impl(name, cpu, "CPU")
    torch.library.register_fake("kiln::" + name, lambda *args: None, lib=LIBRARY)


def define():
    """Registers everything; once, at import."""
    for op in list(ops.GRADIENT.values()) + list(ops.FORWARD.values()):
        name = torch_name(op)
        LIBRARY.define(_schema(op), tags=_PT2)
        LIBRARY.impl(name, _cuda(op), "CUDA")
        LIBRARY.impl(name, _cpu_grad(op) if op.of else _cpu(op), "CPU")
        torch.library.register_fake("kiln::" + name, _fake(op), lib=LIBRARY)
    for op in ops.FORWARD.values():
        setup_context, backward = _autograd(op)
        torch.library.register_autograd("kiln::" + op.name, backward, setup_context=setup_context, lib=LIBRARY)
        if _source.is_in_place(op):
            _define_in_place(op)
