"""Tests of faults: after a kill anywhere, the same command gives the result of an uninterrupted run, bit for bit."""

import json
import os
import re
import resource
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import micro
from tests.small_disk import small_disk

pytestmark = pytest.mark.slow

NOBODY = 65534


@pytest.fixture
def half(unbroken: Path, tmp_path: Path) -> Path:
    """Return a root in which everything up to SFT is built already."""
    copy(unbroken, tmp_path, "data", "base", "sft")
    return tmp_path


def copy(source: Path, root: Path, *kinds: str) -> None:
    (root / "store" / "specs").mkdir(parents=True)
    for kind in kinds:
        for path in (source / "store").glob(f"{kind}-*"):
            shutil.copytree(path, root / "store" / path.name)


def processes(root: Path) -> list[psutil.Process]:
    """Return the processes that still work below `root`."""
    found = []
    for process in psutil.process_iter():
        try:
            here = str(root) in " ".join(process.cmdline()) or process.environ().get("MEMPHIS_RUNS") == str(root)
            here = here or process.cwd() == str(root)  # a forked process shows another command line
            if here and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(root: Path) -> bool:
    wait_for(lambda: not processes(root))
    return True


# Every kind once or twice; the points that all kinds have (start, done, renamed) are spread over them.
CHILD_KILLS = [
    *("data:start", "data:renamed", "base:checkpoint:3", "base:saved", "sft:step:20", "sft:done", "generate:shard:2"),
    *("generate:renamed", "pairs:done", "rank:step:2", "merge:written", "evaluate:task:1", "evaluate:task-done:2"),
]
PARENT_KILLS = ["parent:base", "parent:sft:2", "parent:generate", "parent:evaluate"]


# Starts the program 18 times, each time up to the next kill.
@pytest.mark.timeout(900)
def test_killed_everywhere_it_ends_as_if_nothing_had_happened(unbroken: Path, tmp_path: Path) -> None:
    died = []
    for kill in [*CHILD_KILLS, *PARENT_KILLS]:
        tracked = {} if kill in PARENT_KILLS else micro.UNTRACKED
        done = micro.run(tmp_path, MEMPHIS_TEST_KILL=kill, MEMPHIS_CHECKPOINT_S="0.2", **tracked)
        assert "Traceback" not in done.stderr
        if done.returncode == -signal.SIGKILL:  # the parent
            died.append(kill)
            assert gone(tmp_path), f"a child outlived its parent after {kill}"
        elif done.returncode == 1:
            died.append(kill)
            lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, done.stderr
            assert f"stage {kill.split(':')[0]}" in lines[0]
            assert "ended by SIGKILL" in lines[0]
            assert "the same command continues" in lines[0]
    done = micro.run(tmp_path)
    assert done.returncode == 0, done.stderr
    missed = [kill for kill in CHILD_KILLS if kill not in died]
    assert not missed, "these hooks were never reached: the test proves nothing for them"
    assert micro.outcome(tmp_path) == micro.outcome(unbroken)
    leftovers = [
        p.name
        for p in (tmp_path / "store").iterdir()
        if ".part-" in p.name or p.suffix == ".claim" or ".old-" in p.name
    ]
    assert not leftovers
    assert scores(tmp_path) == scores(unbroken)
    assert run_rows(tmp_path) == run_rows(unbroken)


@pytest.mark.parametrize("kind", ["base", "rank", "evaluate"])
def test_a_child_never_outlives_its_parent(unbroken: Path, tmp_path: Path, kind: str) -> None:
    copy(unbroken, tmp_path, *({"data", "base", "sft", "generate", "pairs", "rank", "merge", "evaluate"} - {kind}))
    done = micro.run(tmp_path, cold=kind == "base", MEMPHIS_TEST_KILL=f"parent:{kind}")
    assert done.returncode == -signal.SIGKILL
    assert gone(tmp_path)
    if kind == "base":  # ten seconds of work: a child that lived on would have ended it before it was gone
        assert not list(tmp_path.glob("store/base-*/DONE"))
    done = micro.run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert micro.outcome(tmp_path) == micro.outcome(unbroken)


def test_ctrl_c_leaves_a_checkpoint_and_a_line(unbroken: Path, tmp_path: Path) -> None:
    copy(unbroken, tmp_path, "data")
    process = micro.start(tmp_path, "until=base", cold=True, PYTHONUNBUFFERED="1")
    wait_for(lambda: any(rows > 20 for rows in counts(tmp_path, "base")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 85, out + err
    assert "the same command continues" in out
    assert "Traceback" not in err
    parts = list((tmp_path / "store").glob("base-*.part-*/checkpoint"))
    assert len(parts) == 1
    done = micro.run(tmp_path, "until=base")
    assert done.returncode == 0, done.stderr
    mine, whole = micro.outcome(tmp_path), micro.outcome(unbroken)
    assert {key.split("-")[0] for key in mine} == {"data", "base"}
    assert mine == {key: whole[key] for key in mine}


def test_damaged_stage_is_named_set_aside_and_built_again(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "r", symlinks=True)
    root = tmp_path / "r"
    weights = next((root / "store").glob("merge-*/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    done = micro.run(root, **micro.UNTRACKED)
    assert done.returncode == 0, done.stderr
    assert "has 100 bytes, was written with" in done.stdout
    assert "set aside and built again" in done.stdout
    assert len(list((root / "store").glob("merge-*.damaged-*"))) == 1
    assert micro.outcome(root) == micro.outcome(unbroken)


# Three runs that a full disk ends: at the weights, at rows or a checkpoint, at the pages; and two with enough space.
@pytest.mark.timeout(900)
def test_a_full_disk_ends_with_a_line_and_the_same_command_continues(unbroken: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        copy(unbroken, disk.root, "data", "base", "sft", "generate", "pairs")
        process = micro.start(disk.root, "eval=none")
        limit = 300_000  # bytes: less than the weights
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        told_of_a_full_disk(*process.communicate(timeout=300), process.returncode, disk.root)
        process = micro.start(disk.root, "eval=none", MEMPHIS_CHECKPOINT_S="1")
        wait_for(lambda: process.poll() is not None or any(counts(disk.root, "rank")), 300)
        disk.fill()
        told_of_a_full_disk(*process.communicate(timeout=300), process.returncode, disk.root)
        disk.empty()
        done = micro.run(disk.root, "eval=none")
        assert done.returncode == 0, done.stderr
        whole = micro.outcome(unbroken)
        assert micro.outcome(disk.root) == {k: v for k, v in whole.items() if not k.startswith("evaluate-")}
        assert not list((disk.root / "store").glob("**/*.tmp"))
        page = next(disk.root.glob("micro/s0/*/results.md"))
        before = page.read_text()
        page.unlink()
        disk.fill()
        again = micro.run(disk.root, "eval=none")  # nothing to build, only the pages to write
        told_of_a_full_disk(again.stdout, again.stderr, again.returncode, disk.root)
        disk.empty()
        assert micro.run(disk.root, "eval=none").returncode == 0
        assert page.read_text() == before


def told_of_a_full_disk(out: str, err: str, status: int, root: Path) -> None:
    assert status == 1, out + err
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert re.search(r"(no space left on device|file too large) \([\d.]+ [MG]iB free\); free some, or set", lines[0])
    assert str(root) in lines[0]


def test_another_users_root_is_one_line(unbroken: Path, tmp_path: Path) -> None:
    """Run as root without the capabilities to override permissions: an ordinary user who does not own these files."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to make another user's files, and setpriv")
    ordinary = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
    cases = [
        ("not writable", "", 0o755),
        ("not to be entered", "", 0o700),
        ("not readable", "*/model.safetensors", 0o600),
    ]
    for case, theirs, mode in cases:
        root = tmp_path / case
        shutil.copytree(unbroken / "store", root / "store")
        for path in (root / "store").glob(f"sft-*/{theirs}") if theirs else [root / "store"]:
            path.chmod(mode)
            os.chown(path, NOBODY, NOBODY)
        for plan in ("false", "true") if case != "not writable" else ("false",):
            done = micro.run(root, f"plan={plan}", prefix=ordinary)
            assert done.returncode == 1, (case, done.stdout, done.stderr)
            (line,) = done.stderr.splitlines()
            assert "permission denied" in line.lower(), (case, line)
            assert "set runtime.root (or MEMPHIS_RUNS) to a directory you can write to" in line


def test_the_same_command_again_builds_nothing_and_starts_nothing(unbroken: Path, tmp_path: Path) -> None:
    root = tmp_path / "r"
    shutil.copytree(unbroken, root, symlinks=True)
    (run,) = (root / "micro" / "s0").iterdir()

    def lasting() -> dict[Path, int]:
        kept = [*(root / "store").rglob("*"), *run.glob("wandb/**/*"), *run.glob("logs/**/*")]
        return {path: path.lstat().st_mtime_ns for path in kept if path.is_file()}

    before = lasting()
    done = micro.run(root, cold=True, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert "started" not in done.stdout
    assert lasting() == before  # no log of a stage process, no second W&B segment
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
    loaded = set(re.findall(r"\| +(\w+)$", done.stderr, re.M))
    assert "hydra" in loaded
    assert not loaded & {
        "torch",
        "transformers",
        "vllm",
        "lm_eval",
        "wandb",
    }  # they take most of the time of a start


def test_a_new_slerp_factor_reuses_all_before_the_first_merge(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "r", symlinks=True)
    before = {path.parent.name for path in (tmp_path / "r" / "store").glob("*-*/DONE")}
    done = micro.run(tmp_path / "r", "slerp.t=0.5", "plan=true", **micro.UNTRACKED)
    assert re.findall(r"^ *\d+ build +(\S+)", done.stdout, re.M) == ["merge-1", "evaluate-1"]
    assert "slerp.t=0.5, built with 0.99" in done.stdout
    assert {path.parent.name for path in (tmp_path / "r" / "store").glob("*-*/DONE")} == before  # plan builds nothing


EDITS = {  # manual changes to a store, by kind
    "data": lambda path: flip(path / "sft.jsonl"),
    "generate": lambda path: flip(path / "samples.jsonl"),
    "pairs": lambda path: (path / "stage.json").write_text("{ broken"),
    "merge": lambda path: flip(path / "model" / "model.safetensors"),
    "evaluate": lambda path: flip(path / "record.json"),
}


def flip(file: Path) -> None:
    """Change a byte in the middle; keep the size."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_every_edited_stage_is_named_set_aside_and_built_again(unbroken: Path, tmp_path: Path) -> None:
    root = tmp_path / "r"
    shutil.copytree(unbroken, root, symlinks=True)
    edited = [next((root / "store").glob(f"{kind}-*")) for kind in EDITS]
    for path, edit in zip(edited, EDITS.values(), strict=True):
        edit(path)
    done = micro.run(root, **micro.UNTRACKED)
    assert done.returncode == 0, done.stderr
    for path in edited:
        assert len(list(path.parent.glob(f"{path.name}.damaged-*"))) == 1
        assert re.search(rf"(was changed after|cannot be read).* \({path}\); set aside and built", done.stdout)
    assert done.stdout.count("set aside and built again") == len(EDITS)
    assert micro.outcome(root) == micro.outcome(unbroken)


def test_two_sweep_arms_at_the_same_time_build_each_stage_once(unbroken: Path, tmp_path: Path) -> None:
    copy(unbroken, tmp_path, "data", "base", "sft", "generate", "pairs")
    arms = [micro.start(tmp_path, "eval=none", f"slerp.t={t}", **micro.UNTRACKED) for t in (0.5, 0.99)]
    codes = [process.communicate(timeout=300) and process.returncode for process in arms]
    assert codes == [0, 0]
    output = "".join(log.read_text() for log in tmp_path.glob("*/s0/*/logs/*/*.log"))
    tried = Counter(re.findall(r"^stage (\S+)$", output, re.M))
    spared = Counter(re.findall(r"^(\S+): built by another process$", output, re.M))
    built = {name: count - spared[name] for name, count in tried.items()}
    assert sorted(name.split("-")[0] for name in built) == ["merge", "merge", "rank"]
    assert set(built.values()) == {1}


def test_two_runs_that_want_the_same_stages_build_each_once(tmp_path: Path, unbroken: Path) -> None:
    copy(unbroken, tmp_path, "data", "base")
    first = micro.start(tmp_path, **micro.UNTRACKED)
    second = micro.start(tmp_path, "name=other", **micro.UNTRACKED)
    codes = [process.communicate(timeout=300) and process.returncode for process in (first, second)]
    assert codes == [0, 0]
    assert micro.outcome(tmp_path) == micro.outcome(unbroken)
    output = "".join(log.read_text() for log in tmp_path.glob("*/s0/*/logs/*/*.log"))
    assert output.count("is being built by") >= 1
    builders = [path.name for path in (tmp_path / "store").glob("*-*") if (path / "DONE").exists()]
    assert len(builders) == len(set(builders))


def test_another_config_in_the_same_directory_is_refused(half: Path) -> None:
    first = micro.run(half, "until=sft", **micro.UNTRACKED)
    assert first.returncode == 0, first.stderr
    config = next(half.glob("micro/s0/*/config.yaml"))
    config.write_text(config.read_text().replace("t: 0.99", "t: 0.75"))
    done = micro.run(half, "until=sft", "plan=false")
    assert done.returncode == 1
    assert "slerp.t (0.75 then, 0.99 now)" in done.stderr
    assert "name=" in done.stderr


def test_no_pair_at_all_stops_with_counts_and_the_likely_reason(half: Path) -> None:
    done = micro.run(half, "generate.max_new_tokens=3", **micro.UNTRACKED)
    assert done.returncode == 1
    assert "no pair at all in this iteration; almost no sample has a rationale and an answer" in done.stderr
    assert "invalid_unfinished 320" in done.stderr
    assert summary(half)["status"] == "failed"


def test_rank_weights_are_dropped_and_rebuilt_when_they_are_wanted(half: Path, unbroken: Path) -> None:
    done = micro.run(half, "runtime.keep=iterations", "eval=none", **micro.UNTRACKED)
    assert done.returncode == 0, done.stderr
    rank = next((half / "store").glob("rank-*"))
    assert (rank / "THIN").exists()
    assert not (rank / "model").exists()
    done = micro.run(half, "runtime.keep=all", "eval=none", "slerp.t=0.5", **micro.UNTRACKED)  # reads the rank weights
    assert done.returncode == 0, done.stderr
    assert not (rank / "THIN").exists()
    assert len(list((half / "store").glob("merge-*/DONE"))) == 2
    mine = {key: value for key, value in micro.outcome(half).items() if key.startswith("rank-")}
    assert mine == {key: value for key, value in micro.outcome(unbroken).items() if key.startswith("rank-")}


def scores(root: Path) -> Any:
    return summary(root)["scores"]


def summary(root: Path) -> dict[str, Any]:
    return json.loads(next(root.glob("micro/s0/*/summary.json")).read_text())


def run_rows(root: Path) -> list[dict[str, Any]]:
    path = next(root.glob("micro/s0/*/metrics.jsonl"))
    return [micro.curve(json.loads(line)) for line in path.read_text().splitlines()]


def counts(root: Path, kind: str) -> list[int]:
    files = (root / "store").glob(f"{kind}-*.part-*/metrics.jsonl")
    return [file.read_text().count("\n") for file in files if os.access(file, os.R_OK)]


def wait_for(true: Any, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Starts vLLM seven times: repeats with vLLM what the other tests show with the transformers engine.
@pytest.mark.timeout(600)
def test_vllm_killed_in_generation_and_evaluation_gives_the_same_tokens(unbroken: Path, tmp_path: Path) -> None:
    left_alone, broken = tmp_path / "a", tmp_path / "b"
    for root in (left_alone, broken):
        root.mkdir()
        copy(unbroken, root, "data", "base", "sft")
    done = micro.run(left_alone, "generate=vllm", "eval.at=final", **micro.UNTRACKED)
    assert done.returncode == 0, done.stderr
    for kill in ("generate:shard:2", "evaluate:task:2"):
        done = micro.run(broken, "generate=vllm", "eval.at=final", MEMPHIS_TEST_KILL=kill, **micro.UNTRACKED)
        assert "ended by SIGKILL" in done.stderr
    done = micro.run(broken, "generate=vllm", "eval.at=final", **micro.UNTRACKED)
    assert done.returncode == 0, done.stderr
    assert micro.outcome(broken) == micro.outcome(left_alone)
