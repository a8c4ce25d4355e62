"""Parquet files in the Hub's formats, as pyarrow writes them (the Hub's writer), with what their rows are as JSON.

    python3 parquet_rows.py ../../packages/rl-trainer/fixtures/parquet        needs pyarrow

Conversations with thoughts apart and nulls among them, preferences with implicit prompts, prompts with a nested column;
dictionaries and plain pages, both versions of pages, several groups of rows, five compressions.
"""

import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

folder = pathlib.Path(sys.argv[1])

message = pa.struct([("role", pa.string()), ("content", pa.string()), ("reasoning_content", pa.string())])


def user(text):
    return {"role": "user", "content": text, "reasoning_content": None}


def assistant(text, thought=None):
    return {"role": "assistant", "content": text, "reasoning_content": thought}


conversations = [
    {
        "messages": [user(f"What is {i} + {i}? ¿Cuánto?"), assistant(f"The answer is {2 * i}.", f"{i}+{i}={2 * i}" if i % 3 else None)],
        "id": i,
        "big": 2**60 + i,
        "score": None if i % 4 == 0 else i / 8,
        "tags": ["sum", None] if i % 2 else [],
    }
    for i in range(1, 25)
]
preferences = [
    {
        "chosen": [user(f"q{i}"), assistant(f"good {i}")],
        "rejected": [user(f"q{i}"), assistant("bad")],
        "margin": i / 2,
    }
    for i in range(6)
]
prompts = [
    {"prompt": f"What is {i} * 3?", "answer": str(3 * i), "metadata": {"difficulty": i % 3, "operands": [i, 3]}}
    for i in range(8)
]

schemas = {
    "conversations": pa.schema(
        [
            ("messages", pa.list_(message)),
            ("id", pa.int32()),
            ("big", pa.int64()),
            ("score", pa.float64()),
            ("tags", pa.list_(pa.string())),
        ]
    ),
    "preferences": pa.schema(
        [("chosen", pa.list_(message)), ("rejected", pa.list_(message)), ("margin", pa.float64())]
    ),
    "prompts": pa.schema(
        [
            ("prompt", pa.large_string()),
            ("answer", pa.string()),
            ("metadata", pa.struct([("difficulty", pa.int64()), ("operands", pa.list_(pa.int64()))])),
        ]
    ),
}
rows = {"conversations": conversations, "preferences": preferences, "prompts": prompts}

folder.mkdir(parents=True, exist_ok=True)
for name, compression, options in [
    ("conversations", "snappy", {"row_group_size": 10}),
    ("preferences", "gzip", {"use_dictionary": False, "data_page_version": "2.0"}),
    ("prompts", "brotli", {}),
]:
    table = pa.Table.from_pylist(rows[name], schema=schemas[name])
    pq.write_table(table, folder / f"{name}.parquet", compression=compression, **options)
for compression in ["zstd", "lz4"]:
    table = pa.Table.from_pylist(prompts, schema=schemas["prompts"])
    pq.write_table(table, folder / f"prompts-{compression}.parquet", compression=compression)
# Whole numbers beyond 2^53 come out as text, and a null is no entry.
for row in conversations:
    row["big"] = str(row["big"])
(folder / "expected.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
