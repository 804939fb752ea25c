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
        names = {"loss": "loss", "nll_loss": "ce", "num_tokens": "tokens_so_far"}
        self.gate(**{name: float(logs[key]) for key, name in names.items() if key in logs})


def sft(gate: Gated, work: Path, *, model: str, rows: int, batch: int = 8, **settings: Any) -> None:
    """Train on rows, all of them in a step. batch: rows (packs of rows) of a micro-batch."""
    data = [material.texts(row) for row in read_rows(work / "rows.jsonl")[:rows]]
    train("SFT", gate, work, *_loaded(work / model), data, batch, rows // batch, **settings)


def prefer(gate: Gated, work: Path, *, trainer: str, model: str, pairs: int, batch: int = 8, **settings: Any) -> None:
    """Train on pairs. trainer: CPO or DPO."""
    data = [
        {"prompt": prompts.render_cot(pair["prompt"]), "chosen": pair["chosen"], "rejected": pair["rejected"][0]}
        for pair in material.pairs(work, pairs)
    ]
    train(trainer, gate, work, *_loaded(work / model), data, batch, pairs // batch, **settings)


def train(
    name: str, gate: Gated, work: Path, model: Any, tokenizer: Any, data: Any, batch: int, cycle: int, **settings: Any
) -> None:
    """One of TRL's trainers, with the gate after every step. cycle: micro-batches of a step. settings: TRL's."""
    trainer, config = TRAINERS[name]
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": cycle}
    args = config(output_dir=str(work / "trl"), **SAME | sizes | settings)
    rows = Dataset.from_list(data)
    trainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer, callbacks=[Waiting(gate)]).train()


def _loaded(path: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(path, dtype="float32")
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(path)
