"""Parity fixtures of dense Llama and Qwen2 models: random checkpoints written by transformers, logits and gradients.

    python3 dense.py ../../packages/transformer/fixtures [name ...]

As fixtures.py and gradients.py write them (README.md): each folder has config.json, model.safetensors (float32) and
expected.safetensors; `dense-qwen2` also gradients.json and gradients.safetensors. Weights and biases are normal with
standard deviation 0.2.
"""

import json
import pathlib
import random
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from reference import Float64

CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
COMMON = {"vocab_size": 97, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1, "num_hidden_layers": 3,
          "max_position_embeddings": 512}

FIXTURES = {
    # As Llama 3: two key heads for four, heads wider than D / H, frequencies of which one is blended.
    "dense-llama": ("llama", 21, {
        "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128}}),
    # Odd sizes, one key head for three, the head is the embedding.
    "dense-llama-odd": ("llama", 22, {
        "vocab_size": 101, "hidden_size": 51, "intermediate_size": 70, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 10, "rms_norm_eps": 1e-6, "rope_theta": 500.0,
        "tie_word_embeddings": True}),
    # As Qwen2: biases on q, k and v.
    "dense-qwen2": ("qwen2", 23, {
        "hidden_size": 48, "intermediate_size": 72, "num_attention_heads": 6, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": True}),
    # A key head for every head, YaRN.
    "dense-qwen2-yarn": ("qwen2", 24, {
        "hidden_size": 40, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6, "rope_theta": 100.0, "rope_scaling": {
            "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}}),
    # As Llama 3.2 and the R1 distills of Llama: factor 32, three bands of frequencies; config.json as published.
    "dense-llama-published": ("llama", 25, {
        "hidden_size": 32, "intermediate_size": 56, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8,
        "rms_norm_eps": 1e-5, "rope_theta": 500.0, "tie_word_embeddings": True, "num_hidden_layers": 2,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}}),
    # As the R1 distills of Qwen2.5: a head of its own; config.json as published.
    "dense-qwen2-untied": ("qwen2", 26, {
        "hidden_size": 36, "intermediate_size": 50, "num_attention_heads": 6, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "num_hidden_layers": 2}),
}
PUBLISHED = ("dense-llama-published", "dense-qwen2-untied")


def build(model_type, seed, fields):
    torch.manual_seed(seed)
    config_class, model_class = CLASSES[model_type]
    config = config_class(**json.loads(json.dumps(COMMON | fields)))
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "norm" in name:
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(".bias"):
                value.normal_(0, 0.2, generator=generator)
    return model


def double_of(model):
    with Float64():
        double = type(model)(model.config).eval().double()
        double.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    return double


def tokens(vocab, shape, seed):
    rng = random.Random(seed)
    return torch.tensor([[rng.randrange(vocab) for _ in range(shape[1])] for _ in range(shape[0])])


def gradients(double, folder, seed):
    """Mean cross-entropy of the next token over both sequences, in float64."""
    ids = tokens(double.config.vocab_size, (2, 32), seed)
    with Float64():
        logits = double(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
    tensors = {"input_ids": ids.to(torch.int32), "logits": logits.detach().float().contiguous()}
    norms = {}
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in double.named_parameters():
        flat = parameter.grad.flatten()
        norms[name] = flat.norm().item()
        count = min(256, flat.numel())
        index = torch.randperm(flat.numel(), generator=generator)[:count].sort().values
        tensors[f"{name}#index"] = index.to(torch.int32)
        tensors[f"{name}#value"] = flat[index].float().contiguous()
    save_file(tensors, folder / "gradients.safetensors")
    (folder / "gradients.json").write_text(json.dumps({"loss": loss.item(), "norms": norms}, indent=1) + "\n")


def main(root: pathlib.Path, names: list[str]) -> None:
    for name in names or FIXTURES:
        model_type, seed, fields = FIXTURES[name]
        model = build(model_type, seed, fields)
        double = double_of(model)
        ids = tokens(model.config.vocab_size, (2, 64), seed)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            with Float64():
                exact = double(input_ids=ids, use_cache=False).logits
                rotary = double.model.rotary_emb
                frequencies, rotary.inv_freq = rotary.inv_freq, torch.zeros_like(rotary.inv_freq)
                still = double(input_ids=ids, use_cache=False).logits
                rotary.inv_freq = frequencies
        folder = root / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in PUBLISHED:
            config = json.loads((folder / "config.json").read_text())
            config.pop("rope_parameters")
            config |= {key: fields[key] for key in ("rope_theta", "rope_scaling") if key in fields}
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            assert torch.equal(loaded(input_ids=ids, use_cache=False).logits, logits)
        save_file({"input_ids": ids.to(torch.int32), "logits": logits, "logits_f64": exact.float()},
                  folder / "expected.safetensors")
        if name == "dense-qwen2":
            gradients(double, folder, seed)
        for file in folder.iterdir():
            file.chmod(0o644)
        noise = (logits.double() - exact).abs().max().item()
        print(f"| {name} | {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} | {noise:.1e} "
              f"| {exact.abs().max():.1f} | no rope {(still - exact).abs().max():.2g} |")
        assert noise < 5e-5


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
