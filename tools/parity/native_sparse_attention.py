"""Fixture for @minke/mla-attention/sparse: native sparse attention (arXiv 2502.11089, section 3) from its formulas.

    python3 native_sparse_attention.py ../../packages/mla-attention/fixtures

Query by query and head by head, in float64 from float32 weights and inputs: compression by a perceptron over the keys
(values) of a block with positions added, the scores of blocks to select by equation 9 with the signs under which a
compressed block counts where it overlaps, forced first and local blocks, a window, gates. Rotation in halves. With the
output the gradients of sum(y * dy) by x and by every parameter.
"""

import json
import pathlib
import sys

import torch

torch.manual_seed(5)
D, HEADS, GROUPS, C, V, HIDDEN, TOKENS = 16, 4, 2, 6, 4, 5, 30
BLOCK, STRIDE, SELECTED, COUNT, INITIAL, LOCAL, WINDOW = 4, 2, 4, 4, 1, 2, 3


def randn(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).double().requires_grad_()


def flat(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.9g}") for v in t.detach().flatten().tolist()]}


shapes = {"q_proj.weight": (HEADS * C, D), "o_proj.weight": (D, HEADS * V), "gate_proj.weight": (3 * HEADS, D),
          "gate_proj.bias": (3 * HEADS,)}
for branch in ("compressed", "selected", "window"):
    shapes |= {f"{branch}.k_proj.weight": (GROUPS * C, D), f"{branch}.v_proj.weight": (GROUPS * V, D)}
for name, width in (("k", C), ("v", V)):
    shapes |= {f"compressor.{name}.position": (BLOCK, width), f"compressor.{name}.up.weight": (HIDDEN, BLOCK * width),
               f"compressor.{name}.down.weight": (width, HIDDEN)}
p = {name: randn(*shape, scale=0.5) for name, shape in shapes.items()}
x, dy = randn(TOKENS, D), randn(TOKENS, D)


def rotate(t):
    """[T, heads, C] in halves."""
    angles = torch.arange(TOKENS)[:, None].double() * 10000.0 ** (-2 * torch.arange(C // 2).double() / C)
    z = torch.polar(torch.ones_like(angles), angles)[:, None] * torch.complex(t[..., :C // 2], t[..., C // 2:])
    return torch.cat([z.real, z.imag], -1)


def heads(name, count, width):
    return (x @ p[name].T).reshape(TOKENS, count, width)


def compress(name, rows):
    """One block of rows [BLOCK, width]."""
    inner = p[f"compressor.{name}.up.weight"] @ (rows + p[f"compressor.{name}.position"]).flatten()
    return p[f"compressor.{name}.down.weight"] @ torch.nn.functional.silu(inner)


q = rotate(heads("q_proj.weight", HEADS, C))
k = {b: rotate(heads(f"{b}.k_proj.weight", GROUPS, C)) for b in ("compressed", "selected", "window")}
v = {b: heads(f"{b}.v_proj.weight", GROUPS, V) for b in ("compressed", "selected", "window")}
gates = torch.sigmoid(x @ p["gate_proj.weight"].T + p["gate_proj.bias"]).reshape(TOKENS, HEADS, 3)
outputs, chosen_blocks = [], []
for t in range(TOKENS):
    blocks = [range(i * STRIDE, i * STRIDE + BLOCK) for i in range(TOKENS) if i * STRIDE + BLOCK <= t + 1]
    row = []
    for g in range(GROUPS):
        keys = [compress("k", k["compressed"][b.start:b.stop, g]) for b in blocks]
        values = [compress("v", v["compressed"][b.start:b.stop, g]) for b in blocks]
        own = range(g * HEADS // GROUPS, (g + 1) * HEADS // GROUPS)
        weights = {h: torch.softmax(torch.stack(keys) @ q[t, h] * C**-0.5, 0) if keys else None for h in own}
        liking = []
        for j in range(t // SELECTED + 1):
            score = 0.0
            for m in range(SELECTED // STRIDE):
                for n in range(BLOCK // STRIDE):
                    i = SELECTED // STRIDE * j + m - n
                    if 0 <= i < len(blocks):
                        score += sum(weights[h][i].item() for h in own)
            forced = j < INITIAL or j > t // SELECTED - LOCAL
            liking.append((not forced, -score, j))
        chosen = sorted(j for _, _, j in sorted(liking)[:COUNT])
        chosen_blocks.append(chosen)
        seen = [s for j in chosen for s in range(j * SELECTED, (j + 1) * SELECTED) if s <= t]
        near = list(range(max(0, t - WINDOW + 1), t + 1))
        for h in own:
            parts = [weights[h] @ torch.stack(values) if keys else torch.zeros(V).double()]
            for branch, rows in (("selected", seen), ("window", near)):
                a = torch.softmax(k[branch][rows, g] @ q[t, h] * C**-0.5, 0)
                parts.append(a @ v[branch][rows, g])
            row.append(sum(gates[t, h, c] * part for c, part in enumerate(parts)))
    outputs.append(torch.cat(row))
y = torch.stack(outputs) @ p["o_proj.weight"].T
(y * dy).sum().backward()
fixture = {"x": flat(x), "y": flat(y), "dy": flat(dy), "dx": flat(x.grad), "parameters": {n: flat(t) for n, t in p.items()},
           "gradients": {n: flat(t.grad) for n, t in p.items()}}
(pathlib.Path(sys.argv[1]) / "native-sparse-attention.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
