"""Fixtures for @minke/tokenizer-merging: merging and inflation as PyTorch differentiates them, and public formulas.

    python3 merging.py ../../packages/tokenizer-merging/fixtures

Written from formulas, token by token and without any code of the papers' authors, in float64 from float32 inputs:

- `blocks`: our own block (merger, a middle layer that mixes each entry with the one before it, inflator), with
  the gradient of every parameter. Loops over tokens where the package works on whole batches. `paced` is the same with
  a router that knows how many tokens came since the latest boundary.
- `hnet`: routing, smoothing and ratio loss of H-Net (arXiv 2507.07955, equations 4, 5 and 10).
- `convolutions`: the causal depthwise convolution of `torch.nn.functional.conv1d`, each sequence padded by itself, added
  to its input. PyTorch's kernels count from the oldest token, ours from the latest.
- `tome`: bipartite soft matching of ToMe (arXiv 2210.09461, section 3): tokens at even places propose, the r most
  similar pairs merge, means weighted by size; and the energies of PiToMe (arXiv 2405.16148, equation 4).
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(6)


def randn(*shape, scale=1.0):
    """Random numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).double()


def flat(t):
    return {"shape": list(t.shape), "data": t.detach().flatten().tolist()}


def probability(q, k):
    return 0.5 * (1 - F.cosine_similarity(q, k, dim=-1))


def block(name, counts, width, max_run, mix, smoothing, offsets, refine, protect, aim, router="learned"):
    """One pass over ragged sequences, its ratio loss, and gradients of sum(out dy) + 0.3 ratio loss."""
    total = sum(counts)
    h = randn(total, width)
    eye = torch.eye(width).double()
    p = {"merger.query.weight": (eye + randn(width, width, scale=0.3)).float().double(),
         "merger.key.weight": (eye + randn(width, width, scale=0.3)).float().double(),
         "merger.importance.weight": randn(1, width, scale=0.5), "merger.gate": randn(width),
         "own": randn(width, width, scale=0.4), "earlier": randn(width, width, scale=0.4)}
    if router == "paced":
        p["merger.run_bias"] = randn(max_run, 1)
        p["merger.sharpness"] = randn(1).abs() + 1
    if offsets:
        p["inflator.offset_scale"] = randn(max_run - 1, width, scale=0.3)
    if refine:
        p["inflator.refine.weight"] = randn(width, width, scale=0.3)
        p["inflator.refine_gate.weight"] = randn(width, 2 * width, scale=0.3)
    leaves = {"h": h, **p}
    for t in leaves.values():
        t.requires_grad_()
    outs, all_entries, ps, bs, fs, sizes = [], [], [], [], [], []
    start = 0
    for count in counts:
        rows = h[start:start + count]
        boundary, probs, entries, tail, begin = None, [], [], [], None
        previous_entry, z = torch.zeros(width).double(), None
        for t in range(count):
            certain = t == 0 or start + t in protect or len(tail) + 1 >= max_run
            if t == 0 and router == "learned":
                prob = torch.tensor(0.5).double()
            else:
                before = rows[t - 1] if t > 0 else torch.zeros(width).double()
                q, k = p["merger.query.weight"] @ rows[t], p["merger.key.weight"] @ before
                if router == "learned":
                    prob = probability(q, k)
                else:
                    cosine = F.cosine_similarity(q, k, dim=-1)
                    prob = torch.sigmoid(p["merger.run_bias"][len(tail), 0] - p["merger.sharpness"][0] * cosine)
            is_boundary = certain or prob.item() >= 0.5
            if is_boundary:
                size = 1 + len(tail)
                entry = rows[t]
                if tail and mix != "select":
                    members = torch.stack(tail)
                    weights = torch.softmax(members @ p["merger.importance.weight"][0], 0)
                    pooled = weights @ members
                    share = (size - 1) / size
                    gate = torch.sigmoid(p["merger.gate"]) if mix == "gated" else 1.0
                    entry = rows[t] + gate * share * (pooled - rows[t])
                middle = entry + torch.tanh(p["own"] @ entry + p["earlier"] @ previous_entry)
                previous_entry = entry
                delta = middle - entry
                weight = 1.0 if certain or not smoothing else prob.clamp(1e-4, 1 - 1e-4)
                z = delta if z is None else weight * delta + (1 - weight) * z
                all_entries.append(entry)
                sizes.append(size)
                tail = []
            else:
                tail.append(rows[t])
            change = z
            lag = len(tail)
            if offsets and lag > 0:
                change = change * (1 + p["inflator.offset_scale"][lag - 1])
            if not certain:
                confidence = prob if is_boundary else 1 - prob
                change = change * (confidence + (1 - confidence).detach())
            out = rows[t] + change
            if refine and lag > 0:
                gate = torch.sigmoid(p["inflator.refine_gate.weight"] @ torch.cat([rows[t], change]))
                out = out + gate * (p["inflator.refine.weight"] @ rows[t])
            outs.append(out)
            ps.append(prob)
            bs.append(int(is_boundary))
            fs.append(int(certain))
        start += count
    free = [i for i, f in enumerate(fs) if not f]
    assert min(abs(ps[i].item() - 0.5) for i in free) > 1e-3, f"{name}: a probability too close to the threshold"
    share = sum(bs[i] for i in free) / len(free)
    mean = torch.stack([ps[i] for i in free]).mean()
    ratio = aim / (aim - 1) * ((aim - 1) * share * mean + (1 - share) * (1 - mean))
    out = torch.stack(outs)
    dy = randn(*out.shape)
    ((out * dy).sum() + 0.3 * ratio).backward()
    grads = {k: flat(t.grad if t.grad is not None else torch.zeros_like(t)) for k, t in leaves.items()}
    return {"name": name, "router": router, "counts": counts, "maxRun": max_run, "mix": mix, "smoothing": smoothing,
            "offsets": offsets, "refine": refine, "protect": [int(i in protect) for i in range(total)], "aim": aim,
            "inputs": {k: flat(t) for k, t in leaves.items()}, "boundary": bs, "forced": fs, "size": sizes,
            "probability": [q.item() for q in ps], "entries": flat(torch.stack(all_entries)), "output": flat(out),
            "dy": flat(dy), "ratioLoss": ratio.item(), "grads": grads}


def hnet():
    """Identity routing over one document, the smoothed chunk vectors, the ratio loss; gradients through both."""
    h = randn(15, 6).requires_grad_()
    p = torch.cat([torch.ones(1).double(), probability(h[1:], h[:-1])])
    b = p >= 0.5
    assert (p[1:] - 0.5).abs().min() > 1e-3
    vectors = randn(int(b.sum()), 4).requires_grad_()
    chosen = p[b]
    rows = [vectors[0]]
    for k in range(1, len(vectors)):
        rows.append(chosen[k] * vectors[k] + (1 - chosen[k]) * rows[-1])
    z = torch.stack(rows)
    dz = randn(*z.shape)
    (z * dz).sum().backward()
    losses = []
    for n in (1.5, 2.0, 4.0):  # over the tokens after the first, whose probability is not the router's
        x = h.detach().clone().requires_grad_()
        g = probability(x[1:], x[:-1])
        rate = (g >= 0.5).double().mean()
        loss = n / (n - 1) * ((n - 1) * rate * g.mean() + (1 - rate) * (1 - g.mean()))
        loss.backward()
        losses.append({"aim": n, "loss": loss.item(), "grad": flat(x.grad)})
    return {"h": flat(h), "probability": p.tolist(), "boundary": b.int().tolist(), "vectors": flat(vectors),
            "smoothed": flat(z), "dz": flat(dz), "dh": flat(h.grad), "dvectors": flat(vectors.grad), "losses": losses}


def tome(tokens, width, r):
    """Which even token merges into which odd one, and the weighted means, for given sizes; PiToMe's energies."""
    x, metric = randn(tokens, width), randn(tokens, 5)
    size = torch.randint(1, 4, (tokens,)).double()
    unit = metric / metric.norm(dim=-1, keepdim=True)
    even, odd = torch.arange(0, tokens, 2), torch.arange(1, tokens, 2)
    best, partner = (unit[even] @ unit[odd].T).max(-1)
    order = best.argsort(descending=True)
    merged = order[:r]
    sums, mass = x * size[:, None], size.clone()
    target = torch.arange(tokens)
    for i in merged:
        target[even[i]] = odd[partner[i]]
        sums[odd[partner[i]]] += x[even[i]] * size[even[i]]
        mass[odd[partner[i]]] += size[even[i]]
    kept = torch.tensor([t for t in range(tokens) if target[t] == t])
    margin = 0.4
    over = unit @ unit.T - margin
    energy = torch.where(over >= 0, over, torch.exp(over) - 1).mean(-1)
    return {"r": r, "x": flat(x), "metric": flat(metric), "size": size.tolist(), "target": target.tolist(),
            "kept": kept.tolist(), "merged": flat(sums[kept] / mass[kept, None]), "mass": mass[kept].tolist(),
            "margin": margin, "energy": energy.tolist()}


def convolution(kernel, counts, width):
    h, weight = randn(sum(counts), width), randn(kernel, width, scale=0.5)
    for t in (h, weight):
        t.requires_grad_()
    filters = weight.flip(0).T[:, None]
    outs = [rows.T + F.conv1d(F.pad(rows.T, (kernel - 1, 0)), filters, groups=width) for rows in h.split(counts)]
    out = torch.cat([o.T for o in outs])
    dy = randn(*out.shape)
    (out * dy).sum().backward()
    return {"kernel": kernel, "counts": counts, "inputs": {"h": flat(h), "weight": flat(weight)}, "output": flat(out),
            "dy": flat(dy), "grads": {"h": flat(h.grad), "weight": flat(weight.grad)}}


fixtures = {
    "blocks": [
        block("everything", [11, 1, 8], 5, 4, "gated", True, True, True, {5, 14}, 2.0),
        block("plain mean, change repeated", [13], 4, 6, "mass", True, False, False, set(), 3.0),
        block("select, no smoothing", [7, 6], 4, 3, "select", False, True, False, set(), 1.5),
    ],
    "hnet": hnet(),
    "tome": [tome(12, 4, 3), tome(13, 3, 6), tome(9, 2, 4)],
    "convolutions": [convolution(4, [9, 1, 3], 5), convolution(2, [4], 3)],
    "paced": [block("a paced router", [9, 8], 5, 5, "gated", True, True, False, {4}, 2.0, "paced")],
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "merging.json").write_text(json.dumps({"torch": torch.__version__, **fixtures}) + "\n")
