"""Training step of Hugging Face's DeepseekV3ForCausalLM in PyTorch eager, AdamW fused or not."""

from training import hugging_face, training_step

variants = ["fused AdamW", "AdamW"]


def prepare(case):
    model, version = hugging_face(case["folder"])
    model.train()
    forward = lambda ids: model(input_ids=ids, use_cache=False).logits
    step = training_step(forward, model.parameters(), case, fused=case["variant"] == "fused AdamW")
    name = f"transformers {version} {model.config._attn_implementation}, {case['variant']}"
    return name, [step()], step
