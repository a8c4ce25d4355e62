"""Random models in float32 GGUF files whose rows are multiples of 256, which llama.cpp can quantise to every type.

    python3 gguf_random.py <folder>      # needs gguf 0.19, safetensors and numpy, a second

`llama.gguf` (grouped queries), `deepseek2.gguf` (V3: sigmoid gate, latent projections split) and
`deepseek2-fused.gguf` (V2: softmax gate, latent projections in one tensor, as llama.cpp had them until 2025).
"""

import pathlib
import sys

import numpy as np
from gguf import GGUFWriter

import gguf_models

COMMON = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "max_position_embeddings": 512,
          "rms_norm_eps": 1e-6, "vocab_size": 512, "bos_token_id": 0, "eos_token_id": 1}
LLAMA = {**COMMON, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}
V3 = {**COMMON, "model_type": "deepseek_v3", "num_attention_heads": 2, "q_lora_rank": 256, "kv_lora_rank": 256,
      "qk_nope_head_dim": 256, "qk_rope_head_dim": 64, "v_head_dim": 128, "first_k_dense_replace": 1,
      "moe_intermediate_size": 256, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1,
      "routed_scaling_factor": 1.5, "norm_topk_prob": True, "rope_theta": 10000.0}
V2 = {**V3, "model_type": "deepseek_v2", "routed_scaling_factor": 1.0, "norm_topk_prob": False}


def tensors(config):
    rng = np.random.default_rng(0)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    out = {}

    def matrix(name, rows, columns, scale=1.0):
        out[name] = (scale / np.sqrt(columns) * rng.standard_normal((rows, columns))).astype(np.float32)

    def norm(name, width):
        out[name] = rng.uniform(0.7, 1.3, width).astype(np.float32)

    def swiglu(prefix, width):
        for part, shape in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
            matrix(f"{prefix}{part}_proj.weight", *shape)

    out["model.embed_tokens.weight"] = rng.standard_normal((config["vocab_size"], hidden)).astype(np.float32)
    heads = config["num_attention_heads"]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        norm(f"{at}input_layernorm.weight", hidden)
        norm(f"{at}post_attention_layernorm.weight", hidden)
        if "kv_lora_rank" not in config:
            width = config["head_dim"]
            matrix(f"{at}self_attn.q_proj.weight", heads * width, hidden)
            for part in ("k", "v"):
                matrix(f"{at}self_attn.{part}_proj.weight", config["num_key_value_heads"] * width, hidden)
            matrix(f"{at}self_attn.o_proj.weight", hidden, heads * width)
            swiglu(f"{at}mlp.", config["intermediate_size"])
            continue
        nope, rope, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
        rank, q_rank = config["kv_lora_rank"], config["q_lora_rank"]
        matrix(f"{at}self_attn.q_a_proj.weight", q_rank, hidden)
        norm(f"{at}self_attn.q_a_layernorm.weight", q_rank)
        matrix(f"{at}self_attn.q_b_proj.weight", heads * (nope + rope), q_rank)
        matrix(f"{at}self_attn.kv_a_proj_with_mqa.weight", rank + rope, hidden)
        norm(f"{at}self_attn.kv_a_layernorm.weight", rank)
        matrix(f"{at}self_attn.kv_b_proj.weight", heads * (nope + v), rank)
        matrix(f"{at}self_attn.o_proj.weight", hidden, heads * v)
        if layer < config["first_k_dense_replace"]:
            swiglu(f"{at}mlp.", config["intermediate_size"])
            continue
        matrix(f"{at}mlp.gate.weight", config["n_routed_experts"], hidden)
        if config["model_type"] == "deepseek_v3":
            out[f"{at}mlp.gate.e_score_correction_bias"] = rng.uniform(-0.1, 0.1, config["n_routed_experts"]).astype(np.float32)
        for expert in range(config["n_routed_experts"]):
            swiglu(f"{at}mlp.experts.{expert}.", config["moe_intermediate_size"])
        swiglu(f"{at}mlp.shared_experts.", config["moe_intermediate_size"] * config["n_shared_experts"])
    norm("model.norm.weight", hidden)
    matrix("lm_head.weight", config["vocab_size"], hidden, 2.0)
    return out


def main(folder):
    for name, arch, config, fused in (("llama", "llama", LLAMA, False), ("deepseek2", "deepseek2", V3, False),
                                      ("deepseek2-fused", "deepseek2", V2, True)):
        writer = GGUFWriter(folder / f"{name}.gguf", arch)
        weights = tensors(config)
        gguf_models.common(writer, arch, config, weights)
        writer.add_tokenizer_model("none")
        if arch == "llama":
            gguf_models.dense(writer, arch, config, weights)
        else:
            gguf_models.deepseek2(writer, config, weights, fused)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
