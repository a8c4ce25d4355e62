"""llama.cpp's side of comparisons: its library, as npm's @node-llama-cpp/linux-x64 3.22.1 ships it, through ctypes.

    python3 llama_cpp.py <folder of libllama> <jobs.json>       # needs no package; prints a JSON list of results

A job is one of `{"op": "quantize", "from", "to", "ftype"}` (all matrices of one type), `{"op": "blocks", "from", "to",
"type", "width"}` (rows of float32 numbers in a file to rows of blocks of a ggml_type), `{"op": "tokenize", "model",
"texts"}`, `{"op": "greedy", "model", "prompts", "tokens"}` and `{"op": "logits", "model", "sequences", "to"}`, which
writes the float32 logits after every id of all sequences, one after the other. Models run on one thread of the processor, with a float32 cache.

Parameters are structures that releases add fields to. They are taken as blocks larger than they are, with what the
library's own defaults put there, and the fields set below are checked against the defaults first.
"""

import ctypes
import glob
import json
import os
import sys


class Block(ctypes.Structure):
    _fields_ = [("words", ctypes.c_int32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)),
                ("embd", ctypes.c_void_p), ("pos", ctypes.POINTER(ctypes.c_int32)),
                ("sequences", ctypes.POINTER(ctypes.c_int32)), ("ids", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
                ("wanted", ctypes.POINTER(ctypes.c_int8))]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Llama:
    def __init__(self, folder):
        def load(pattern):
            (path,) = glob.glob(os.path.join(folder, pattern))
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)

        self.base = load("libggml-base.so*")
        ggml = load("libggml.*so*")
        ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        self.lib = lib = load("libllama.*so*")
        self.said = []
        self.log = LOG(lambda level, text, _: self.said.append(text.decode(errors="replace")) if level >= 4 else None)
        lib.llama_log_set.argtypes = [LOG, ctypes.c_void_p]
        lib.llama_log_set(self.log, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())
        lib.llama_backend_init()
        for name, result, arguments in (
            ("llama_model_default_params", Block, []), ("llama_context_default_params", Block, []),
            ("llama_model_quantize_default_params", Block, []),
            ("llama_model_quantize", ctypes.c_uint32, [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Block)]),
            ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Block]),
            ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Block]),
            ("llama_model_get_vocab", ctypes.c_void_p, [ctypes.c_void_p]),
            ("llama_vocab_n_tokens", ctypes.c_int32, [ctypes.c_void_p]),
            ("llama_tokenize", ctypes.c_int32, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32,
                                                ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_batch_init", Batch, [ctypes.c_int32] * 3), ("llama_batch_free", None, [Batch]),
            ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]),
            ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
            ("llama_free", None, [ctypes.c_void_p]), ("llama_model_free", None, [ctypes.c_void_p]),
        ):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments

    def fail(self, what):
        raise SystemExit(f"llama.cpp: {what}: {''.join(self.said[-5:]).strip()}")

    def quantize(self, source, target, ftype):
        params = self.lib.llama_model_quantize_default_params()
        words = params.words
        if words[0] != 0 or words[4] != 0x100:
            self.fail("expected other defaults of llama_model_quantize_params; another release of the library?")
        words[0], words[1] = 1, ftype
        words[4] = 0x01000101  # allow_requantize, quantize_output_tensor, not only_copy, pure
        if self.lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
            self.fail(f"cannot quantise {source}")

    def blocks(self, source, target, kind, width):
        base = self.base
        base.ggml_row_size.restype, base.ggml_row_size.argtypes = ctypes.c_size_t, [ctypes.c_int, ctypes.c_int64]
        base.ggml_quantize_chunk.restype = ctypes.c_size_t
        base.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
        with open(source, "rb") as file:
            numbers = file.read()
        rows = len(numbers) // (4 * width)
        out = ctypes.create_string_buffer(rows * base.ggml_row_size(kind, width))
        if base.ggml_quantize_chunk(kind, numbers, out, 0, rows, width, None) != len(out):
            self.fail(f"cannot quantise {source}")
        with open(target, "wb") as file:
            file.write(out)

    def open(self, path):
        return Model(self, path)


class Model:
    def __init__(self, llama, path):
        self.llama, self.lib = llama, llama.lib
        self.model = self.lib.llama_model_load_from_file(path.encode(), self.lib.llama_model_default_params())
        if not self.model:
            llama.fail(f"cannot load {path}")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.size = self.lib.llama_vocab_n_tokens(self.vocab)

    def close(self):
        self.lib.llama_model_free(self.model)

    def tokenize(self, text):
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), ids, len(ids), False, True)
        return list(ids[:count])

    def context(self, length):
        params = self.lib.llama_context_default_params()
        words = params.words
        if list(words[:4]) != [512, 2048, 512, 1] or list(words[7:9]) != [4, 4] or words[13] != -1 or list(words[26:28]) != [1, 1]:
            self.llama.fail("expected other defaults of llama_context_params; another release of the library?")
        words[0] = words[1] = words[2] = length
        words[7] = words[8] = 1  # threads
        words[13] = 0  # no flash attention, which has half-precision sums
        words[26] = words[27] = 0  # keys and values in float32
        context = self.lib.llama_init_from_model(self.model, params)
        return context or self.llama.fail("no context")

    def decode(self, context, ids, start, every):
        """Logits after the last id, or after every one."""
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.sequences[i] = token, start + i, 1
            batch.ids[i][0] = 0
            batch.wanted[i] = int(every or i == len(ids) - 1)
        batch.count = len(ids)
        if self.lib.llama_decode(context, batch) != 0:
            self.llama.fail("cannot decode")
        self.lib.llama_batch_free(batch)
        rows = len(ids) if every else 1
        return ctypes.cast(self.lib.llama_get_logits(context), ctypes.POINTER(ctypes.c_float * (rows * self.size))).contents

    def greedy(self, prompt, tokens):
        context = self.context(len(prompt) + tokens)
        out, ids, start = [], prompt, 0
        for _ in range(tokens):
            row = list(self.decode(context, ids, start, False))
            start += len(ids)
            ids = [row.index(max(row))]
            out += ids
        self.lib.llama_free(context)
        return out

    def logits(self, sequences, path):
        with open(path, "wb") as file:
            for ids in sequences:
                context = self.context(max(32, len(ids)))
                file.write(bytes(self.decode(context, ids, 0, True)))
                self.lib.llama_free(context)


def main():
    llama = Llama(sys.argv[1])
    results, opened = [], (None, None)
    with open(sys.argv[2], encoding="utf-8") as file:
        jobs = json.load(file)
    for job in jobs:
        op = job["op"]
        if op == "quantize":
            results.append(llama.quantize(job["from"], job["to"], job["ftype"]))
            continue
        if op == "blocks":
            results.append(llama.blocks(job["from"], job["to"], job["type"], job["width"]))
            continue
        if opened[0] != job["model"]:
            if opened[1]:
                opened[1].close()
            opened = (job["model"], llama.open(job["model"]))
        model = opened[1]
        if op == "tokenize":
            results.append([model.tokenize(text) for text in job["texts"]])
        elif op == "greedy":
            results.append([model.greedy(ids, job["tokens"]) for ids in job["prompts"]])
        elif op == "logits":
            model.logits(job["sequences"], job["to"])
            results.append(model.size)
        else:
            raise SystemExit(f"llama_cpp.py: expected quantize, blocks, tokenize, greedy or logits, got {op}")
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
