"""Does transformers load a checkpoint that Minke wrote, and does it give the same logits?

    python3 check_export.py <folder> [--tolerance 1e-4]

The folder holds config.json, model.safetensors (or shards with their index) and expected.safetensors with
`input_ids` (integers [B, S]) and `logits` (float32 [B, S, V]) as Minke computed them. Prints one JSON object;
exit code 0 if every weight was found and the largest difference is within the tolerance, else 1.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--tolerance", type=float, default=1e-4)
arguments = parser.parse_args()

logging.disable_progress_bar()
logging.set_verbosity_error()
model, info = AutoModelForCausalLM.from_pretrained(
    arguments.folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
)
model.eval().set_experts_implementation("eager")
expected = load_file(arguments.folder / "expected.safetensors")
with torch.no_grad():
    logits = model(input_ids=expected["input_ids"].long(), use_cache=False).logits
problems = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "mismatched_keys", "error_msgs") if info.get(kind)}
same_shape = logits.shape == expected["logits"].shape
difference = (logits - expected["logits"]).abs().max().item() if same_shape else None
passed = not problems and same_shape and difference <= arguments.tolerance
print(json.dumps({
    "passed": passed,
    "class": type(model).__name__,
    "largestDifference": difference,
    "tolerance": arguments.tolerance,
    "shape": list(logits.shape),
    "expectedShape": list(expected["logits"].shape),
    "unexpectedKeys": sorted(map(str, info.get("unexpected_keys", []))),
    **problems,
}))
sys.exit(0 if passed else 1)
