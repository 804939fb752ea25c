"""The export of five families: transformers and vLLM load it, as a user of the hub would, and say the same."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from memphis import REPOSITORY
from memphis.errors import NotLoadable
from memphis.training.model import fingerprint, save
from memphis.training.tensors import stored_tensors
from tests.offline import train
from tests.tiny_models import tokenizer, vllm_engine

pytestmark = pytest.mark.slow

PROMPTS = ["### User:\nHow many pens?\n### Rationale:\n", "Q: 12 cards", "A: Let's think step by step. 7"]
NEW_TOKENS = 24
SHAPE: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "initializer_range": 0.2}
ATTENTION: dict[str, Any] = {"num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 512}
GROUPED: dict[str, Any] = {**SHAPE, **ATTENTION, "num_key_value_heads": 2, "head_dim": 32}
FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    "llama": lambda **ids: LlamaForCausalLM(LlamaConfig(**GROUPED, tie_word_embeddings=True, **ids)),
    "qwen3": lambda **ids: Qwen3ForCausalLM(Qwen3Config(**GROUPED, **ids)),
    "gemma3": lambda **ids: Gemma3ForCausalLM(
        Gemma3TextConfig(**GROUPED, sliding_window=16, layer_types=["sliding_attention", "full_attention"], **ids)
    ),
    "gpt_neox": lambda **ids: GPTNeoXForCausalLM(GPTNeoXConfig(**{**SHAPE, **ATTENTION, "num_attention_heads": 2}, **ids)),
    "mamba": lambda **ids: MambaForCausalLM(MambaConfig(**SHAPE, **ids)),
}  # fmt: skip
TIED = {"llama", "gemma3", "mamba"}
CHANGED_BY_VLLM = {"gpt_neox"}  # it runs transformers' classes, and changes them for the rest of the process
NOT_IN_VLLM = {"mamba"}  # the CPU build has no kernel for its scan (selective_scan_fwd)


def checkpoint(family: str, path: Path) -> Path:
    """Write a random checkpoint of the family, with weights so large that its best tokens are clear winners."""
    vocabulary = tokenizer()
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), vocabulary.eos_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FAMILIES[family](vocab_size=len(vocabulary), **ids)
    save(model, vocabulary, path)
    return path


def trained(base: Path, root: Path) -> Path:
    """Train the checkpoint for one step by train.py; return the directory that the run leaves for publishing."""
    rows = root / "rows.jsonl"
    row = {"prompt": "How many pens has 7?", "rationale": "7 pens", "answer": "7"}
    rows.write_text("".join(json.dumps({**row, "prompt": f"{n} {row['prompt']}"}) + "\n" for n in range(8)))
    words = [*("model=hf", f"model.path={base}", "data=local", f"data.path={rows}", "eval=none", "method=sft_only")]
    words += ["sft.epochs=1", "sft.global_batch_size=8", "sft.warmup_ratio=0", "name=one"]
    done = train(root, *words, forked=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (out,) = (root / "one").glob("s0/*/model")
    assert fingerprint(out) != fingerprint(base)
    return out


def greedy(path: Path) -> list[tuple[str, int]]:
    """Return vLLM's most probable answers to PROMPTS, each with its number of tokens."""
    from vllm import SamplingParams

    chosen = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, skip_special_tokens=False)
    outputs = vllm_engine(path).llm.generate(PROMPTS, chosen, use_tqdm=False)
    return [(output.outputs[0].text, len(output.outputs[0].token_ids)) for output in outputs]


def main() -> None:
    print(json.dumps(greedy(Path(sys.argv[1]))))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_says_the_same_in_transformers_and_vllm(family: str, tmp_path: Path) -> None:
    base = checkpoint(family, tmp_path / "base")
    exported = trained(base, tmp_path)
    assert {"README.md", "config.json", "generation_config.json", "tokenizer.json"} <= {
        p.name for p in exported.iterdir()
    }
    assert stored_tensors(exported).keys() == stored_tensors(base).keys()

    text, model = AutoTokenizer.from_pretrained(exported), AutoModelForCausalLM.from_pretrained(exported)
    assert model.config.model_type == AutoModelForCausalLM.from_pretrained(base).config.model_type
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == (family in TIED)
    theirs = []
    for prompt in PROMPTS:
        ids = text(prompt, return_tensors="pt")
        said = model.generate(**ids, max_new_tokens=NEW_TOKENS, do_sample=False)[0][ids["input_ids"].shape[1] :]
        theirs.append(text.decode(said, skip_special_tokens=True))  # vLLM leaves the end out
    assert len(set(theirs)) > 1  # the prompt matters

    if family in NOT_IN_VLLM:
        with pytest.raises(NotLoadable, match="cannot load this model: .*; the other engine is generate=hf"):
            vllm_engine(exported)
        return
    if family in CHANGED_BY_VLLM:
        line = [sys.executable, "-c", "from tests.real.test_exported import main; main()", str(exported)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        ours = json.loads(done.stdout.splitlines()[-1])
    else:
        ours = greedy(exported)
    assert [answer for answer, _ in ours] == theirs
    assert all(tokens > 3 for _, tokens in ours)
