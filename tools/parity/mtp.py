"""Multi-token-prediction fixture: a checkpoint with two MTP modules in the published layout, and what they predict.

    python3 mtp.py ../../packages/transformer/fixtures

`mtp-v3` holds config.json, model.safetensors (modules as layers L and L + 1, with the copies of embedding and head
that published checkpoints carry) and expected.safetensors: `input_ids` I32 [2, 32]; `logits` F32 [2, 32, V] of the
main model; `mtp.<depth>` F32 [2, 31 - depth, V], the logits for token i + depth + 2 at row i. The modules are
transformers' own MtpLayer, run in float64; each takes the previous one's normalised output (the first the main
model's) and the embedding of the following token.
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
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tensors = {"input_ids": ids.to(torch.int32), "logits": exact.to(torch.float32)}
    tensors |= {f"mtp.{depth}": value.to(torch.float32) for depth, value in enumerate(exact_ahead)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{folder.name}: {len(weights)} tensors, float32 noise {max(noise):.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    generate(pathlib.Path(sys.argv[1]) / "mtp-v3")
