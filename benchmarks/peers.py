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
from benchmarks.worker import Gate
from memphis.data import prompts
from memphis.jsonl import read_rows

FOREVER = 1000  # epochs: the gate ends the process earlier


class Waiting(TrainerCallback):
    """Waits at the end of every step's cycle, after its numbers were logged."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        names = {"loss": "loss", "nll_loss": "ce"}
        self.gate(**{name: float(logs[key]) for key, name in names.items() if key in logs})


def sft(
    gate: Gate, work: Path, *, model: str, rows: int, step: int | None = None, batch: int = 8, **settings: Any
) -> None:
    """step: rows of an optimizer step, by default all. batch: rows (packs of rows) of a micro-batch."""
    data = [material.texts(row) for row in read_rows(work / "rows.jsonl")[:rows]]
    trainer = SFTTrainer(
        model=_frozen(work / model),
        args=SFTConfig(**_arguments(work, batch, (step or rows) // batch), **settings),
        train_dataset=Dataset.from_list([{"prompt": prompt, "completion": text} for prompt, text in data]),
        processing_class=AutoTokenizer.from_pretrained(work / model),
        callbacks=[Waiting(gate)],
    )
    trainer.train()


def cpo(gate: Gate, work: Path, *, model: str, pairs: int, batch: int = 8) -> None:
    args = CPOConfig(**_arguments(work, batch, pairs // batch), **PLAIN, loss_type="simpo", cpo_alpha=1.0)
    _prefer(gate, work, CPOTrainer, args, model, pairs)


def dpo(gate: Gate, work: Path, *, model: str, pairs: int, batch: int = 8) -> None:
    args = DPOConfig(**_arguments(work, batch, pairs // batch), **PLAIN, precompute_ref_log_probs=True)
    _prefer(gate, work, DPOTrainer, args, model, pairs)


PLAIN = {"bf16": False, "gradient_checkpointing": False}


def _prefer(gate: Gate, work: Path, trainer: Any, args: Any, model: str, pairs: int) -> None:
    data = [
        {"prompt": prompts.render_cot(pair["prompt"]), "chosen": pair["chosen"], "rejected": pair["rejected"][0]}
        for pair in material.pairs(work, pairs)
    ]
    trainer(
        model=_frozen(work / model),
        args=args,
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(work / model),
        callbacks=[Waiting(gate)],
    ).train()


def _frozen(path: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(path, dtype="float32")
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.requires_grad_(False)
    return model


def _arguments(work: Path, batch: int, accumulation: int) -> dict[str, Any]:
    return {
        "output_dir": str(work / "trl"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": FOREVER,
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
