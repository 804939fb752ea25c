"""Tests of the transformers engine against transformers itself and against numbers worked out by hand."""

import sys
from pathlib import Path

import pytest
import torch

from memphis.data.tokens import load_tokenizer
from memphis.errors import MemphisError
from memphis.sampling import Completion, open_engine
from memphis.sampling.hf import HfEngine, choose
from tests.tiny_models import write_model

PROMPTS = [[5, 6, 7], [9] * 12, [20, 21, 22, 23, 24], [50]]
SAMPLED = {"num_samples": 3, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 12, "stop": [], "seed": 1}
GREEDY = SAMPLED | {"num_samples": 1, "temperature": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "a", seed=0)


@pytest.fixture
def engine(model: Path) -> HfEngine:
    return HfEngine(model, dtype="float32")


def frequencies(probabilities: list[float], temperature: float, top_p: float, draws: int = 4000) -> torch.Tensor:
    logits = torch.tensor(probabilities).log().expand(draws, -1)
    tokens = choose(logits, temperature, top_p, torch.Generator().manual_seed(0))
    return torch.bincount(tokens, minlength=len(probabilities)) / draws


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    found = frequencies([0.15, 0.5, 0.05, 0.3], temperature=1.0, top_p=0.75)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.625, 0.0, 0.375]), atol=0.03, rtol=0)
    found = frequencies([0.15, 0.5, 0.05, 0.3], temperature=1.0, top_p=0.85)
    torch.testing.assert_close(found, torch.tensor([0.158, 0.526, 0.0, 0.316]), atol=0.03, rtol=0)
    assert frequencies([0.15, 0.5, 0.05, 0.3], temperature=1.0, top_p=1e-6)[1] == 1


def test_temperature_sharpens_and_zero_takes_the_most_probable() -> None:
    found = frequencies([0.2, 0.8], temperature=0.5, top_p=1.0)  # odds 4 become 16
    assert abs(found[1].item() - 16 / 17) < 0.02
    assert frequencies([0.2, 0.8], temperature=0.0, top_p=1.0).tolist() == [0.0, 1.0]


def test_greedy_equals_transformers_generate(engine: HfEngine) -> None:
    found = engine.generate(PROMPTS, **GREEDY)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        expected = engine.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12)[0, len(prompt) :]
        assert completion.token_ids == expected.tolist()
        assert completion.finished == (expected[-1] == engine.tokenizer.eos_token_id)
        assert completion.text == engine.tokenizer.decode(expected).removesuffix(engine.tokenizer.eos_token)


def test_neither_batch_nor_padding_changes_a_completion(engine: HfEngine) -> None:
    together = engine.generate(PROMPTS, **GREEDY)
    assert together == [engine.generate([prompt], **GREEDY)[0] for prompt in PROMPTS]


def test_samples_depend_on_the_seed_alone(engine: HfEngine) -> None:
    first = engine.generate(PROMPTS, **SAMPLED)
    torch.manual_seed(99)
    engine.generate(PROMPTS[:1], **SAMPLED | {"seed": 7})
    assert engine.generate(PROMPTS, **SAMPLED) == first
    assert engine.generate(PROMPTS, **SAMPLED | {"seed": 2}) != first
    assert [len(completions) for completions in first] == [3] * 4
    assert len({completion.text for completion in first[0]}) > 1


def test_a_stop_string_ends_the_text_before_it(engine: HfEngine) -> None:
    whole = engine.generate(PROMPTS[:1], **GREEDY)[0][0]
    stop = whole.text[6:9]
    found = engine.generate(PROMPTS[:1], **GREEDY | {"stop": ["never", stop]})[0][0]
    assert found.finished
    assert found.text == whole.text[: whole.text.index(stop)]
    assert found.token_ids == whole.token_ids[: len(found.token_ids)]
    assert stop in engine.tokenizer.decode(found.token_ids)


def test_end_of_text_is_in_the_tokens_and_not_in_the_text(engine: HfEngine) -> None:
    whole = engine.generate(PROMPTS[:1], **GREEDY)[0][0]
    place = next(i for i, token in enumerate(whole.token_ids) if i >= 3 and token not in whole.token_ids[:i])
    engine._ends = {whole.token_ids[place]}
    found = engine.generate(PROMPTS, **GREEDY)[0][0]
    assert found.finished
    assert found.token_ids == whole.token_ids[: place + 1]
    assert found.text == engine.tokenizer.decode(whole.token_ids[:place])


def test_the_context_ends_a_completion_and_a_prompt_without_room_gets_none(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = HfEngine(model, dtype="float32")
    engine.max_model_len = 10
    short, nearly, full = engine.generate([[5] * 3, [5] * 8, [5] * 10], **SAMPLED)
    assert [len(c.token_ids) for c in short] == [7] * 3
    assert [len(c.token_ids) for c in nearly] == [2] * 3
    assert full == [Completion("", [], False)] * 3
    assert "1 prompts leave no room" in caplog.text


def test_load_swaps_the_weights(engine: HfEngine, model: Path, tmp_path: Path) -> None:
    before = engine.generate(PROMPTS, **GREEDY)
    engine.load(write_model(tmp_path / "b", seed=1))
    assert engine.generate(PROMPTS, **GREEDY) != before
    engine.load(model)
    assert engine.generate(PROMPTS, **GREEDY) == before


def test_a_missing_package_an_unknown_engine_and_no_model_are_one_line_each(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MemphisError, match=r"needs the package vllm: pip install"):
        open_engine("vllm", model, dtype="float32")
    with pytest.raises(MemphisError, match=r"generate\.engine=sglang is unknown"):
        open_engine("sglang", model, dtype="float32")
    with pytest.raises(MemphisError, match="holds no model"):
        open_engine("hf", tmp_path, dtype="float32")


def test_the_tokenizer_of_these_tests_writes_only_ascii(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    assert tokenizer.decode(list(range(1, len(tokenizer)))).isascii()
