"""Where the tensors of a checkpoint lie on the disk: the headers of its safetensors files, and nothing loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from memphis.errors import MemphisError


@dataclass(frozen=True)
class StoredTensor:
    file: Path
    dtype: str  # as safetensors spells it: F32, BF16, …
    shape: list[int]
    start: int  # of its bytes in the file
    stop: int


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Name -> place, over all safetensors files of a checkpoint. Raises MemphisError if there are none."""
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        for name, entry in header.items():
            if name != "__metadata__":
                start, stop = entry["data_offsets"]
                tensors[name] = StoredTensor(file, entry["dtype"], entry["shape"], 8 + size + start, 8 + size + stop)
    if not tensors:
        raise MemphisError(f"{directory}: no *.safetensors file there; give the directory of a checkpoint")
    return tensors
