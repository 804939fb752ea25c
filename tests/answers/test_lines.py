"""Tests of the generated answer lines: the generator itself, and the checker on all splits and on other judges' lines."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

from memphis.answers.equal import equal, options_of
from tests.answers import lines, lines_fresh, lines_heldout
from tests.answers.lines import Line, by_template, dev, templates
from tests.answers.lines_fresh import fresh
from tests.answers.lines_heldout import heldout

SPLITS = {"dev": dev, "held-out": heldout, "fresh": fresh}
MODULES = {"dev": lines, "held-out": lines_heldout, "fresh": lines_fresh}


@pytest.fixture(scope="module", params=SPLITS)
def split(request: pytest.FixtureRequest) -> list[Line]:
    return SPLITS[request.param]()


@pytest.mark.parametrize("draw", SPLITS.values(), ids=SPLITS)
def test_deterministic_by_seed(draw: Callable[[int], list[Line]]) -> None:
    assert draw(0) == draw(0) != draw(1)


def test_enough_lines_with_both_labels_in_every_kind(split: list[Line]) -> None:
    assert len(split) >= 2000
    labels = Counter((line.kind, line.equal) for line in split)
    assert not [kind for kind in {line.kind for line in split} if min(labels[kind, True], labels[kind, False]) < 3]


def test_no_contradictory_labels(split: list[Line]) -> None:
    assert len({line[:3] for line in split}) == len(split)
    assert not [line for line in split if not line.equal and line.prediction == line.gold]


def test_held_out_lines_are_of_other_templates_and_words() -> None:
    assert not {line[:3] for line in dev()} & {line[:3] for line in heldout()}
    own, common = templates(lines_heldout.HELDOUT), templates(lines.COMMON)
    assert not set(own) & set(common + templates(lines.DEV))
    share = {k: n / (n + sum(t.kind == k for t in common)) for k, n in Counter(t.kind for t in own).items()}
    assert set(share) == {t.kind for t in common}
    assert min(share.values()) >= 1 / 3


def test_fresh_lines_share_no_template_with_the_others() -> None:
    own, others = (
        templates(lines_fresh.FRESH),
        templates(lines.COMMON) + templates(lines.DEV) + templates(lines_heldout.HELDOUT),
    )
    assert not {(t.prediction, t.gold) for t in own} & {(t.prediction, t.gold) for t in others}
    assert {t.kind for t in own} == {t.kind for t in others}


def test_splits_share_no_words_and_no_styles() -> None:
    for one, other in combinations(MODULES.values(), 2):
        words = [{row for rows in module.VOCABULARY.values() for row in rows} for module in (one, other)]
        assert not words[0] & words[1]
        assert not set(one.STYLES) & set(other.STYLES)


def test_numbers_in_words() -> None:
    assert lines.words(17) == "seventeen"
    assert lines.words(345) == "three hundred forty-five"
    assert lines.words(1_200_005, "and ") == "one million two hundred thousand and five"


def test_precision_and_recall_of_the_checker(split: list[Line]) -> None:
    judged = [(line, equal(line.prediction, line.gold, line.options)) for line in split]
    both = sum(verdict and line.equal for line, verdict in judged)
    precision = both / sum(verdict for _, verdict in judged)
    recall = both / sum(line.equal for line in split)
    wrong = by_template([line for line, verdict in judged if verdict != line.equal])
    print(f"precision {precision:.4f}, recall {recall:.4f}; wrong: {[group[0] for group in wrong.values()]}")
    assert precision >= 0.995
    assert recall >= 0.95


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_options_are_found_in_every_style(module: ModuleType) -> None:
    prompts = lines.prompts(module.STYLES, module.VOCABULARY)
    assert len(prompts) >= 30
    assert not [(prompt, options_of(prompt)) for prompt, options in prompts if options_of(prompt) != options]


@pytest.fixture(scope="module")
def others() -> list[dict]:
    """Sentences of the model outputs of openai/grade-school-math (MIT licence), on which graders disagree.

    The label is by reading: does the sentence state `gold`? Tier 2 has other numbers behind the value. The verdicts of
    lm-eval's `flexible-extract` filter and of math-verify are recorded.
    """
    with (Path(__file__).resolve().parents[1] / "golden" / "answers-others.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_no_wrong_line_of_other_judges_is_called_right(others: list[dict]) -> None:
    assert Counter((line["tier"], line["equal"]) for line in others) == {(1, True): 25, (1, False): 20, (2, True): 5}
    assert not [line for line in others if not line["equal"] and equal(line["prediction"], line["gold"])]


def test_right_lines_of_other_judges(others: list[dict]) -> None:
    missed = [line for line in others if line["equal"] and not equal(line["prediction"], line["gold"])]
    print(f"not recognized: {[line['id'] for line in missed]}")
    assert not [line for line in missed if line["tier"] == 1]
