"""Tests that an incomplete checkpoint is detected before anything is read from it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from memphis.errors import MemphisError
from memphis.training.tensors import check_whole

SHARDS = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for name, file in SHARDS.items():
        save_file({name: torch.ones(100)}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": SHARDS}))
    return tmp_path


def test_a_missing_shard_a_cut_off_file_and_a_broken_index_are_named(sharded: Path) -> None:
    check_whole(sharded)
    second = sharded / SHARDS["b"]
    whole = second.read_bytes()
    for kept, said in ((len(whole) - 4, "ends inside tensor b"), (20, "ends inside its header")):
        second.write_bytes(whole[:kept])
        with pytest.raises(MemphisError, match=rf"{SHARDS['b']}: the file {said}"):
            check_whole(sharded)
    second.unlink()
    with pytest.raises(MemphisError, match=rf"1 of 2 shards are not there \({SHARDS['b']}"):
        check_whole(sharded)
    (sharded / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(MemphisError, match="not an index of shards"):
        check_whole(sharded)
