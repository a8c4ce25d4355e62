"""Whether the hand-written model computes what Hugging Face's does: the largest difference of logits, and the
largest logit, over two of the case's sequences and every variant."""

import torch
from grouped_model import GroupedModel, choices
from training import hugging_face


def prepare(case):
    ids = torch.tensor(case["ids"][:2])
    with torch.no_grad():
        model, version = hugging_face(case["folder"])
        expected = model.eval()(input_ids=ids, use_cache=False).logits
        differences = [
            (GroupedModel.load(case["folder"], variant)(ids) - expected).abs().max().item() for variant in choices
        ]
    return f"transformers {version}", [max(differences), expected.abs().max().item()], None
