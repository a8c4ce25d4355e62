"""Weights computed from their names, so that a model too large for git has the same weights in Python and in
TypeScript (twin: packages/transformer/fixtures/hash-weights.ts, which has the same text).

Entry i of the tensor `name`, i its flat row-major index in the published (per-expert) shape:

    h = FNV-1a 32 of the name's UTF-8 bytes
    x = (h + i * 0x9e3779b9) mod 2^32
    x ^= x >> 16;  x *= 0x21f0aaad;  x ^= x >> 15;  x *= 0x735a2d97;  x ^= x >> 15      (mod 2^32)
    u = ((x >> 8) - 2^23) / 2^23                                                        in [-1, 1), exact
    names holding "norm":                   1 + u / 2     in [0.5, 1.5)
    names ending e_score_correction_bias:   u / 16        in [-1/16, 1/16)
    all others:                             u / 8         in [-1/8, 1/8)

Every value is a float32 with no rounding except 1 + u / 2, which rounds once, to nearest even.
"""

import numpy as np


def hash_weights(name: str, shape) -> np.ndarray:
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    count = int(np.prod(shape))
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + h).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x21F0AAAD)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x735A2D97)
    x ^= x >> np.uint32(15)
    u = ((x >> np.uint32(8)).astype(np.float64) - 2**23) / 2**23
    if "norm" in name:
        u = 1 + u / 2
    elif name.endswith("e_score_correction_bias"):
        u = u / 16
    else:
        u = u / 8
    return u.astype(np.float32).reshape(shape)
