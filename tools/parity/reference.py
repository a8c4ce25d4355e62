"""What the fixture generators share: a float64 reference, routing margins, random weights, published names.

The reference is transformers' own DeepseekV2ForCausalLM, DeepseekV3ForCausalLM and their kin, run in eager mode. Their code
casts to float32 in places (norms, rotary embedding, gate, softmax); `Float64` turns these casts into float64,
so that the same code gives the result without rounding noise.
"""

import random

import torch
from torch.overrides import TorchFunctionMode
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DeepseekV32Config,
    DeepseekV32ForCausalLM,
    Glm4MoeLiteConfig,
    Glm4MoeLiteForCausalLM,
)

CLASSES = {
    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM),
    "deepseek_v32": (DeepseekV32Config, DeepseekV32ForCausalLM),
    "glm4_moe_lite": (Glm4MoeLiteConfig, Glm4MoeLiteForCausalLM),
}


class Float64(TorchFunctionMode):
    """While active, every request for float32 is one for float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        swap = lambda value: torch.float64 if value is torch.float32 else value
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*[swap(a) for a in args], **{k: swap(v) for k, v in (kwargs or {}).items()})


def build(model_type: str, fields: dict):
    """A model of `fields` in float32, with transformers' own initialisation, eager everywhere."""
    config_class, model_class = CLASSES[model_type]
    config = config_class(**fields)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = model_class(config).eval()
    model.set_experts_implementation("eager")
    return model


def build_float64(model):
    """The same model and weights in float64; call it inside `Float64()`."""
    with Float64():
        double = type(model)(model.config).eval().double()
        double.set_experts_implementation("eager")
        double.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    return double


def randomise(model, seed: int, norm=(0.5, 1.5), bias: float = 0.3):
    """Norm weights uniform in `norm`, correction biases uniform in [-bias, bias]."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "norm" in name:
                value.uniform_(*norm, generator=generator)
            elif name.endswith("e_score_correction_bias"):
                value.uniform_(-bias, bias, generator=generator)


def routing(gate, logits):
    """(chosen experts [T, K] ascending, margin [T]): how far the nearest selection boundary is, in score units."""
    if hasattr(gate, "e_score_correction_bias"):
        choice = logits.sigmoid() + gate.e_score_correction_bias
        grouped, excluded = True, float("-inf")
        group_score = lambda groups: groups.topk(2, dim=-1).values.sum(-1)
    else:
        choice = logits.softmax(-1)
        grouped, excluded = gate.topk_method == "group_limited_greedy", 0.0
        group_score = lambda groups: groups.max(-1).values
    tokens, experts = choice.shape
    margin = torch.full((tokens,), float("inf"), dtype=choice.dtype)
    if grouped:
        groups = choice.view(tokens, gate.num_group, -1)
        scores = group_score(groups)
        ranked = scores.sort(-1, descending=True)
        if gate.topk_group < gate.num_group:
            margin = ranked.values[:, gate.topk_group - 1] - ranked.values[:, gate.topk_group]
        kept = torch.zeros_like(scores).scatter_(1, ranked.indices[:, : gate.topk_group], 1).bool()
        choice = choice.masked_fill(~kept.repeat_interleave(experts // gate.num_group, 1), excluded)
    ranked = choice.sort(-1, descending=True)
    if gate.top_k < experts:
        margin = torch.minimum(margin, ranked.values[:, gate.top_k - 1] - ranked.values[:, gate.top_k])
    return ranked.indices[:, : gate.top_k].sort(-1).values, margin


def run(model, ids):
    """(logits [B, S, V], experts {layer: [B, S, K]}, margin [B, S] over all layers)."""
    seen = {}
    hooks = [
        layer.mlp.gate.register_forward_hook(
            lambda gate, _, output, index=index: seen.__setitem__(index, routing(gate, output[0]))
        )
        for index, layer in enumerate(model.model.layers)
        if hasattr(layer.mlp, "gate")
    ]
    logits = model(input_ids=ids, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    margins = [margin.view(ids.shape) for _, margin in seen.values()]
    margin = torch.stack(margins).min(0).values if margins else torch.full(ids.shape, float("inf"))
    return logits, {index: chosen.view(*ids.shape, -1) for index, (chosen, _) in seen.items()}, margin


def tokens_without_ties(double, shape, seed: int, least_margin: float = 1.5e-3):
    """Random tokens, redrawn from the left wherever a selection in any layer is a near tie."""
    rng = random.Random(seed)
    vocab = double.config.vocab_size
    ids = torch.tensor([[rng.randrange(vocab) for _ in range(shape[1])] for _ in range(shape[0])])
    for _ in range(5000):
        with torch.no_grad(), Float64():
            _, _, margin = run(double, ids)
        near = margin < least_margin
        if not near.any():
            return ids
        for row in range(shape[0]):
            if near[row].any():
                ids[row, int(near[row].nonzero()[0])] = rng.randrange(vocab)
    raise RuntimeError("no token sequence without near ties was found")


def published_names(named):
    """Splits packed experts ([E, 2I, D] and [E, D, I]) into the per-expert names of published checkpoints."""
    result = {}
    for name, value in named:
        if name.endswith(".experts.gate_up_proj"):
            for expert, (gate, up) in enumerate(v.chunk(2, dim=0) for v in value):
                result[name.replace("gate_up_proj", f"{expert}.gate_proj.weight")] = gate
                result[name.replace("gate_up_proj", f"{expert}.up_proj.weight")] = up
        elif name.endswith(".experts.down_proj"):
            for expert, down in enumerate(value):
                result[name.replace("down_proj", f"{expert}.down_proj.weight")] = down
        else:
            result[name] = value
    return result
