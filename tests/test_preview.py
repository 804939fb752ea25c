"""Tests of what a plan says of a model and of rows on this disk, and of runs that are refused for what it would say."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from memphis import REPOSITORY
from memphis.engine import launch, plan, preview
from memphis.engine.cost import Costs
from memphis.engine.preview import NOTHING, Preview
from memphis.errors import MemphisError
from memphis.recipe import recipe
from memphis.stages import preview as child
from memphis.store import Stage, Store, finish, read_json, write_json
from memphis.store.claims import Claim
from memphis.training import step_size
from memphis.training.tensors import stored_tensors
from memphis.training.verdict import Verdict
from tests.composing import compose_config
from tests.micro import environment
from tests.offline import planned, train
from tests.tiny_models import write_bloom, write_model

NONE = {"auto": None, "padded": None, "error": None, "reason": "rows differ by 3 nats"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two models and rows: 40, of which one is bad and one is too long for 512 tokens."""
    path = tmp_path_factory.mktemp("files")
    write_model(path / "model", 0)
    write_bloom(path / "bloom")
    rows = [
        {"question": f"Q: {i} pens?", "rationale": f"So it has {i} pens. " * (1 + i % 3), "answer": str(i)}
        for i in range(40)
    ]
    rows[3]["answer"], rows[5]["rationale"] = " ", "long " * 300
    write(path / "rows.jsonl", rows)
    misnamed = [{"reasonning" if key == "rationale" else key: row[key] for key in row} for row in rows]
    write(path / "misnamed.jsonl", misnamed)
    return path


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return an empty store. What a plan asks a child process is done in this one; a test starts the real one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        folder = Path(command[-1])
        write_json(folder / "found.json", child.preview(read_json(folder / "request.json"), folder))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(preview.subprocess, "run", run)
    made = Store(tmp_path / "store")
    made.create()
    return made


def words(files: Path, model: str = "model", rows: str = "rows.jsonl") -> tuple[str, ...]:
    local = (f"model.path={files / model}", "data=local", f"data.path={files / rows}")
    return ("model=hf", *local, "sft.max_length=512", "eval=none", "runtime.device=cpu")


def asked(store: Store, *overrides: str) -> tuple[str, Preview]:
    """Return what the plan prints, and raise what it refuses."""
    cfg = compose_config(*overrides)
    steps = plan.make_plan(recipe(cfg, store.root / "identities.json"), store)
    found = plan.examine(cfg, steps, store)
    text = plan.describe(cfg, steps, store, found)
    plan.check(cfg, steps, store, found)
    return text, found


def refused(store: Store, *overrides: str) -> str:
    with pytest.raises(MemphisError) as fault:
        asked(store, *overrides)
    return str(fault.value)


def built(store: Store, stage: Stage, **summary: Any) -> None:
    claim = Claim(store.publish(stage))
    assert claim.acquire(lambda: False)
    finish(claim, stage.spec(), summary, 0.1, {})
    claim.release()


def stages_of(store: Store, *overrides: str) -> dict[str, Stage]:
    return {stage.name: stage for stage in recipe(compose_config(*overrides), store.root / "identities.json")}


def test_held_out_rows_and_a_checkpoint_that_is_base_and_sft_are_examined(store: Store, files: Path) -> None:
    held = f"data.sources.local.heldout={files / 'rows.jsonl'}"
    text = refused(store, *words(files), held, f"sft.from={files / 'model'}", "until=sft")
    assert "data.sources.local: all 39 rows are held out" in text


def test_a_run_records_the_verdict_rows_tokens_and_steps_that_its_plan_said(files: Path, tmp_path: Path) -> None:
    """Compare exactly: rows and tokens are counted by the stages' own code."""
    typed = (*words(files), "until=sft", "model.dtype=float32")
    before = planned(tmp_path, *typed, "plan=true")
    assert before.returncode == 0, before.stderr
    assert not list(tmp_path.iterdir())  # the command leaves no files
    done = train(tmp_path, *typed, forked=True)
    assert done.returncode == 0, done.stderr
    data, base, sft = (read_json(next(tmp_path.glob(f"store/{kind}-*/stage.json"))) for kind in ("data", "base", "sft"))
    examples = sft["summary"]["examples"]
    assert (data["summary"]["rows"], examples["kept"], examples["dropped_overlong"]) == (39, 38, 1)
    longest = f"39 rows, 38 examples of {examples['tokens']:,} tokens in stage sft, the longest has"
    assert f"data.sources.local: {longest}" in before.stdout
    verdict = base["summary"]["packing"]
    said = f"model: {files / 'model'}: trained with {verdict['auto']} rows, off the model's own by at most "
    assert said in before.stdout
    row = f"{'sft':15}{38:>12}{sft['summary']['tokens']:>12,}{sft['summary']['steps']:>9}"
    assert row in before.stdout  # no ~: these are counted
    again = planned(tmp_path, *typed, "plan=true")
    assert row in again.stdout
    assert said in again.stdout  # now from the record


def test_the_size_of_a_checkpoint_is_read_from_its_files(store: Store, files: Path) -> None:
    for name in ("model", "bloom"):  # the second has other names in config.json than most
        cfg = compose_config(*words(files, name), "until=sft")
        stages = recipe(cfg, store.root / "identities.json")
        tensors = stored_tensors(files / name).values()
        assert plan.model_bytes(cfg, stages, store) == sum(tensor.stop - tensor.start for tensor in tensors)
        assert plan.disk_need(cfg, plan.make_plan(stages, store), store)
        assert Costs(cfg, stages, stages, store).of(stages[0]).hours is None
    text, _ = asked(store, *words(files, "bloom"))
    assert "memory: unknown, config.json names no dimensions known here" in text
    assert "disk: unknown" not in text
    assert " here, of which each trains 30 and samples 12 GFLOP/s, as in the laptop run (not measured here)" in text
    sft = next(line for line in text.splitlines() if line.startswith("sft  "))
    assert "~0.00" in sft  # hours, though there is no GPU and the shape is unknown


def test_a_model_whose_rows_cannot_be_packed_is_said_to_be_padded_or_refused(store: Store, files: Path) -> None:
    text, _ = asked(store, *words(files, "bloom"))
    assert f"model: {files / 'bloom'}: trained with padded rows, off the model's own by at most " in text
    assert "(packed rows differ from the model's own by " in text
    fault = refused(store, *words(files, "bloom"), "model.packing=packed")
    assert fault.startswith("model.packing=packed: this model cannot be trained so: packed rows differ")
    asked(store, *words(files, "bloom"), "model.packing=packed", "until=base")  # nothing is trained


def test_misnamed_columns_are_refused_by_name_with_the_file(store: Store, files: Path) -> None:
    fault = refused(store, *words(files, rows="misnamed.jsonl"))
    for part in (
        f"data.sources.local: {files / 'misnamed.jsonl'}[train]: no column for 'rationale'",
        "Found: question (string), reasonning (string), answer (string)",
        "set 'data.sources.local.columns.rationale=[<name>]'",
    ):
        assert part in fault
    asked(store, *words(files, rows="misnamed.jsonl"), "data.sources.local.columns.rationale=[reasonning]")
    assert asked(store, *words(files, rows="misnamed.jsonl"), "method=none")[1].sources == {}  # nothing reads them
    assert "none of 39 rows is left" in refused(store, *words(files), "sft.max_length=8")


def test_a_bad_checkpoint_is_refused_as_stage_base_would(store: Store, files: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "bad", 0)
    config = json.loads((tmp_path / "bad" / "config.json").read_text())
    (tmp_path / "bad" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    fault = refused(store, *words(tmp_path, "bad")[:2], *words(files)[2:])
    assert fault.startswith(f"model.path={tmp_path / 'bad'}: 11 tensors (")
    assert "missing that config.json asks for; config.json and weights do not belong together" in fault
    assert "\n" not in fault
    (tmp_path / "bad" / "model.safetensors").write_bytes(bytes(100))
    assert "its header is damaged" in refused(store, *words(tmp_path, "bad")[:2], *words(files)[2:])
    write_model(tmp_path / "endless", 0)
    (tmp_path / "endless" / "generation_config.json").write_text('{"eos_token_id": [0, 12345]}')
    fault = refused(store, *words(tmp_path, "endless")[:2], *words(files)[2:])
    assert "generation_config.json has eos_token_id=12345, but the embedding has " in fault
    write_model(tmp_path / "mute", 0)
    for file in (tmp_path / "mute").glob("token*"):
        file.unlink()
    assert "no tokenizer could be loaded" in refused(store, *words(tmp_path, "mute")[:2], *words(files)[2:])


def test_a_model_of_the_hub_is_decided_in_stage_base(
    store: Store, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("model=hf", "model.path=a/b", *words(files)[2:])
    text, found = asked(store, *typed)
    assert "model: a/b@main: whether its rows are packed or padded is decided in stage base" in text
    rows = found.rows["local"]
    assert (rows.rows, rows.examples, rows.exact, rows.longest) == (39, 39, False, None)
    characters = sum(map(len, (files / "rows.jsonl").read_text().splitlines()))
    assert rows.tokens == pytest.approx(characters / 4, rel=0.25)  # a guess without the tokenizer: four to a token
    monkeypatch.setattr(preview.subprocess, "run", lambda *_, **__: pytest.fail("nothing local is asked"))
    asked(store, "model=hf", "model.path=a/b", "data=local", "data.path=c/d", "eval=none", "runtime.device=cpu")
    asked(store)


def test_a_model_in_the_cache_is_examined_and_no_reason_to_refuse(
    store: Store, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache lacks may be downloaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as in the child process
    commit, cache = "a" * 40, tmp_path / "hub" / "models--a--b"
    shutil.copytree(files / "model", cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    typed = ("model=hf", "model.path=a/b", *words(files)[2:], "until=sft")
    text, found = asked(store, *typed)
    assert "model: a/b@main: trained with packed rows, off the model's own" in text
    assert found.rows["local"].exact
    assert "unknown" not in text
    (cache / "snapshots" / commit / "model.safetensors").write_bytes(bytes(100))
    text, _ = asked(store, *typed)
    assert "model: a/b@main: whether its rows are packed or padded is decided in stage base" in text
    assert "MiB of weights at the peak" in text  # by config.json


def test_the_tokens_of_many_rows_are_estimated_from_a_sample(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asked(store, *words(files))[1].rows["local"]
    monkeypatch.setattr(child, "SAMPLE", 13)
    text, found = asked(store, *words(files))
    rows = found.rows["local"]
    assert not rows.exact
    assert (rows.rows, rows.examples) == (39, pytest.approx(whole.examples, abs=3))
    assert rows.tokens == pytest.approx(whole.tokens, rel=0.25)
    assert f"39 rows, about {rows.examples} examples of {rows.tokens:,} tokens" in text
    assert "~" in next(line for line in text.splitlines() if line.startswith("sft  "))


def test_a_context_that_is_too_short_is_said(store: Store, files: Path) -> None:
    typed = ("model=hf", *words(files)[1:4], "runtime.device=cpu", "sft.max_length=4096", "until=evaluate")
    text, found = asked(store, *typed, "eval=current", "generate.max_new_tokens=500")
    longest, prompt = found.rows["local"].longest, found.rows["local"].longest_prompt
    assert longest is not None
    assert prompt is not None
    assert longest > 512 > prompt + 100
    says = "context: the model has 512 tokens; "
    for line in (
        f"{says}suite current needs about 3,000; it is refused, or eval.allow_truncated=true",
        f"{says}a question of {prompt} and generate.max_new_tokens=500 do not fit: answers are cut",
        f"{says}a row of stage sft has {longest:,}: lower sft.max_length=4096",
    ):
        assert line in text.splitlines()
    text, _ = asked(store, *words(files), "generate.max_new_tokens=100")
    assert "context:" not in text
    others = ("data=local", "data.path=c/d", "eval=none", "runtime.device=cpu", "until=sft")
    text, _ = asked(store, "model=hf", f"model.path={files / 'model'}", *others, "sft.max_length=4096")
    assert f"{says}rows of stage sft may have more: lower sft.max_length=4096" in text


def test_a_model_that_cannot_be_trained_is_refused_once_its_verdict_is_known(store: Store, files: Path) -> None:
    stages = stages_of(store, *words(files))
    built(store, stages["base"], packing=NONE)
    reason = "model.packing=auto: this model cannot be trained so: rows differ by 3 nats"
    text = plan.describe(compose_config(*words(files)), plan.make_plan(list(stages.values()), store), store, NOTHING)
    assert f"model: {files / 'model'}: cannot be trained: rows differ by 3 nats" in text
    assert refused(store, *words(files)) == reason
    asked(store, *words(files), "method=none", "until=base")  # it can be evaluated
    beyond = {**NONE, "auto": "packed", "padded": "padded", "error": 1e-6, "boundary": 100, "beyond": NONE}
    rows = preview.Rows(39, [], 38, 3000, True, 101, 9)
    found = Preview({stages["base"].key: Verdict(**{**beyond, "beyond": Verdict(**NONE)})}, {"local": rows})  # type: ignore[arg-type]
    chain = list(stages.values())
    with pytest.raises(MemphisError, match="rows differ by 3 nats"):
        preview.check(chain, chain, store, found)
    preview.check(chain, [stages["rank-1"]], store, found)


@pytest.mark.parametrize("known", [True, False])
def test_a_run_is_refused_before_anything_is_generated(
    store: Store, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Without SFT the first trained stage is rank-1, after generate-1."""
    cfg = compose_config(*words(files), "sft.from=base", "generate=hf")
    stages = recipe(cfg, store.root / "identities.json")
    base = next(stage for stage in stages if stage.name == "base")
    ran: list[str] = []

    def run_job(job: list[Stage], *_: Any) -> None:
        for stage in job:
            ran.append(stage.name)
            built(store, stage, **({"packing": NONE} if stage.name == "base" else {"rows": 1}))

    monkeypatch.setattr(launch, "_run_job", run_job)
    if known:
        built(store, base, packing=NONE)
    with pytest.raises(MemphisError, match="this model cannot be trained so: rows differ by 3 nats"):
        launch.execute(cfg, stages, plan.make_plan(stages, store), store, tmp_path, [])
    assert ran == ([] if known else ["data", "base"])


def test_interrupted_it_ends_without_a_traceback_and_leaves_nothing(files: Path, tmp_path: Path) -> None:
    line = [sys.executable, str(REPOSITORY / "train.py"), "plan=true", "eval=none", *words(files)]
    env = environment(tmp_path / "runs", TMPDIR=str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    run = subprocess.Popen(line, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not psutil.Process(run.pid).children():
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=100)
    assert (run.returncode, errors.splitlines()) == (130, ["interrupted"])
    assert not list((tmp_path / "tmp").glob("memphis-plan-*"))


def test_learning_rate_and_largest_step_are_printed_and_too_large_ones_refused(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = asked(store, *words(files), "sft.global_batch_size=3", "iterations=1")
    assert "steps of sft: lr 2.9e-06, derived from 26 steps; peak relative step 5.0e-04, 1 times" in text
    assert "steps of rank-1: estimated: lr 2e-06 in " in text
    small = (*words(files), "sft=tiny", "sft.global_batch_size=3", "until=sft")
    text, _ = asked(store, *small)  # a tiny model
    assert "steps of sft: lr 0.0002 in 52 steps; peak relative step 2.8e-02, 56 times the card's 5.0e-04" in text
    monkeypatch.setattr(step_size, "WEIGHTS", 1000)
    assert refused(store, *small).startswith(
        "sft.optim.lr=0.0002: the peak relative step of stage sft is 2.8e-02 in 52"
    )
    asked(store, *small, "sft.optim.allow_large_steps=true")
    asked(store, *words(files), "sft.global_batch_size=3")
    hub = ("model=lima2_7b", "sft=tiny", "data=local", "data.path=c/d", "eval=none", "runtime.device=cpu")
    assert "if it has 694 steps, as the card's" in refused(store, *hub)
    asked(store, *words(files), "sft=tiny", "method=none", "until=base")  # nothing is trained
