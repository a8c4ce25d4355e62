"""Gradient fixtures: the loss of two short sequences and every parameter's gradient by its published name.

    python3 gradients.py ../../packages/transformer/fixtures [name ...]

`gradients-v3-block` (one dense and one MoE layer) holds its weights; `gradients-5m` (4.5 million
parameters) has weights computed from their names, see hash_weights.py. The loss is the mean cross-entropy of
token t + 1 given tokens 0..t over all 2 x 31 of them. Gradients are computed in float64 and stored as float32:
of each parameter the L2 norm and up to 256 entries, three quarters of them drawn from the entries that are not
zero (an embedding row whose token does not occur is). README.md has the layout.
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers.utils import logging

from hash_weights import hash_weights
from reference import Float64, build, build_float64, published_names, randomise, run, tokens_without_ties

BLOCK = {
    "vocab_size": 97, "initializer_range": 0.2, "hidden_size": 52, "intermediate_size": 75,
    "moe_intermediate_size": 13, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3,
    "q_lora_rank": 22, "kv_lora_rank": 20, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 14,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True, "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 0, "max_position_embeddings": 2560, "bos_token_id": 0, "eos_token_id": 1,
    "rope_theta": 100.0,
    "rope_scaling": {"type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.707},
}
SMALL = {
    "vocab_size": 512, "hidden_size": 192, "intermediate_size": 512, "moe_intermediate_size": 128,
    "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6, "q_lora_rank": 96,
    "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "routed_scaling_factor": 2.5, "norm_topk_prob": True, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "num_nextn_predict_layers": 0, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1,
}
FIXTURES = {"gradients-v3-block": (21, BLOCK, False), "gradients-5m": (22, SMALL, True)}


@torch.no_grad()
def fill_from_names(model) -> None:
    for name, value in published_names(model.state_dict().items()).items():
        value.copy_(torch.from_numpy(hash_weights(name, tuple(value.shape))))


def loss_and_gradients(model, ids):
    logits, _, _ = run(model, ids)
    loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    loss.backward()
    return loss.item(), published_names((n, p.grad) for n, p in model.named_parameters())


def chosen_entries(gradient, generator):
    flat = gradient.flatten()
    if flat.numel() <= 256:
        return torch.arange(flat.numel())
    nonzero = flat.nonzero().flatten()
    picked = nonzero[torch.randperm(nonzero.numel(), generator=generator)[:192]]
    rest = torch.ones(flat.numel(), dtype=torch.bool)
    rest[picked] = False
    rest = rest.nonzero().flatten()
    more = rest[torch.randperm(rest.numel(), generator=generator)[: 256 - picked.numel()]]
    return torch.cat([picked, more]).sort().values


def generate(root: pathlib.Path, name: str) -> None:
    seed, fields, hashed = FIXTURES[name]
    torch.manual_seed(seed)
    model = build("deepseek_v3", json.loads(json.dumps(fields)))
    if hashed:
        fill_from_names(model)
    else:
        randomise(model, seed)
    double = build_float64(model)
    ids = tokens_without_ties(double, (2, 32), seed)
    loss32, gradients32 = loss_and_gradients(model, ids)
    with Float64():
        loss, gradients = loss_and_gradients(double, ids)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    if hashed:
        model.config.architectures = ["DeepseekV3ForCausalLM"]
        model.config.dtype = "float32"
        model.config.save_pretrained(folder)
    else:
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)

    generator = torch.Generator().manual_seed(seed)
    tensors = {"input_ids": ids.to(torch.int32)}
    with torch.no_grad(), Float64():
        logits, chosen, _ = run(double, ids)
    tensors["logits"] = logits.to(torch.float32)
    tensors |= {f"experts.{layer}": index.to(torch.int32) for layer, index in chosen.items()}
    norms, noise = {}, 0.0
    for parameter, gradient in gradients.items():
        norms[parameter] = gradient.norm().item()
        assert norms[parameter] > 0, f"{parameter} has no gradient"
        noise = max(noise, ((gradients32[parameter].double() - gradient).norm() / gradient.norm()).item())
        entries = chosen_entries(gradient, generator)
        tensors[f"{parameter}#index"] = entries.to(torch.int32)
        tensors[f"{parameter}#value"] = gradient.flatten()[entries].to(torch.float32)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "gradients.safetensors")
    facts = {"loss": loss, "norms": norms}
    if hashed:
        facts["weights"] = {
            parameter: [float(v) for v in value.flatten()[:4]]
            for parameter, value in published_names(model.state_dict().items()).items()
        }
    (folder / "gradients.json").write_text(json.dumps(facts, indent=1) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size / 1024:.0f} KiB, {len(norms)} parameters, loss {loss:.6f} (float32: {loss32 - loss:+.1e}), "
          f"norms {min(norms.values()):.1e} to {max(norms.values()):.1e}, "
          f"largest relative float32 noise of a gradient {noise:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    for fixture in sys.argv[2:] or FIXTURES:
        generate(pathlib.Path(sys.argv[1]), fixture)
