"""Training step of the hand-written model (grouped_model.py) in PyTorch eager, fused AdamW."""

from grouped_model import GroupedModel, choices
from training import training_step

variants = choices


def prepare(case):
    model = GroupedModel.load(case["folder"], case["variant"])
    step = training_step(model, model.parameters(), case, fused=True)
    return f"hand-written, {case['variant']}, fused AdamW", [step()], step
