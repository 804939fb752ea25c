"""Tests of the data stage and train.py on the four sources of the card's recipe, and on a user's own rows."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from memphis.config import Config
from memphis.config.forms import parse
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.pipeline import KINDS
from memphis.recipe import recipe
from memphis.runs import REPOSITORY
from memphis.stages import data
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import Stage, read_json
from tests import made_up
from tests.composing import compose_config
from tests.hub import lines, put_dataset, reddit, write_lines

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = {"prompt": "1 + 1?", "rationale": "1 + 1 = 2", "answer": "2"}


def stage_of(cfg: Config, tmp_path: Path) -> Stage:
    return recipe(cfg, tmp_path / "identities.json")[0]


def run(cfg: Config, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    stage = stage_of(cfg, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    context = Context("data", {}, stage.seed or 0, 0, stage.places, out, Worker(Runtime("cpu", 1, 64)))
    return data.run(context, parse(KINDS["data"].form, stage.config)), out


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    fixed = ["until=data", "tracking=none", "runtime=laptop", f"runtime.root={folder / 'runs'}"]
    command = [sys.executable, str(REPOSITORY / "train.py"), *overrides, *fixed]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def fill(cache: Path, shared: Path | None, cfg: Config) -> int:
    """Write the four data sets of the card to a hub cache; return the number of rows that reddit's stand-in keeps.

    shared: None = all rows are made up.
    """
    rows, kept = reddit(400)
    samples = {"tinycot": made_up.tinycot(360), "scicot": made_up.scicot(40), "oasst2": made_up.oasst(20)}
    if shared is not None:
        folders = {"tinycot": "tinycot_sample", "scicot": "scicot_sample", "oasst2": "oasst_sample"}
        samples = {name: lines(shared / "data" / folder / "train.jsonl") for name, folder in folders.items()}
    samples["reddit"] = rows
    for name, source in cfg.data.sources.items():
        put_dataset(cache, source.path, COMMIT if source.revision == "main" else source.revision, samples[name])
    return kept


def test_the_four_sources_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cfg = compose_config("+exp=memphis_cot", "data.sources.reddit.limit=200")
    kept = fill(cache, None, cfg)
    summary, out = run(cfg, tmp_path)
    rows, questions, counts = (
        read_rows(out / "sft.jsonl"),
        read_rows(out / "questions.jsonl"),
        read_json(out / "counts.json"),
    )
    assert {name: found["kept"] for name, found in counts.items()} == {
        "tinycot": 360, "scicot": 40, "reddit": 200, "oasst2": 20,
    }  # fmt: skip
    assert counts["reddit"]["dropped_limit"] == kept - 200
    assert sum(counts["reddit"].values()) == 2 * 400  # rows = kept + dropped
    assert (summary["rows"], summary["questions"]) == (len(rows), len(questions)) == (620, 360)
    assert {row["id"].split("/")[0] for row in questions} == {"tinycot"}
    assert set(questions[0]) == {"id", "source", "prompt", "rationale", "answer"}
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["kind"] for row in rows} == {"cot", "instruct", "chat"}
    metrics = read_rows(out / "metrics.jsonl")[0]
    for name, found in counts.items():
        for key, value in found.items():
            assert metrics[f"data/{name}/{key}"] == value
    assert summary["revisions"]["scicot"] == COMMIT  # the branch, resolved
    assert summary["revisions"]["tinycot"] == cfg.data.sources["tinycot"].revision
    assert summary["human"] == {
        "rows": {"true": 260, "mixed": 360, "generated": 0},
        "sources": {
            name: {"human": cfg.data.sources[name].human, "rows": found["kept"]} for name, found in counts.items()
        },
    }
    assert len(summary["warnings"]) == 4
    assert "data.sources.tinycot" in summary["warnings"][0]
    assert "27676" in summary["warnings"][0]
    names = {"sft.jsonl", "questions.jsonl", "counts.json", "metrics.jsonl"}
    assert {file.name for file in out.iterdir()} == names


@pytest.mark.slow
def test_the_card_through_train_without_a_network(tmp_path: Path, shared: Path) -> None:
    cfg = compose_config("+exp=memphis_cot")
    fill(tmp_path / "hub", shared, cfg)
    done = train(tmp_path, "+exp=memphis_cot", "data.sources.reddit.limit=200")
    assert done.returncode == 0, done.stderr[-500:]
    (record,) = [read_json(file) for file in (tmp_path / "runs" / "store").glob("data-*/stage.json")]
    assert record["summary"]["rows"] == 5897
    assert record["external"]["scicot"] == "euclaise/SciCoT@main"
    assert record["summary"]["revisions"]["scicot"] == COMMIT
    told = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert told == [f"warning: {text}" for text in record["summary"]["warnings"]]
    assert len(told) == 4
    done = train(tmp_path, "+exp=memphis_cot", "data.sources.tinycot.revision=v2")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if "data.sources.tinycot.revision" in line]
    assert len(told) == 1
    assert "euclaise/TinyCoT at revision v2 is not, or not wholly, in the cache" in told[0]


@pytest.mark.slow
def test_ones_own_rows(tmp_path: Path) -> None:
    write_lines(tmp_path / "my.jsonl", [GOOD, GOOD, {**GOOD, "source": "me"}])
    done = train(tmp_path, "data=local", "data.path=my.jsonl", "eval=none")
    assert done.returncode == 0, done.stderr[-500:]
    (out,) = (tmp_path / "runs" / "store").glob("data-*")
    rows = read_rows(out / "sft.jsonl")
    assert rows[2] == {"id": "local/2", "source": "me", "kind": "cot", **GOOD}
    assert [row["id"] for row in read_rows(out / "questions.jsonl")] == ["local/0", "local/1", "local/2"]
    assert read_json(out / "counts.json") == {"local": {"rows": 3, "kept": 3}}


def test_rows_of_programs_and_models_are_generated(tmp_path: Path) -> None:
    sizes = [
        f"data.sources.tiny.{name}={number}"
        for name, number in {"train": 5, "questions": 9, "dev": 2, "test": 2}.items()
    ]
    (tmp_path / "tiny").mkdir()
    summary, _ = run(compose_config("eval=none", *sizes), tmp_path / "tiny")
    assert summary["human"] == {
        "rows": {"true": 0, "mixed": 0, "generated": 9},
        "sources": {"tiny": {"human": "generated", "rows": 9}},
    }
    place = write_lines(tmp_path / "my.jsonl", [GOOD, {**GOOD, "prompt": "2 + 2?"}])
    local = ("data=local", f"data.path={place}", "eval=none", "data.sources.local.human=generated")
    assert run(compose_config(*local), tmp_path)[0]["human"]["rows"] == {"true": 0, "mixed": 0, "generated": 2}


def test_the_key_has_the_configuration_where_one_is_chosen(tmp_path: Path) -> None:
    local = ("data=local", "data.path=owner/rows", "eval=none")
    plain, main = (
        stage_of(compose_config(*local, *more), tmp_path) for more in ((), ("data.sources.local.config=main",))
    )
    assert "config" not in plain.config["sources"]["local"]
    assert main.config["sources"]["local"]["config"] == "main"
    assert main.key != plain.key


def test_held_out_rows_of_a_table_and_of_the_same_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        for split in ("train", "test"):
            write_lines(folder / name / f"{split}.jsonl", [{**GOOD, "prompt": f"{name} {split}?"}])
    card = [
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {name}/{split}.jsonl}}\n" for split in ("train", "test"))
        for name in ("one", "two")
    ]
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(card) + "---\n")
    local = ("data=local", f"data.path={folder}", "eval=heldout", "data.sources.local.config=two")
    _, out = run(compose_config(*local, "data.sources.local.heldout=test"), tmp_path)
    assert [row["prompt"] for row in read_rows(out / "sft.jsonl")] == ["two train?"]
    assert [row["prompt"] for row in read_rows(out / "heldout.jsonl")] == ["two test?"]
    place = tmp_path / "apart.csv"
    place.write_text("prompt,rationale,answer\nfrom a table?,r,007\n")
    (tmp_path / "b").mkdir()
    cfg = compose_config(*local, f"data.sources.local.heldout={place}")
    assert str(place) not in str(stage_of(cfg, tmp_path).config)  # its content is in the key, as an external input
    _, out = run(cfg, tmp_path / "b")
    assert [row["answer"] for row in read_rows(out / "heldout.jsonl")] == ["007"]


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    def key(file: str, *overrides: str) -> str:
        return stage_of(
            compose_config("data=local", f"data.path={tmp_path / file}", "eval=none", *overrides), tmp_path
        ).key

    write_lines(tmp_path / "a.jsonl", [GOOD])
    write_lines(tmp_path / "b.jsonl", [GOOD])
    write_lines(tmp_path / "c.jsonl", [GOOD, GOOD])
    assert key("a.jsonl") == key("b.jsonl") != key("c.jsonl")
    assert key("a.jsonl") != key("a.jsonl", "data.sources.local.columns.answer=[label]")
    assert key("a.jsonl") != key("a.jsonl", "data.min_rationale_chars=5")
    with pytest.raises(MemphisError, match=r"my/none.jsonl': no such file or directory"):
        stage_of(compose_config("data=local", "data.path=my/none.jsonl", "eval=none"), tmp_path)
