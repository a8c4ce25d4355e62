"""Encoding with Hugging Face's tokenizers (Rust) as Python has it, one text after the other on one thread."""

import hashlib
import json
import os


def prepare(case):
    # The library reads it when it first starts its threads.
    os.environ["RAYON_NUM_THREADS"] = str(case["threads"])
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import numpy
    import tokenizers

    with open(case["textsPath"], encoding="utf-8") as file:
        texts = json.load(file)
    tokenizer = tokenizers.Tokenizer.from_file(case["vocabularyPath"])

    def encode():
        return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    digest, count = hashlib.sha256(), 0
    for ids in encode():
        count += len(ids)
        digest.update(numpy.array(ids, dtype=numpy.int32).tobytes())
    check = [count, int.from_bytes(digest.digest()[:6], "big")]
    return f"tokenizers {tokenizers.__version__} (Rust)", check, encode
