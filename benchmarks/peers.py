"""TRL's side of the training comparisons. Its trainers are used as they are: what is set here is in `words` of the
contenders, beside every ratio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer

from benchmarks import material
from benchmarks.worker import Gated
from memphis.data import prompts
from memphis.jsonl import read_rows

TRAINERS = {"SFT": (SFTTrainer, SFTConfig), "CPO": (CPOTrainer, CPOConfig), "DPO": (DPOTrainer, DPOConfig)}
SAME: dict[str, Any] = {
    "num_train_epochs": 1000,  # the gate ends the process earlier
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch_fused",
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
    "seed": 0,
}


class Waiting(TrainerCallback):
    """Waits at the end of every step's cycle, after its numbers were logged."""

    def __init__(self, gate: Gated) -> None:
        self.gate = gate

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        names = {"loss": "loss", "nll_loss": "ce"}
        self.gate(**{name: float(logs[key]) for key, name in names.items() if key in logs})


def train(
    gate: Gated,
    work: Path,
    *,
    model: str,
    kind: str = "SFT",
    rows: int = 0,
    pairs: int = 0,
    batch: int = 8,
    **more: Any,
) -> None:
    """Train on so many rows, or pairs, all of them in a step. batch: rows (packs of rows) of a micro-batch.

    kind: of trainer. more: settings of its config, which take precedence.
    """
    data = [material.texts(row) for row in read_rows(work / "rows.jsonl")[:rows]]
    for pair in material.pairs(work, pairs):
        prompt, (rejected,) = prompts.render_cot(pair["prompt"]), pair["rejected"]
        data.append({"prompt": prompt, "chosen": pair["chosen"], "rejected": rejected})
    loaded = AutoModelForCausalLM.from_pretrained(work / model, dtype="float32")
    for module in (loaded.get_input_embeddings(), loaded.get_output_embeddings()):
        module.requires_grad_(False)
    trainer, config = TRAINERS[kind]
    trainer(
        model=loaded,
        args=config(
            output_dir=str(work / "trl"),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=len(data) // batch,
            **SAME | more,
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(work / model),
        callbacks=[Waiting(gate)],
    ).train()
