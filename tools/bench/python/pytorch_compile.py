"""Training step of the hand-written model under torch.compile, which compiles forward and backward."""

import torch
from grouped_model import GroupedModel
from training import training_step

variants = ["grouped_mm, sdpa", "grouped_mm, attention by products", "loop, attention by products"]


def prepare(case):
    model = GroupedModel.load(case["folder"], case["variant"])
    step = training_step(torch.compile(model), model.parameters(), case, fused=True)
    return f"hand-written, {case['variant']}, fused AdamW, torch.compile", [step()], step
