"""Merging of two checkpoints on disk, piece by piece: memory does not grow with the model or with its largest tensor.

Pass 1 adds up dot products, norms and distances; pass 2 blends and writes a file with the same header. The
interpolation itself is in methods/slerp.py.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from memphis.errors import MemphisError
from memphis.methods.slerp import blend, coefficients, products
from memphis.training.tensors import StoredTensor, stored_tensors

PIECE = 1 << 17  # elements at a time: float64 copies of larger pieces cost page faults, five times slower
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass
class _Sums:
    dot: float = 0.0
    previous: float = 0.0  # sums of squares
    updated: float = 0.0
    moved: float = 0.0  # of (updated - previous)²
    drift: float = 0.0  # of (merged - reference)²
    reference: float = 0.0

    def add(self, other: "_Sums") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def angle(self) -> float:
        """Angle of previous and updated, in radians: from their distance, because arccos rounds small angles to 0."""
        a, b = math.sqrt(self.previous), math.sqrt(self.updated)
        if a == 0 or b == 0:
            return 0.0 if a == b else math.pi / 2
        chord = max(0.0, self.moved - (a - b) ** 2) / (a * b)
        return 2 * math.asin(min(1.0, math.sqrt(chord) / 2))


def merge(
    previous: Path,
    updated: Path,
    out: Path,
    *,
    t: float,
    method: Literal["slerp", "lerp"] = "slerp",
    scope: Literal["tensor", "model"] = "tensor",
    dot_threshold: float = 0.9995,
    reference: Path | None = None,
) -> dict[str, float]:
    """Write to `out` the checkpoint `t` of the way from `previous` to `updated`, in the layout and dtypes of `updated`.

    scope: interpolate every tensor by itself, or the whole model as one vector. Bit-equal tensors are copied.
    reference: a third checkpoint; `drift_sft` is the distance of the result from it.
    Returns angle_rad (whole vector), angle_max_rad (over tensors), lerp_tensors (near-parallel: blended linearly),
        equal_tensors, drift_prev and, with a reference, drift_sft; drifts are norm of difference / norm.
    Raises MemphisError when the two do not hold the same tensors.
    """
    old, new = stored_tensors(previous), stored_tensors(updated)
    _check_same(old, new, previous, updated)
    sums = {name: _compare(old[name], new[name]) for name in new}
    total = _Sums()
    for value in sums.values():
        total.add(value)
    both = {
        name: coefficients(s.dot, math.sqrt(s.previous), math.sqrt(s.updated), t, dot_threshold, method)
        for name, s in sums.items()
        if scope == "tensor" and s.moved > 0
    }
    if scope == "model" and total.moved > 0:
        whole = coefficients(total.dot, math.sqrt(total.previous), math.sqrt(total.updated), t, dot_threshold, method)
        both = {name: whole for name, s in sums.items() if s.moved > 0}
    out.mkdir(parents=True)
    for file in sorted(updated.iterdir()):
        if file.suffix != ".safetensors":
            shutil.copyfile(file, out / file.name)
    drift = _Sums()
    goal = stored_tensors(reference) if reference is not None else {}
    for file in sorted({tensor.file for tensor in new.values()}):
        drift.add(_write(file, out / file.name, old, new, both, goal))
    moved = {name: s for name, s in sums.items() if s.moved > 0}
    result = {
        "angle_rad": total.angle,
        "angle_max_rad": max((s.angle for s in moved.values()), default=0.0),
        "lerp_tensors": sum(1 for a, b in both.values() if math.isclose(a, 1 - t) and math.isclose(b, t)),
        "equal_tensors": len(sums) - len(moved),
        "drift_prev": math.sqrt(drift.moved / total.previous) if total.previous else 0.0,
    }
    if reference is not None:
        result["drift_sft"] = math.sqrt(drift.drift / drift.reference) if drift.reference else 0.0
    return result


def _check_same(old: dict[str, StoredTensor], new: dict[str, StoredTensor], previous: Path, updated: Path) -> None:
    for name in sorted(old.keys() ^ new.keys()):
        where, other = (previous, updated) if name in old else (updated, previous)
        raise MemphisError(f"tensor {name} is in {where} and not in {other}: these are not two states of one model")
    for name, tensor in new.items():
        if tensor.shape != old[name].shape:
            raise MemphisError(f"tensor {name} is {old[name].shape} in {previous} and {tensor.shape} in {updated}")


def _pieces(tensor: StoredTensor) -> Iterator[Tensor]:
    """Yield the tensor, PIECE elements at a time, in one reused buffer: a mapped file would stay in memory."""
    dtype = _DTYPES.get(tensor.dtype, torch.uint8)  # integers: compared and copied as they are
    buffer = bytearray(PIECE * dtype.itemsize)
    count = (tensor.stop - tensor.start) // dtype.itemsize
    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.start)
        for first in range(0, count, PIECE):
            length = min(PIECE, count - first)
            wanted = memoryview(buffer)[: length * dtype.itemsize]
            while wanted and (read := stream.readinto(wanted)):
                wanted = wanted[read:]
            if wanted:
                raise MemphisError(f"{tensor.file}: the file ends inside a tensor; copy or build it again")
            yield torch.frombuffer(buffer, dtype=dtype, count=length)


def _compare(old: StoredTensor, new: StoredTensor) -> _Sums:
    sums = _Sums()
    for a, b in zip(_pieces(old), _pieces(new), strict=True):
        if not a.dtype.is_floating_point:
            sums.moved += 0.0 if torch.equal(a, b) else 1.0
            continue
        a, b = a.double(), b.double()
        dot, previous, updated = products(a, b)
        sums.add(_Sums(dot, previous, updated, _square(b.sub_(a))))
    return sums


def _write(
    source: Path,
    target: Path,
    old: dict[str, StoredTensor],
    new: dict[str, StoredTensor],
    both: dict[str, tuple[float, float]],
    goal: dict[str, StoredTensor],
) -> _Sums:
    """Write one file of the result, with the header of `source`; returns how far it is from `old` and from `goal`."""
    sums = _Sums()
    here = sorted((item for item in new.items() if item[1].file == source), key=lambda item: item[1].start)
    with source.open("rb") as stream, target.open("wb") as output:
        output.write(stream.read(here[0][1].start))
        for name, tensor in here:
            sides = [tensor, old[name], *([goal[name]] if name in goal else [])]
            for after, before, *rest in zip(*map(_pieces, sides), strict=True):
                merged = after
                if name in both:
                    merged = blend(before.to(after.dtype), after, *both[name])
                output.write(memoryview(merged.contiguous().view(torch.uint8).numpy()))
                if merged.dtype.is_floating_point:
                    exact = merged.double()
                    sums.moved += _square(exact - before.double())
                    for other in rest:
                        there = other.double()
                        sums.reference += _square(there)
                        sums.drift += _square(exact - there)
    return sums


def _square(vector: Tensor) -> float:
    return torch.dot(vector, vector).item()
