"""DeepSeek-V3's forward pass in PyTorch, written for speed on a CPU.

What it does that a plain model does not: tokens are sorted by expert once a layer, so that each expert multiplies
one block of contiguous rows (a loop of linears, or torch._grouped_mm); gate and up projections are one product;
the two copies of rows and the norms have hand-written gradients (PyTorch's scatter-add backward is slow on a CPU,
and its norm is many operations there); rotary pairs are multiplied as complex numbers. Attention is PyTorch's, or
batched products around a softmax where that is faster.
Equations: DeepSeek-V3, arXiv 2412.19437, section 2.1. One expert group, no YaRN, no attention bias.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

# How experts and attention are computed. PyTorch's fused CPU attention wants values as wide as keys: padded.
choices = [
    f"{experts}, {attention}"
    for experts in ("loop", "grouped_mm")
    for attention in ("sdpa", "padded sdpa", "attention by products")
]


class Dispatch(torch.autograd.Function):
    """Token n's row to each of its K places in expert order; the gradient gathers them back and sums."""

    @staticmethod
    def forward(ctx, x, order, places, k):
        ctx.save_for_backward(places)
        ctx.k = k
        return x.index_select(0, order // k)

    @staticmethod
    def backward(ctx, grad):
        (places,) = ctx.saved_tensors
        return grad.index_select(0, places).view(-1, ctx.k, grad.shape[1]).sum(1), None, None, None


class RmsNorm(torch.autograd.Function):
    """x / rms(x) * weight; PyTorch has no fused one on a CPU, and differentiates its pieces one by one."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        normed = x * inverse
        ctx.save_for_backward(normed, weight, inverse)
        return normed * weight

    @staticmethod
    def backward(ctx, grad):
        normed, weight, inverse = ctx.saved_tensors
        dweight = (grad * normed).flatten(0, -2).sum(0)
        scaled = grad * weight
        mean = torch.linalg.vecdot(scaled, normed).unsqueeze(-1).div_(normed.shape[-1])
        return scaled.addcmul_(normed, mean, value=-1).mul_(inverse), dweight, None


class Permute(torch.autograd.Function):
    """y = x[index], a permutation whose inverse is `inverse`."""

    @staticmethod
    def forward(ctx, x, index, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        return grad.index_select(0, inverse), None, None


def grouped_linear(x, weight, counts, grouped_mm):
    """x's rows of each expert times its weight [E, out, in]; `counts` rows an expert."""
    if grouped_mm:
        return torch._grouped_mm(x, weight.transpose(1, 2), offs=counts.cumsum(0).to(torch.int32))
    blocks = zip(x.split(counts.tolist()), weight.unbind(0))
    return torch.cat([F.linear(rows, own) for rows, own in blocks])


def routed_experts(x, indices, weights, gate_up, down, grouped_mm):
    """sum over k of weights[n, k] Expert_{indices[n, k]}(x[n]): gate_up [E, 2F, D], down [E, D, F]."""
    k = indices.shape[1]
    order = indices.flatten().argsort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(order.numel())
    counts = indices.flatten().bincount(minlength=gate_up.shape[0])
    gate, up = grouped_linear(Dispatch.apply(x, order, places, k), gate_up, counts, grouped_mm).chunk(2, -1)
    out = grouped_linear(F.silu(gate) * up, down, counts, grouped_mm)
    rows = Permute.apply(out, places, order).view(-1, k, x.shape[1])
    return torch.bmm(weights.unsqueeze(1), rows).squeeze(1)


def choose_experts(x, gate, bias, k, normalise, scale):
    """V3's gate with one group: indices and weights [N, K]."""
    scores = F.linear(x, gate).sigmoid()
    indices = (scores + bias).topk(k, dim=-1, sorted=False).indices
    weights = scores.gather(1, indices)
    if normalise:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return indices, weights * scale


def causal_attention(q, k, v, way):
    """q, k [B, H, T, C], v [B, H, T, W] -> [B, H, T, W]."""
    width = v.shape[-1]
    if "by products" in way:
        t = q.shape[2]
        mask = torch.full((t, t), float("-inf")).triu_(1)
        scores = torch.baddbmm(mask, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).view(*q.shape[:3], width)
    if "padded" in way:
        v = F.pad(v, (0, q.shape[-1] - width))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[..., :width]


def swiglu(x, gate_up, down):
    gate, up = F.linear(x, gate_up).chunk(2, -1)
    return F.linear(F.silu(gate) * up, down)


class Layer(nn.Module):
    def __init__(self, config, tensors, variant):
        super().__init__()
        self.config = config
        self.grouped_mm, self.way = "grouped_mm" in variant, variant
        for name, tensor in tensors.items():
            trained = "e_score_correction_bias" not in name
            self.register_parameter(name.replace(".", "_"), nn.Parameter(tensor, requires_grad=trained))

    def forward(self, x, rotation):
        norm = lambda x, name, eps=1e-6: RmsNorm.apply(x, getattr(self, name), eps)
        eps = self.config["rms_norm_eps"]
        x = x + self.attention(norm(x, "input_layernorm_weight", eps), rotation, norm)
        return x + self.feed_forward(norm(x, "post_attention_layernorm_weight", eps))

    def attention(self, x, rotation, norm):
        c = self.config
        b, t, _ = x.shape
        h, nope, rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        q = norm(F.linear(x, self.self_attn_q_a_proj_weight), "self_attn_q_a_layernorm_weight")
        q_nope, q_rope = F.linear(q, self.self_attn_q_b_proj_weight).view(b, t, h, -1).split([nope, rope], -1)
        latent, key = F.linear(x, self.self_attn_kv_a_proj_with_mqa_weight).split([c["kv_lora_rank"], rope], -1)
        latent = norm(latent, "self_attn_kv_a_layernorm_weight")
        k_nope, v = F.linear(latent, self.self_attn_kv_b_proj_weight).view(b, t, h, -1).split([nope, c["v_head_dim"]], -1)
        key = rotate(key.unsqueeze(2), rotation).expand(-1, -1, h, -1)
        q = torch.cat([q_nope, rotate(q_rope, rotation)], -1)
        k = torch.cat([k_nope, key], -1)
        o = causal_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.way)
        return F.linear(o.transpose(1, 2).reshape(b, t, -1), self.self_attn_o_proj_weight)

    def feed_forward(self, x):
        if not hasattr(self, "mlp_gate_weight"):
            return swiglu(x, self.mlp_gate_up, self.mlp_down_proj_weight)
        c = self.config
        rows = x.flatten(0, 1)
        indices, weights = choose_experts(
            rows,
            self.mlp_gate_weight,
            self.mlp_gate_e_score_correction_bias,
            c["num_experts_per_tok"],
            c["norm_topk_prob"],
            c["routed_scaling_factor"],
        )
        out = routed_experts(rows, indices, weights, self.mlp_experts_gate_up, self.mlp_experts_down, self.grouped_mm)
        out = out + swiglu(rows, self.mlp_shared_experts_gate_up, self.mlp_shared_experts_down_proj_weight)
        return out.view_as(x)


def rotate(x, rotation):
    """Interleaved rotary embedding of x [B, T, H, P] by rotation [T, 1, P / 2], complex."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)


class GroupedModel(nn.Module):
    def __init__(self, config, tensors, variant):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(tensors["model.embed_tokens.weight"])
        self.head = nn.Parameter(tensors["lm_head.weight"])
        self.norm = nn.Parameter(tensors["model.norm.weight"])
        layers = range(config["num_hidden_layers"])
        self.layers = nn.ModuleList(Layer(config, layer_tensors(config, tensors, i), variant) for i in layers)
        positions = torch.arange(config["max_position_embeddings"], dtype=torch.float32)
        exponents = torch.arange(0, config["qk_rope_head_dim"], 2) / config["qk_rope_head_dim"]
        angles = torch.outer(positions, config["rope_theta"] ** -exponents).unsqueeze(1)
        self.register_buffer("rotation", torch.polar(torch.ones_like(angles), angles))

    @staticmethod
    def load(folder, variant):
        config = json.loads((Path(folder) / "config.json").read_text())
        return GroupedModel(config, load_file(Path(folder) / "model.safetensors"), variant)

    def forward(self, ids):
        x = F.embedding(ids, self.embedding)
        rotation = self.rotation[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, rotation)
        x = RmsNorm.apply(x, self.norm, self.config["rms_norm_eps"])
        return F.linear(x, self.head)


def layer_tensors(config, tensors, i):
    """One layer's tensors, gate and up joined, experts packed."""
    prefix = f"model.layers.{i}."
    own = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    for part in ("mlp", "mlp.shared_experts"):
        if f"{part}.gate_proj.weight" in own:
            own[f"{part}.gate_up"] = torch.cat([own.pop(f"{part}.{half}_proj.weight") for half in ("gate", "up")])
    if "mlp.experts.0.gate_proj.weight" in own:
        take = lambda e, half: own.pop(f"mlp.experts.{e}.{half}_proj.weight")
        experts = range(config["n_routed_experts"])
        own["mlp.experts.gate_up"] = torch.stack([torch.cat([take(e, "gate"), take(e, "up")]) for e in experts])
        own["mlp.experts.down"] = torch.stack([take(e, "down") for e in experts])
    return own
