"""One operation of PyTorch as peer.py takes it: twin of tools/bench/harness/timed-op.mjs."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "parity"))
from hash_weights import hash_weights


def operand(name, *shape):
    """The numbers that our side computes from the same name."""
    return torch.from_numpy(hash_weights(name, shape))


def timed_op(compute, inputs, weights, weighting, backward):
    """The check numbers and the function to time: `compute(*inputs)`, and its gradients by inputs and weights."""
    for leaf in (*inputs, *weights):
        leaf.requires_grad_(backward)

    def run():
        with torch.set_grad_enabled(backward):
            output = compute(*inputs)
        if backward:
            output.backward(weighting)
        return output

    def call():
        run()
        for leaf in (*inputs, *weights):
            leaf.grad = None

    check = [(run().detach().double() * weighting).sum().item()]
    if backward:
        check += [leaf.grad.double().square().sum().item() for leaf in inputs]
    return check, call
