"""Tests of docs/models.md: every type of transformers' causal language models has its row, and the rows are true."""

import re
from collections import Counter

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks import model_types

# Attention alone, windows, scaled logits, state spaces, a hybrid, positions in the attention, experts, tables, encoders.
SOME = ["llama", "gemma3_text", "cohere", "mamba", "falcon_h1", "bloom", "mixtral", "gpt2", "bart", "deepseek_v3"]


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[str, float | None, str]]:
    """Rows of the page: type -> layout, error, reason."""
    found = {}
    for line in model_types.PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\| `([\w-]+)` +\| (\w+) +\| ([\d.e+-]*) +\| (.*?) *\|", line):
            kind, layout, error, reason = match.groups()
            found[kind] = (layout, float(error) if error else None, reason)
    return found


def test_every_type_has_a_row_and_nine_of_ten_are_trained(rows) -> None:
    assert set(rows) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    layouts = Counter(layout for layout, _, _ in rows.values())
    assert set(layouts) <= {"packed", "padded", "equal", "refused"}
    assert layouts["refused"] <= 0.1 * len(rows)
    assert max(error for _, error, _ in rows.values() if error is not None) <= model_types.LIMIT


@pytest.mark.parametrize("kind", SOME)
def test_a_row_is_what_stage_base_finds(rows, kind: str) -> None:
    found = model_types.examined(kind)
    assert found.layout == rows[kind][0]
    assert found.error is not None
    assert found.error <= model_types.LIMIT


def test_what_is_refused_transformers_itself_cannot_run(rows) -> None:
    refused = {kind: reason for kind, (layout, _, reason) in rows.items() if layout == "refused"}
    assert refused
    for kind, reason in refused.items():
        assert (model_types.plain_fault(kind) or "").replace("|", "\\|") == reason


@pytest.mark.slow
def test_the_page_is_what_its_command_writes(rows, capsys) -> None:
    assert model_types.main([]) == 0
    found = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert dict(found) == {kind: layout for kind, (layout, _, _) in rows.items()}
