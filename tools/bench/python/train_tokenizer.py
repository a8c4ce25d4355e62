"""A byte-pair vocabulary with Hugging Face's BpeTrainer, texts and pre-tokenizer as the case says."""

import hashlib
import json
import os


def read_texts(path, most_bytes):
    texts, size = [], 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if size >= most_bytes:
                break
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
    return texts


def prepare(case):
    # The library reads it when it first starts its threads.
    os.environ["RAYON_NUM_THREADS"] = str(case["threads"])
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    texts = read_texts(case["path"], case["mostBytes"])
    empty = tokenizers.Tokenizer(models.BPE())
    described = {**json.loads(empty.to_str()), "pre_tokenizer": case["preTokenizer"]}

    def train():
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(described))
        trainer = trainers.BpeTrainer(
            vocab_size=case["vocabSize"],
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    merges = json.loads(train().to_str())["model"]["merges"]
    pairs = "\n".join(pair if isinstance(pair, str) else " ".join(pair) for pair in merges)
    digest = hashlib.sha256(pairs.encode()).digest()
    check = [len(merges), int.from_bytes(digest[:6], "big")]
    return f"tokenizers {tokenizers.__version__}", check, train
