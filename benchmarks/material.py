"""What all contenders train on: rows of the TinyCoT sample, a tokenizer made from them, random checkpoints.

python -m benchmarks.material <rows> <work directory>
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, StableLmConfig, StableLmForCausalLM

from memphis.data import prompts
from memphis.jsonl import read_rows, write_rows

EOS = "<|endoftext|>"
TOKENS = 8_000
# Entries of the vocabulary. The larger one has no other texts: what it costs is the head, not the tokens.
VOCABULARY = {"small": TOKENS, "vocab": 50_304}
SHAPE = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4}
POSITIONS = 4096


def build(source: Path, work: Path) -> None:
    """rows.jsonl (all rows, in random order), small/ and vocab/ (checkpoints with tokenizer) in `work`."""
    rows = [{**row, "kind": "cot", "answer": row["target"]} for row in read_rows(source)]
    random.Random(0).shuffle(rows)
    write_rows(work / "rows.jsonl", rows)
    tokenizer = _tokenizer([text for row in rows for text in texts(row)])
    for name, entries in VOCABULARY.items():
        tokenizer.save_pretrained(work / name)
        torch.manual_seed(0)
        config = StableLmConfig(
            **SHAPE,
            num_key_value_heads=SHAPE["num_attention_heads"],
            vocab_size=entries,
            max_position_embeddings=POSITIONS,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        StableLmForCausalLM(config).save_pretrained(work / name)


def texts(row: dict[str, Any]) -> tuple[str, str]:
    """Prompt and completion of a row, as memphis and TRL are given them: end-of-text is theirs to add."""
    return prompts.render_cot(row["prompt"]), prompts.completion_cot(row["rationale"], row["answer"])


def pairs(work: Path, number: int) -> list[dict[str, Any]]:
    """Prompts with a chosen completion, their own, and a rejected one, that of another row."""
    rows = read_rows(work / "rows.jsonl")
    return [
        {"id": row["id"], "prompt": row["prompt"], "chosen": texts(row)[1], "rejected": [texts(other)[1]]}
        for row, other in zip(rows[:number], rows[number : 2 * number], strict=True)
    ]


def _tokenizer(corpus: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE. Prompts end with a line break, which no token crosses: both sides see the same ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS, clean_up_tokenization_spaces=False
    )


if __name__ == "__main__":
    build(*map(Path, sys.argv[1:]))
