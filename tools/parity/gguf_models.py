"""GGUF files of fixture checkpoints, written by the Python gguf library as llama.cpp's converter writes them.

    python3 gguf_models.py ../../packages/transformer/fixtures [name ...]      # needs gguf 0.19, safetensors and numpy, 2 seconds

`gguf/<fixture>.gguf` (float32) for dense-llama, dense-qwen2, mtp-v3 (multi-token prediction as blocks) and v3-base, whose latent projections are split (since
llama.cpp PR 12801), and `gguf/v2-lite-fused.gguf`, where they are one tensor as before. The conventions are those of
llama.cpp's conversion scripts: rows of Llama's q and k permuted for adjacent rotary pairs, frequency divisors in
`rope_freqs.weight`, experts packed, key projections transposed head by head.
"""

import json
import math
import pathlib
import sys

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import load_file


def common(writer, arch, config, tensors):
    mtp = config.get("num_nextn_predict_layers", 0) if any("eh_proj" in name for name in tensors) else 0
    writer.add_block_count(config["num_hidden_layers"] + mtp)
    if mtp:
        writer.add_nextn_predict_layers(mtp)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])


NAMES = {
    "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_a_proj": "attn_q_a", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "eh_proj": "nextn.eh_proj", "enorm": "nextn.enorm", "hnorm": "nextn.hnorm", "embed_tokens": "nextn.embed_tokens",
    "shared_head.norm": "nextn.shared_head_norm", "shared_head.head": "nextn.shared_head_head",
}
GLOBAL = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
          "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in GLOBAL:
        return GLOBAL[name]
    _, _, layer, rest = name.split(".", 3)
    stem, suffix = (rest, "") if rest in NAMES else rest.rsplit(".", 1)
    return f"blk.{layer}." + (NAMES[rest] if rest in NAMES else f"{NAMES[stem]}.{suffix}")


def permute(weights, heads):
    """Half-split rows of each head to adjacent pairs."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def llama3_divisors(config):
    rope = config["rope_parameters"]
    width = config["head_dim"]
    divisors = []
    for i in range(width // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * i / width)
        original, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def dense(writer, arch, config, tensors):
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_head_count_kv(kv)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if width * heads != config["hidden_size"]:
        writer.add_key_length(width)
        writer.add_value_length(width)
    for name, value in tensors.items():
        if arch == "llama" and ".q_proj." in name:
            value = permute(value, heads)
        if arch == "llama" and ".k_proj." in name:
            value = permute(value, kv)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(value))
    if config["rope_parameters"]["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config))


def deepseek2(writer, config, tensors, fused):
    heads, rank = config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    writer.add_head_count_kv(heads if fused else 1)
    writer.add_kv_lora_rank(rank)
    if config.get("q_lora_rank"):
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_key_length(nope + rope if fused else rank + rope)
    writer.add_value_length(v if fused else rank)
    if not fused:
        writer.add_key_length_mla(nope + rope)
        writer.add_value_length_mla(v)
    writer.add_rope_dimension_count(rope)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    if config["model_type"] == "deepseek_v3":  # absent in old files: softmax
        writer.add_uint32("deepseek2.expert_gating_func", 2)
    scaling = config.get("rope_scaling")
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    if scaling:
        from gguf import RopeScalingType
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
    experts = {}
    for name, value in tensors.items():
        if ".mlp.experts." in name:
            _, _, layer, _, _, expert, kind, _ = name.split(".")
            experts.setdefault((int(layer), kind.removesuffix("_proj")), {})[int(expert)] = value
        elif ".kv_b_proj." in name and not fused:
            layer = name.split(".")[2]
            kv = value.reshape(heads, nope + v, rank)
            writer.add_tensor(f"blk.{layer}.attn_k_b.weight", np.ascontiguousarray(kv[:, :nope].transpose(0, 2, 1)))
            writer.add_tensor(f"blk.{layer}.attn_v_b.weight", np.ascontiguousarray(kv[:, nope:]))
        else:
            writer.add_tensor(gguf_name(name), value)
    for (layer, kind), parts in experts.items():
        packed = np.stack([parts[e] for e in range(config["n_routed_experts"])])
        writer.add_tensor(f"blk.{layer}.ffn_{kind}_exps.weight", packed)


def main(root: pathlib.Path, names: list[str]) -> None:
    (root / "gguf").mkdir(exist_ok=True)
    for fixture, arch, fused in (("dense-llama", "llama", False), ("dense-qwen2", "qwen2", False),
                                 ("v3-base", "deepseek2", False), ("v2-lite", "deepseek2", True),
                                 ("mtp-v3", "deepseek2", False)):
        if names and fixture not in names:
            continue
        config = json.loads((root / fixture / "config.json").read_text())
        tensors = load_file(root / fixture / "model.safetensors")
        writer = GGUFWriter(root / "gguf" / f"{fixture}{'-fused' if fused else ''}.gguf", arch)
        common(writer, arch, config, tensors)
        if arch == "deepseek2":
            deepseek2(writer, config, tensors, fused)
        else:
            dense(writer, arch, config, tensors)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
