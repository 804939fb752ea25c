"""Tests of whole micro runs against a local W&B server: it receives what the files have, also after a kill."""

import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb

from memphis.runs import REPOSITORY
from memphis.tracking.push import push
from tests import micro
from tests.tracking.made_up import history, inspect, records, segments
from tests.wandb_server import ReceivedRun, WandbServer

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]
SECRETS = {"HF_TOKEN": "s3cr3t-hub-token", "SLURM_JWT": "s3cr3t-jwt", "DB_PASSWORD": "s3cr3t-password"}
PLANTED = ["tracking.tags=['api_key=s3cr3t-typed','s3cr3t-password']"]


@dataclass
class Whole:
    root: Path
    server: WandbServer
    output: str

    @property
    def run_dir(self) -> Path:
        return next((self.root / "micro" / "s0").iterdir())

    @property
    def received(self) -> ReceivedRun:
        (run,) = self.server.runs.values()
        return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Run a whole micro run online, with secrets planted in its environment and in its overrides."""
    root = tmp_path_factory.mktemp("whole")
    with WandbServer() as server:
        more = {**SECRETS, "SLURM_JOB_ID": "4711", **server.environment}
        done = micro.run(root, "tracking=wandb", "tracking.every=1", *PLANTED, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Whole(root, server, done.stdout + done.stderr)


def local(run_dir: Path) -> Rows:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def curves(rows: Rows, *stages: str) -> dict[str, list[tuple[Any, Any]]]:
    """Return metric -> points over its axis; local rows without the metrics that W&B has under other names."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for row in rows:
        if row.get("stage") in ("base", "evaluate-base") or (stages and row["stage"] not in stages):
            continue
        for key, value in row.items():
            family = key.split("/")[0]
            if "/" in key and value is not None and family not in ("base", "eval_base"):
                axis = "global_step" if family in ("sft", "rank", "optim", "perf") else "iteration"
                found.setdefault(key, []).append((row[axis], value))
    return found


def exact(found: dict[str, list[tuple[Any, Any]]]) -> dict[str, list[tuple[Any, Any]]]:
    """Remove the metrics that depend on the clock."""
    return {key: points for key, points in found.items() if not key.startswith("perf/")}


def test_wandb_has_what_the_files_have(whole: Whole) -> None:
    mine, theirs = local(whole.run_dir), whole.received.history
    assert curves(theirs) == curves(mine)
    base = [(row["step"], row["base/loss"], row["optim/lr"]) for row in mine if "base/loss" in row]
    sent = [(row["base/step"], row["base/loss"], row["base/optim/lr"]) for row in theirs if "base/loss" in row]
    assert sent == base
    assert not whole.server.unknown
    assert whole.received.exit_codes == [0]


def test_the_table_of_metrics_is_what_a_run_sends(whole: Whole) -> None:
    text = (REPOSITORY / "docs" / "tracking.md").read_text().split("<!-- metrics:begin -->")[1]
    rows = [
        line.split("|")[1:4] for line in text.split("<!-- metrics:end -->")[0].splitlines() if line.startswith("| `")
    ]
    listed = {key.strip(" `"): not only.strip() for key, _, only in rows}
    patterns = {
        key: re.compile(re.sub(r"<(\w+)>", lambda m: ".+" if m[1] in ("metric", "column") else "[^/]+", key) + "(_se)?")
        for key in listed
    }
    found = {key for row in whole.received.history for key in row} | {
        key for key in whole.received.summary if key.startswith(("final/", "best/"))
    }
    found -= {"_step", "_runtime", "_timestamp", "global_step", "tokens", "iteration", "base/step"}
    unlisted = {key for key in found if not any(pattern.fullmatch(key) for pattern in patterns.values())}
    assert not unlisted
    # few rows and few pairs: trained ones are scored, and nothing is called held-out; the base model has texts of its own
    scored = {key for key in found if re.search("(heldout|seen)_", key)}
    families = ("base/heldout", "sft/seen", "rank/seen")
    assert scored == {f"{family}_{when}" for family in families for when in ("before", "after")}
    missing = {key for key, always in listed.items() if always and not any(patterns[key].fullmatch(k) for k in found)}
    assert not missing


def test_artifacts_and_factors(whole: Whole) -> None:
    made = [(artifact.type, artifact.aliases) for artifact in whole.server.artifacts.values() if artifact.committed]
    assert sorted(made) == sorted(
        [
            ("config", ["latest"]),
            ("dataset", ["iter-1", "latest"]),
            *(("eval", sorted([alias, "latest"])) for alias in ("base", "iter-1", "sft")),
            *(("model", sorted([alias, "latest"])) for alias in ("iter-1", "sft")),
            ("run_table", ["latest"]),
        ]
    )
    for artifact in whole.server.artifacts.values():
        assert (artifact.type == "model") == any("ref" in entry for entry in artifact.manifest.values())
        assert not any(file.endswith(".safetensors") for file in artifact.files)
        for source in artifact.metadata.get("inputs", []):
            done = whole.root / "store" / source["name"] / "DONE"
            assert done.read_text().strip() == source["sha256"]
    config = whole.received.config
    assert (config["slerp_t"], config["rank_weight"], config["iterations"], config["seed"]) == (0.99, 0.25, 1, 0)
    assert whole.received.attributes["groupName"] == "micro"


def test_planted_secrets_are_nowhere(whole: Whole) -> None:
    assert "s3cr3t" not in whole.output
    files = [path for path in whole.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 50
    assert not [path for path in files if b"s3cr3t" in path.read_bytes() or "s3cr3t" in str(path)]
    assert not [raw[:200] for raw in whole.server.raw if b"s3cr3t" in raw]
    sent = b"".join(whole.server.raw)
    assert b"api_key=***" in sent  # the tag was sent, with its secret masked
    assert b"diff.patch" not in sent
    assert b"diff --git" not in sent


def test_what_tracking_costs_is_recorded_and_the_server_is_asked_seldom(whole: Whole) -> None:
    """Check that rows are sent in batches, which keeps the cost low; `python -m benchmarks limits` measures seconds."""
    cost = json.loads((whole.run_dir / "summary.json").read_text())["tracking"]
    assert cost["stages_cpu_s"] > 0
    assert cost["calls_s"] > 0
    assert 0 < cost["share"] < 1
    rows = len(whole.received.history)
    assert rows > 300
    streamed = [raw for raw in whole.server.raw if b"/file_stream" in raw[:200]]
    assert 0 < len(streamed) < rows / 2


def test_a_replayed_run_offline_by_wandbs_own_reader(whole: Whole) -> None:
    done = micro.run(whole.root, "name=again", "tracking=offline")
    assert done.returncode == 0, done.stderr
    assert "sft: taken from the store" in done.stdout
    run_dir = next((whole.root / "again" / "s0").iterdir())
    items = history(run_dir)
    assert curves(items)["sft/loss"] == curves(local(whole.run_dir))["sft/loss"]
    families = {key.split("/")[0] for item in items for key in item if "/" in key}
    assert families == {"base", "data", "sft", "rank", "optim", "perf", "gen", "pairs", "merge", "eval", "eval_base"}
    (run,) = records(run_dir, "run")
    config = run["config"]["update"]
    assert config["slerp"]["t"] == config["slerp_t"] == 0.99
    (segment,) = segments(run_dir)
    assert not {"NaN", "Infinity", "-Infinity"} & set(strings(inspect(segment)))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


@pytest.fixture
def begun(whole: Whole, tmp_path: Path) -> Path:
    """Return a root that has the data and the base model."""
    (tmp_path / "store" / "specs").mkdir(parents=True)
    for path in (whole.root / "store").glob("*-*"):
        if path.name.startswith(("data-", "base-")):
            shutil.copytree(path, tmp_path / "store" / path.name)
    return tmp_path


SFT_ONLY = ["tracking=wandb", "tracking.every=1", "eval=none", "until=sft"]


def test_a_child_that_was_killed_leaves_no_trace(whole: Whole, begun: Path) -> None:
    with WandbServer() as server:
        kill = {"MEMPHIS_TEST_KILL": "sft:step:60", "MEMPHIS_CHECKPOINT_S": "0.2"}
        died = micro.run(begun, *SFT_ONLY, **kill, **server.environment)
        assert died.returncode == 1, died.stderr
        (received,) = server.runs.values()
        assert max(row.get("global_step", 0) for row in received.history) == 60
        done = micro.run(begun, *SFT_ONLY, **server.environment)
        assert done.returncode == 0, done.stderr
    run_dir = next((begun / "micro" / "s0").iterdir())
    unbroken = exact(curves(local(whole.run_dir), "data", "sft"))
    assert exact(curves(local(run_dir))) == unbroken
    assert exact(curves(received.history)) == unbroken
    assert received.exit_codes == [1, 0]


def sent_steps(server: WandbServer) -> Counter[int]:
    """Count how often the server has each step of SFT."""
    return Counter(row["global_step"] for run in server.runs.values() for row in run.history if "sft/loss" in row)


def marked(root: Path) -> int:
    """Return the number of SFT rows that the run has marked as sent."""
    files = root.glob("micro/s0/*/wandb/sent.json")
    return max((n for file in files for key, n in json.loads(file.read_text()).items() if key[:4] == "sft-"), default=0)


def test_a_parent_that_was_killed_costs_a_second_of_rows(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        # Processes that import for themselves, as a user's: while they do, W&B has begun. A checkpoint after each step
        # makes steps long enough for W&B to have a hundred rows before the last one.
        longer = [*SFT_ONLY, "sft.epochs=30"]
        parent = micro.start(begun, *longer, cold=True, MEMPHIS_CHECKPOINT_S="0", **server.environment)
        while len(seen := sent_steps(server)) < 100 or marked(begun) < len(seen):
            assert parent.poll() is None
            time.sleep(0.1)
        parent.send_signal(signal.SIGKILL)
        parent.communicate(timeout=300)
        (part,) = (begun / "store").glob("sft-*.part-*/metrics.jsonl")
        written = part.read_bytes().count(b"\n")
        done = micro.run(begun, *longer, **server.environment)
        assert done.returncode == 0, done.stderr

        run_dir = next((begun / "micro" / "s0").iterdir())
        mine = [step for step, _ in curves(local(run_dir))["sft/loss"]]
        assert mine == list(range(1, len(mine) + 1))  # tests/test_faults.py checks their values
        assert len(mine) > 200
        (received,) = server.runs.values()
        steps = sent_steps(server)
        assert set(steps) <= set(mine)
        # Rows written but not yet received: delayed by polling the file (0.2 s) and by the next sending (0.3 s here).
        assert {step for step in mine if steps[step] != 1} <= set(range(len(seen) + 1, written + 1))

        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        push(run_dir, new_id=True)
        again = next(run for run in server.runs.values() if run is not received)
        assert curves(again.history) == curves(local(run_dir))
        wandb.teardown()
