"""Tests of the report of one run: table, figure and samples from a made-up run directory with known numbers."""

import json
import re
import shutil
from typing import Any

import pytest

from experiments import report
from experiments.report import finish, samples
from experiments.report.results import read_run
from experiments.report.samples import choose
from experiments.report.templating import MAX_CHARS, quoted
from experiments.report.text import cost_line, next_command, time_line
from memphis.config import to_dict
from memphis.config.methods import method_name
from memphis.store import flatten, read_json
from tests.composing import compose_config
from tests.experiments.made_up import config_of, write_lines

EVIL = "\x1b[31m```\n# not a heading\n````\u202e"


def column(score, n=600, title="Word problems (trained format)"):
    return {
        "title": title,
        "score": score,
        "stderr": (score * (1 - score) / (n - 1)) ** 0.5,
        "n": n,
        "count": round(n * score),
    }


def evaluation(directory, right, limit=None):
    """Write ten answers. right: ids answered correctly. A multiple-choice task comes first and must be skipped."""
    rows = [
        {
            "doc_id": k,
            "doc": {"prompt": f"question {k}", "answer": str(k)},
            "target": str(k),
            "resps": [[f"because\n### Answer:\n{k if k in right else EVIL}"]],
            "filter": "get-answer",
            "exact_match": float(k in right),
        }
        for k in range(10)
    ]
    write_lines(
        directory / "samples" / "tiny_gen.jsonl.gz", [*rows, {**rows[0], "filter": "other", "exact_match": 1.0}]
    )
    tasks = {
        "tiny_mc": {"metric": "acc_norm", "filter": "none", "samples": "samples/absent.jsonl.gz"},
        "tiny_gen": {"metric": "exact_match", "filter": "get-answer", "samples": "samples/tiny_gen.jsonl.gz"},
    }
    record = {"tiny": {"tasks": tasks, "comparable": limit is None, "limit": limit, "truncated_prompts": 0}}
    (directory / "record.json").write_text(json.dumps(record))


@pytest.fixture
def run_dir(tmp_path):
    """Write a run with base, SFT and two iterations; base and data came from the store."""
    run = tmp_path / "tiny" / "s0" / "default"
    run.mkdir(parents=True)
    kinds = ["data", "base", "sft", "evaluate-base", "evaluate-sft"]
    kinds += [f"{kind}-{k}" for k in (1, 2) for kind in ("generate", "pairs", "rank", "merge", "evaluate")]
    stages = []
    for name in kinds:
        kind, _, label = name.partition("-")
        directory = tmp_path / "store" / f"{name}-abc"
        directory.mkdir(parents=True)
        summary = {"tokens": 1500} if kind in ("base", "sft", "rank", "generate") else {}
        stages.append(
            {
                "name": name,
                "kind": kind,
                "iteration": int(label) if label.isdigit() else 0,
                "key": "abc",
                "dir": f"store/{name}-abc",
                "built": True,
                "reused": name in ("data", "base"),
                "seconds": 100.0 if name == "base" else 2.0,
                "summary": summary,
            }
        )
    right = {"base": set(), "sft": {0, 1, 2}, "1": {0, 1, 2, 3}, "2": {1, 2, 3, 4, 5}}
    for label, known in right.items():
        evaluation(tmp_path / "store" / f"evaluate-{label}-abc", known)
    write_lines(
        tmp_path / "store/data-abc/questions.jsonl",
        [{"id": f"q{k}", "prompt": f"p{k}", "answer": "1"} for k in range(4)],
    )
    for k, correct in ((1, [True, False, None, False]), (2, [True, True, False, True])):
        rows = [{"id": f"q{i}", "samples": [{"text": f"text {i}", "correct": c}]} for i, c in enumerate(correct)]
        write_lines(tmp_path / f"store/pairs-{k}-abc/judged.jsonl", rows)
    labels = {"base": "base", "sft": "SFT", "1": "iteration 1", "2": "iteration 2"}
    scores = [
        {
            "stage": f"evaluate-{label}",
            "iteration": int(label) if label.isdigit() else 0,
            "label": title,
            "columns": {
                "tiny/tiny_gen": column(len(right[label]) / 10),
                "tiny/tiny_mc": column(0.25, 500, "Choices | (acc_norm)"),
            },
        }
        for label, title in labels.items()
    ]
    summary = {"name": "tiny", "seed": 0, "slug": "default", "status": "finished", "scores": scores, "wall_s": 60.0}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "stages.json").write_text(json.dumps(stages))
    argv = ["/somewhere/train.py", "seed=0", "slerp.t=0.99", "model.api_key=***", "name=a b"]
    about = {"name": "tiny", "seed": 0, "slug": "default", "created": 1.7e9, "git": {"sha": None, "dirty": None}}
    (run / "run.json").write_text(json.dumps({**about, "argv": argv}))
    (run / "config.yaml").write_text(json.dumps(config_of()))
    return run


def change_summary(run_dir, **values):
    summary = read_json(run_dir / "summary.json")
    (run_dir / "summary.json").write_text(json.dumps({**summary, **values}))


def stages_of(run_dir):
    stages = read_json(run_dir / "stages.json")
    return stages, {stage["name"]: run_dir.parents[2] / stage["dir"] for stage in stages}


def find_change(stages, paths):
    return samples.find_change(samples.answers(stages, paths))


def test_terminal_text(run_dir):
    lines = finish(run_dir).splitlines()[1:]  # the first one is empty
    assert lines[0] == "tiny, seed 0, default: finished"
    assert lines[2:8] == [
        "accuracy, %     tiny_gen      tiny_mc",
        "N                    600          500",
        "base           0.0 ± 0.0   25.0 ± 1.9",
        "SFT           30.0 ± 1.9   25.0 ± 1.9",
        "iteration 1   40.0 ± 2.0   25.0 ± 1.9",
        "iteration 2   50.0 ± 2.0   25.0 ± 1.9",
    ]
    assert lines[9] == (
        "changed   SFT → iteration 2 on the 10 questions of tiny_gen: 3 went from wrong to right, "
        "1 from right to wrong, 2 stayed right, 4 stayed wrong"
    )
    assert lines[10].startswith(
        "time      1 m 00 s: training 6.0 s (sft 2.0 s, rank 4.0 s), engine 12 s (generate 4.0 s,"
    )
    assert lines[10].endswith("waiting 34 s; 2 stages from the store (built in 1 m 42 s)")
    assert lines[11] == (
        "cost      tokens trained on: 1.5k for the base model, 1.5k in SFT, 3k in the iterations; generated to learn from: 3k"
    )
    assert lines[12].endswith("results.md, results.csv, accuracy.svg, samples.md")
    assert lines[13] == "try next  python train.py seed=0 'name=a b' slerp.t=0.5"
    assert lines[14].startswith("report    ")
    assert lines[14].endswith("/tiny/s0/default/report.html")
    assert "\x1b" not in "".join(lines)


def test_rows_are_told_by_who_wrote_them(run_dir):
    finish(run_dir)
    assert "Rows: " not in (run_dir / "results.md").read_text()  # a record of an earlier version
    stages = read_json(run_dir / "stages.json")
    sources = {"a": {"human": "mixed", "rows": 1200}, "b": {"human": "true", "rows": 5}}
    stages[0]["summary"]["human"] = {"rows": {"true": 5, "mixed": 1200, "generated": 0}, "sources": sources}
    (run_dir / "stages.json").write_text(json.dumps(stages))
    finish(run_dir)
    line = (
        "1,205 rows; by people (true) 5, with a model in the loop (mixed) 1,200, by a model or a program (generated) 0 "
        "(a: mixed, 1,200; b: true, 5)"
    )
    assert f"\nRows: {line}.\n" in (run_dir / "results.md").read_text()
    assert line in (run_dir / "report.html").read_text()


def test_results_page(run_dir):
    finish(run_dir)
    page = (run_dir / "results.md").read_text()
    assert "|  | Word problems (trained format)<br>`tiny/tiny_gen` | Choices \\| (acc_norm)<br>`tiny/tiny_mc` |" in page
    assert "| N | 600 | 500 |" in page
    assert "| iteration 2 | 50.0 ± 2.0 | 25.0 ± 1.9 |" in page
    assert "| merge-2 | `store/merge-2-abc` | 2.0 s |  |" in page
    assert "![Accuracy by iteration](accuracy.svg)" in page
    assert "not comparable" not in page


def test_figure_shows_every_column_and_is_reproducible(run_dir):
    finish(run_dir)
    first = (run_dir / "accuracy.svg").read_bytes()
    text = first.decode()
    for expected in (
        "Word problems (trained format), N\u00a0=\u00a0600",
        ">SFT<",
        "accuracy (%), bars: ± 1 standard error",
    ):
        assert expected in text
    finish(run_dir)
    assert (run_dir / "accuracy.svg").read_bytes() == first


def test_samples_are_chosen_by_rule_and_cannot_break_out(run_dir):
    finish(run_dir)
    stages, paths = stages_of(run_dir)
    change = find_change(stages, paths)
    chosen = choose(change)
    assert chosen == choose(change)
    outcomes = [(change.pairs[key][0].right, change.pairs[key][1].right) for key in chosen]
    assert outcomes == [(False, True), (False, True), (True, False)]
    page = (run_dir / "samples.md").read_text()
    assert "by a fixed hash of the question's id" in page
    assert "3 went from wrong to right, 1 from right to wrong" in page
    assert not re.search("[\x1b\u202e]", page)
    blocks = re.findall(r"^(`{3,})text\n(.*?)\n\1$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3 * 4
    assert sum("# not a heading" in body for _, body in blocks) == page.count("# not a heading") == 3
    assert all(len(fence) == 5 for fence, body in blocks if "not a heading" in body)


def test_long_text_is_cut(run_dir):
    text = quoted("x" * 5000)
    assert len(text) < MAX_CHARS + 30
    assert "[…]" in text


def test_no_change_leaves_places_to_all_others(run_dir):
    stages, paths = stages_of(run_dir)
    evaluation(paths["evaluate-2"], {0, 1, 2})
    change = find_change(stages, paths)
    assert len(choose(change)) == 3
    assert "0 went from wrong to right, 0 from right to wrong, 3 stayed right, 7 stayed wrong" in change.sentence()


def test_samples_of_generation_when_only_the_last_model_was_evaluated(run_dir):
    stages, paths = stages_of(run_dir)
    kept = [stage for stage in stages if stage["name"] not in ("evaluate-base", "evaluate-sft", "evaluate-1")]
    change = find_change(kept, paths)
    assert (change.before, change.after) == ("SFT", "iteration 1")
    assert "4 training questions (first sample of each): 2 went from wrong to right" in change.sentence()
    assert find_change([stage for stage in kept if not stage["name"].endswith("-2")], paths) is None


def test_limited_and_missing_numbers_are_said(run_dir):
    _, paths = stages_of(run_dir)
    evaluation(paths["evaluate-1"], {1}, limit=8)
    scores = read_json(run_dir / "summary.json")["scores"]
    scores[0]["columns"].pop("tiny/tiny_mc")
    scores[1]["columns"]["tiny/tiny_gen"] |= {"n": 8, "stderr": None}
    change_summary(run_dir, scores=scores)
    text = finish(run_dir)
    page = (run_dir / "results.md").read_text()
    assert "Only the first 8 items of each task: not comparable" in page
    assert "note      Only the first 8 items" in text
    assert "| base | 0.0 ± 0.0 | – |" in page
    assert "| SFT | 30.0 (N = 8) | 25.0 ± 1.9 |" in page
    assert "30.0 (N = 8)" in text


def test_columns_of_several_suites_keep_their_suite(run_dir):
    columns = {"card/gsm8k": column(0.188, 1319), "current/gsm8k": column(0.2, 1319)}
    change_summary(
        run_dir, scores=[{"label": "iteration 2", "columns": columns, "iteration": 2, "stage": "evaluate-2"}]
    )
    assert "card/gsm8k   current/gsm8k" in finish(run_dir)


def test_a_run_without_evaluation(run_dir):
    stages, paths = stages_of(run_dir)
    few = [stage | {"built": stage["kind"] == "data"} for stage in stages]
    (run_dir / "stages.json").write_text(json.dumps(few))
    change_summary(run_dir, scores=[], wall_s=1.0)
    for name in paths:
        if name != "data":
            shutil.rmtree(paths[name])
    text = finish(run_dir)
    assert "try next" not in text  # there is nothing that another seed or factor would change
    assert "Worth trying next" not in (run_dir / "results.md").read_text()
    assert "tokens trained on: none; generated to learn from: 0" in text
    assert not (run_dir / "accuracy.svg").exists()
    assert "No evaluation was asked for." in (run_dir / "results.md").read_text()


def test_next_command_turns_another_way(run_dir):
    run = read_run(run_dir)
    command = ["-m", "+exp=memphis_cot", "+sweep=slerp_factor", "seed=0,1,2", "slerp.t=0.5"]
    run |= {"command": command, "config": {"slerp.t": 0.5}}
    assert next_command(run) == "python train.py +exp=memphis_cot slerp.t=0.9"
    own = run | {"command": ["data=local", "data.path=a,b.jsonl", "seed=0", "eval.tasks=[piqa,arc_easy]"]}
    assert next_command(own | {"method": "sft_continued"}) == (
        "python train.py data=local 'eval.tasks=[piqa,arc_easy]' seed=1"
    )
    until = {"method": "sft_continued", "command": ["data=local", "until=sft", 'data.path="a,b.jsonl"']}
    assert next_command(run | until) == "python train.py data=local 'data.path=\"a,b.jsonl\"'"


def test_a_run_without_a_merge_is_followed_by_the_recipe_on_its_own_rows(run_dir):
    config = {"slerp.t": 0.99, "data.sources.local.questions": True}
    run = {**read_run(run_dir), "method": "sft_continued", "config": config}
    columns = "data.sources.local.columns={prompt: [a], answer: [b]}"
    own = ["+exp=mine", "method=dpo", columns, "rank.beta=0.3", "seed=0,1"]
    assert next_command(run | {"command": own}) == f"python train.py +exp=mine '{columns}' method=memphis"
    cut = f"python train.py +exp=mine method=dpo '{columns}' rank.beta=0.3"
    assert next_command(run | {"command": [*own, "until=sft"]}) == cut
    assert next_command(run | {"command": own, "config": {"slerp.t": 0.99}}) == f"{cut} seed=1"


def test_a_frozen_run_is_named_by_what_was_typed_for_it(run_dir):
    about = json.loads((run_dir / "run.json").read_text())
    frozen = {"argv": ["train.py", "--config-path=/grid/arms", "--config-name=007"], "overrides": ["slerp.t=0.5"]}
    (run_dir / "run.json").write_text(json.dumps(about | frozen))
    assert next_command(read_run(run_dir)).startswith("python train.py slerp.t=")
    assert read_run(run_dir)["command"] == ["slerp.t=0.5"]


def test_time_of_a_run_that_built_everything():
    stages = [{"kind": "sft", "seconds": 90.0, "reused": False, "summary": {}}]
    assert time_line(stages, 100.0) == "1 m 40 s: training 1 m 30 s (sft 1 m 30 s), starting processes and waiting 10 s"
    reused = [stage | {"reused": True} for stage in stages]
    assert time_line(reused, 0.0).startswith(f"0.0 s; {len(stages)} stages from the store")
    assert cost_line("memphis", stages) == "tokens trained on: none; generated to learn from: 0"


@pytest.mark.parametrize("method", ["memphis", "rft", "star", "spin", "dpo", "irpo", "sft_only"])
def test_the_control_is_found_whatever_the_loss_of_the_run_is(method: str) -> None:
    """Each config has the knobs of its own loss alone: those are no difference."""

    def run(*typed: str) -> dict[str, Any]:
        plain = to_dict(compose_config(*typed))
        return {"complete": True, "method": method_name(plain), "seed": 0, "config": flatten(plain)}

    control = run("method=sft_continued")
    assert report._controls(control, run(f"method={method}"))
    assert not report._controls(control, run(f"method={method}", "sft.epochs=2"))
    if method == "memphis":
        assert not report._controls(control, run("rank.weight=1"))
