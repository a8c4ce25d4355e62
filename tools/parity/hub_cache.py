"""The cache of hub files as the Python client sees it; run by hub-cache.mjs, which starts the hub on this machine.

    python3 hub_cache.py fetch <cache>     # fetches the model into it
    python3 hub_cache.py read <cache>      # prints the files of a cache as it finds them without a network, as JSON
"""

import hashlib
import json
import pathlib
import sys

from huggingface_hub import hf_hub_download, snapshot_download

MODEL = "someone/small"


def read(cache: str) -> None:
    snapshot = pathlib.Path(snapshot_download(MODEL, cache_dir=cache, local_files_only=True))
    found = {}
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            name = path.relative_to(snapshot).as_posix()
            single = hf_hub_download(MODEL, name, cache_dir=cache, local_files_only=True)
            assert pathlib.Path(single) == path, (single, path)
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    print(json.dumps(found))


if __name__ == "__main__":
    command, cache = sys.argv[1:]
    if command == "fetch":
        snapshot_download(MODEL, cache_dir=cache)
    else:
        read(cache)
