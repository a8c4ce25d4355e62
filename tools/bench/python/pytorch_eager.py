"""Training step of Hugging Face's DeepseekV3ForCausalLM in PyTorch eager."""

from training import hugging_face, training_step

variants = ["sdpa, fused AdamW", "eager attention, fused AdamW", "sdpa, AdamW"]


def prepare(case):
    variant = case["variant"]
    model, version = hugging_face(case["folder"], "sdpa" if "sdpa" in variant else "eager")
    model.train()
    forward = lambda ids: model(input_ids=ids, use_cache=False).logits
    step = training_step(forward, model.parameters(), case, fused="fused" in variant)
    return f"transformers {version}, {variant}", [step()], step
