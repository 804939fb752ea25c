"""Tests of compiled layers: same results as uncompiled ones, and one compilation for micro-batches of any length."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from memphis.training import distributed
from memphis.training.layers import compile_layers, recompute
from memphis.training.loop import score
from tests.training import test_distributed
from tests.training.conftest import make_examples, micro_batches
from tests.training.plain import make_model, worst_error
from tests.training.test_distributed import gradient_error, in_two, trained
from tests.training.test_equalities import RANK, TOLERANCE, flat_gradients


@pytest.mark.slow
def test_compiled_layers_give_the_same_and_are_compiled_once() -> None:
    model, window = make_model(), make_examples(7, rejected=1)
    expected, scores = flat_gradients(model, window, RANK), score(model, window, RANK)
    names = list(model.state_dict())
    recompute(model, 1)  # one of two layers
    counters.clear()
    torch._dynamo.reset()
    compile_layers(model)
    graphs, lengths = [], set()
    for budget in (70, 40, 100, 1000):
        lengths |= {len(batch.input_ids) for batch in micro_batches(window, budget)}
        found = flat_gradients(model, window, replace(RANK, micro_batch_tokens=budget))
        assert worst_error(found, expected) <= TOLERANCE
        graphs.append(counters["stats"]["unique_graphs"])
    assert len(lengths) >= 8
    assert graphs[0] > 0
    assert graphs == 4 * graphs[:1]
    (why,) = counters["graph_break"]
    assert "row_attention" in why  # everything in a layer except its attention is compiled
    torch.testing.assert_close(score(model, window, RANK), scores, rtol=1e-5, atol=1e-4)
    assert list(model.state_dict()) == names


def compiled(out: Path) -> dict[str, Any]:
    """Train like `trained`, without code generation, which would take most of the time and is tested above."""
    make, compiler = test_distributed.make_model, torch.compile
    torch.compile = lambda function, **how: compiler(function, backend="aot_eager", **how)

    def make_compiled(**how: Any) -> Any:
        model = make(**how)
        compile_layers(model)
        return model

    test_distributed.make_model = make_compiled
    result = trained("rank", out / "rank")
    assert counters["stats"]["unique_graphs"] > 0
    assert distributed.size() == 2
    return result


@pytest.mark.slow
def test_compiled_layers_in_shards_give_the_same(tmp_path: Path) -> None:
    one, two = trained("rank", tmp_path / "one"), in_two(compiled, tmp_path / "two")
    assert gradient_error(two, one) <= 1e-5
    assert worst_error(two["moved"], one["moved"]) <= 1e-3
