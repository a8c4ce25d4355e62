"""Fixtures for @minke/mla-attention/sparse: attention of DeepSeek-V4 as transformers computes it.

    python3 compressed_attention.py ../../packages/mla-attention/fixtures

`DeepseekV4Attention` over one sequence in float64, from float32 weights and inputs: a window alone, HCA with windows
that do not divide the sequence, CSA whose indexer selects fewer entries than there are. With each the output y, and
the gradients of sum(y * dy) by x and by every parameter that has one. Norms and rotations are float32 in it.
"""

import json
import pathlib
import sys

import torch
from transformers.models.deepseek_v4.configuration_deepseek_v4 import DeepseekV4Config
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4Attention, DeepseekV4RotaryEmbedding

torch.manual_seed(11)
TOKENS, WINDOW = 26, 5
KINDS = {"window": "sliding_attention", "heavy": "heavily_compressed_attention", "sparse": "compressed_sparse_attention"}


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).double()


def flat(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.9g}") for v in t.detach().flatten().tolist()]}


def attend(kind):
    config = DeepseekV4Config(
        hidden_size=20, num_attention_heads=4, num_key_value_heads=1, head_dim=8, q_lora_rank=12, o_groups=2, o_lora_rank=6,
        num_hidden_layers=1, layer_types=[KINDS[kind]], sliding_window=WINDOW, index_n_heads=6, index_head_dim=8,
        index_topk=3, partial_rotary_factor=0.5, max_position_embeddings=64, attn_implementation="eager",
        compress_rates={"compressed_sparse_attention": 3, "heavily_compressed_attention": 7})
    attention = DeepseekV4Attention(config, 0).double().eval()
    for name, p in attention.named_parameters():
        p.data = 1 + randn(*p.shape, scale=0.1) if "norm" in name else randn(*p.shape, scale=0.4)
    x, dy = randn(1, TOKENS, config.hidden_size).requires_grad_(), randn(1, TOKENS, config.hidden_size)
    positions = torch.arange(TOKENS)[None]
    rotary = DeepseekV4RotaryEmbedding(config)
    turns = {name: rotary(x, positions, layer_type=name) for name in ("main", "compress")}
    i, j = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)[None, :]
    mask = torch.zeros(TOKENS, TOKENS).double().masked_fill((j > i) | (i - j >= WINDOW), float("-inf"))
    y = attention(hidden_states=x, position_embeddings=turns, position_ids=positions, attention_mask=mask[None, None])[0]
    (y * dy).sum().backward()
    thetas = {name: config.rope_parameters[name]["rope_theta"] for name in turns}
    return {"x": flat(x[0]), "y": flat(y[0]), "dy": flat(dy[0]), "dx": flat(x.grad[0]),
            "ropeTheta": thetas["main" if kind == "window" else "compress"],
            "parameters": {name: flat(p) for name, p in attention.named_parameters()},
            "gradients": {name: flat(p.grad) for name, p in attention.named_parameters() if p.grad is not None}}


def main():
    folder = pathlib.Path(sys.argv[1])
    fixture = {kind: attend(kind) for kind in KINDS}
    (folder / "compressed-attention.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


main()
