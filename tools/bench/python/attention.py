"""Attention in PyTorch: causal over a batch of sequences, and the absorbed decode, where the heads of a sequence are
the query rows of one shared key head. The fastest of scaled_dot_product_attention, the same with values padded to
the keys' width (its fused CPU kernel wants equal widths), and products with a softmax between."""

import torch
import torch.nn.functional as F
from timed_op import operand, timed_op

variants = ["sdpa", "padded sdpa", "products and softmax"]


def attend(q, k, v, scale, is_causal, variant):
    """q [B, H, T, C], k [B, H, S, C], v [B, H, S, W] -> [B, H, T, W]."""
    if variant == "products and softmax":
        scores = q @ k.transpose(-1, -2) * scale
        if is_causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
        return scores.softmax(-1) @ v
    width = v.shape[-1]
    if variant == "padded sdpa":
        v = F.pad(v, (0, q.shape[-1] - width))
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale)[..., :width]


def causal(case):
    """Inputs, function and output gradient; sequences are [B, T, H, .] as a model's projections make them."""
    size, scale = (case["batch"], case["length"], case["heads"]), case["keyWidth"] ** -0.5
    q, k = (operand(name, *size, case["keyWidth"]) * 8 for name in ("q", "k"))
    v, weighting = (operand(name, *size, case["valueWidth"]) * 8 for name in ("v", "weighting"))

    def compute(q, k, v):
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return attend(*heads_first, scale, True, case["variant"]).transpose(1, 2)

    return [q, k, v], compute, weighting


def absorbed(case):
    count, heads, latent, width = case["sequences"], case["heads"], case["latent"], case["latent"] + case["ropeWidth"]
    q, cache = operand("q", count, 1, heads, width) * 8, operand("cache", count, 1, case["context"], width) * 8
    weighting = operand("weighting", count, 1, heads, latent) * 8
    scale = case["keyWidth"] ** -0.5
    compute = lambda q, cache: attend(q, cache, cache[..., :latent], scale, False, case["variant"])
    return [q, cache], compute, weighting


def prepare(case):
    inputs, compute, weighting = (absorbed if case["kind"] == "absorbed decode" else causal)(case)
    check, call = timed_op(compute, inputs, [], weighting, case["kind"] == "forward+backward")
    return case["variant"], check, call
