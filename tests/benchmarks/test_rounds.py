"""Contenders in turn: our side of the training comparisons, through the worker that TRL goes through as well."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import Contender, environment, step_by_step, whole_process
from benchmarks.questions import COMPARISONS
from memphis.errors import MemphisError
from memphis.jsonl import write_rows
from memphis.runs import REPOSITORY

GATED = """
import sys
from types import SimpleNamespace

def run(gate, work, *, seconds):
    spent = [10.0]  # the worker's clocks: they run while a step is made, and for nothing else
    clocks = SimpleNamespace(process_time=lambda: spent[0], monotonic=lambda: 2 * spent[0])
    sys.modules["__main__"].time = clocks
    for loss in (3.0, 2.0, 1.0):
        spent[0] += seconds
        gate(loss=loss)
    raise SystemExit("error: out of steps")
"""


def test_turns_are_taken_and_counted_from_the_second_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gated.py").write_text(GATED)
    monkeypatch.setattr("benchmarks.harness.REPOSITORY", f"{environment(tmp_path)['PYTHONPATH']}:{tmp_path}")
    sides = [Contender(name, "", "gated:run", {"seconds": s}) for name, s in (("ours", 0.05), ("peer", 0.2))]
    rounds = list(step_by_step(sides, tmp_path, 2))
    assert [{name: found["loss"] for name, found in one.items()} for one in rounds] == [
        {"ours": 2.0, "peer": 2.0},
        {"ours": 1.0, "peer": 1.0},
    ]
    for one in rounds:
        for name, seconds in (("ours", 0.05), ("peer", 0.2)):
            assert one[name]["cpu_s"] == pytest.approx(seconds)
            assert one[name]["wall_s"] == pytest.approx(2 * seconds)
        assert one["ours"]["rss_mib"] > 5
    with pytest.raises(MemphisError, match="peer: the contender failed: error: out of steps"):
        list(step_by_step(sides[1:], tmp_path, 3))
    busy = "import time\nwhile time.process_time() < 0.1: pass"
    found = whole_process([sys.executable, "-c", busy], "busy", tmp_path)
    assert found["cpu_s"] >= 0.1  # and so much at least, whatever else the machine does
    assert found["wall_s"] >= 0.1


@pytest.mark.slow
def test_a_round_of_ours(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(i),
            "prompt": f"What is {i} and {i + 1}?",
            "rationale": f"{i} + {i + 1} = {2 * i + 1}.",
            "target": "odd",
        }
        for i in range(16)
    ]
    write_rows(tmp_path / "train.jsonl", rows)
    line = [sys.executable, "-m", "benchmarks.material", "training", str(tmp_path / "train.jsonl"), str(tmp_path)]
    subprocess.run(line, env=environment(tmp_path), check=True, capture_output=True)
    sides = [
        Contender("sft", "", "benchmarks.ours:sft", {"model": "small", "rows": 8}),
        *(
            Contender(trick, "", "benchmarks.ours:without", {"trick": trick, "model": "small", "rows": 8})
            for trick in ("ours", "logits_kept", "every_position", "sorted_padded", "checkpointing")
        ),
        Contender("products", "", "benchmarks.ours:products", {"model": "small", "rows": 8}),
        Contender("joined", "", "benchmarks.ours:sized", {"rows": 8, "join": 4, "layers": 1}),
        Contender("rank", "", "benchmarks.ours:rank", {"model": "small", "pairs": 4}),
        Contender("unshared", "", "benchmarks.ours:rank", {"model": "small", "pairs": 4, "shared": False}),
    ]
    (found,) = step_by_step(sides, tmp_path, 1)
    assert found["sft"]["loss"] == pytest.approx(9.0, abs=0.2)  # log 8,000
    for name in ("ours", "logits_kept", "every_position", "sorted_padded", "checkpointing", "products"):
        assert found[name]["loss"] == pytest.approx(found["sft"]["loss"], rel=2e-6), name
    assert 0 < found["products"]["cpu_s"] < found["products"]["wall_s"]
    assert found["joined"]["tokens"] == found["sft"]["tokens"]
    assert found["unshared"]["loss"] == pytest.approx(found["rank"]["loss"], rel=1e-6)
    assert found["rank"]["loss"] > found["rank"]["ce"]
    assert json.dumps(found)


def test_what_words_say_is_what_is_set() -> None:
    """TRL's own default is bfloat16 with checkpointing: full precision must be asked for."""
    for question in COMPARISONS:
        for each in question.contenders:
            if each.run.startswith("benchmarks.peers:"):
                full, words = each.options["bf16"] is False, each.words.replace("no checkpointing", "")
                assert full == ("fp32" in words)
                recomputed = each.options.get("gradient_checkpointing") is not False
                assert recomputed == ("checkpointing" in words), each.words
                assert bool(each.options.get("packing")) == ("packing" in each.words)


def test_the_driver_is_small() -> None:
    """On Linux a child's peak of memory is at least what its parent had when it was started."""
    code = "import benchmarks.__main__, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
