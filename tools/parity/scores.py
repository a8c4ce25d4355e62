"""Parity fixture of reward models: transformers' DeepseekV3ForSequenceClassification and TRL's reward loss.

    python3 scores.py ../../packages/rl-trainer/fixtures

The backbone is `gradients-v3-block` (gradients.py), the head random. Texts have different lengths and run one by one,
unpadded, in float64. For the pair loss (with margins and centring, as TRL's RewardTrainer computes it) and for binary
cross-entropy: scores, the loss, and of every parameter's gradient the norm and up to 24 entries.
"""

import json
import pathlib
import random
import sys

import torch
import torch.nn.functional as F
from transformers import DeepseekV3ForSequenceClassification
from transformers.utils import logging

from gradients import chosen_entries
from reference import Float64, build_float64, published_names, run

BACKBONE = pathlib.Path(__file__).parent / "../../packages/transformer/fixtures/gradients-v3-block"
LENGTHS = [11, 7, 5, 16, 9, 12]
MARGINS = [0.25, 0.0, 1.5]
LABELS = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]
CENTERING = 0.05


def texts(model, seed):
    """Random texts, redrawn where a choice of experts is a near tie."""
    rng = random.Random(seed)
    found = []
    for length in LENGTHS:
        while True:
            ids = torch.tensor([[rng.randrange(2, model.config.vocab_size) for _ in range(length)]])
            with torch.no_grad(), Float64():
                margin = run(model, ids)[2]
            if margin.min() > 1e-3:
                break
        found.append(ids)
    return found


def pair_loss(scores):
    """The lines of TRL's RewardTrainer.compute_loss."""
    chosen, rejected = scores[0::2], scores[1::2]
    loss = -F.logsigmoid(chosen - rejected - torch.tensor(MARGINS).double()).mean()
    return loss + CENTERING * torch.mean((chosen + rejected) ** 2)


def pointwise(scores):
    return F.binary_cross_entropy_with_logits(scores, torch.tensor(LABELS).double())


def main(folder):
    torch.manual_seed(5)
    logging.disable_progress_bar()
    single = DeepseekV3ForSequenceClassification.from_pretrained(
        BACKBONE, num_labels=1, attn_implementation="eager", experts_implementation="eager").eval()
    model = build_float64(single)
    # transformers sizes the head's weights by initializer_range; float32 holds them exactly.
    with torch.no_grad():
        model.score.weight.copy_(torch.randn_like(model.score.weight).float().double())
    ids = texts(model, 5)
    cases = {}
    for name, loss_of in [("bradley_terry", pair_loss), ("pointwise", pointwise)]:
        model.zero_grad()
        with Float64():
            scores = torch.cat([model(input_ids=one).logits[:, 0] for one in ids])
            loss = loss_of(scores)
            loss.backward()
        generator = torch.Generator().manual_seed(7)
        gradients = published_names((n, p.grad) for n, p in model.named_parameters())
        cases[name] = {"loss": loss.item(), "scores": scores.tolist(), "gradients": {}}
        for parameter, gradient in gradients.items():
            index = chosen_entries(gradient, generator)
            index = index[torch.randperm(len(index), generator=generator)[:24]].sort().values
            cases[name]["gradients"][parameter] = {
                "norm": gradient.norm().item(), "index": index.tolist(), "value": gradient.flatten()[index].tolist()}
    fixture = {"texts": [one[0].tolist() for one in ids], "head": model.score.weight[0].tolist(), "margins": MARGINS,
               "labels": LABELS, "centering": CENTERING, "cases": cases}
    path = pathlib.Path(folder) / "scores.json"
    path.write_text(json.dumps(fixture) + "\n")
    for name, case in cases.items():
        print(f"{name}: loss {case['loss']:.6f}, {len(case['gradients'])} parameters, scores {case['scores']}")
    print(f"{path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
