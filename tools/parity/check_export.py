"""Do transformers load checkpoints that Minke wrote, and do they give the same logits, ids and texts?

    python3 check_export.py <folder> [<folder> ...] [--tolerance 1e-4]

A folder holds config.json, model.safetensors (or shards with their index) and expected.safetensors with
`input_ids` (integers [B, S]) and `logits` (float32 [B, S, V]) as Minke computed them. Where there is an expected.json,
the tokenizer is loaded too: `texts` are pairs of `text` and `ids`, `chats` of `messages` and `text` (as the chat template
renders them), and `generated` has `prompt` and the `ids` that greedy decoding appends. Prints one JSON object a folder;
exit code 0 if in all of them every weight was found, the largest difference is within the tolerance and the rest is
equal, else 1.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


@torch.no_grad()
def check(folder: pathlib.Path, tolerance: float) -> bool:
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model.eval()
    if hasattr(model.model.layers[-1].mlp, "experts"):
        model.set_experts_implementation("eager")
    expected = load_file(folder / "expected.safetensors")
    logits = model(input_ids=expected["input_ids"].long(), use_cache=False).logits
    kinds = ("missing_keys", "mismatched_keys", "error_msgs")
    problems = {kind: sorted(map(str, info[kind])) for kind in kinds if info.get(kind)}
    same_shape = logits.shape == expected["logits"].shape
    difference = (logits - expected["logits"]).abs().max().item() if same_shape else None
    if (folder / "expected.json").exists():
        problems |= text_problems(model, folder, json.loads((folder / "expected.json").read_text()))
    passed = not problems and same_shape and difference <= tolerance
    print(json.dumps({
        "folder": str(folder),
        "passed": passed,
        "class": type(model).__name__,
        "largestDifference": difference,
        "tolerance": tolerance,
        "shape": list(logits.shape),
        "expectedShape": list(expected["logits"].shape),
        "unexpectedKeys": sorted(map(str, info.get("unexpected_keys", []))),
        **problems,
    }), flush=True)
    return passed


def text_problems(model, folder, expected):
    """What the tokenizer, the chat template and greedy decoding give otherwise, by kind."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = {"texts": [], "chats": [], "generated": []}
    for case in expected.get("texts", []):
        pairs["texts"].append((tokenizer.encode(case["text"], add_special_tokens=False), case["ids"]))
    for case in expected.get("chats", []):
        text = tokenizer.apply_chat_template(case["messages"], tokenize=False, add_generation_prompt=True)
        pairs["chats"].append((text, case["text"]))
    if "generated" in expected:
        prompt, ids = expected["generated"]["prompt"], expected["generated"]["ids"]
        tokens = torch.tensor([prompt])
        got = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=len(ids), temperature=None,
            top_p=None, top_k=None, min_p=None, pad_token_id=0)
        pairs["generated"].append((got[0, len(prompt) :].tolist(), ids))
    return {kind: wrong for kind, cases in pairs.items() if (wrong := [list(case) for case in cases if case[0] != case[1]])}


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folders", type=pathlib.Path, nargs="+")
parser.add_argument("--tolerance", type=float, default=1e-4)
arguments = parser.parse_args()
torch.set_num_threads(1)
logging.disable_progress_bar()
logging.set_verbosity_error()
passed = [check(folder, arguments.tolerance) for folder in arguments.folders]
sys.exit(0 if all(passed) else 1)
