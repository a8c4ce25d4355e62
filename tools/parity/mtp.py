"""Multi-token-prediction fixture: a checkpoint with two MTP modules in the published layout, and what they predict.

    python3 mtp.py ../../packages/transformer/fixtures

`mtp-v3` holds config.json, model.safetensors (modules as layers L and L + 1, with the copies of embedding and head
that published checkpoints carry) and expected.safetensors: `input_ids` I32 [2, 32]; `logits` F32 [2, 32, V] of the
main model; `mtp.<depth>` F32 [2, 31 - depth, V], the logits for token i + depth + 2 at row i. The modules are
transformers' own MtpLayer, run in float64; each takes the previous one's normalised output (the first the main
model's) and the embedding of the following token. What they give is compared with `from_the_paper`, which computes the
same from the published tensors by the formulas alone.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers.modeling_layers import MtpModel
from transformers.utils import logging

from reference import Float64, build, build_float64, published_names, randomise, tokens_without_ties

FIELDS = {
    "vocab_size": 97, "initializer_range": 0.2, "hidden_size": 44, "intermediate_size": 60,
    "moe_intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3,
    "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 12,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True, "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
    "rope_theta": 100.0,
}
DEPTHS = FIELDS["num_nextn_predict_layers"]


def predictions(model, mtp, ids):
    """Main logits [B, S, V] and, for each depth, logits [B, S - depth - 1, V]."""
    outputs = model.model(input_ids=ids, use_cache=False)
    hidden = outputs.last_hidden_state
    result = []
    for depth in range(DEPTHS):
        length = ids.shape[1] - depth - 1
        hidden = hidden[:, :length]
        following = model.model.embed_tokens(ids[:, depth + 1 :])
        positions = torch.arange(length)[None]
        rotary = model.model.rotary_emb(following, positions)
        mask = torch.full((length, length), float("-inf"), dtype=hidden.dtype).triu(1)[None, None]
        hidden = mtp.layers[depth](following, hidden, rotary, mask, positions, None)
        result.append(model.lm_head(hidden))
    return model.lm_head(outputs.last_hidden_state), result


def from_the_paper(weights, depth, hidden, ids):
    """One sequence, float64: DeepSeek-V3 (arXiv 2412.19437), equations 21 to 23 with the block of section 2.1.

    h' = W [RMSNorm(Emb(t_{i+k})) ; RMSNorm(h)], in the order of the released weights; one layer; RMSNorm; the main
    model's head. `hidden` [T - k + 1, D] is the previous depth's. Returns (hidden [T - k, D], logits [T - k, V]).
    """
    f, layer = FIELDS, FIELDS["num_hidden_layers"] + depth
    w = lambda name: weights[f"model.layers.{layer}.{name}.weight"].double()
    norm = lambda x, weight, eps=f["rms_norm_eps"]: x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight
    swiglu = lambda x, prefix: (torch.nn.functional.silu(x @ w(f"{prefix}.gate_proj").T) * (x @ w(f"{prefix}.up_proj").T)) @ w(f"{prefix}.down_proj").T
    count = len(ids) - depth - 1
    following = weights["model.embed_tokens.weight"].double()[ids[depth + 1 :]]
    x = torch.cat([norm(following, w("enorm")), norm(hidden[:count], w("hnorm"))], -1) @ w("eh_proj").T

    heads, nope, rope, v, rank = (f[key] for key in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    angles = torch.arange(count).double()[:, None] * f["rope_theta"] ** (-torch.arange(0, rope, 2).double() / rope)

    def rotate(t):  # adjacent pairs, [count, ..., rope]
        pairs = torch.view_as_complex(t.reshape(*t.shape[:-1], rope // 2, 2).contiguous())
        turn = torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(pairs * (turn[:, None] if t.dim() == 3 else turn)).flatten(-2)

    y = norm(x, w("input_layernorm"))
    q = norm(y @ w("self_attn.q_a_proj").T, w("self_attn.q_a_layernorm"), 1e-6) @ w("self_attn.q_b_proj").T
    q = q.view(count, heads, nope + rope)
    latent = y @ w("self_attn.kv_a_proj_with_mqa").T
    kv = norm(latent[:, :rank], w("self_attn.kv_a_layernorm"), 1e-6) @ w("self_attn.kv_b_proj").T
    kv = kv.view(count, heads, nope + v)
    scores = torch.einsum("ihd,jhd->hij", q[..., :nope], kv[..., :nope])
    scores += torch.einsum("ihd,jd->hij", rotate(q[..., nope:]), rotate(latent[:, rank:]))
    scores = scores / (nope + rope) ** 0.5 + torch.full((count, count), float("-inf"), dtype=torch.float64).triu(1)
    attended = torch.einsum("hij,jhd->ihd", scores.softmax(-1), kv[..., nope:]).flatten(1)
    x = x + attended @ w("self_attn.o_proj").T

    y = norm(x, w("post_attention_layernorm"))
    affinity = (y @ w("mlp.gate").T).sigmoid()
    bias = weights[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"].double()
    chosen = (affinity + bias).topk(f["num_experts_per_tok"]).indices
    gates = affinity.gather(1, chosen)
    gates = f["routed_scaling_factor"] * gates / gates.sum(-1, keepdim=True)
    mixed = swiglu(y, "mlp.shared_experts")
    for token in range(count):
        for gate, expert in zip(gates[token], chosen[token]):
            mixed[token] += gate * swiglu(y[token], f"mlp.experts.{expert}")
    hidden = norm(x + mixed, w("shared_head.norm"))
    return hidden, hidden @ weights["lm_head.weight"].double().T


@torch.no_grad()
def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(31)
    model = build("deepseek_v3", json.loads(json.dumps(FIELDS)))
    mtp = MtpModel(model, DEPTHS).eval()
    for layer in mtp.layers:
        layer.mtp_block.mlp.experts.config._experts_implementation = "eager"
    for parameter in mtp.layers.parameters():
        parameter.normal_(0, FIELDS["initializer_range"])
    randomise(model, 31)
    randomise(mtp.layers, 32)
    double = build_float64(model)
    with Float64():
        double_mtp = MtpModel(double, DEPTHS).eval().double()
        double_mtp.layers.load_state_dict({k: v.double() for k, v in mtp.layers.state_dict().items()})
    for layer in double_mtp.layers:
        layer.mtp_block.mlp.experts.config._experts_implementation = "eager"
    ids = tokens_without_ties(double, (2, 32), 31)
    logits, ahead = predictions(model, mtp, ids)
    with Float64():
        exact, exact_ahead = predictions(double, double_mtp, ids)
    noise = [(a.double() - b).abs().max().item() for a, b in zip([logits, *ahead], [exact, *exact_ahead])]
    assert max(noise) < 3e-5, noise

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    weights = published_names(model.state_dict().items())
    for name, value in published_names(mtp.layers.state_dict().items()).items():
        depth, rest = name.split(".", 1)
        rest = rest.removeprefix("mtp_block.").replace("post_norm", "shared_head.norm")
        weights[f"model.layers.{FIELDS['num_hidden_layers'] + int(depth)}.{rest}"] = value
    for depth in range(DEPTHS):
        prefix = f"model.layers.{FIELDS['num_hidden_layers'] + depth}"
        weights[f"{prefix}.embed_tokens.weight"] = model.model.embed_tokens.weight.clone()
        weights[f"{prefix}.shared_head.head.weight"] = model.lm_head.weight.clone()
    weights = {name: value.detach().contiguous() for name, value in weights.items()}
    with Float64():
        states = double.model(input_ids=ids, use_cache=False).last_hidden_state
    apart = 0.0
    for row in range(2):
        state = states[row]
        for depth in range(DEPTHS):
            state, rows = from_the_paper(weights, depth, state, ids[row])
            apart = max(apart, (rows - exact_ahead[depth][row]).abs().max().item())
    assert apart < 1e-9, f"the formulas and transformers' modules differ by {apart}"
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tensors = {"input_ids": ids.to(torch.int32), "logits": exact.to(torch.float32)}
    tensors |= {f"mtp.{depth}": value.to(torch.float32) for depth, value in enumerate(exact_ahead)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{folder.name}: {len(weights)} tensors, float32 noise {max(noise):.1e}, from the formulas {apart:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    generate(pathlib.Path(sys.argv[1]) / "mtp-v3")
