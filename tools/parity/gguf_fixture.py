"""A GGUF file written by the Python gguf library, for packages/checkpoints to read.

    python3 gguf_fixture.py ../../packages/checkpoints/fixtures      # needs gguf 0.19 and numpy, 1 second

`python.gguf`: a metadata value of every type and tensors of several; `python.gguf.json`: the same as JSON.
"""

import json
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize


def main(folder: pathlib.Path) -> None:
    writer = GGUFWriter(folder / "python.gguf", "llama")
    values = {"general.architecture": "llama"}

    def put(key, value, vtype, sub_type=None):
        writer.add_key_value(key, value, vtype, sub_type=sub_type)
        values[key] = value

    for name, value in {
        "UINT8": 255, "INT8": -128, "UINT16": 65535, "INT16": -32768, "UINT32": 4294967295, "INT32": -2147483648,
        "UINT64": 9007199254740991, "INT64": -9007199254740991, "FLOAT32": 0.15625, "FLOAT64": 0.1, "BOOL": True,
        "STRING": "größe 重み 🐋",
    }.items():
        put(f"one.{name.lower()}", value, GGUFValueType[name])
    writer.add_uint64("big.u64", 2**64 - 1)
    for name, items in {
        "UINT8": [1, 2], "INT32": [-1, 0, 7], "FLOAT32": [0.5, -2.0], "BOOL": [True, False],
        "STRING": ["a", "Ġthe", "", "x" * 300], "INT64": [1, -1],
    }.items():
        put(f"many.{name.lower()}", items, GGUFValueType.ARRAY, GGUFValueType[name])

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 64)).astype(np.float32)
    tensors = {"f32": (x, "F32"), "f16": (x.astype(np.float16), "F16"), "cube": (x.reshape(2, 3, 32), "F32")}
    for name in ("BF16", "Q8_0", "Q4_0", "Q5_1"):
        tensors[name.lower()] = (quantize(x, GGMLQuantizationType[name]), name)
    expected = {}
    for name, (data, dtype) in tensors.items():
        qtype = GGMLQuantizationType[dtype]
        writer.add_tensor(name, data, raw_dtype=qtype)
        decoded = dequantize(data, qtype) if dtype not in ("F32", "F16") else data.astype(np.float32)
        expected[name] = {"dtype": dtype, "shape": list(decoded.shape), "values": decoded.ravel().tolist()}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "python.gguf.json").write_text(json.dumps({"values": values, "tensors": expected}) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
