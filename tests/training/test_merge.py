"""Tests that merging checkpoints on disk equals merging tensors in memory, for any pieces."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from memphis.errors import MemphisError
from memphis.methods.slerp import slerp
from memphis.training import merge_files as merging
from memphis.training.merge_files import merge


def checkpoint(path: Path, tensors: dict[str, Tensor], shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    names = sorted(tensors)
    for shard in range(shards):
        chosen = {name: tensors[name] for name in names[shard::shards]}
        save_file(chosen, path / f"model-{shard}.safetensors", metadata={"format": "pt"})
    return path


def weights(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (7, 5), "b.c": (13,), "d": (3, 4, 2), "frozen": (6, 6)}
    made = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for name, shape in shapes.items()
    }
    made["frozen"] = torch.ones(6, 6, dtype=dtype)
    made["ids"] = torch.arange(5)
    return made


def merged(path: Path) -> dict[str, Tensor]:
    return {name: tensor for file in sorted(path.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("piece", [1, 8, 1 << 17])
@pytest.mark.parametrize("t", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_equals_the_tensors_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, t: float, piece: int) -> None:
    monkeypatch.setattr(merging, "PIECE", piece)
    old, new = weights(1), weights(2)
    found = merge(checkpoint(tmp_path / "old", old, 2), checkpoint(tmp_path / "new", new), tmp_path / "out", t=t)
    result = merged(tmp_path / "out")
    assert set(result) == set(new)
    for name, tensor in result.items():
        expected = slerp(old[name], new[name], t)
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)
        assert tensor.dtype == new[name].dtype
    assert torch.equal(result["frozen"], old["frozen"])
    assert found["equal_tensors"] == 2  # frozen and ids
    assert (tmp_path / "out" / "config.json").exists()
    assert (found["drift_prev"] == 0.0) == (t == 0.0)


def test_numbers_of_a_merge_worked_by_hand(tmp_path: Path) -> None:
    """Merge orthogonal unit vectors: the angle is pi/2, and half-way is (1, 1)/sqrt 2."""
    old, new = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    first, second = checkpoint(tmp_path / "old", old), checkpoint(tmp_path / "new", new)
    found = merge(first, second, tmp_path / "out", t=0.5, reference=first)
    torch.testing.assert_close(merged(tmp_path / "out")["w"], torch.tensor([1.0, 1.0]) / math.sqrt(2))
    assert found["angle_rad"] == pytest.approx(math.pi / 2)
    assert found["angle_max_rad"] == pytest.approx(math.pi / 2)
    assert found["lerp_tensors"] == 0
    distance = math.sqrt((1 / math.sqrt(2) - 1) ** 2 + 0.5)
    assert found["drift_prev"] == found["drift_sft"] == pytest.approx(distance)


def test_small_angles_are_not_lost(tmp_path: Path) -> None:
    """Check small angles: the card's cycle turns weights by 1e-3 and less, where arccos of a float32 cosine gives 0."""
    old = {"w": torch.tensor([1.0, 0.0], dtype=torch.float64)}
    new = {"w": torch.tensor([math.cos(1e-6), math.sin(1e-6)], dtype=torch.float64)}
    found = merge(checkpoint(tmp_path / "old", old), checkpoint(tmp_path / "new", new), tmp_path / "out", t=0.99)
    assert found["angle_rad"] == pytest.approx(1e-6, rel=1e-3)
    assert found["lerp_tensors"] == 1


def test_scope_model_is_one_vector(tmp_path: Path) -> None:
    old, new = weights(1), weights(2)
    merge(checkpoint(tmp_path / "old", old), checkpoint(tmp_path / "new", new), tmp_path / "out", t=0.3, scope="model")
    names = ["a", "b.c", "d", "frozen"]
    flat = [torch.cat([tensors[name].flatten() for name in names]) for tensors in (old, new)]
    result = merged(tmp_path / "out")
    whole = slerp(*flat, 0.3)
    mine = torch.cat([result[name].flatten() for name in names])
    torch.testing.assert_close(mine[:-36], whole[:-36], rtol=1e-6, atol=1e-7)
    assert torch.equal(result["frozen"], old["frozen"])  # bit-equal tensors are copied, in any scope


def test_bfloat16_keeps_its_dtype_and_rounds_once(tmp_path: Path) -> None:
    old, new = weights(1, torch.bfloat16), weights(2, torch.bfloat16)
    merge(checkpoint(tmp_path / "old", old), checkpoint(tmp_path / "new", new), tmp_path / "out", t=0.5)
    for name, tensor in merged(tmp_path / "out").items():
        assert torch.equal(tensor, slerp(old[name], new[name], 0.5))


@pytest.mark.parametrize(
    ("change", "said"), [({"extra": torch.ones(1)}, "tensor extra is in"), ({"a": torch.ones(5, 7)}, "tensor a is")]
)
def test_two_different_models_are_refused(tmp_path: Path, change: dict[str, Tensor], said: str) -> None:
    first, second = checkpoint(tmp_path / "old", weights(1)), checkpoint(tmp_path / "new", weights(2) | change)
    with pytest.raises(MemphisError, match=said):
        merge(first, second, tmp_path / "out", t=0.5)
