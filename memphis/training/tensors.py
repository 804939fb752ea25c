"""Locations of a checkpoint's tensors on the disk: reads the headers of its safetensors files, loads nothing."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from memphis.errors import MemphisError

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    file: Path
    dtype: str  # as safetensors spells it: F32, BF16, …
    shape: list[int]
    start: int  # of its bytes in the file
    stop: int


def missing_files(directory: Path) -> list[str]:
    """Return the shards that the index of a checkpoint names and that are not there, and links to nothing."""
    try:
        named = json.loads((directory / INDEX).read_text())["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no index, or none that can be read
        named = []
    links = [file.name for file in directory.iterdir() if file.is_symlink()]
    return sorted(name for name in {*map(str, named), *links} if not (directory / name).exists())


def check_whole(directory: Path) -> dict[str, StoredTensor]:
    """Return `stored_tensors` of a checkpoint whose files are all there and undamaged.

    Raises MemphisError if its index is none, if a file that the index names, or the end of a file, is missing, and for
    a header that safetensors refuses (overlapping offsets, sizes that do not fit, …).
    """
    index = directory / INDEX
    if index.exists():
        try:
            content = json.loads(index.read_text())
            named = set(content["weight_map"].values())
            outside = [name for name in named if Path(name).name != name]
            if not named or "metadata" not in content:  # transformers insists on it
                raise ValueError("nothing in it")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MemphisError(f"{index}: not an index of shards; copy or build the checkpoint again") from error
        if outside:
            raise MemphisError(f"{index}: names {outside[0]!r}, which is no file of this directory; copy it again")
        if missing := sorted(name for name in named if not (directory / name).exists()):
            raise MemphisError(
                f"{directory}: {len(missing)} of {len(named)} shards are not there ({missing[0]}, …); "
                "copy or download the checkpoint again"
            )
    tensors = stored_tensors(directory)
    for name, tensor in tensors.items():
        if tensor.stop > tensor.file.stat().st_size:
            raise MemphisError(f"{tensor.file}: the file ends inside tensor {name}; copy or build it again")
    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, framework="np"):  # the library's own checks; reads the header alone
                pass
        except (SafetensorError, OSError) as error:
            raise MemphisError(f"{file}: damaged ({str(error)[:120]}); copy or build it again") from error
    return tensors


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Return name -> location over all safetensors files of a checkpoint.

    Raises MemphisError if there are none, and for a file that cannot be read.
    """
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        if not file.is_file():  # opening a pipe would wait forever
            raise MemphisError(f"{file}: not a file, or a link to nothing; copy the checkpoint again")
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if 8 + size > file.stat().st_size:
                raise MemphisError(f"{file}: the file ends inside its header; copy or build it again")
            try:
                for name, entry in json.loads(stream.read(size)).items():
                    if name != "__metadata__":
                        start, stop = (8 + size + int(offset) for offset in entry["data_offsets"])
                        tensors[name] = StoredTensor(file, entry["dtype"], entry["shape"], start, stop)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise MemphisError(f"{file}: its header is damaged; copy or build it again") from error
    if not tensors:
        raise MemphisError(f"{directory}: no *.safetensors file there; give the directory of a checkpoint")
    return tensors
