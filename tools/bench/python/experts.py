"""A mixture-of-experts layer in PyTorch: gate, grouped experts and shared expert, of grouped_model.py."""

import torch
from grouped_model import choose_experts, routed_experts, swiglu
from timed_op import operand, timed_op

variants = ["loop", "grouped_mm"]


def prepare(case):
    d, e, f = case["hiddenSize"], case["experts"], case["expertSize"]
    shared, tokens = case["sharedExperts"] * f, case["tokens"]
    both = lambda name, suffix, *shape: torch.cat([operand(f"{name}.{half}{suffix}", *shape) for half in ("gate", "up")])
    gate = operand("gate", e, d)
    gate_up = torch.stack([both("experts", f".{i}", f, d) for i in range(e)])
    down = torch.stack([operand(f"experts.down.{i}", d, f) for i in range(e)])
    shared_gate_up, shared_down = both("shared", "", shared, d), operand("shared.down", d, shared)
    bias = torch.zeros(e)

    def compute(x):
        indices, weights = choose_experts(x, gate, bias, case["topK"], True, 2.5)
        out = routed_experts(x, indices, weights, gate_up, down, case["variant"] == "grouped_mm")
        return out + swiglu(x, shared_gate_up, shared_down)

    x, weighting = operand("input", tokens, d) * 8, operand("weighting", tokens, d) * 8
    weights = [gate, gate_up, down, shared_gate_up, shared_down]
    check, call = timed_op(compute, [x], weights, weighting, case["backward"])
    return f"grouped experts, {case['variant']}", check, call
