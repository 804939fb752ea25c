"""Tests of the vLLM engine: a used engine must behave like a new one."""

from pathlib import Path

import pytest
import torch

from memphis.runs import export
from memphis.sampling import Completion, Engine, progress
from memphis.sampling.hf import HfEngine
from memphis.sampling.top_p import SMALL
from tests.test_export import finished
from tests.tiny_models import vllm_engine, write_model

pytestmark = pytest.mark.slow

PROMPTS = [[5 + i % 90, 6, 7 + i % 50, *range(20, 20 + i % 40)] for i in range(40)]
SAMPLED = {"num_samples": 4, "temperature": 0.5, "top_p": 0.8, "max_new_tokens": 24, "stop": ["\n"], "seed": 11}
GREEDY = SAMPLED | {"num_samples": 1, "temperature": 0.0}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    sizes = {"a": 32, "b": 32, "wide": 64}
    return {name: write_model(folder / name, seed, hidden) for seed, (name, hidden) in enumerate(sizes.items())}


@pytest.fixture
def engine(models: dict[str, Path]) -> Engine:
    return vllm_engine(models["a"])


def test_new_weights_in_a_living_engine_equal_a_new_engine(engine: Engine, models: dict[str, Path]) -> None:
    first = engine.generate(PROMPTS, **SAMPLED)
    living = engine.llm
    engine.load(models["b"])
    reloaded = engine.generate(PROMPTS, **SAMPLED)
    assert engine.llm is living
    assert reloaded != first
    engine.load(models["wide"])  # a different architecture: the engine is built again
    assert engine.llm is not living
    assert engine.generate(PROMPTS, **GREEDY) == HfEngine(models["wide"], dtype="float32").generate(PROMPTS, **GREEDY)
    engine.load(models["b"])  # and once more, so this is a new engine on b
    assert engine.generate(PROMPTS, **SAMPLED) == reloaded
    engine.load(models["a"])
    assert engine.generate(PROMPTS, **SAMPLED) == first


def test_a_shard_has_the_same_tokens_alone_after_another_and_after_an_evaluation(engine: Engine) -> None:
    from vllm import SamplingParams

    alone = engine.generate(PROMPTS[:20], **SAMPLED)
    engine.generate(PROMPTS[20:], **SAMPLED | {"seed": 12})
    assert engine.generate(PROMPTS[:20], **SAMPLED) == alone
    scoring = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1)
    engine.llm.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], scoring, use_tqdm=False)
    assert engine.generate(PROMPTS[:20], **SAMPLED) == alone
    assert engine.generate(PROMPTS[:20], **SAMPLED | {"seed": 12}) != alone


def test_samples_and_scores_do_not_depend_on_who_counts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm import SamplingParams

    monkeypatch.setattr(progress, "REPORT_S", 0.0)
    uncounted, found = engine.generate(PROMPTS, **SAMPLED), []
    with engine.meter.reporting(lambda *counts: found.append(counts)):
        assert engine.generate(PROMPTS, **SAMPLED) == uncounted
    finished, waiting, tokens, longest = zip(*found, strict=True)
    assert (sum(finished), waiting[-1], set(longest)) == (160, 0, {24})
    assert len(found) >= 24
    assert sum(tokens) == sum(len(one.token_ids) for completions in uncounted for one in completions)
    scoring, found = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1), []
    with engine.meter.reporting(lambda *counts: found.append(counts)):
        engine.llm.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], scoring, use_tqdm=False)
    assert (sum(counts[0] for counts in found), {counts[3] for counts in found}) == (40, {0})
    assert sum(counts[2] for counts in found) == sum(len(prompt) - 1 for prompt in PROMPTS)


def test_greedy_equals_transformers(engine: Engine, models: dict[str, Path]) -> None:
    found = engine.generate(PROMPTS, **GREEDY)
    assert found == HfEngine(models["a"], dtype="float32").generate(PROMPTS, **GREEDY)
    assert {completion.finished for (completion,) in found} == {True, False}  # both kinds occur
    assert engine.generate(PROMPTS[:2], **GREEDY | {"num_samples": 3}) == [[c] * 3 for (c,) in found[:2]]


def test_first_tokens_are_drawn_from_the_same_distribution_as_with_transformers(
    engine: Engine, models: dict[str, Path]
) -> None:
    knobs = SAMPLED | {"num_samples": 800, "max_new_tokens": 1, "stop": [], "temperature": 2.0, "top_p": 0.1}
    shares = []
    for sampler in (engine, HfEngine(models["a"], dtype="float32")):
        tokens = [completion.token_ids[0] for completion in sampler.generate(PROMPTS[:1], **knobs)[0]]
        shares.append({token: tokens.count(token) / 800 for token in set(tokens)})
    mine, theirs = shares
    assert mine.keys() == theirs.keys()  # the tokens that top_p leaves
    assert 3 < len(mine) < 20
    assert sum(abs(mine.get(t, 0) - theirs.get(t, 0)) for t in mine | theirs) / 2 < 0.1


def test_end_of_text_finishes_and_is_not_in_the_text(engine: Engine, models: dict[str, Path]) -> None:
    eos = HfEngine(models["a"], dtype="float32").tokenizer.eos_token_id
    found = [
        c
        for row in engine.generate(PROMPTS, **SAMPLED | {"num_samples": 8, "temperature": 2.0, "top_p": 1.0})
        for c in row
    ]
    ended = [completion for completion in found if completion.token_ids[-1] == eos]
    assert ended
    assert all(completion.finished and "<|endoftext|>" not in completion.text for completion in ended)


def test_a_prompt_without_room_gets_empty_completions(engine: Engine) -> None:
    found = engine.generate([[5] * 512, [5] * 510], **SAMPLED | {"stop": []})
    assert found[0] == [Completion("", [], False)] * 4
    assert [len(completion.token_ids) for completion in found[1]] == [2] * 4


def test_an_exported_model_says_the_same_here_and_in_transformers(engine: Engine, tmp_path: Path) -> None:
    """Load the export as a user of the hub would, without memphis."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from vllm import SamplingParams

    exported = export.write(finished(tmp_path, "iterations=1", "eval=none"))
    assert exported is not None
    tokenizer, model = AutoTokenizer.from_pretrained(exported), AutoModelForCausalLM.from_pretrained(exported)
    engine.load(exported)
    for prompt in ("### User:\nHow many pens?\n### Rationale:\n", "Q: 12 cards"):
        ids = tokenizer(prompt, return_tensors="pt")
        theirs = tokenizer.decode(
            model.generate(**ids, max_new_tokens=24, do_sample=False)[0][ids["input_ids"].shape[1] :]
        )
        (ours,) = engine.llm.generate(
            [prompt], SamplingParams(temperature=0, max_tokens=24, skip_special_tokens=False), use_tqdm=False
        )
        assert ours.outputs[0].text == theirs
        assert len(ours.outputs[0].token_ids) > 3


def test_the_sampler_masks_what_it_masked_before_it_sorted_less(engine: Engine) -> None:
    from vllm.v1.sample.ops import topk_topp_sampler

    assert engine.name == "vllm"  # importing it has changed the sampler
    given = torch.randn(12, 3 * SMALL, generator=torch.Generator().manual_seed(0)) * 6
    given[1] = given[1].bfloat16().float()
    for top_p in (0.2, 0.5, 0.8, 1.0):
        each = torch.full((12,), top_p)
        found = topk_topp_sampler.apply_top_k_top_p(given.clone(), None, each)
        original = topk_topp_sampler.apply_top_k_top_p_pytorch.__wrapped__
        assert torch.equal(found, original(given.clone(), None, each, allow_cpu_sync=True))
