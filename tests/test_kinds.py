"""Tests that kinds of stage are data: code reads a property from a row of KINDS, and compares no kind with a name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from memphis.config import sections
from memphis.pipeline import KEEP, KINDS, READS, evaluated
from memphis.runs import REPOSITORY
from memphis.tracking import content

MOST = 6  # of the places left, none is about a kind: values of sft.from and rank.examples, and data.sources


def names(node: ast.expr | None) -> Iterator[str]:
    """Yield the names of kinds in a constant or in a literal container."""
    if isinstance(node, ast.Constant) and node.value in KINDS:
        yield str(node.value)
    for item in getattr(node, "elts", getattr(node, "keys", [])):
        yield from names(item)


def compared(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every comparison with, or match of, the name of a kind."""
    for node in ast.walk(ast.parse(source)):
        sides: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        if any(True for side in sides for _ in names(side)):
            yield node.lineno, ast.unparse(node)  # type: ignore[attr-defined]


def files() -> list[Path]:
    rooms = [file for room in ("memphis", "eval", "experiments") for file in sorted((REPOSITORY / room).rglob("*.py"))]
    return [file for file in [*rooms, REPOSITORY / "train.py"] if file != REPOSITORY / "memphis" / "pipeline.py"]


def test_code_asks_for_properties_of_kinds_not_for_their_names() -> None:
    places = [
        f"{file.relative_to(REPOSITORY)}:{line}: {text}"
        for file in files()
        for line, text in compared(file.read_text(encoding="utf-8"))
    ]
    assert len(places) <= MOST, "\n".join(["ask KINDS for a property instead:", *places])


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('a == "sft"', 1),
        ('"rank" in a', 1),
        ('a in ("x", *b, ["merge"])', 1),
        ('a in {"sft": 1}', 1),
        ('a == "other" or KINDS[a].leaves == "rows"', 0),
        ('f("sft") == a', 0),
        ('match a:\n    case "sft" | "rank":\n        pass\n    case ["base", _]:\n        pass', 3),
    ],
)
def test_the_walk_sees_what_it_should(source: str, count: int) -> None:
    assert len(list(compared(source))) == count


def test_the_properties_that_follow_from_others() -> None:
    def those(name: str) -> set[str]:
        return {kind for kind, row in KINDS.items() if getattr(row, name)}

    assert list(KINDS) == list(READS)
    assert those("steps") == {"sft", "rank"}
    assert those("optimizes") == {"base", "sft", "rank"}
    assert those("starts") == {"base"}
    assert those("merges") == {"merge"}
    assert those("writes") == {"sft", "rank", "merge"}


def test_keep_is_ordered_and_complete() -> None:
    assert set(KEEP) == set(sections.Runtime.__annotations__["keep"].__args__)
    kept = {keep: {kind for kind, row in KINDS.items() if row.kept(keep, merged=True)} for keep in KEEP}
    assert kept == {"final": {"base"}, "iterations": {"base", "sft", "merge"}, "all": {"base", "sft", "rank", "merge"}}
    assert KINDS["rank"].kept("iterations", merged=False)
    assert not KINDS["rank"].kept("final", merged=False)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("evaluate-base", "base"),
        ("evaluate-sft", "SFT"),
        ("evaluate-sft-continued", "SFT continued"),
        ("evaluate-12", "iteration 12"),
    ],
)
def test_an_evaluated_model_has_a_title(name: str, title: str) -> None:
    assert evaluated(name) == title


def test_every_family_of_metrics_has_an_axis() -> None:
    families = [family for found in content.AXES.values() for family in found]
    assert {row.family for row in KINDS.values()} <= set(families)
    assert len(families) == len(set(families))
