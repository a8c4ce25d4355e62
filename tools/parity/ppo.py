"""Parity fixture of PPO with a critic: advantages, losses and gradients by torch, on padded tensors with masks.

    python3 ppo.py ../../packages/rl-trainer/fixtures

Written from the papers and verl's documentation (TRL 1.16 has no PPO trainer any more): token rewards of k1 and, at the last
token, the score; generalised advantage estimation as the explicit sum of https://arxiv.org/abs/1506.02438, equation
16, over the tokens that count; whitening over them; the clipped losses of policy and critic. What padding and masked
tokens hold is random, and must not matter.

`estimates` has them on random numbers, for several discounts. `step` has one update of two models, policy
(DeepseekV3ForCausalLM) and critic (DeepseekV3ForSequenceClassification, its head at every token), both on the backbone
`gradients-v3-block` (gradients.py): of every parameter's gradient the norm and up to 8 entries. Everything is float64
from numbers that float32 holds exactly; texts run one by one.
"""

import json
import pathlib
import random
import sys

import torch
from transformers import DeepseekV3ForCausalLM, DeepseekV3ForSequenceClassification
from transformers.utils import logging

from gradients import chosen_entries
from reference import Float64, build_float64, published_names, run

BACKBONE = pathlib.Path(__file__).parent / "../../packages/transformer/fixtures/gradients-v3-block"
CLIP_LOW, CLIP_HIGH, CLIP_VALUE = 0.2, 0.28, 0.25


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).float().double()


def flat(t):
    return t.detach().flatten().tolist()


def token_rewards(scores, mask, logps, ref, beta):
    """-beta k1 at each token that counts, and the score at the last of them."""
    rewards = torch.where(mask, -beta * (logps - ref), 0.0)
    for row, score in enumerate(scores):
        rewards[row, mask[row].nonzero()[-1]] += score
    return rewards


def estimate(rewards, values, mask, gamma, lam):
    """(raw advantages, returns) [S, T]; 0 where nothing counts."""
    advantages, returns = torch.zeros_like(values), torch.zeros_like(values)
    for row in range(len(values)):
        at = mask[row].nonzero().flatten()
        r, v = rewards[row, at], values[row, at]
        following = torch.cat([v[1:], torch.zeros(1).double()])
        delta = r + gamma * following - v
        n = len(at)
        powers = (gamma * lam) ** torch.arange(n).double()
        a = torch.stack([(powers[: n - t] * delta[t:]).sum() for t in range(n)])
        advantages[row, at], returns[row, at] = a, a + v
    return advantages, returns


def whiten(x, mask):
    picked = x[mask]
    return torch.where(mask, (x - picked.mean()) * torch.rsqrt(picked.var() + 1e-8), 0.0)


def mean(x, mask, aggregation):
    x = torch.where(mask, x, 0.0)
    if aggregation == "dapo":
        return x.sum() / mask.sum()
    return (x.sum(-1) / mask.sum(-1)).mean()


def policy_loss(logps, old, advantages, mask, aggregation):
    ratio = torch.exp(logps - old)
    each = -torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH) * advantages)
    return mean(each, mask, aggregation)


def value_loss(predicted, values, returns, mask, aggregation, epsilon=CLIP_VALUE):
    plain = (predicted - returns) ** 2
    if epsilon is None:
        return mean(0.5 * plain, mask, aggregation), 0.0
    cut = (torch.clamp(predicted, values - epsilon, values + epsilon) - returns) ** 2
    clipped = (cut > plain)[mask].double().mean().item()
    return mean(0.5 * torch.maximum(plain, cut), mask, aggregation), clipped


# --- on random numbers ---

LENGTHS = [5, 3, 7, 1, 4]
HOLES = [(0, 1), (2, 3), (2, 4)]  # tokens that a tool wrote, inside a completion


def estimates(gamma, lam, beta, aggregation, epsilon):
    rows, longest = len(LENGTHS), max(LENGTHS) + 2
    mask = torch.tensor([[t < n for t in range(longest)] for n in LENGTHS])
    for row, t in HOLES:
        mask[row, t] = False
    scores = randn(rows)
    old = -randn(rows, longest).abs() - 0.1
    ref, values = old + randn(rows, longest, scale=0.4), randn(rows, longest)
    logps = (old + randn(rows, longest, scale=0.3)).float().double().requires_grad_()
    predicted = (values + randn(rows, longest, scale=0.4)).float().double().requires_grad_()
    rewards = token_rewards(scores, mask, old, ref, beta)
    raw, returns = estimate(rewards, values, mask, gamma, lam)
    advantages = whiten(raw, mask)
    policy = policy_loss(logps, old, advantages, mask, aggregation)
    value, clipped = value_loss(predicted, values, returns, mask, aggregation, epsilon)
    policy.backward()
    value.backward()
    assert logps.grad[~mask].abs().max() == 0 and predicted.grad[~mask].abs().max() == 0
    left = (returns - values)[mask].var() / (returns[mask].var() + 1e-5)
    packed = {"oldLogProbs": old, "refLogProbs": ref, "values": values, "logProbs": logps, "predicted": predicted,
              "tokenRewards": rewards, "advantages": advantages, "returns": returns, "policyGrad": logps.grad,
              "valueGrad": predicted.grad}
    return {"gamma": gamma, "lambda": lam, "beta": beta, "aggregation": aggregation, "epsilon": epsilon,
            "lengths": mask.sum(1).tolist(), "rewards": flat(scores),
            **{name: flat(x[mask]) for name, x in packed.items()},
            "policyLoss": policy.item(), "valueLoss": value.item(),
            "metrics": {"critic/vf_clipfrac": clipped, "critic/vf_explained_var": (1 - left).item(),
                        "critic/vpred_mean": predicted[mask].mean().item(),
                        "critic/advantages/max": advantages[mask].max().item(),
                        "critic/returns/min": returns[mask].min().item(),
                        "critic/values/mean": values[mask].mean().item()}}


# --- through two models ---

TEXTS = [(11, 4), (7, 5), (16, 9), (9, 1)]  # tokens, and where the completion begins
TOOL = (2, [12, 13])  # tokens of the third text that do not count


def texts(model, seed):
    """Random texts, redrawn where a choice of experts is a near tie."""
    rng = random.Random(seed)
    found = []
    for length, _ in TEXTS:
        while True:
            ids = torch.tensor([[rng.randrange(2, model.config.vocab_size) for _ in range(length)]])
            with torch.no_grad(), Float64():
                margin = run(model, ids)[2]
            if margin.min() > 1e-3:
                break
        found.append(ids)
    return found


def completions(rows):
    """Numbers of each text, from its completion on, padded with random ones."""
    longest = max(length - start for length, start in TEXTS)
    return torch.stack([torch.cat([x, randn(longest - len(x))]) for x in rows])


def log_probs(model, ids):
    rows = []
    for one, (_, start) in zip(ids, TEXTS):
        logits = model(input_ids=one, use_cache=False).logits[0, start - 1:-1]
        rows.append(logits.log_softmax(-1).gather(1, one[0, start:, None])[:, 0])
    return completions(rows)


def values_of(model, ids):
    """The head at the row before each token of the completion."""
    rows = []
    for one, (_, start) in zip(ids, TEXTS):
        hidden = model.model(input_ids=one, use_cache=False).last_hidden_state
        rows.append(model.score(hidden)[0, start - 1:-1, 0])
    return completions(rows)


def facts(model, generator):
    result = {}
    for name, gradient in published_names((n, p.grad) for n, p in model.named_parameters()).items():
        index = chosen_entries(gradient, generator)
        index = index[torch.randperm(len(index), generator=generator)[:8]].sort().values
        result[name] = {"norm": gradient.norm().item(), "index": index.tolist(),
                        "value": gradient.flatten()[index].tolist()}
    return result


def step():
    load = dict(attn_implementation="eager", experts_implementation="eager")
    policy = build_float64(DeepseekV3ForCausalLM.from_pretrained(BACKBONE, **load).eval())
    critic = build_float64(DeepseekV3ForSequenceClassification.from_pretrained(BACKBONE, num_labels=1, **load).eval())
    with torch.no_grad():
        critic.score.weight.copy_(torch.randn_like(critic.score.weight).float().double() * 0.25)
    ids = texts(policy, 3)
    longest = max(length - start for length, start in TEXTS)
    mask = torch.tensor([[t < length - start for t in range(longest)] for length, start in TEXTS])
    for t in TOOL[1]:
        mask[TOOL[0], t - TEXTS[TOOL[0]][1]] = False
    scores, gamma, lam, beta = randn(len(TEXTS)), 0.99, 0.9, 0.05
    with Float64():
        logps, predicted = log_probs(policy, ids), values_of(critic, ids)
        noise = lambda scale: randn(*mask.shape, scale=scale)
        old = (logps.detach() + noise(0.25)).float().double()
        ref = (old + noise(0.4)).float().double()
        values = (predicted.detach() + noise(0.3)).float().double()
        raw, returns = estimate(token_rewards(scores, mask, old, ref, beta), values, mask, gamma, lam)
        advantages = whiten(raw, mask)
        loss = policy_loss(logps, old, advantages, mask, "dapo")
        fit, clipped = value_loss(predicted, values, returns, mask, "dapo")
        loss.backward()
        fit.backward()
    assert 0 < clipped < 1
    generator = torch.Generator().manual_seed(7)
    packed = {"oldLogProbs": old, "refLogProbs": ref, "values": values, "logProbs": logps, "predicted": predicted,
              "advantages": advantages, "returns": returns}
    return {"texts": [one[0].tolist() for one in ids], "completionStarts": [start for _, start in TEXTS],
            "masks": [mask[i, : length - start].int().tolist() for i, (length, start) in enumerate(TEXTS)],
            "head": critic.score.weight[0].tolist(), "rewards": flat(scores), "gamma": gamma, "lambda": lam, "beta": beta,
            **{name: flat(x[mask]) for name, x in packed.items()},
            "policyLoss": loss.item(), "valueLoss": fit.item(), "clipped": clipped,
            "policy": facts(policy, generator), "critic": facts(critic, generator)}


def main(folder):
    torch.manual_seed(11)
    logging.disable_progress_bar()
    cases = [(1.0, 1.0, 0.001, "dapo", CLIP_VALUE), (1.0, 0.95, 0.1, "grpo", CLIP_VALUE), (0.9, 0.8, 0.1, "dapo", CLIP_VALUE),
             (1.0, 0.0, 0.0, "dapo", None)]
    fixture = {"clip": [CLIP_LOW, CLIP_HIGH], "clipValue": CLIP_VALUE, "estimates": [estimates(*case) for case in cases],
               "step": step()}
    path = pathlib.Path(folder) / "ppo.json"
    path.write_text(json.dumps(fixture, allow_nan=False) + "\n")
    print(f"step: policy loss {fixture['step']['policyLoss']:.6f}, value loss {fixture['step']['valueLoss']:.6f}, "
          f"clipped values {fixture['step']['clipped']:.2f}; {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
