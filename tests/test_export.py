"""Tests of the directory for publishing: its card lists what the model was made from, and nothing about the machine."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from memphis.recipe import recipe
from memphis.runs import Run, export
from memphis.store import Store, write_json
from tests.composing import compose_config
from tests.tiny_models import write_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = ["+exp=memphis_cot", "iterations=1", "tracking=none"]
COLUMN = {"title": "GSM8K", "metric": "exact_match", "filter": "strict-match", "shots": 5, "n": 1319, "score": 0.188, "stderr": 0.0108}  # fmt: skip


def finished(root: Path, *overrides: str, argv: tuple[str, ...] = ()) -> Run:
    """Write a run with all stages finished: records as the stages write them, and a random model at its end."""
    cfg = compose_config(*overrides, f"runtime.root={root}")
    store = Store(root / "store")
    store.create()
    stages = recipe(cfg, root / "identities.json")
    summaries: dict[str, dict[str, Any]] = {
        "data": {"revisions": {name: COMMIT for name in cfg.data.sources if "@" in str(stages[0].external.get(name))}},
        "base": {"revision": COMMIT if cfg.model.path and not Path(cfg.model.path).exists() else None},
        "sft": {"steps": 10, "tokens": 2000},
        "pairs": {"pairs": 321, "pass@1": 0.25},
        "rank": {"steps": 3, "tokens": 400},
        "evaluate": {"columns": {"card/gsm8k": COLUMN}},
    }
    for stage in stages:
        path = store.path(stage)
        path.mkdir()
        write_json(path / "stage.json", {"outputs": {}, "summary": summaries.get(stage.kind, {}), "seconds": 1.0})
        (path / "DONE").touch()
        if stage.kind == "data":
            write_json(path / "counts.json", {name: {"rows": 9, "kept": 7} for name in cfg.data.sources})
    last = [stage for stage in stages if stage.kind in ("base", "sft", "rank", "merge")]
    for stage in last[-1:]:
        write_model(store.path(stage) / "model", 0)
    run = Run(cfg, list(overrides), stages, store)
    run.info["argv"] = ["train.py", *(argv or overrides)]
    return run


def front_of(path: Path) -> dict[str, Any]:
    text = (path / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(front, dict)
    return front


def test_the_card_of_the_cards_recipe(tmp_path: Path) -> None:
    out = export.write(finished(tmp_path, *CARD))
    assert out is not None
    front = front_of(out)
    assert front["base_model"] == "stabilityai/stablelm-3b-4e1t"
    assert front["datasets"] == [
        "euclaise/TinyCoT",
        "euclaise/reddit-instruct",
        "sablo/oasst2_curated",
        "euclaise/SciCoT",
    ]
    assert front["license"] == "cc-by-nc-3.0"
    assert {"language", "library_name", "tags", "metrics", "model-index"} <= set(front)
    (result,) = ModelCard.load(out / "README.md").data.eval_results  # as the hub reads it
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("GSM8K", "exact_match", 18.8)
    assert result.metric_args == {"n": 1319, "stderr": 1.08}
    text = (out / "README.md").read_text(encoding="utf-8")
    for part in (
        "18.8 ± 1.1",
        "python train.py +exp=memphis_cot iterations=1\n",
        COMMIT,
        "mixce: 0.75",
        "t: 0.99",
        "321",
    ):
        assert part in text, part
    assert f"| euclaise/SciCoT | {COMMIT} | 7 | true | cc-by-nc-3.0 |" in text
    assert (
        "28 rows; by people (true) 21, with a model in the loop (mixed) 7, by a model or a program (generated) 0."
        in text
    )
    assert "generation_config.json" in {file.name for file in out.iterdir()}


def test_what_is_not_there_is_not_claimed(tmp_path: Path) -> None:
    tiny = export.write(finished(tmp_path / "a", "iterations=1", "eval=none")) or tmp_path
    front = front_of(tiny)
    text = (tiny / "README.md").read_text(encoding="utf-8")
    assert "| tiny | – | 7 | generated: word problems | apache-2.0 |" in text
    assert (
        "7 rows; by people (true) 0, with a model in the loop (mixed) 0, by a model or a program (generated) 7." in text
    )
    assert not {"base_model", "datasets", "metrics", "model-index"} & set(front)
    assert front["license"] == "apache-2.0"  # generated problems
    free = front_of(export.write(finished(tmp_path / "b", "+exp=memphis_cot_no_scicot", "iterations=1")) or tmp_path)
    assert (free["license"], free["license_name"]) == ("other", "unknown")  # TinyCoT's parts keep their licenses
    checkpoint = write_model(tmp_path / "sft", 0)
    only = export.write(finished(tmp_path / "c", *CARD, f"sft.from={checkpoint}")) or tmp_path
    assert front_of(only)["datasets"] == ["euclaise/TinyCoT"]  # the other sources train no stage here
    assert "a local checkpoint (sha256" in (only / "README.md").read_text(encoding="utf-8")


def test_what_only_says_how_long_to_train_is_no_ingredient(tmp_path: Path) -> None:
    out = export.write(finished(tmp_path, "method=sft_continued", "iterations=1", "eval=none")) or tmp_path
    assert "self-teaching" not in front_of(out)["tags"]
    assert "rank" not in (out / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("overrides", [["method=none"], ["until=sft"], ["until=data"]])
def test_nothing_to_publish(tmp_path: Path, overrides: list[str]) -> None:
    assert export.write(finished(tmp_path, *overrides)) is None


def test_neither_secrets_nor_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh12345678")
    rows = tmp_path / "somewhere" / "my rows.jsonl"
    rows.parent.mkdir()
    rows.write_text(json.dumps({"prompt": "a", "rationale": "b", "answer": "c"}) + "\n")
    checkpoint = write_model(tmp_path / "somewhere" / "base", 0)
    typed = ["data=local", "model=hf", f"data.path={rows}", f"model.path={checkpoint}", "eval=none", "iterations=1",
             f"data.sources.local.note=from {rows} with hf_abcdefgh12345678"]  # fmt: skip
    typed = [item if "note" not in item else f"+{item}" for item in typed]
    argv = (*typed, f"runtime.root={tmp_path}", "tracking.entity=me", "name=x")
    text = ((export.write(finished(tmp_path / "r", *typed, argv=argv)) or tmp_path) / "README.md").read_text("utf-8")
    for part in (str(tmp_path), "somewhere", "hf_abcdefgh", "tracking", "runtime", os.uname().nodename):
        assert part not in text, part
    assert "name=x" in text
    assert "rows.jsonl" in text


def test_weights_take_no_second_place_and_the_rest_is_a_copy(tmp_path: Path) -> None:
    run = finished(tmp_path, "iterations=1", "eval=none")
    out = export.write(run) or tmp_path
    (source,) = tmp_path.glob("store/merge-*/model")
    assert (out / "model.safetensors").samefile(source / "model.safetensors")
    assert not (out / "config.json").samefile(source / "config.json")
    assert not [file for file in out.iterdir() if file.is_symlink()]
    (out / "config.json").write_text("{}")
    assert export.write(run) == out  # overwrites the old content
    assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert {file.name for file in out.iterdir()} == {"README.md", *(file.name for file in source.iterdir())}


@pytest.mark.parametrize(
    ("sources", "result"),
    [
        (["mit"], "mit"),
        (["mit", "apache-2.0"], "apache-2.0"),
        (["mit", "cc-by-4.0"], "cc-by-4.0"),
        (["cc-by-4.0", "cc-by-sa-4.0", "apache-2.0"], "cc-by-sa-4.0"),
        (["cc-by-sa-4.0", "unknown", "mit"], "other"),
        (["each part keeps its own", "mit"], "other"),
        (["cc-by-nc-3.0", "mit", "unknown"], "cc-by-nc-3.0"),
        (["CC-BY-NC-3.0", "cc-by-nc-sa-4.0"], "cc-by-nc-sa-4.0"),
        ([], "other"),
    ],
)
def test_the_most_restrictive_licence(sources: list[str], result: str) -> None:
    assert export.licence(sources) == export.licence(sources[::-1]) == result


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.path=/home/me/x y=1", "model.path=…/x y=1"),
        ("data.path=../rows.jsonl", "data.path=…/rows.jsonl"),
        ("a=[~/b/c,/d]", "a=[…/c,…/d]"),
        ("owner/name ~data.x and/or https://a.b/c 1 / 2", "owner/name ~data.x and/or https://a.b/c 1 / 2"),
    ],
)
def test_paths_keep_their_last_name(text: str, shown: str) -> None:
    assert export.portable(text) == shown
    assert not re.search(r"/home|~/", export.portable(text))
