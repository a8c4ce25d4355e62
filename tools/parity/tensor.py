"""Fixtures for @minke/tensor: fused operations, AdamW and Muon as PyTorch computes them.

    python3 tensor.py ../../packages/tensor/fixtures

Everything is computed in float64 from float32 inputs and written as JSON numbers.
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

torch.manual_seed(0)


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).double()


def flat(t):
    return {"shape": list(t.shape), "data": t.detach().flatten().tolist()}


def case(function, *inputs, **extra):
    """Output and gradients of `function`, whose output is weighted with random numbers."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    dy = randn(*y.shape)
    (y * dy).sum().backward()
    return {"inputs": [flat(x) for x in inputs], "y": flat(y), "dy": flat(dy),
            "grads": [flat(x.grad) for x in leaves], **extra}


def adamw():
    """Three steps: a matrix that decays and a vector that does not; the first norm is clipped, the last is not."""
    options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weightDecay": 0.1, "maxGradNorm": 2.0}
    lrs = [1e-2, 5e-3, 2e-2]
    parameters = {"weight": randn(3, 4).requires_grad_(), "bias": randn(4).requires_grad_()}
    start = {name: flat(p) for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [parameters["weight"]], "weight_decay": 0.1}, {"params": [parameters["bias"]], "weight_decay": 0.0}],
        betas=(0.9, 0.95), eps=1e-8)
    steps = []
    for lr, scale in zip(lrs, [2.0, 1.0, 0.1]):
        for p in parameters.values():
            p.grad = randn(*p.shape, scale=scale)
        grads = {name: flat(p.grad) for name, p in parameters.items()}
        for group in optimizer.param_groups:
            group["lr"] = lr
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 2.0)
        optimizer.step()
        steps.append({"lr": lr, "grads": grads, "norm": norm.item(),
                      "parameters": {name: flat(p) for name, p in parameters.items()}})
    assert steps[0]["norm"] > 2 > steps[2]["norm"]
    return {"options": options, "start": start, "steps": steps}


class KeepFloat64(TorchFunctionMode):
    """torch.optim.Muon orthogonalises in bfloat16: while active, it does so in float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.bfloat16:
            return args[0].double()
        return func(*args, **(kwargs or {}))


def muon():
    """Three steps: a wide, a tall and two packed matrices by Muon, an embedding and a vector by AdamW, one global norm."""
    options = {"lr": 1e-2, "momentum": 0.95, "weightDecay": 0.1, "maxGradNorm": 4.0,
               "adamW": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}}
    lrs = [1e-2, 5e-3, 2e-2]
    shapes = {"wide": [3, 5], "tall": [6, 2], "packed": [2, 4, 3], "embed": [4, 3], "bias": [5]}
    start = {name: randn(*shape) for name, shape in shapes.items()}
    matrices = {"wide": [start["wide"]], "tall": [start["tall"]], "packed": list(start["packed"])}
    matrices = {name: [m.clone().requires_grad_() for m in group] for name, group in matrices.items()}
    others = {name: start[name].clone().requires_grad_() for name in ("embed", "bias")}
    hidden = [m for group in matrices.values() for m in group]
    first = torch.optim.Muon(hidden, lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    second = torch.optim.AdamW(
        [{"params": [others["embed"]], "weight_decay": 0.1}, {"params": [others["bias"]], "weight_decay": 0.0}],
        betas=(0.9, 0.95), eps=1e-8)

    def packed(values, name):
        return torch.stack(values) if name == "packed" else values[0]

    steps = []
    for lr, scale in zip(lrs, [2.0, 1.0, 0.1]):
        for p in [*hidden, *others.values()]:
            p.grad = randn(*p.shape, scale=scale)
        grads = {name: packed([m.grad for m in group], name) for name, group in matrices.items()}
        grads.update({name: p.grad for name, p in others.items()})
        grads = {name: flat(g.clone()) for name, g in grads.items()}
        norm = torch.nn.utils.clip_grad_norm_([*hidden, *others.values()], 4.0)
        for group in [*first.param_groups, *second.param_groups]:
            group["lr"] = lr
        with KeepFloat64():
            first.step()
        second.step()
        parameters = {name: packed(group, name) for name, group in matrices.items()}
        parameters.update(others)
        steps.append({"lr": lr, "grads": grads, "norm": norm.item(),
                      "parameters": {name: flat(p) for name, p in parameters.items()}})
    assert steps[0]["norm"] > 4 > steps[2]["norm"]
    return {"options": options, "start": {name: flat(p) for name, p in start.items()}, "steps": steps}


targets = [2, -1, 0, 4, -1, 1]
fixtures = {
    "softmax": case(lambda x: torch.softmax(x, -1), randn(2, 3, 5, scale=3.0)),
    "logSoftmax": case(lambda x: torch.log_softmax(x, -1), randn(4, 6, scale=3.0)),
    "swiglu": case(lambda gate, up: F.silu(gate) * up, randn(3, 7, scale=2.0), randn(3, 7)),
    "rmsNorm": case(lambda x, w: F.rms_norm(x, (8,), w, 1e-5), randn(2, 3, 8), 1 + randn(8, scale=0.3), eps=1e-5),
    "crossEntropy": case(
        lambda x: F.cross_entropy(x, torch.tensor(targets), ignore_index=-1, reduction="none"),
        randn(6, 5, scale=3.0), targets=targets),
    "adamW": adamw(),
    "muon": muon(),
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "pytorch.json").write_text(json.dumps({"torch": torch.__version__, **fixtures}) + "\n")
