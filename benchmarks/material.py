"""Material of all contenders: rows of the TinyCoT sample, a tokenizer made from them, random models.

python -m benchmarks.material training <rows> <work directory>
python -m benchmarks.material checkpoints <tokenizer directory> <out>
python -m benchmarks.material same <merged> <merged>
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast, StableLmConfig, StableLmForCausalLM

from memphis.data import prompts
from memphis.jsonl import read_rows, write_rows

EOS = "<|endoftext|>"
# Entries of the vocabulary. The larger one has no other texts: what it costs is the head, not the tokens.
VOCABULARY = {"small": 8_000, "vocab": 50_304}
UNEQUAL = 1e-2  # share of merged weights that may differ by rounding: mergekit takes the angle in float32


def training(source: Path, work: Path) -> None:
    """Write rows.jsonl (all rows, in random order), small/ and vocab/ (checkpoints with tokenizer) to `work`."""
    rows = [{**row, "kind": "cot", "answer": row["target"]} for row in read_rows(source)]
    random.Random(0).shuffle(rows)
    write_rows(work / "rows.jsonl", rows)
    # Prompts end with a line break, which no token crosses: both sides see the same ids.
    learned = ByteLevelBPETokenizer()
    corpus = [text for row in rows for text in texts(row).values()]
    learned.train_from_iterator(corpus, VOCABULARY["small"], min_frequency=0, show_progress=False, special_tokens=[EOS])
    plain = Tokenizer.from_str(json.dumps(json.loads(learned.to_str()) | {"post_processor": None}))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token=EOS, pad_token=EOS, clean_up_tokenization_spaces=False
    )
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    for name, entries in VOCABULARY.items():
        tokenizer.save_pretrained(work / name)
        torch.manual_seed(0)
        StableLmForCausalLM(config(vocab_size=entries, **ids)).save_pretrained(work / name)


def config(
    *, hidden: int = 256, intermediate: int = 688, layers: int = 4, heads: int = 4, vocab_size: int = 8_000, **more: Any
) -> StableLmConfig:
    """A StableLM of these dimensions; those of the small model where none are given."""
    return StableLmConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        **more,
    )


def texts(row: dict[str, Any]) -> dict[str, str]:
    """Prompt and completion of a row, as memphis and TRL are given them: end-of-text is theirs to add."""
    completion = prompts.completion_cot(row["rationale"], row["answer"])
    return {"prompt": prompts.render_cot(row["prompt"]), "completion": completion}


def pairs(work: Path, number: int) -> list[dict[str, Any]]:
    """Prompts with a chosen completion, their own, and a rejected one, that of another row."""
    rows = read_rows(work / "rows.jsonl")
    answers = [texts(row)["completion"] for row in rows[: 2 * number]]
    return [
        {"id": row["id"], "prompt": row["prompt"], "chosen": chosen, "rejected": [other]}
        for row, chosen, other in zip(rows[:number], answers[:number], answers[number:], strict=True)
    ]


def checkpoints(tokenizer: Path, out: Path) -> None:
    """Write out/previous and out/updated: 0.6 G weights, 1.2 GB each, an angle of about 27 degrees between them."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shape = config(hidden=1536, intermediate=4096, layers=16, heads=16, vocab_size=50_304)
        model = StableLmForCausalLM(shape).bfloat16()
    model.to_empty(device="cpu")
    for name in ("previous", "updated"):
        for weight in model.state_dict().values():
            if name == "previous":
                weight.normal_(std=0.02)
            else:
                weight.add_(torch.randn_like(weight), alpha=0.01)
        model.save_pretrained(out / name, max_shard_size="320MB")  # four files
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(out / name)


def same(*merged: Path) -> None:
    """Raises AssertionError unless both hold the same weights, but for the rounding of a few."""
    ours, theirs = (
        {name: weight for file in directory.glob("*.safetensors") for name, weight in load_file(file).items()}
        for directory in merged
    )
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-6)  # a step of bfloat16; sums that cancel
    unequal = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    assert unequal <= UNEQUAL * sum(weight.numel() for weight in ours.values()), f"{unequal} weights differ"


if __name__ == "__main__":
    {"training": training, "checkpoints": checkpoints, "same": same}[sys.argv[1]](*map(Path, sys.argv[2:]))
