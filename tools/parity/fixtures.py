"""Parity fixtures: small random checkpoints written by transformers, with the logits they give.

    python3 fixtures.py ../../packages/transformer/fixtures [name ...]

Each fixture is a folder with config.json, model.safetensors (float32, written by `save_pretrained`) and
expected.safetensors; README.md has the layout. Weights are normal with standard deviation 0.2, so that a
mistake moves the logits by far more than rounding does.
"""

import copy
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from reference import Float64, build, build_float64, randomise, run, tokens_without_ties

V2, V3, V32, GLM, KIMI = "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "kimi_k2"


def yarn(factor, original, theta, mscale=None, mscale_all_dim=None, betas=(32, 1)):
    scaling = {"type": "yarn", "factor": factor, "original_max_position_embeddings": original,
               "beta_fast": betas[0], "beta_slow": betas[1]}
    if mscale is not None:
        scaling |= {"mscale": mscale, "mscale_all_dim": mscale_all_dim}
    return {"rope_theta": theta, "rope_scaling": scaling, "max_position_embeddings": int(factor * original)}


PLAIN = {"rope_theta": 10000.0, "max_position_embeddings": 4096}
COMMON = {"vocab_size": 97, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1}

# name: (model type, seed, fields, keep the published spelling of config.json?)
FIXTURES = {
    # As DeepSeek-V2-Lite: no query LoRA, softmax gate without groups, first layer dense, YaRN with equal mscales.
    "v2-lite": (V2, 1, {
        "hidden_size": 40, "intermediate_size": 64, "moe_intermediate_size": 10, "num_hidden_layers": 3,
        "num_attention_heads": 4, "q_lora_rank": None, "kv_lora_rank": 24, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 16, "v_head_dim": 12, "n_routed_experts": 8, "num_experts_per_tok": 3,
        "n_shared_experts": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 1.0, "topk_method": "greedy",
        "norm_topk_prob": False, "rms_norm_eps": 1e-6, **yarn(40.0, 4096, 10000.0, 0.707, 0.707)}, True),
    # As DeepSeek-V2: query LoRA, eight groups of which three are kept, scaling 16; no YaRN.
    "v2-groups": (V2, 2, {
        "hidden_size": 40, "intermediate_size": 64, "moe_intermediate_size": 6, "num_hidden_layers": 3,
        "num_attention_heads": 4, "q_lora_rank": 28, "kv_lora_rank": 24, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 8,
        "topk_group": 3, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 16.0,
        "topk_method": "group_limited_greedy", "norm_topk_prob": False, "rms_norm_eps": 1e-6, **PLAIN}, False),
    # Odd sizes everywhere, no dense layer, YaRN without the mscale keys: cos and sin times 0.1 ln s + 1.
    "v2-odd": (V2, 3, {
        "hidden_size": 51, "intermediate_size": 70, "moe_intermediate_size": 13, "num_hidden_layers": 2,
        "num_attention_heads": 3, "q_lora_rank": 22, "kv_lora_rank": 20, "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 6, "v_head_dim": 14, "n_routed_experts": 7, "num_experts_per_tok": 3,
        "n_shared_experts": 1, "first_k_dense_replace": 0, "routed_scaling_factor": 2.0, "topk_method": "greedy",
        "norm_topk_prob": False, "rms_norm_eps": 1e-5, **yarn(8.0, 64, 100.0)}, False),
    # The plain V3 block: query LoRA, one group, sigmoid gate with bias, first layer dense, no YaRN.
    "v3-base": (V3, 4, {
        "hidden_size": 48, "intermediate_size": 72, "moe_intermediate_size": 10, "num_hidden_layers": 3,
        "num_attention_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "num_nextn_predict_layers": 0, **PLAIN}, False),
    # As DeepSeek-V3: eight groups of three experts, four kept, YaRN with both mscales 1, two dense layers; but
    # without query LoRA. The config keeps num_nextn_predict_layers 1, though transformers writes no MTP weights.
    "v3-groups-yarn": (V3, 5, {
        "hidden_size": 40, "intermediate_size": 48, "moe_intermediate_size": 5, "num_hidden_layers": 4,
        "num_attention_heads": 4, "q_lora_rank": None, "kv_lora_rank": 24, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 16, "v_head_dim": 12, "n_routed_experts": 24, "num_experts_per_tok": 4, "n_group": 8,
        "topk_group": 4, "n_shared_experts": 1, "first_k_dense_replace": 2, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "num_nextn_predict_layers": 1, "moe_layer_freq": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", **yarn(40.0, 4096, 10000.0, 1.0, 1.0)}, True),
    # Odd sizes, weights not renormalised, YaRN whose mscales differ, so that cos and sin have a multiplier.
    "v3-odd": (V3, 6, {
        "vocab_size": 101, "hidden_size": 52, "intermediate_size": 75, "moe_intermediate_size": 13,
        "num_hidden_layers": 3, "num_attention_heads": 3, "q_lora_rank": 22, "kv_lora_rank": 20,
        "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 14, "n_routed_experts": 7,
        "num_experts_per_tok": 3, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.5, "norm_topk_prob": False, "rms_norm_eps": 1e-6, "num_nextn_predict_layers": 0,
        **yarn(16.0, 64, 100.0, 1.0, 0.707)}, True),
    # Half-split rotary layout (rope_interleave false), eight groups with query LoRA, YaRN .707/.707, no dense layer.
    "v3-half-split": (V3, 7, {
        "hidden_size": 40, "intermediate_size": 72, "moe_intermediate_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 4, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 24, "num_experts_per_tok": 3, "n_group": 8,
        "topk_group": 2, "n_shared_experts": 2, "first_k_dense_replace": 0, "routed_scaling_factor": 2.446,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "rope_interleave": False, "num_nextn_predict_layers": 0,
        **yarn(40.0, 64, 100.0, 0.707, 0.707)}, False),
    # Latents of about 1e-3 (their mean square equals the latent norms' epsilon, 1e-6, which differs from
    # rms_norm_eps) and queries scaled up: attention is peaked.
    "v3-tiny-latent": (V3, 8, {
        "hidden_size": 48, "intermediate_size": 72, "moe_intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, "num_nextn_predict_layers": 0, **PLAIN}, False),
    # As DeepSeek-V3.2: every layer attends to the 12 tokens of 64 that its indexer selects. Many indexer heads: with
    # few, keys without a positive product tie at 0.
    "v32-sparse": (V32, 9, {
        "hidden_size": 48, "intermediate_size": 72, "moe_intermediate_size": 10, "num_hidden_layers": 3,
        "num_attention_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "index_n_heads": 32, "index_head_dim": 12, "index_topk": 12,
        **PLAIN}, False),
    # As GLM-4.7-Flash: a V3 whose config.json lists the dense layers, values wider than rotary-free keys.
    "glm4-lite": (GLM, 10, {
        "hidden_size": 40, "intermediate_size": 72, "moe_intermediate_size": 12, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 20,
        "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8,
        "num_experts_per_tok": 3, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "routed_scaling_factor": 1.8,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, **PLAIN}, False),
    # Odd sizes, three heads, no shared width in common, config.json as published.
    "glm4-odd": (GLM, 11, {
        "hidden_size": 34, "intermediate_size": 50, "moe_intermediate_size": 9, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 3, "q_lora_rank": 14, "kv_lora_rank": 12,
        "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 14, "n_routed_experts": 6,
        "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 2, "routed_scaling_factor": 1.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "rope_theta": 1e6}, True),
    # As Moonlight: a V3 without query LoRA, groups or YaRN, two shared experts, rms_norm_eps 1e-5.
    "moonlight-base": (V3, 12, {
        "hidden_size": 40, "intermediate_size": 60, "moe_intermediate_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 4, "q_lora_rank": None, "kv_lora_rank": 20, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 2.446,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, "num_nextn_predict_layers": 0, "moe_layer_freq": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "rope_theta": 50000.0,
        "max_position_embeddings": 8192}, True),
    "moonlight-odd": (V3, 13, {
        "vocab_size": 89, "hidden_size": 33, "intermediate_size": 47, "moe_intermediate_size": 7, "num_hidden_layers": 2,
        "num_attention_heads": 3, "q_lora_rank": None, "kv_lora_rank": 15, "qk_nope_head_dim": 9,
        "qk_rope_head_dim": 10, "v_head_dim": 11, "n_routed_experts": 9, "num_experts_per_tok": 4, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 2, "first_k_dense_replace": 0, "routed_scaling_factor": 2.446,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, "num_nextn_predict_layers": 0, "moe_layer_freq": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "rope_theta": 50000.0,
        "max_position_embeddings": 8192}, True),
    # As Kimi-K2, whose model_type is its own: one group of many experts, YaRN with equal betas.
    "kimi-base": (KIMI, 14, {
        "hidden_size": 40, "intermediate_size": 60, "moe_intermediate_size": 4, "num_hidden_layers": 3,
        "num_attention_heads": 2, "q_lora_rank": 24, "kv_lora_rank": 20, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 24, "num_experts_per_tok": 4, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.827,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "num_nextn_predict_layers": 0, "moe_layer_freq": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        **yarn(32.0, 4096, 50000.0, 1.0, 1.0, betas=(1, 1))}, True),
    "kimi-odd": (KIMI, 15, {
        "vocab_size": 83, "hidden_size": 35, "intermediate_size": 44, "moe_intermediate_size": 5, "num_hidden_layers": 2,
        "num_attention_heads": 3, "q_lora_rank": 17, "kv_lora_rank": 13, "qk_nope_head_dim": 7,
        "qk_rope_head_dim": 12, "v_head_dim": 9, "n_routed_experts": 15, "num_experts_per_tok": 3, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.872,
        "norm_topk_prob": True, "rms_norm_eps": 1e-5, "num_nextn_predict_layers": 0, "moe_layer_freq": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        **yarn(64.0, 32, 500.0, 1.0, 1.0, betas=(1, 1))}, True),
    # As DeepSeek-V3.2 as published: groups, YaRN (in the indexer too), odd sizes.
    "v32-yarn": (V32, 16, {
        "vocab_size": 89, "hidden_size": 38, "intermediate_size": 50, "moe_intermediate_size": 7, "num_hidden_layers": 2,
        "num_attention_heads": 3, "q_lora_rank": 22, "kv_lora_rank": 18, "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 8, "v_head_dim": 14, "n_routed_experts": 12, "num_experts_per_tok": 3, "n_group": 4,
        "topk_group": 2, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "moe_layer_freq": 1, "scoring_func": "sigmoid",
        "topk_method": "noaux_tc", "index_n_heads": 24, "index_head_dim": 14, "index_topk": 20,
        **yarn(40.0, 64, 100.0, 1.0, 1.0)}, True),
    # The context is shorter than what the indexer would select: dense attention.
    "v32-short": (V32, 17, {
        "hidden_size": 36, "intermediate_size": 50, "moe_intermediate_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 4, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8, "v_head_dim": 10, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
        "norm_topk_prob": True, "rms_norm_eps": 1e-6, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 2048,
        **PLAIN}, False),
}


def shrink_latents(model, target=1e-3, query_gain=4.0):
    """Scales q_a and kv_a rows so that the latents' RMS is `target`, layer by layer, and query rows by a gain."""
    probe = torch.arange(model.config.vocab_size)[None, :64]
    rank = model.config.kv_lora_rank
    for layer in model.model.layers:
        attention = layer.self_attn
        for linear, rows in ((attention.q_a_proj, slice(None)), (attention.kv_a_proj_with_mqa, slice(0, rank))):
            seen = []
            hook = linear.register_forward_hook(lambda _, __, output: seen.append(output[..., rows]))
            model(input_ids=probe, use_cache=False)
            hook.remove()
            linear.weight[rows] *= target / seen[0].pow(2).mean().sqrt()
        attention.q_b_proj.weight *= query_gain


def peak(double, ids):
    """Mean over heads and later queries of the largest attention probability."""
    with Float64():
        maps = double(input_ids=ids, use_cache=False, output_attentions=True).attentions
    return torch.stack([m[:, :, 16:].max(-1).values.mean() for m in maps]).mean().item()


def sensitivity(double, ids, logits):
    """How far four mistakes move the logits: no RoPE, no mscale squared, the main epsilon in the latent norms,
    the routed scaling dropped."""
    attentions = [layer.self_attn for layer in double.model.layers]
    norms = [n for a in attentions for n in (a.q_a_layernorm if a.q_lora_rank else None, a.kv_a_layernorm) if n]
    gates = [layer.mlp.gate for layer in double.model.layers if hasattr(layer.mlp, "gate")]
    plain = double.config.qk_head_dim ** -0.5
    mistakes = {
        "no rope": [(double.model.rotary_emb, "inv_freq", torch.zeros_like(double.model.rotary_emb.inv_freq))],
        "no mscale^2": [(a, "scaling", plain) for a in attentions],
        "latent eps": [(n, "variance_epsilon", double.config.rms_norm_eps) for n in norms],
        "no scaling": [(g, "routed_scaling_factor", 1.0) for g in gates],
    }
    result = {}
    for mistake, changes in mistakes.items():
        before = [getattr(where, field) for where, field, _ in changes]
        for where, field, value in changes:
            setattr(where, field, value)
        with Float64():
            result[mistake] = (run(double, ids)[0] - logits).abs().max().item()
        for (where, field, _), value in zip(changes, before):
            setattr(where, field, value)
    return result


@torch.no_grad()
def generate(root: pathlib.Path, name: str) -> None:
    model_type, seed, fields, published = FIXTURES[name]
    torch.manual_seed(seed)
    heads = {"num_key_value_heads": fields["num_attention_heads"]}
    # transformers has no class of its own for Kimi-K2.
    model = build(V3 if model_type == KIMI else model_type, copy.deepcopy(COMMON | heads | fields))  # configs edit the dictionaries they are given
    randomise(model, seed)
    if name == "v3-tiny-latent":
        shrink_latents(model)
    double = build_float64(model)
    ids = tokens_without_ties(double, (2, 64), seed)
    logits, chosen, _ = run(model, ids)
    with Float64():
        exact, chosen64, margin = run(double, ids)
    assert all(torch.equal(chosen[i], chosen64[i]) for i in chosen), "float32 and float64 choose other experts"
    assert margin.min() > 1e-3

    folder = root / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("experts_implementation", None)
    if published:
        config.pop("rope_parameters")
        config |= {key: fields[key] for key in ("rope_theta", "rope_scaling") if key in fields}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    # What was written gives what is expected.
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    loaded.eval().set_experts_implementation("eager")
    assert torch.equal(run(loaded, ids)[0], logits), "the saved checkpoint gives other logits"
    if model_type == KIMI:
        (folder / "config.json").write_text(json.dumps(config | {"model_type": KIMI}, indent=2) + "\n")

    tensors = {"input_ids": ids.to(torch.int32), "logits": logits, "logits_f64": exact.to(torch.float32)}
    tensors |= {f"experts.{layer}": index.to(torch.int32) for layer, index in chosen64.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")

    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    noise = (logits.double() - exact).abs().max().item()
    moved = ", ".join(f"{mistake} {value:.2g}" for mistake, value in sensitivity(double, ids, exact).items())
    print(f"| {name} | {size / 1024:.0f} | {noise:.1e} | {margin.min().item():.1e} | {exact.abs().max():.1f} "
          f"| {peak(double, ids):.2f} | {moved} |")
    assert noise < 3e-5, "too noisy for a tolerance of 1e-4"


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print("| fixture | KiB | float32 noise | least margin | largest logit | attention peak | what mistakes move |")
    print("|---|---|---|---|---|---|---|")
    for fixture in sys.argv[2:] or FIXTURES:
        generate(pathlib.Path(sys.argv[1]), fixture)
