"""FP8 checkpoints: small random V3 models in the format of the DeepSeek-V3 and V3.1 releases, and their logits.

    python3 fp8.py ../../packages/transformer/fixtures

Weights of linear layers are float8_e4m3fn with one scale for each block (`weight_scale_inv`, what a stored number is
multiplied by), the blocks at the edges smaller; embedding, head, norms, gates and what `modules_to_not_convert` names are
bfloat16, correction biases float32. `expected.safetensors` has the logits of transformers on the dequantised weights, in
float32 and in float64, and `codes` F32 [256], what torch makes of every float8_e4m3fn.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers.utils import logging

from reference import Float64, build, build_float64, published_names, randomise, run, tokens_without_ties

COMMON = {
    "vocab_size": 61, "initializer_range": 0.2, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True, "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 0, "max_position_embeddings": 256, "rope_theta": 10000.0, "bos_token_id": 0,
    "eos_token_id": 1,
}
# name: (seed, fields, block, scales of a byte, modules that are not converted)
FIXTURES = {
    # As DeepSeek-V3: blocks of 128 by 128, float32 scales; edges of 16, 8, 40 and 32.
    "fp8-v3": (51, {
        "hidden_size": 144, "intermediate_size": 136, "moe_intermediate_size": 40, "q_lora_rank": 32,
        "kv_lora_rank": 24, "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16,
        "n_routed_experts": 4}, (128, 128), False, None),
    # As DeepSeek-V3.1: scales are powers of two; here each in a byte (F8_E8M0), in blocks of 32 by 16.
    "fp8-ue8m0": (52, {
        "hidden_size": 40, "intermediate_size": 72, "moe_intermediate_size": 24, "q_lora_rank": None,
        "kv_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 12,
        "n_routed_experts": 6}, (32, 16), True, ["lm_head", "model.layers.0.self_attn.o_proj", "shared_experts"]),
}


def quantise(value, block, power_of_two):
    """(float8_e4m3fn, scale of each block, both multiplied)."""
    rows, columns = (-(-size // width) for size, width in zip(value.shape, block))
    scale = torch.empty(rows, columns)
    for i in range(rows):
        for j in range(columns):
            part = value[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
            scale[i, j] = part.abs().max() / 448
    if power_of_two:
        scale = torch.pow(2.0, torch.ceil(torch.log2(scale)))
    spread = scale.repeat_interleave(block[0], 0)[: value.shape[0]].repeat_interleave(block[1], 1)[:, : value.shape[1]]
    stored = (value / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
    return stored, scale, stored.to(torch.float32) * spread


@torch.no_grad()
def generate(root: pathlib.Path, name: str) -> None:
    seed, fields, block, bytes_, kept = FIXTURES[name]
    torch.manual_seed(seed)
    model = build("deepseek_v3", json.loads(json.dumps(COMMON | fields)))
    randomise(model, seed)
    stored, plain = {}, {}
    for key, value in published_names(model.state_dict().items()).items():
        module = key.removesuffix(".weight")
        linear = module.endswith("_proj") or module.endswith("_mqa")
        if linear and not any(skipped in module for skipped in kept or []):
            stored[key], scale, plain[key] = quantise(value, block, bytes_)
            stored[f"{key}_scale_inv"] = scale.to(torch.float8_e8m0fnu) if bytes_ else scale
        elif key.endswith("e_score_correction_bias"):
            stored[key] = plain[key] = value
        else:
            stored[key] = value.to(torch.bfloat16)
            plain[key] = stored[key].to(torch.float32)
    for key, value in model.state_dict().items():
        if key in plain:
            value.copy_(plain[key])
        else:  # experts, packed in memory
            parts = published_names([(key, value)])
            packed = [plain[part] for part in parts]
            if key.endswith("gate_up_proj"):
                packed = [torch.cat(packed[i : i + 2]) for i in range(0, len(packed), 2)]
            value.copy_(torch.stack(packed))

    double = build_float64(model)
    ids = tokens_without_ties(double, (2, 32), seed)
    logits, chosen, _ = run(model, ids)
    with Float64():
        exact, _, margin = run(double, ids)
    assert margin.min() > 1e-3

    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string())
    config |= {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "torch_dtype": "bfloat16",
               "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                       "weight_block_size": list(block)}}
    if bytes_:
        config["quantization_config"] |= {"scale_fmt": "ue8m0", "modules_to_not_convert": kept}
    config = {key: value for key, value in config.items() if not key.startswith("_") and key != "experts_implementation"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    tensors = {"input_ids": ids.to(torch.int32), "logits": logits, "logits_f64": exact.to(torch.float32),
               "codes": torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)}
    tensors |= {f"experts.{layer}": index.to(torch.int32) for layer, index in chosen.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    noise = (logits.double() - exact).abs().max().item()
    whole = {k: v for k, v in plain.items() if f"{k}_scale_inv" in stored}
    print(f"| {name} | {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} | {noise:.1e} | {exact.abs().max():.1f} "
          f"| {len(whole)} quantised tensors |")
    assert noise < 3e-5


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    for fixture in sys.argv[2:] or FIXTURES:
        generate(pathlib.Path(sys.argv[1]), fixture)
