"""Fixtures for @minke/mla-attention/hybrid and /sparse: attention as transformers computes it.

    python3 sparse_attention.py ../../packages/mla-attention/fixtures

In float64 from float32 weights and inputs:

- `deepseekV32`: attention of `DeepseekV32Attention` over one sequence, with its indexer's choice. Many heads, as
  scores that are zero in all of them are ties. Its rotary tables are float32.
- `moba`: mixture of block attention (arXiv 2502.13189, section 2.2), query by query from its formulas.
- `gptOss`: sinks of `gpt_oss`, its eager attention with and without a window, on random queries, keys and values.
"""

import json
import pathlib
import sys

import torch
from transformers.models.deepseek_v32.configuration_deepseek_v32 import DeepseekV32Config
from transformers.models.deepseek_v32.modeling_deepseek_v32 import DeepseekV32Attention, DeepseekV32RotaryEmbedding
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

torch.manual_seed(7)


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).double()


def flat(t):
    return {"shape": list(t.shape), "data": t.detach().flatten().tolist()}


def causal(tokens, window=None):
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :]
    hidden = (j > i) if window is None else (j > i) | (i - j >= window)
    return torch.zeros(tokens, tokens).double().masked_fill(hidden, float("-inf"))


def deepseek_v32(tokens=24, top_k=6):
    config = DeepseekV32Config(
        hidden_size=20, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=12, kv_lora_rank=16,
        qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, index_n_heads=12, index_head_dim=8, index_topk=top_k,
        max_position_embeddings=64, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    attention = DeepseekV32Attention(config, 0).double().eval()
    for name, p in attention.named_parameters():
        p.data = 1 + randn(*p.shape, scale=0.1) if "norm.weight" in name or "layernorm" in name else randn(*p.shape, scale=0.3)
    x = randn(1, tokens, config.hidden_size)
    positions = torch.arange(tokens)[None]
    rotary = DeepseekV32RotaryEmbedding(config)(x, positions)
    mask = causal(tokens)[None, None]
    with torch.no_grad():
        out = attention(hidden_states=x, position_embeddings=rotary, attention_mask=mask, position_ids=positions)
    return {"topK": top_k, "x": flat(x[0]), "y": flat(out[0][0]),
            "parameters": {name: flat(p) for name, p in attention.named_parameters()}}


def gpt_oss(tokens=20, heads=4, key_heads=2, width=6):
    class Module(torch.nn.Module):
        num_key_value_groups = heads // key_heads
        sinks = randn(heads)

    module = Module().eval()
    q, k, v = randn(1, heads, tokens, width), randn(1, key_heads, tokens, width), randn(1, key_heads, tokens, width)
    result = {"q": flat(q[0].transpose(0, 1)), "k": flat(k[0].transpose(0, 1)), "v": flat(v[0].transpose(0, 1)),
              "sinks": flat(module.sinks), "scale": width**-0.5}
    for name, window in (("full", None), ("window", 5)):
        o, _ = eager_attention_forward(module, q, k, v, causal(tokens, window)[None, None], width**-0.5)
        result[name] = flat(o[0])
    return result | {"windowTokens": 5}


def moba(tokens=22, heads=4, key_heads=2, width=6, block=4, top_k=3):
    q, k, v = randn(tokens, heads, width), randn(tokens, key_heads, width), randn(tokens, key_heads, width)
    o = torch.zeros(tokens, heads, width).double()
    for t in range(tokens):
        for h in range(heads):
            key, value, own = k[:, h * key_heads // heads], v[:, h * key_heads // heads], t // block
            liking = sorted(((q[t, h] @ key[b * block:(b + 1) * block].mean(0)).item(), b) for b in range(own))
            chosen = {own} | {b for _, b in liking[max(0, len(liking) - (top_k - 1)):]}
            seen = [s for s in range(t + 1) if s // block in chosen]
            o[t, h] = torch.softmax(key[seen] @ q[t, h] * width**-0.5, 0) @ value[seen]
    return {"q": flat(q), "k": flat(k), "v": flat(v), "o": flat(o), "scale": width**-0.5, "blockSize": block, "topK": top_k}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    fixture = {"deepseekV32": deepseek_v32(), "gptOss": gpt_oss(), "moba": moba()}
    (folder / "sparse-attention.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


main()
