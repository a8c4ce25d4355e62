"""Parity fixture of the training objectives: values and gradients of TRL's own code on shared random inputs.

    python3 objectives.py ../../packages/rl-trainer/fixtures

TRL's losses are methods of trainers. They are called unbound, with a stand-in that has the settings and hands out
the log-probabilities, or, where a formula sits inside a long method, its source lines are executed as they are
(`lines_of`). What TRL does not have (dual clip, GSPO-token, k1 and k2, GAE, REINFORCE++, ReMax, value loss) is written
here from the papers and from verl's documentation. Everything is float64 from numbers that float32 holds exactly,
except the distillation kernels, which TRL computes in float32.
"""

import collections
import inspect
import json
import math
import pathlib
import sys
import textwrap
import types

import torch
import torch.nn.functional as F
import trl
from trl.experimental.gmpo.gmpo_trainer import GMPOTrainer
from trl.trainer import kto_trainer
from trl.trainer.distillation_trainer import _chunked_divergence_loss
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import nanstd, selective_log_softmax_and_entropy

torch.manual_seed(0)
NAN = math.nan


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).float().double()


def flat(t):
    return t.detach().flatten().tolist()


def lines_of(function, first, last):
    """The source lines of `function` from the one that starts with `first` to the one that starts with `last`."""
    lines = inspect.getsource(function).splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip().startswith(first)]
    begin = starts[0]
    end = next(i for i in range(begin, len(lines)) if lines[i].strip().startswith(last))
    return textwrap.dedent("\n".join(lines[begin:end + 1]))


# --- policy losses: six sequences, packed for us and padded for TRL ---

LENGTHS = [5, 3, 7, 1, 4, 2]
S, T = len(LENGTHS), max(LENGTHS)
MASK = torch.tensor([[1.0 if t < n else 0.0 for t in range(T)] for n in LENGTHS]).double()
ADVANTAGES = torch.tensor([1.25, -0.75, 0.5, -1.5, 0.0, -0.25]).double()
LOGPS = -randn(S, T).abs() - 0.1
OLD = LOGPS + randn(S, T, scale=0.35)
OLD[1] = LOGPS[1] - 1.75  # ratios beyond delta and the dual clip, with a negative advantage
REF = LOGPS + randn(S, T, scale=0.4)
SAMPLING = OLD + randn(S, T, scale=0.5)
ENTROPIES = randn(S, T).abs()
LOGPS, OLD, REF, SAMPLING, ENTROPIES = (x.float().double() for x in (LOGPS, OLD, REF, SAMPLING, ENTROPIES))
MAX_COMPLETION = 9


def packed(t):
    """The tokens that count, one sequence after another."""
    return flat(t.expand(S, T)[MASK.bool()])


class Accelerator:
    num_processes = 1
    process_index = 0
    sync_gradients = False

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction=None):
        return x


ARGS = dict(use_bias_correction_kl=False, delta=None, sapo_temperature_pos=1.0, sapo_temperature_neg=1.25,
            vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0, steps_per_generation=1)


def stand_in(logps, entropies, args=None, **settings):
    return types.SimpleNamespace(**{
        "aux_loss_enabled": False, "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None,
        "importance_sampling_level": "token", "beta": 0.0, "loss_type": "dapo", "epsilon_low": 0.2,
        "epsilon_high": 0.28, "use_vllm": False, "vllm_importance_sampling_correction": False,
        "current_gradient_accumulation_steps": 1, "max_completion_length": MAX_COMPLETION,
        "_entropy_bonus_enabled": False, "use_adaptive_entropy": False, "entropy_coef": 0.0,
        "accelerator": Accelerator(), "model": types.SimpleNamespace(training=True),
        "_metrics": {"train": collections.defaultdict(list)},
        "get_off_policy_mask": GRPOTrainer.get_off_policy_mask, "get_gamma_weights": GRPOTrainer.get_gamma_weights,
        "_get_per_token_logps_and_entropies": lambda *a, **k: (logps, entropies, None),
        "args": types.SimpleNamespace(**{**ARGS, **(args or {})}),
        **settings})


def inputs(**extra):
    ids = torch.zeros(S, T, dtype=torch.long)
    return {"prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": MASK,
            "advantages": ADVANTAGES, "old_per_token_logps": OLD, "ref_per_token_logps": REF,
            "num_items_in_batch": MASK.sum(), **extra}


def policy(ours, trainer=GRPOTrainer, args=None, extra=None, **settings):
    """One policy objective through TRL: the loss, its gradient by the log-probabilities, TRL's metrics."""
    logps, entropies = LOGPS.clone().requires_grad_(), ENTROPIES.clone().requires_grad_()
    trainer_self = stand_in(logps, entropies, args, **settings)
    loss = trainer._compute_loss(trainer_self, None, inputs(**(extra or {})))
    return finish(ours, loss, logps, entropies,
                  {k: v[-1] for k, v in trainer_self._metrics["train"].items() if isinstance(v[-1], (int, float))})


def paper(ours, per_token, mode="dapo"):
    """One policy objective written from a paper: `per_token` gives the losses [S, T]."""
    logps, entropies = LOGPS.clone().requires_grad_(), ENTROPIES.clone().requires_grad_()
    each = per_token(logps) * MASK
    loss = {"dapo": each.sum() / MASK.sum(), "grpo": (each.sum(-1) / MASK.sum(-1)).mean(),
            "sum": each.sum(-1).mean()}[mode]
    return finish(ours, loss, logps, entropies, {})


def finish(ours, loss, logps, entropies, metrics):
    loss.backward()
    grad = logps.grad if logps.grad is not None else torch.zeros(S, T)
    assert (grad * (1 - MASK)).abs().max() == 0
    return {**ours, "value": loss.item(), "grad": packed(grad), "metrics": metrics,
            "entropyGrad": None if entropies.grad is None else packed(entropies.grad)}


def sampling_weights(mode, low, high):
    """TRL's weights for a mismatch between sampler and trainer."""
    source = lines_of(GRPOTrainer._generate_and_score_completions, "mask = completion_mask if tool_mask is None else "
                      "completion_mask * tool_mask", "f\"Unknown vLLM importance sampling level") + "\n    )"
    scope = {"self": types.SimpleNamespace(vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=low,
                                           vllm_importance_sampling_clip_max=high),
             "torch": torch, "math": math, "completion_mask": MASK, "tool_mask": None, "old_per_token_logps": OLD,
             "sampling_per_token_logps": SAMPLING}
    exec(source, scope)
    return scope["vllm_importance_sampling_ratio"]


CLIP = {"name": "clip", "ratio": "token", "epsilonLow": 0.2, "epsilonHigh": 0.28}
SEQUENCE = {"name": "clip", "ratio": "sequence", "epsilonLow": 0.1, "epsilonHigh": 0.15}


def objective(loss, aggregation="dapo", **extra):
    return {"objective": {"loss": loss, "aggregation": aggregation, "beta": 0, "klEstimator": "k3",
                          "klRatioCorrection": False, "correction": None, "offPolicyThreshold": None,
                          "entropyCoefficient": 0, **extra}}


def correction(mode, level, low, high):
    return {"mode": mode, "level": level, "low": low, "high": high}


def with_weights(mode, low, high):
    return dict(use_vllm=True, vllm_importance_sampling_correction=True,
                extra={"importance_sampling_ratio": sampling_weights(mode, low, high)})


def cut(x):
    return x.clamp(-20, 20)


def ratio(l):
    return torch.exp(cut(l - OLD))


def clip_min(r, a):
    return torch.minimum(r * a, r.clamp(0.8, 1.28) * a)


A = ADVANTAGES.unsqueeze(1)


def dual_clip(l):
    loss = -clip_min(ratio(l), A)
    return torch.where(A < 0, torch.minimum(loss, -3.0 * A), loss)


def gspo_token(l):
    s = torch.exp(((l - OLD) * MASK).sum(-1, keepdim=True) / MASK.sum(-1, keepdim=True)).detach()
    r = s * torch.exp(l - l.detach())
    return -torch.minimum(r * A, r.clamp(0.9, 1.15) * A)


policies = {
    "clip, dapo": policy(objective(CLIP)),
    "clip, grpo": policy(objective(CLIP, "grpo"), loss_type="grpo"),
    "clip, bnpo": policy(objective(CLIP, "bnpo"), loss_type="bnpo"),
    "clip, dr_grpo": policy(objective(CLIP, "dr_grpo"), loss_type="dr_grpo"),
    "two-sided clip": policy(objective({**CLIP, "delta": 4}), args={"delta": 4.0}),
    "dual clip": paper(objective({**CLIP, "dualClip": 3}), dual_clip),
    "gspo": policy(objective(SEQUENCE, "grpo"), loss_type="grpo", importance_sampling_level="sequence",
                   epsilon_low=0.1, epsilon_high=0.15),
    "gspo-token": paper(objective({**SEQUENCE, "ratio": "sequence-token"}, "grpo"), gspo_token, "grpo"),
    "luspo": policy(objective(SEQUENCE, "seq-mean-token-sum"), loss_type="luspo",
                    importance_sampling_level="sequence", epsilon_low=0.1, epsilon_high=0.15),
    "gmpo": policy(objective({"name": "gmpo", "epsilonLow": 0.3, "epsilonHigh": 0.4}, "grpo"), trainer=GMPOTrainer,
                   epsilon_low=0.3, epsilon_high=0.4),
    "cispo": policy(objective({"name": "cispo", "ratio": "token", "ratioMax": 1.3}), loss_type="cispo", epsilon_high=1.3),
    "sapo": policy(objective({"name": "sapo", "ratio": "token", "temperaturePositive": 1, "temperatureNegative": 1.25},
                             "grpo"), loss_type="sapo"),
    "vespo": policy(objective({"name": "vespo", "kPositive": 2, "lambdaPositive": 3, "kNegative": 3,
                               "lambdaNegative": 2}), loss_type="vespo"),
    "reinforce": paper(objective({"name": "reinforce"}), lambda l: -A * l),
    "k3 in the loss": policy(objective(CLIP, beta=0.04), beta=0.04),
    "k3 with the ratio": policy(objective(CLIP, beta=0.04, klRatioCorrection=True), beta=0.04,
                                args={"use_bias_correction_kl": True}),
    "k1 in the loss": paper(objective(CLIP, beta=0.04, klEstimator="k1"),
                            lambda l: -clip_min(ratio(l), A) + 0.04 * (l - REF)),
    "k2 in the loss": paper(objective(CLIP, beta=0.04, klEstimator="k2"),
                            lambda l: -clip_min(ratio(l), A) + 0.04 * (l - REF) ** 2 / 2),
    "entropy bonus": policy(objective(CLIP, entropyCoefficient=0.01), _entropy_bonus_enabled=True, entropy_coef=0.01),
    "truncated by token": policy(objective(CLIP, correction=correction("truncate", "token", 0, 1.5)),
                                 **with_weights("token_truncate", 0.0, 1.5)),
    "truncated by sequence": policy(objective(CLIP, correction=correction("truncate", "sequence", 0.5, 2)),
                                    **with_weights("sequence_truncate", 0.5, 2.0)),
    "masked by token": policy(objective(CLIP, correction=correction("mask", "token", 0.6, 1.4)),
                              **with_weights("token_mask", 0.6, 1.4)),
    "masked by sequence": policy(objective(CLIP, beta=0.04, correction=correction("mask", "sequence", 0.3, 3)),
                                 beta=0.04, **with_weights("sequence_mask", 0.3, 3.0)),
    "off-policy mask": policy(objective(CLIP, offPolicyThreshold=0.1), off_policy_mask_threshold=0.1,
                              extra={"sampling_per_token_logps": SAMPLING}),
}


def rloo_policy():
    """TRL's RLOO: the clipped ratio of whole sequences, mean over sequences."""
    logps, entropies = LOGPS.clone().requires_grad_(), ENTROPIES
    trainer_self = stand_in(logps, entropies, epsilon_low=0.5, epsilon_high=0.6)
    loss = RLOOTrainer._compute_loss(trainer_self, None, inputs(old_logps=(OLD * MASK).sum(1)))
    ours = objective({"name": "clip", "ratio": "sequence-product", "epsilonLow": 0.5, "epsilonHigh": 0.6}, "grpo")
    return finish(ours, loss, logps, entropies, {})


policies["rloo"] = rloo_policy()
values = collections.defaultdict(list)
for name, p in policies.items():
    values[round(p["value"], 9)].append(name)
same = [names for names in values.values() if len(names) > 1]
# On one batch the local mean is the global one; with one advantage a sequence, GSPO-token is GSPO.
assert same == [["clip, dapo", "clip, bnpo"], ["gspo", "gspo-token"]], same


# --- log-probabilities and entropy from logits ---

def log_probs(temperature):
    logits = randn(5, 7, scale=2.0).requires_grad_()
    targets = torch.tensor([3, 0, 6, 2, 2])
    logps, entropies = selective_log_softmax_and_entropy(logits, targets, temperature=temperature)
    dlogps, dentropies = randn(5), randn(5)
    grads = [torch.autograd.grad((y * dy).sum(), logits, retain_graph=True)[0]
             for y, dy in [(logps, dlogps), (entropies, dentropies)]]
    return {"temperature": temperature, "logits": flat(logits), "targets": targets.tolist(), "logProbs": flat(logps),
            "entropies": flat(entropies), "dLogProbs": flat(dlogps), "dEntropies": flat(dentropies),
            "logitsGrad": flat(grads[0]), "entropyGrad": flat(grads[1])}


# --- advantages ---

G = 4
REWARDS = torch.tensor([[1, 0.25], [0, 0.5], [0, NAN], [1, 0], [1, 1], [1, 1], [1, 1], [1, 1], [NAN, NAN], [0, 0.75],
                        [NAN, 0.5], [1, 0], [NAN, NAN], [NAN, NAN], [NAN, NAN], [0.5, NAN]]).double()
WEIGHTS = [1.0, 0.5]


def none(values):
    return [None if math.isnan(v) else v for v in values]


def trl_advantages(**settings):
    source = lines_of(GRPOTrainer._generate_and_score_completions, "unscorable_mask = ", "advantages = torch.nan_to_num")
    scope = {"self": types.SimpleNamespace(reward_weights=torch.tensor(WEIGHTS).double(), reward_funcs=[0, 1],
                                           **settings),
             "torch": torch, "nanstd": nanstd, "rewards_per_func": REWARDS.clone(), "device": "cpu", "num_generations": G}
    exec(source, scope)
    return flat(scope["advantages"])


TOTAL = torch.where(REWARDS.isnan().all(1), NAN, (REWARDS * torch.tensor(WEIGHTS)).nansum(1))


def rloo_advantages(normalize):
    source = lines_of(RLOOTrainer._generate_and_score_completions, "grouped_rewards = rewards.view",
                      "advantages = torch.nan_to_num")
    scope = {"self": types.SimpleNamespace(normalize_advantages=normalize), "torch": torch, "nanstd": nanstd,
             "rewards": TOTAL.clone(), "num_generations": G}
    exec(source, scope)
    return flat(scope["advantages"])


def whiten(x):
    """verl's masked whitening without a mask."""
    return (x - x.mean()) * torch.rsqrt(x.var() + 1e-8)


def token_advantages():
    lengths, beta = [3, 1, 4, 2], 0.1
    rewards = torch.tensor([1.0, 0.0, -0.5, 2.0]).double()
    n = sum(lengths)
    logps, ref, values = -randn(n).abs(), -randn(n).abs(), randn(n)
    token_rewards = -beta * (logps - ref)
    ends = [sum(lengths[:i + 1]) - 1 for i in range(4)]
    token_rewards[ends] += rewards

    def scan(step):
        out = torch.zeros(n).double()
        for i, end in enumerate(ends):
            carry = torch.zeros(()).double()
            for t in range(end, end - lengths[i], -1):
                carry = step(t, t == end, carry)
                out[t] = carry
        return out

    returns = scan(lambda t, last, carry: token_rewards[t] + 0.9 * carry)
    raw = scan(lambda t, last, carry: token_rewards[t] + 0.99 * (0 if last else values[t + 1]) - values[t]
               + 0.99 * 0.95 * carry)
    groups = rewards.view(-1, 2)
    centred = (groups - groups.mean(1, keepdim=True)).view(-1)
    return {"lengths": lengths, "beta": beta, "rewards": flat(rewards), "logProbs": flat(logps),
            "refLogProbs": flat(ref), "values": flat(values), "tokenRewards": flat(token_rewards),
            "reinforcePlusPlus": {"gamma": 0.9, "advantages": flat(whiten(returns))},
            "gae": {"gamma": 0.99, "lambda": 0.95, "advantages": flat(whiten(raw)), "returns": flat(raw + values)},
            "baseline": flat(whiten(centred.repeat_interleave(torch.tensor(lengths)))),
            "remax": {"greedy": [0.5, 1.0], "advantages": flat((groups - torch.tensor([[0.5], [1.0]])).view(-1))}}


# --- value, reward model, preference and distillation losses ---

def value_loss():
    values, old, returns = randn(8).requires_grad_(), randn(8), randn(8)
    clipped = torch.maximum(torch.minimum(values, old + 0.2), old - 0.2)
    each = 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    each.sum().backward()
    return {"epsilon": 0.2, "values": flat(values), "oldValues": flat(old), "returns": flat(returns),
            "each": flat(each), "grad": flat(values.grad)}


def reward_model(margin, centering):
    scores = randn(10).requires_grad_()
    trainer_self = types.SimpleNamespace(
        model=types.SimpleNamespace(training=True), accelerator=Accelerator(), _total_train_tokens=0, _tp_size=1,
        _metrics={"train": collections.defaultdict(list)},
        args=types.SimpleNamespace(center_rewards_coefficient=centering))
    batch = {"attention_mask": torch.ones(10, 3)}
    margins = randn(5).abs()
    if margin:
        batch["margin"] = margins
    model = lambda **k: types.SimpleNamespace(logits=scores.unsqueeze(-1))  # noqa: E731
    loss = RewardTrainer.compute_loss(trainer_self, model, batch)
    loss.backward()
    metrics = {k: v[-1] for k, v in trainer_self._metrics["train"].items() if k != "num_tokens"}
    return {"chosen": flat(scores[:5]), "rejected": flat(scores[5:]), "margins": flat(margins) if margin else None,
            "centering": centering or 0, "value": loss.item(), "grad": flat(scores.grad), "metrics": metrics}


def pointwise():
    scores, labels = randn(6, scale=3.0).requires_grad_(), torch.tensor([1, 0, 1, 1, 0, 0]).double()
    loss = F.binary_cross_entropy_with_logits(scores, labels)
    loss.backward()
    return {"scores": flat(scores), "labels": flat(labels), "value": loss.item(), "grad": flat(scores.grad)}


PAIR_LENGTHS = [5, 3, 6, 4, 2, 6]  # three chosen, then three rejected


def preference(name, smoothing=0.0, beta=0.3):
    n, longest = len(PAIR_LENGTHS), max(PAIR_LENGTHS)
    mask = torch.tensor([[0] + [1 if t < k else 0 for t in range(longest)] for k in PAIR_LENGTHS])
    tokens = (-randn(n, longest).abs() * mask[:, 1:]).requires_grad_()
    refs = (-randn(n, longest).abs() * mask[:, 1:]).sum(1).float().double()
    sums = tokens.sum(1)
    if name == "sigmoid" and smoothing > 0:  # TRL has no smoothing for it: "conservative DPO", equation 3 of its note
        h = beta * ((sums[:3] - refs[:3]) - (sums[3:] - refs[3:]))
        loss = (-(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)).mean()
        metrics = {}
    else:
        zeros = torch.zeros(n, longest)
        out = types.SimpleNamespace(log_probs=tokens, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
        trainer_self = types.SimpleNamespace(
            model=types.SimpleNamespace(training=True), accelerator=Accelerator(), aux_loss_enabled=False, ld_alpha=None,
            precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=beta, loss_types=[name], loss_weights=[1.0],
            label_smoothing=smoothing, use_weighting=False, _total_train_tokens=0, _tp_size=1,
            _metrics={"train": collections.defaultdict(list)})
        trainer_self.accelerator.device = "cpu"
        batch = {"input_ids": torch.zeros(n, longest + 1, dtype=torch.long), "completion_mask": mask,
                 "attention_mask": torch.ones(n, longest + 1), "ref_chosen_logps": refs[:3], "ref_rejected_logps": refs[3:]}
        loss = DPOTrainer._compute_loss(trainer_self, lambda **k: out, batch, False)
        names = ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
                 "logps/rejected"]
        metrics = {k: trainer_self._metrics["train"][k][-1] for k in names}
    loss.backward()
    first = tokens.grad[:, 0]  # every token of a completion has the gradient of its sum
    return {"name": name, "beta": beta, "labelSmoothing": smoothing, "lengths": PAIR_LENGTHS,
            "logProbs": flat(sums), "refLogProbs": flat(refs), "value": loss.item(), "grad": flat(first),
            "metrics": metrics}


def kto():
    ratios, labels = randn(5).requires_grad_(), torch.tensor([1, 1, 0, 1, 0]).double()
    kl = torch.tensor([0.125]).double()
    source = lines_of(kto_trainer.KTOTrainer._compute_loss, "# Chosen losses", "losses = torch.cat(") + (
        "(self.desirable_weight * chosen_losses, self.undesirable_weight * rejected_losses), 0)")
    wanted = labels.bool()
    scope = {"self": types.SimpleNamespace(loss_type="kto", beta=0.3, desirable_weight=1.5, undesirable_weight=0.75),
             "F": F, "torch": torch, "kl": kl, "chosen_logps": ratios[wanted], "ref_chosen_logps": torch.zeros(3),
             "rejected_logps": ratios[~wanted], "ref_rejected_logps": torch.zeros(2)}
    exec(source, scope)
    loss = scope["losses"].mean()
    loss.backward()
    return {"beta": 0.3, "desirableWeight": 1.5, "undesirableWeight": 0.75, "logRatios": flat(ratios),
            "labels": flat(labels), "kl": 0.125, "value": loss.item(), "grad": flat(ratios.grad)}


def distillation(beta, temperature):
    student, teacher = torch.randn(4, 6).requires_grad_(), torch.randn(4, 6)
    eye = torch.eye(6)
    loss, _, _ = _chunked_divergence_loss(student.unsqueeze(0), teacher.unsqueeze(0), eye, eye, torch.ones(1, 4), beta,
                                          num_items_in_batch=4, temperature=temperature)
    loss.backward()
    return {"beta": beta, "temperature": temperature, "student": flat(student), "teacher": flat(teacher),
            "value": loss.item(), "grad": flat(student.grad)}


fixture = {
    "torch": torch.__version__,
    "trl": trl.__version__,
    "batch": {"lengths": LENGTHS, "maxCompletionLength": MAX_COMPLETION, "logProbs": packed(LOGPS),
              "oldLogProbs": packed(OLD), "refLogProbs": packed(REF), "samplingLogProbs": packed(SAMPLING),
              "entropies": packed(ENTROPIES), "advantages": packed(A)},
    "policies": policies,
    "logProbs": [log_probs(1.0), log_probs(0.7)],
    "rewards": {"groupSize": G, "weights": WEIGHTS, "first": none(flat(REWARDS[:, 0])), "second": none(flat(REWARDS[:, 1])),
                "sum": none(flat(TOTAL))},
    "advantages": {
        "group": trl_advantages(multi_objective_aggregation="sum_then_normalize", scale_rewards="group"),
        "batch": trl_advantages(multi_objective_aggregation="sum_then_normalize", scale_rewards="batch"),
        "none": trl_advantages(multi_objective_aggregation="sum_then_normalize", scale_rewards="none"),
        "normalizeThenSum": trl_advantages(multi_objective_aggregation="normalize_then_sum", scale_rewards="group"),
        "rloo": rloo_advantages(False),
        "rlooNormalized": rloo_advantages(True),
    },
    "tokenAdvantages": token_advantages(),
    "valueLoss": value_loss(),
    "rewardModel": [reward_model(False, None), reward_model(True, None), reward_model(True, 0.01)],
    "pointwise": pointwise(),
    "preferences": [preference("sigmoid"), preference("sigmoid", 0.1), preference("robust", 0.1), preference("ipo")],
    "kto": kto(),
    "distillation": [distillation(b, t) for b, t in [(0.0, 1.0), (1.0, 1.0), (1.0, 0.7), (0.25, 1.0)]],
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "objectives.json").write_text(json.dumps(fixture, allow_nan=False) + "\n")
print(f"{len(policies)} policy objectives, {(folder / 'objectives.json').stat().st_size // 1024} KiB")
