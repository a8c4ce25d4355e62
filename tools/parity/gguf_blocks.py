"""GGUF block types decoded and encoded by the Python gguf library, for packages/core to reproduce.

    python3 gguf_blocks.py ../../packages/core/fixtures      # needs gguf 0.19 and numpy, 1 second

`gguf-blocks.json`: for each type `blocks`, random records (scales of every exponent, among them zeros, subnormals and
negative ones), and `values`, what they decode to; `encode`: `values` (normal numbers, several scales, ties, zeros) and
the blocks of Q8_0 and Q4_0. All base64 of little-endian bytes.
"""

import base64
import json
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

# Where the float16 scales of a record are.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
}


def text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def main(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    types = {}
    for name, offsets in SCALES.items():
        qtype = GGMLQuantizationType[name]
        size = GGML_QUANT_SIZES[qtype][1]
        count = 24 if GGML_QUANT_SIZES[qtype][0] == 32 else 4
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for offset in offsets:
            scales = rng.integers(0, 0x7C00, count).astype(np.uint16) | (rng.integers(0, 2, count).astype(np.uint16) << 15)
            scales[:2] = [0x8000, 3]
            blocks[:, offset : offset + 2] = scales.reshape(-1, 1).view(np.uint8)
        types[name] = {"blocks": text(blocks), "values": text(dequantize(blocks, qtype))}

    values = rng.standard_normal((32, 32)).astype(np.float32)
    values *= np.exp2(rng.integers(-20, 14, (32, 1))).astype(np.float32)
    values[0] = 0
    values[1] = np.arange(32) - 16  # ties for Q4_0
    values[2] = (np.arange(32) - 15.5) * (127 / 15.5)
    values[3, 1:] = 0
    values[4] = -values[4, 0]
    encode = {"values": text(values)}
    for name in ("Q8_0", "Q4_0"):
        encode[name] = text(quantize(values, GGMLQuantizationType[name]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gguf-blocks.json").write_text(json.dumps({"types": types, "encode": encode}, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
