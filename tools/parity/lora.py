"""Low-rank adapters: logits and every gradient of A and B, by PyTorch's autograd in float64, checked against PEFT.

    python3 lora.py ../../packages/transformer/fixtures

`lora-v3-block` is an adapter on the base of `gradients-v3-block`: all projections of attention, dense and shared
SwiGLU and each routed expert, r 3, alpha 8, A and B random. The reference computes w + alpha / r b a and lets
autograd differentiate with respect to a and b. PEFT must agree with it in float64, in three parts, because PEFT on
transformers 5 takes a target that ends in `gate_proj`, `up_proj` or `down_proj` for the routed experts alone:
attention as `PeftModel.from_pretrained` loads it, experts likewise (PEFT converts the published names), dense and
shared SwiGLU with that renaming switched off.
"""

import contextlib
import json
import pathlib
import sys
import tempfile
import unittest.mock

import peft
import torch
import torch.nn.functional as F
from peft.utils import transformers_weight_conversion
from safetensors.torch import save_file
from torch.func import functional_call
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from reference import Float64, build_float64, published_names, run, tokens_without_ties

R, ALPHA, SEED = 3, 8, 31
PARTS = {
    "attention": lambda name: ".self_attn." in name,
    "experts": lambda name: ".experts." in name,
    "dense and shared": lambda name: ".mlp." in name and ".experts." not in name,
}


def adapter_config(modules, **more):
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "bias": "none",
        "r": R, "lora_alpha": ALPHA, "lora_dropout": 0.0, "target_modules": sorted(modules), **more,
    }


def write_adapter(folder: pathlib.Path, pairs, **more) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": value.detach().float().contiguous()
        for module, pair in pairs.items()
        for letter, value in zip("AB", pair)
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(pairs, **more), indent=2) + "\n")


def adapted_weights(model, pairs):
    """The model's parameters with the pairs' additions, differentiable in them."""
    scale = ALPHA / R

    def whole(name, value):
        a, b = pairs[name]
        return value + scale * b @ a

    result = {}
    for name, value in model.named_parameters():
        container = name.removesuffix("gate_up_proj").removesuffix("down_proj")
        if name.endswith(".experts.gate_up_proj"):
            result[name] = torch.stack([
                torch.cat([
                    whole(f"{container}{e}.gate_proj", gate_up.chunk(2)[0]),
                    whole(f"{container}{e}.up_proj", gate_up.chunk(2)[1]),
                ])
                for e, gate_up in enumerate(value.detach())
            ])
        elif name.endswith(".experts.down_proj"):
            result[name] = torch.stack([whole(f"{container}{e}.down_proj", v) for e, v in enumerate(value.detach())])
        elif name.removesuffix(".weight") in pairs:
            result[name] = whole(name.removesuffix(".weight"), value.detach())
        else:
            result[name] = value.detach()
    return result


def peft_logits(base, pairs, ids, part):
    """Logits in float64 of the base under PEFT with some of the pairs."""
    some = {module: pair for module, pair in pairs.items() if PARTS[part](module)}
    renaming = contextlib.nullcontext()
    if part == "dense and shared":
        renaming = unittest.mock.patch.dict(transformers_weight_conversion._MOE_TARGET_MODULE_MAPPING, clear=True)
    with tempfile.TemporaryDirectory() as folder, renaming:
        write_adapter(pathlib.Path(folder), some)
        model = peft.PeftModel.from_pretrained(build_float64(base), folder).double().eval()
        with torch.no_grad(), Float64():
            return some, model(input_ids=ids, use_cache=False).logits


def main(root: pathlib.Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(root / "gradients-v3-block", attn_implementation="eager").float().eval()
    base.set_experts_implementation("eager")
    double = build_float64(base)
    generator = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: (torch.randn(*shape, generator=generator) * 0.2).double().requires_grad_()
    pairs = {
        name.removesuffix(".weight"): (draw(R, value.shape[1]), draw(value.shape[0], R))
        for name, value in published_names(base.state_dict().items()).items()
        if name.endswith("_proj.weight") or name.endswith("_with_mqa.weight")
    }
    merged = build_float64(base)
    with torch.no_grad():
        merged.load_state_dict(adapted_weights(double, pairs), strict=False)
    ids = tokens_without_ties(merged, (2, 32), SEED)
    for part in PARTS:
        some, logits = peft_logits(base, pairs, ids, part)
        none = {module: (a * 0, b * 0) for module, (a, b) in pairs.items()}
        with torch.no_grad(), Float64():
            weights = adapted_weights(double, {**none, **some})
            reference = functional_call(double, weights, kwargs={"input_ids": ids, "use_cache": False}).logits
            plain = double(input_ids=ids, use_cache=False).logits
        difference = (logits - reference).abs().max().item()
        print(f"PEFT {peft.__version__}, {part}: {difference:.1e} from the reference, which moves {(reference - plain).abs().max():.2f}")
        assert difference < 1e-9

    with Float64():
        weights = adapted_weights(double, pairs)
        logits = functional_call(double, weights, kwargs={"input_ids": ids, "use_cache": False}).logits
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        _, chosen, _ = run(merged, ids)
    folder = root / "lora-v3-block"
    write_adapter(folder, pairs)
    tensors = {"input_ids": ids.to(torch.int32), "logits": logits.detach().float()}
    tensors |= {f"experts.{layer}": index.to(torch.int32) for layer, index in chosen.items()}
    for module, pair in pairs.items():
        for letter, value in zip("AB", pair):
            tensors[f"{module}.lora_{letter}.weight"] = value.grad.float()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps({"loss": loss.item()}) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{folder.name}: {size / 1024:.0f} KiB, {len(pairs)} pairs, loss {loss.item():.6f}")


if __name__ == "__main__":
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    main(pathlib.Path(sys.argv[1]))
