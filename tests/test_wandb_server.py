"""Tests of the local W&B server with the real SDK: an online run, its artifacts, its resumption, a server that dies."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import wandb

from tests.wandb_server import KEY, WandbServer


@pytest.fixture
def place(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    for name, value in wandb_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    wandb.teardown()
    return tmp_path


def opened(place: Path, **arguments: object) -> wandb.Run:
    settings = wandb.Settings(console="off", silent=True, disable_git=True, finish_timeout=20, init_timeout=20)
    return wandb.init(id="abc", project="p", dir=place, resume="allow", settings=settings, **arguments)


def test_a_run_its_artifact_and_its_continuation(wandb_server: WandbServer, place: Path) -> None:
    (place / "model").mkdir()
    (place / "model" / "w.safetensors").write_bytes(b"x")
    (place / "pairs.jsonl").write_text('{"a": 1}\n')
    with opened(place, config={"slerp": {"t": 0.9}}, group="g", tags=["x"], job_type="train") as run:
        for step in range(1, 4):
            run.log({"global_step": step, "sft/loss": 1 / step})
        run.log({"t": wandb.Table(columns=["a"], data=[[1]])})
        artifact = wandb.Artifact("pairs-abc", "dataset", metadata={"rows": 1})
        artifact.add_file(str(place / "pairs.jsonl"))
        artifact.add_reference((place / "model").as_uri(), name="model", checksum=False)
        run.log_artifact(artifact, aliases=["iter-1"])
        run.summary["final/word"] = 0.5
    with opened(place) as run:
        assert run.resumed
        run.log({"global_step": 4, "sft/loss": 0.25})

    assert list(wandb_server.runs) == ["abc"]
    received = wandb_server.runs["abc"]
    assert received.config["slerp"] == {"t": 0.9}
    assert (received.attributes["groupName"], received.attributes["tags"]) == ("g", ["x"])
    curve = [(row["global_step"], row["sft/loss"]) for row in received.history if "sft/loss" in row]
    assert curve == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert received.summary["final/word"] == 0.5
    assert received.exit_codes == [0, 0]
    assert any(name.startswith("media/table/t_") for name in received.files)
    (pairs,) = [a for a in wandb_server.artifacts.values() if a.name == "pairs-abc"]
    assert (pairs.type, pairs.aliases, pairs.metadata) == ("dataset", ["iter-1", "latest"], {"rows": 1})
    assert pairs.committed
    assert pairs.files == {"pairs.jsonl": b'{"a": 1}\n'}
    assert pairs.manifest["model/w.safetensors"]["ref"] == (place / "model" / "w.safetensors").as_uri()
    assert not wandb_server.unknown
    assert not any(KEY.encode() in raw for raw in wandb_server.raw)
    assert any(b"slerp" in raw for raw in wandb_server.raw)


def test_mute_and_dead(wandb_server: WandbServer) -> None:
    def ask(seconds: float) -> None:
        urllib.request.urlopen(f"{wandb_server.url}/graphql", data=b'{"query": "query Viewer { }"}', timeout=seconds)

    ask(60)
    wandb_server.mute()
    with pytest.raises(TimeoutError):
        ask(0.5)
    wandb_server.kill()
    with pytest.raises(urllib.error.URLError):
        ask(60)
    assert wandb_server.operations == ["Viewer"]
