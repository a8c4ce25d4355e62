"""Files written by the Python safetensors library, for packages/checkpoints to read and to reproduce.

    python3 safetensors_fixture.py write ../../packages/checkpoints/fixtures   # regenerate the fixtures
    python3 safetensors_fixture.py check <file or folder>                      # does the library read ours?

`types.safetensors` has every type torch can make, odd names, an empty tensor and a rank-0 one; `rounding.safetensors`
has float32 values beside their float16 and bfloat16 roundings by torch, and metadata. `check` prints name,
type, shape and sum of each tensor.
"""

import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

TYPES = ("bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu int16 uint16 float16 bfloat16 int32 uint32 "
         "float32 complex64 float64 int64 uint64").split()


def write(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.arange(1, 7).reshape(2, 3).to(getattr(torch, name)) for name in TYPES}
    tensors |= {
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(0.5),
        "": torch.tensor([1, -2], dtype=torch.int64),
        "12": torch.tensor([3.0]),
        'a "quoted"\\\n\t\x01 name': torch.tensor([4.0]),
        "größe/重み/🐋": torch.tensor([5.0]),
        "\uff5c": torch.tensor([6.0]),
        "\U00010000": torch.tensor([7.0]),
    }
    save_file(tensors, folder / "types.safetensors")

    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (4096,), generator=generator, dtype=torch.int64).to(torch.int32)
    exponents = torch.randint(95, 145, (4096,), generator=generator, dtype=torch.int64).to(torch.int32)
    # Half of the values have any bit pattern, half an exponent near float16's range.
    near = (bits & -0x7F800001) | (exponents << 23)
    values = torch.cat([bits, near]).view(torch.float32)
    values = values[~values.isnan()]
    rounded = {"f32": values, "f16": values.to(torch.float16), "bf16": values.to(torch.bfloat16)}
    save_file(rounded, folder / "rounding.safetensors", metadata={"format": "pt"})
    for file in folder.iterdir():
        file.chmod(0o644)


def check(path: pathlib.Path) -> None:
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with safe_open(file, "pt") as opened:
            print(json.dumps({"file": file.name, "metadata": opened.metadata()}))
            for name in opened.keys():
                tensor = opened.get_tensor(name)
                print(json.dumps([name, str(tensor.dtype), list(tensor.shape), str(tensor.to(torch.complex128).sum().item())]))


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
