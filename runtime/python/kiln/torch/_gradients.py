"""From an op to its gradient op: what is remembered of the forward, and what the backward asks for. Once for torch's library, and once as
autograd functions for eager calls, which save the library's way through Python and back."""
import torch
from torch.autograd.function import once_differentiable

from .. import ops
from . import _source


def argument_count(op):
    """How many arguments the mathematics takes: all but `save`."""
    return len(op.inputs) + len(op.scalars) + len(op.settings)


def remember(op, ctx, inputs, outs):
    """Keeps what the gradient is offered. inputs: in launch's order; outs: per output a tensor, or None."""
    tensors = dict(zip([t.name for t in op.inputs], inputs))
    tensors.update({t.name: y for t, y in zip(op.outputs, outs)})
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*[tensors[name] for name in op.reads])
    ctx.rest = tuple(inputs[len(op.inputs):argument_count(op)])
    ctx.results = [None if y is None else (y.shape, y.dtype, y.device) for y in outs]


def make(op, call):
    """backward(ctx, a gradient per output) -> a gradient per argument, by `call`, the gradient op in launch's order."""
    names = _source.parameters(op)
    differentiable = [names.index(t.name) for t in ops.differentiable_inputs(op)]
    like = [t.name for t in ops.differentiable_inputs(op)]
    twins = [(like.index(a), like.index(b)) for a, b in ops.TWINS.get(op.name, ())]  # of equal gradient: computed once

    def backward(ctx, *grads):
        dys = []
        for t, dy, result in zip(op.outputs, grads, ctx.results):
            if not t.saved and result is not None and dy is None:  # an output that nobody used
                dy = torch.zeros(result[0], dtype=result[1], device=result[2])
            if not t.saved:
                dys.append(dy if result is not None else None)
        needed = [ctx.needs_input_grad[i] for i in differentiable]
        wanted = list(needed)
        for twin, first in twins:
            if wanted[twin]:
                wanted[first], wanted[twin] = True, False
        found = [None] * len(names)
        if any(wanted):
            outs = call(*dys, *ctx.saved_tensors, *ctx.rest, *wanted)
            outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
            for twin, first in twins:
                outs[twin] = outs[first]
            for i, need, dx in zip(differentiable, needed, outs):
                found[i] = dx if need else None
        return tuple(found)

    return backward


def function(op, launch, launch_gradient):
    """The op as an autograd function of inputs, scalars and settings, by launches. Its results are the outputs that are no `saved` ones."""
    count, kept = argument_count(op), [i for i, t in enumerate(op.outputs) if not t.saved]
    last = (True,) if any(t.saved for t in op.outputs) else ()
    backward = make(op, launch_gradient)

    def forward(ctx, *arguments):
        outs = launch(*arguments, *last)
        remember(op, ctx, arguments, outs)
        return tuple(outs[i] for i in kept)

    def reverse(ctx, *grads):
        every = [None] * len(op.outputs)
        for i, dy in zip(kept, grads):
            every[i] = dy
        return backward(ctx, *every)[:count]

    return type(op.name, (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(once_differentiable(reverse))})
