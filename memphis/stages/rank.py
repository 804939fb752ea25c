"""Rank stage: train on samples with the loss that `rank.loss` names: by default cross-entropy and the rank loss."""

from typing import Any

from memphis.config.forms import RankForm
from memphis.data import prompts, tokens
from memphis.jsonl import read_rows
from memphis.stages.context import Context
from memphis.stages.train import train_stage


def run(context: Context, config: RankForm) -> dict[str, Any]:
    inputs = context.inputs
    pairs = read_rows(inputs["pairs"] / "pairs.jsonl")
    gold = None
    if config.rank.objective.gold:
        questions = read_rows(inputs["data"] / "questions.jsonl")
        gold = {row["id"]: prompts.completion_cot(row["rationale"], row["answer"]) for row in questions}
    examples, counts = tokens.pair_examples(
        pairs,
        tokens.load_tokenizer(inputs["model"] / "model"),
        max_length=config.rank.max_length,
        eos=config.data.eos,
        overlong=config.data.overlong,
        gold=gold,
    )
    return train_stage(context, examples, counts, config)
