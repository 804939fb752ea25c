"""Supervised fine-tuning of the input model on the data stage's rows."""

from typing import Any

from memphis.data import tokens
from memphis.rows import read_rows
from memphis.stages.context import Context
from memphis.stages.train import train_stage


def run(context: Context) -> dict[str, Any]:
    config = context.config
    rows = read_rows(context.inputs["data"] / "sft.jsonl")
    tokenizer = tokens.load_tokenizer(context.inputs["model"] / "model")
    examples, counts = tokens.sft_examples(
        rows,
        tokenizer,
        max_length=config["sft"]["max_length"],
        eos=config["data"]["eos"],
        overlong=config["data"]["overlong"],
    )
    return train_stage(context, examples, counts, config["sft"], loss="sft")
