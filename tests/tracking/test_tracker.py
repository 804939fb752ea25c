"""Tests of the tracker: records read back with W&B's own reader, and no tracking error can hurt a run."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import wandb

from memphis import config
from memphis.errors import Stopped
from memphis.privacy import masked
from memphis.runs import REPOSITORY
from memphis.store import Store
from memphis.tracking import GRACE_SECONDS, Tracker, content, session
from memphis.tracking.content import final_values, sample_rows
from memphis.tracking.sender import MAX_CHARS
from tests.tracking.made_up import (
    BASE,
    DATA,
    GENERATE,
    PAIRS,
    RUN_ID,
    SFT,
    finished_pairs,
    history,
    records,
    row,
    segments,
    stage,
    write_samples,
)

SUMMARY = {
    "wall_s": 12.5,
    "stages": [
        {"name": "sft", "seconds": 3.0, "gpus": 2, "summary": {"tokens": 90}},
        {"name": "generate-1", "seconds": 600.0, "gpus": 0, "summary": {"tokens": 10}},
        {"name": "data", "seconds": None, "gpus": 0, "summary": {}},
    ],
    "scores": [
        {"stage": "evaluate-base", "iteration": 0, "columns": {"word": {"score": 0.9, "stderr": 0.01, "n": 600}}},
        {"stage": "evaluate-sft", "iteration": 0, "columns": {"word": {"score": 0.4, "stderr": 0.02, "n": 600}}},
        {"stage": "evaluate-1", "iteration": 1, "columns": {"word": {"score": 0.5, "stderr": None, "n": 600}}},
        {"stage": "evaluate-2", "iteration": 2, "columns": {"word": {"score": 0.45, "stderr": 0.02, "n": 600}}},
    ],
}


def test_two_attempts_make_one_curve(run_dir, open_tracker):
    training = [row(k, **{"sft/loss": 1 / k, "optim/lr": 1e-4, "perf/mfu": None}) for k in range(1, 7)]
    training[2] |= {"sft/loss": None, "sft/epoch": 0.5, "_nonfinite": ["sft/loss"]}
    pairs = finished_pairs(Store(run_dir.parents[2] / "store"))

    first = open_tracker()
    first.rows(SFT, 0, training[:4])
    first.rows(GENERATE, 0, [{"iteration": 1, "gen/len_mean": 40.0}, {"step": 1, "steps": 2}])
    first.finished(PAIRS, pairs, False)
    first.__exit__(Stopped, Stopped("asked to"), None)
    with open_tracker() as second:
        second.rows(SFT, 0, training)
        for name, values in {
            "pairs-1": {"pairs/count": 5},
            "rank-1": {"rank/margin": 0.1},
            "merge-1": {"merge/t": 0.9},
            "evaluate-1": {"eval/tiny/word/exact_match": 0.5},
        }.items():
            second.rows(stage(name), 0, [{"iteration": 1, "global_step": 6, **values}])
        second.finished(PAIRS, pairs, True)
        second.summary(SUMMARY)

    assert len(segments(run_dir)) == 2
    run = records(run_dir, "run")[1]
    assert (run["run_id"], run["run_group"], run["job_type"]) == (RUN_ID, "slerp_factor", "train")
    assert run["tags"] == ["tiny", "local", "extra"]
    assert run["git"]["commit"] == "c" * 40
    config = run["config"]["update"]
    assert config["slerp"]["t"] == 0.9
    factors = {"slerp_t": 0.9, "rank_weight": 0.25, "iterations": 2, "seed": 7, "scale": "tiny", "method": "memphis"}
    assert {key: config[key] for key in factors} == factors
    assert len(config["config_hash"]) == 16

    items = history(run_dir)
    assert [item["global_step"] for item in items if "optim/lr" in item] == [1, 2, 3, 4, 5, 6]
    assert [item["global_step"] for item in items if "sft/loss" in item] == [1, 2, 4, 5, 6]
    assert items[0].keys().isdisjoint({"step", "steps", "stage", "_t", "perf/mfu"})
    assert [item["iteration"] for item in items if "samples.nrows" in item] == [1]
    found = {key.split("/")[0] for item in items for key in item if "/" in key}
    assert found == {"sft", "optim", "gen", "pairs", "rank", "merge", "eval"}
    table = json.loads(next((run_dir / "wandb").rglob("*.table.json")).read_text())
    assert len(table["data"][1][table["columns"].index("response")]) == MAX_CHARS
    metrics = {m.get("glob_name") or m["name"]: m for m in records(run_dir, "metric")}
    assert metrics["rank/*"]["step_metric"] == "global_step"
    assert metrics["eval/*"]["step_metric"] == "iteration"
    assert all(metrics[name]["options"]["hidden"] for name in content.COUNTERS)
    summary = {key: value for record in records(run_dir, "summary") for key, value in record["update"].items()}
    assert (summary["final/word"], summary["best/iteration"], summary["final/wall_s/sft"]) == (0.45, 1, 3.0)
    assert [record["exit_code"] for record in records(run_dir, "exit")] == [1, 0]
    assert len(records(run_dir, "preempting")) == 1
    sent = json.loads((run_dir / "wandb" / "sent.json").read_text())
    expected = {SFT.directory: 6, GENERATE.directory: 2, f"{PAIRS.directory}/samples": 128, "config": 1}
    expected[f"{PAIRS.directory}/artifact"] = 1
    assert sent == expected | {stage(f"{kind}-1").directory: 1 for kind in ("rank", "merge", "evaluate", "pairs")}


def test_every_thins_training_rows_only(run_dir, open_tracker):
    with open_tracker(every=4) as tracker:
        tracker.rows(SFT, 0, [row(k, **{"sft/loss": 1.0}) for k in range(1, 7)])
        tracker.rows(GENERATE, 0, [{"iteration": 1, "step": k, "steps": 3, "gen/samples": k} for k in range(1, 4)])
    items = history(run_dir)
    assert [item["global_step"] for item in items if "sft/loss" in item] == [4, 6]
    assert [item["gen/samples"] for item in items if "gen/samples" in item] == [1, 2, 3]
    assert {item["iteration"] for item in items} == {0, 1}


def test_planted_secrets_reach_no_file(run_dir, open_tracker, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-api-key-0123456789")
    monkeypatch.setenv("HF_TOKEN", "s3cr3t-hub-token")
    monkeypatch.setenv("SLURM_JWT", "s3cr3t-jwt")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    argv = ["train.py", "data.local.api_key=s3cr3t-argument", "model.path=https://u:s3cr3t-url@h/x"]
    monkeypatch.setattr(sys, "argv", argv)
    hidden = {"password": "s3cr3t-config", "path": "https://s3cr3t-user@host/a?token=s3cr3t-query"}
    planted = {"data": hidden, "note": "uses s3cr3t-hub-token"}
    monkeypatch.setattr(session, "to_dict", lambda cfg: config.to_dict(cfg) | planted)
    wandb.teardown()  # Slurm's variables are read when wandb's service starts
    with open_tracker() as tracker:
        tracker.rows(SFT, 0, [row(1, **{"sft/loss": 1.0})])
    assert os.environ["SLURM_JWT"] == "s3cr3t-jwt"
    assert "WANDB_SERVICE" not in os.environ
    assert "WANDB_DATA_DIR" not in os.environ
    assert sys.argv[1] == "data.local.api_key=s3cr3t-argument"
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cr3t" in path.read_bytes()]
    environment = records(run_dir, "environment")[0]
    assert environment["slurm"] == {"job_id": "4711"}
    assert environment["args"] == ["data.local.api_key=***", "model.path=https://***@h/x"]


def test_masked_leaves_the_recipe_legible(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-false")
    plain = {
        "generate": {"max_new_tokens": 512},
        "rank": {"reduction": "token"},
        "path": "false-false",
        "password": None,
    }
    assert masked(plain) == plain
    assert masked({"runtime": Path("runs"), "auth_token": {"a": 1}, "x": ("a", 1)}) == {
        "runtime": "runs",
        "auth_token": "***",
        "x": ["a", 1],
    }
    assert masked("+s={path: x, hf_token: abc}") == "+s={path: x, hf_token: ***}"


def test_none_imports_no_wandb(run_dir, open_tracker):
    code = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tests.composing import compose_config
from memphis.tracking import Tracker
from tests.tracking.made_up import SFT
with Tracker(compose_config("tracking=none"), SimpleNamespace(path=Path(), info={}, store=None)) as tracker:
    tracker.rows(SFT, 0, [{"sft/loss": 1.0}])
    tracker.summary({})
assert not {"wandb", "torch"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with open_tracker(mode="none") as tracker:
        tracker.rows(SFT, 0, [row(1, **{"sft/loss": 1.0})])
    assert not (run_dir / "wandb").exists()


def test_unwritable_directory_gives_one_warning(run_dir, open_tracker, capsys):
    (run_dir / "wandb").write_text("in the way")
    with open_tracker() as tracker:
        for _ in range(3):
            tracker.rows(SFT, 0, [row(1, **{"sft/loss": 1.0})])
    tracker.rows(SFT, 1, [row(2, **{"sft/loss": 1.0})])
    tracker.close(0)
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1
    assert output[0].startswith("tracking: off, the run goes on: ")


def test_failure_on_the_way_gives_one_warning(open_tracker, capsys):
    with open_tracker() as tracker:
        tracker.finished(PAIRS, {"reads": {"data": "x", "samples": "y"}}, False)  # its files do not exist
        tracker.rows(SFT, 0, [row(1, **{"sft/loss": 1.0})])
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1
    assert output[0].startswith("tracking: off, the run goes on: FileNotFoundError")


def test_no_key_and_no_server_record_offline(run_dir, open_tracker, monkeypatch, capsys):
    with open_tracker(mode="wandb"):
        pass
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1
    assert "no W&B key" in output[0]

    monkeypatch.setattr(session, "INIT_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    handed_over = threading.Event()
    open_run = session.open_run

    def late(*arguments):
        assert handed_over.wait(60)  # the run did not wait for this
        return open_run(*arguments)

    monkeypatch.setattr(session, "open_run", late)
    with open_tracker(mode="wandb") as tracker:
        tracker.rows(SFT, 0, [row(1, **{"sft/loss": 1.0})])
        handed_over.set()
    assert "recording offline" in capsys.readouterr().err
    assert [item["sft/loss"] for item in history(run_dir)] == [1.0]


def test_close_does_not_wait_for_ever(open_tracker, monkeypatch, capsys):
    monkeypatch.setattr(session, "FINISH_SECONDS", 0.1 - GRACE_SECONDS)
    released = threading.Event()
    monkeypatch.setattr(Tracker, "_open", lambda self: released.wait(300))
    tracker = open_tracker()
    tracker.close(0)
    assert tracker._thread.is_alive()
    assert "did not answer in time" in capsys.readouterr().err
    released.set()
    tracker._thread.join()


def test_sample_rows_take_the_same_questions_every_time(tmp_path):
    store = Store(tmp_path)
    ids = write_samples(store, 100)
    rows = sample_rows(store.path(DATA), store.path(GENERATE), store.path(PAIRS), 2)
    assert {row["question_id"] for row in rows} == content.fixed_choice(ids) == content.fixed_choice(ids[::-1])
    assert len(rows) == 2 * content.QUESTIONS
    assert [row["tokens"] for row in rows[:2]] == [5, 2]
    assert [row["pair_role"] for row in rows[:2]] == ["chosen", ""]
    assert [row["correct"] for row in rows[:2]] == [True, None]
    assert set(rows[0]) == set(content.SAMPLE_COLUMNS)
    assert rows[0]["question"] == f"prompt {rows[0]['question_id']}"


def test_final_values():
    assert final_values({"scores": []}) == {}
    values = final_values(SUMMARY)
    assert values["final/word_se"] == 0.02
    assert values["best/word"] == 0.5  # the base model's 0.9 does not count
    assert "best/word_se" not in values
    assert "final/wall_s/data" not in values
    assert values["final/gpu_hours"] == 6 / 3600
    assert values["final/tokens_total"] == 100


def test_what_lies_before_the_axes_of_the_run_has_names_of_its_own():
    before = content.values(BASE, row(3, "base", **{"base/loss": 2.0, "optim/lr": 0.1}), 1)
    assert before == {"base/loss": 2.0, "base/optim/lr": 0.1, "base/step": 3}
    counters = {"iteration": 0, "global_step": 0, "tokens": 0}
    scored = {**counters, "eval/tiny/word/acc": 0.5}
    assert content.values(stage("evaluate"), scored, 1) == scored
    base = replace(stage("evaluate"), name="evaluate-base")
    assert content.values(base, scored, 1) == {**counters, "eval_base/tiny/word/acc": 0.5}
    assert content.values(BASE, {"step": 1, "steps": 2}, 1) == {}


def test_the_group_is_what_was_asked_for_else_the_sweep_else_the_name(composed):
    chosen = replace(composed, tracking=replace(composed.tracking, group="mine"))
    swept = {"overrides": ["+sweep=rank_weight", "sweep=iterations", "seed=1"]}
    assert content.group(chosen, swept) == "mine"
    assert content.group(composed, swept) == "rank_weight+iterations"
    assert content.group(composed, {"overrides": ["seed=1"]}) == "tiny"
