"""Batched sampling with transformers' generate: temperature 1, exactly newTokens a sequence, no early stop.

Its eager attention with the growing cache: on a CPU faster here than sdpa (by a sixth) and a static cache (3 times).
"""

import torch
from training import hugging_face

variants = ["eager attention"]


def prepare(case):
    model, version = hugging_face(case["folder"], "eager")
    model.eval()
    prompts = torch.tensor(case["prompts"])
    count = case["newTokens"]

    def rollout():
        with torch.inference_mode():
            out = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                min_new_tokens=count,
                max_new_tokens=count,
            )
        assert out.shape[1] == prompts.shape[1] + count

    return f"transformers {version} generate, {case['variant']}", [], rollout
