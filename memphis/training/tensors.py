"""Locations of a checkpoint's tensors on the disk: reads the headers of its safetensors files, loads nothing."""

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


def check_whole(directory: Path) -> None:
    """Raise MemphisError if a file that the checkpoint's index names, or the end of a file, is missing."""
    index = directory / "model.safetensors.index.json"
    if index.exists():
        try:
            named = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise MemphisError(f"{index}: not an index of shards; copy or build the checkpoint again") from error
        if missing := sorted(name for name in named if not (directory / name).exists()):
            raise MemphisError(
                f"{directory}: {len(missing)} of {len(named)} shards are not there ({missing[0]}, …); "
                "copy or download the checkpoint again"
            )
    for name, tensor in stored_tensors(directory).items():
        if tensor.stop > tensor.file.stat().st_size:
            raise MemphisError(f"{tensor.file}: the file ends inside tensor {name}; copy or build it again")


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Return name -> location over all safetensors files of a checkpoint. Raises MemphisError if there are none."""
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(size))
            except ValueError as error:
                raise MemphisError(f"{file}: the file ends inside its header; copy or build it again") from error
        for name, entry in header.items():
            if name != "__metadata__":
                start, stop = entry["data_offsets"]
                tensors[name] = StoredTensor(file, entry["dtype"], entry["shape"], 8 + size + start, 8 + size + stop)
    if not tensors:
        raise MemphisError(f"{directory}: no *.safetensors file there; give the directory of a checkpoint")
    return tensors
