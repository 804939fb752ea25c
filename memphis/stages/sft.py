"""SFT stage: supervised fine-tuning of the input model on the data stage's rows.

As the control of self-teaching it continues an earlier SFT for as long as the stages under `budget-…` trained, only on
rows whose questions the model taught itself with.
"""

from typing import Any

from memphis.config.forms import SftForm
from memphis.data import tokens
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.pipeline import BUDGET
from memphis.stages.context import Context
from memphis.stages.train import refuse_early, train_stage


def run(context: Context, config: SftForm) -> dict[str, Any]:
    refuse_early(context, config)
    budget = [path for role, path in context.inputs.items() if role.startswith(BUDGET)]
    rows = read_rows(context.inputs["data"] / "sft.jsonl")
    if budget:
        questions = {row["id"] for row in read_rows(context.inputs["data"] / "questions.jsonl")}
        rows = [row for row in rows if row["id"] in questions]
        if not rows:
            raise MemphisError("sft.continued=true: no question has a rationale; use method=sft_only")
    tokenizer = tokens.load_tokenizer(context.inputs["model"] / "model")
    examples, counts = tokens.sft_examples(
        rows,
        tokenizer,
        max_length=config.sft.max_length,
        eos=config.data.eos,
        overlong=config.data.overlong,
    )
    return train_stage(context, examples, counts, config, like=budget)
