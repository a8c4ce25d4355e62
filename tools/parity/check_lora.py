"""Does PEFT load an adapter that Minke wrote, and does it give the same logits?

    python3 check_lora.py <base folder> <adapter folder> [--tolerance 1e-4]

The adapter folder holds adapter_config.json, adapter_model.safetensors and expected.safetensors with `input_ids`
(integers [B, S]) and `logits` (float32 [B, S, V]) as Minke computed them. Prints one JSON object; exit code 0 if every
matrix of the adapter found its place and the largest difference is within the tolerance, else 1.
"""

import argparse
import json
import pathlib
import sys
import warnings

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("base", type=pathlib.Path)
parser.add_argument("adapter", type=pathlib.Path)
parser.add_argument("--tolerance", type=float, default=1e-4)
arguments = parser.parse_args()

logging.disable_progress_bar()
logging.set_verbosity_error()
warnings.simplefilter("ignore")
base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32, attn_implementation="eager").eval()
base.set_experts_implementation("eager")
expected = load_file(arguments.adapter / "expected.safetensors")
ids = expected["input_ids"].long()
with torch.no_grad():
    plain = base(input_ids=ids, use_cache=False).logits
    model = PeftModel.from_pretrained(base, arguments.adapter).eval()
    logits = model(input_ids=ids, use_cache=False).logits
held = sum(v.numel() for n, v in model.named_parameters() if ".lora_" in n)
written = sum(v.numel() for v in load_file(arguments.adapter / "adapter_model.safetensors").values())
difference = (logits - expected["logits"]).abs().max().item()
moved = (logits - plain).abs().max().item()
passed = difference <= arguments.tolerance and moved > 100 * arguments.tolerance
print(json.dumps({
    "passed": passed,
    "largestDifference": difference,
    "moved": moved,
    "numbersWritten": written,
    "numbersHeld": held,
}))
sys.exit(0 if passed else 1)
