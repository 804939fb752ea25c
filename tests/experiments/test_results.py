"""Tests of reading numbers from run directories, and of grouping runs into arms."""

import json

import pytest
import yaml

from experiments.report import collect
from experiments.report.arms import group
from experiments.report.results import find_runs, read_run
from experiments.report.tables import score_table
from memphis.errors import MemphisError
from memphis.store import read_json
from tests.experiments import made_up
from tests.experiments.made_up import config_of

TIMES = {"seconds": 130.0, "cpu_seconds": 195.0}
COUNTS = {"base": 0, "sft": 60, "1": 62, "2": 64, "3": 66}


@pytest.fixture
def memphis(tmp_path):
    return made_up.run(tmp_path, config_of(), 0, COUNTS)


def control(root, seed, count=70):
    counts = {"base": 0, "sft": 60, "sft-continued": count}
    return made_up.run(root, config_of("method=sft_continued"), seed, counts)


def test_a_run_is_read_as_it_was_written(memphis):
    run = read_run(memphis)
    assert (run["name"], run["seed"], run["method"], run["status"], run["complete"]) == (
        *("tiny", 0, "memphis", "finished"),
        True,
    )
    assert [row["label"] for row in run["scores"]] == ["base", "SFT", "iteration 1", "iteration 2", "iteration 3"]
    assert run["scores"][-1]["columns"]["tiny/tiny_gen"] == made_up.column(66)
    assert run["costs"] == {"steps": 80, "trained_tokens": 4_000, "generated_tokens": 15_000, **TIMES}
    json.dumps(run, allow_nan=False)


def test_cpu_time_is_not_guessed_where_a_stage_has_none(memphis):
    stages = read_json(memphis / "stages.json")
    del stages[2]["cpu_seconds"]
    (memphis / "stages.json").write_text(json.dumps(stages))
    assert read_run(memphis)["costs"]["cpu_seconds"] is None
    assert group([read_run(memphis)]).arms[0].cost("cpu_seconds") is None


def test_where_the_samples_of_a_cycle_went(memphis):
    cycle = read_run(memphis)["iterations"][1]
    assert cycle["yield"] == {
        **{"in pairs": 180, "surplus": 480, "duplicate": 60},
        **{"invalid: no answer": 70, "invalid: unfinished": 10},
    }
    assert (cycle["k"], cycle["pass@k"]) == (8, 0.8)
    assert cycle["pass@k_se"] == pytest.approx((0.8 * 0.2 / 99) ** 0.5)  # 8 of 8 samples: a question counts 0 or 1
    assert cycle["drift_sft"] == pytest.approx(0.0198)


def test_false_equations_of_a_cycle_by_source(memphis):
    cycle = read_run(memphis)["iterations"][1]
    shares = {"chosen": pytest.approx(0.56), "rejected": 0.6, "sft": 0.0}
    assert cycle["false"] == {"a": shares, "b": shares, "": shares}
    assert (cycle["chosen_false"], cycle["rejected_false"], cycle["sft_false"]) == tuple(shares.values())


def test_unfinished_samples_that_count_as_incorrect_are_not_lost_twice(memphis):
    rows = (
        (memphis / "metrics.jsonl")
        .read_text()
        .replace('"pairs/discarded_invalid": 80', '"pairs/discarded_invalid": 70')
    )
    (memphis / "metrics.jsonl").write_text(rows)
    yields = read_run(memphis)["iterations"][0]["yield"]
    assert "invalid: unfinished" not in yields
    assert (yields["in pairs"], sum(yields.values())) == (190, 800)


def test_the_control_costs_what_its_own_model_took(tmp_path):
    run = read_run(control(tmp_path, 0))
    assert run["costs"] == {
        "steps": 40,
        "trained_tokens": 2_000,
        "generated_tokens": 0,
        "seconds": 20.0,
        "cpu_seconds": 30.0,
    }
    assert run["iterations"] == []
    assert set(run["curves"]) == {"base", "sft", "sft-continued"}
    assert run["curves"]["sft-continued"][-1][0] == 40
    assert (run["scores"][-1]["label"], run["scores"][-1]["iteration"]) == ("SFT continued", 3)


def test_losses_are_thinned_to_means(memphis):
    rows = [{"stage": "sft", "step": s, "global_step": s, "sft/loss": float(s)} for s in range(1, 301)]
    made_up.write_lines(memphis / "metrics.jsonl", [*rows, {"stage": "sft", "step": 301, "sft/loss": None}])
    curve = read_run(memphis)["curves"]["sft"]
    assert len(curve) == 100
    assert curve[0] == [3, 2.0]
    assert curve[-1] == [300, 299.0]


def test_runs_are_found_once_from_any_height(tmp_path):
    first, second = made_up.run(tmp_path, config_of(), 0, COUNTS), control(tmp_path, 1)
    assert find_runs([tmp_path]) == [first, second]
    assert find_runs([tmp_path / "tiny", first, tmp_path / "tiny" / "s1"]) == [first, second]
    with pytest.raises(MemphisError, match="no run there"):
        find_runs([tmp_path / "store"])


@pytest.mark.parametrize("name", ["stages.json", "run.json", "config.yaml", "metrics.jsonl"])
def test_a_damaged_run_is_refused_in_one_line(memphis, name):
    (memphis / name).write_text("[")
    (memphis / name).write_text("{[\n")
    with pytest.raises(MemphisError, match="cannot be read as a run") as caught:
        read_run(memphis)
    assert "\n" not in str(caught.value)


def test_arms_are_paired_with_the_control_by_seed(tmp_path):
    for seed, (mine, theirs) in enumerate([(60, 70), (62, 74), (64, 70)]):
        made_up.run(tmp_path, config_of(), seed, COUNTS | {"3": mine})
        control(tmp_path, seed, theirs)
    found = group([read_run(path) for path in find_runs([tmp_path])])
    assert [arm.label for arm in found.arms] == ["memphis", "sft_continued"]
    assert found.baseline == "sft_continued"
    assert (found.factor, found.numeric) == (None, False)
    difference = found.difference(found.arms[0], "tiny/tiny_gen")
    assert difference.mean == pytest.approx(-(10 + 12 + 6) / 3 / 200)
    assert difference.n == 3
    assert found.difference(found.arms[1], "tiny/tiny_gen") is None


def test_arms_that_were_asked_different_numbers_of_questions_are_not_subtracted(tmp_path):
    for seed in (0, 1):
        made_up.run(tmp_path, config_of(), seed, COUNTS)
        control(tmp_path, seed)
    found = group([read_run(path) for path in find_runs([tmp_path])])
    memphis, sft_continued = found.arms
    for seed, left in ((1, 1), (0, 0)):
        sft_continued.cells("tiny/tiny_gen")[seed]["n"] = 100
        difference = found.difference(memphis, "tiny/tiny_gen")
        assert (difference.n if difference else 0) == left
    _, row, baseline = score_table(found, "tiny/tiny_gen")
    assert row[4:] == ["–", "–", "–"]
    assert baseline[1].endswith(" (N = 100)")


def test_an_incomplete_run_is_named_and_in_no_mean(tmp_path):
    for seed in (0, 1):
        made_up.run(tmp_path, config_of(), seed, COUNTS)
    made_up.run(tmp_path, config_of(), 2, COUNTS | {"3": 0}, status="failed")
    unfinished = made_up.run(tmp_path, config_of(), 3, COUNTS)
    (unfinished / "summary.json").unlink()
    found = group([read_run(path) for path in find_runs([tmp_path])])
    assert found.incomplete() == ["memphis, seed 2: failed", "memphis, seed 3: unfinished"]
    assert found.arms[0].score("tiny/tiny_gen").mean == pytest.approx(0.33)
    assert found.arms[0].score("tiny/tiny_gen").n == 2


def test_a_numeric_factor_is_sorted_by_its_value(tmp_path):
    config = config_of()
    for t in (0.99, 0.0, 0.5):
        made_up.run(tmp_path, {**config, "slerp": {**config["slerp"], "t": t}}, 0, COUNTS)
    found = group([read_run(path) for path in find_runs([tmp_path])], "slerp.t=0.99")
    assert (found.factor, found.numeric) == ("slerp.t", True)
    assert [arm.label for arm in found.arms] == ["slerp.t=0.0", "slerp.t=0.5", "slerp.t=0.99"]
    assert found.baseline == "slerp.t=0.99"
    with pytest.raises(MemphisError, match=r"more than one such arm; use one of slerp.t=0.0, slerp.t=0.5"):
        found.arm("slerp")


def test_no_iterations_is_a_value_of_the_factor_and_not_another_method(tmp_path):
    made_up.run(tmp_path, config_of(), 0, COUNTS)
    made_up.run(tmp_path, {**config_of(), "iterations": 0}, 0, {"sft": 60})
    found = group([read_run(path) for path in find_runs([tmp_path])])
    assert (found.factor, [arm.label for arm in found.arms]) == ("iterations", ["iterations=0", "iterations=3"])


def test_methods_with_knobs_of_their_own(tmp_path):
    config = config_of()
    made_up.run(tmp_path, config, 0, COUNTS)
    made_up.run(tmp_path, {**config, "rank": {**config["rank"], "weight": 0.0}}, 0, COUNTS)
    control(tmp_path, 0)
    found = group([read_run(path) for path in find_runs([tmp_path])])
    labels = [arm.label for arm in found.arms]
    assert labels == ["memphis rank.weight=0.0", "memphis rank.weight=0.25", "sft_continued"]


def test_two_results_for_the_same_arm_and_seed_are_refused_and_the_same_one_twice_is_not(tmp_path):
    runs = [read_run(made_up.run(tmp_path, config_of(), 0, COUNTS))]
    again = runs[0] | {"slug": "slerp.t-0.99"}
    assert len(group([*runs, again]).arms[0].runs) == 1
    with pytest.raises(MemphisError, match=r"two different runs of arm memphis, seed 0: .* and tiny/s0/slerp.t-0.99"):
        group([*runs, again | {"key": "other"}])


def test_answers_that_were_not_kept_leave_a_single_pair_without_a_p_value(tmp_path):
    made_up.run(tmp_path, config_of(), 0, COUNTS)
    control(tmp_path, 0)
    comparison, places = collect([(read_run(path), path) for path in find_runs([tmp_path])])
    assert len(places) == 2
    assert comparison.difference(comparison.arms[0], "tiny/tiny_gen").p is None


def test_a_run_cut_short_on_purpose_is_not_complete(memphis):
    config = yaml.safe_load((memphis / "config.yaml").read_text())
    (memphis / "config.yaml").write_text(yaml.safe_dump(config | {"until": "sft"}))
    run = read_run(memphis)
    assert (run["complete"], run["status"]) == (False, "finished, until sft")
