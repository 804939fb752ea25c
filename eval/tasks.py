"""Write lm-eval task files when needed: the tiny suite's, and the stock ones with the data of a local mirror.

A file includes the stock one by its path and replaces keys, so nothing of lm-eval is copied, and loading a task does
not read lm-eval's whole tree of tasks, which takes half a minute.

Data of the benchmarks come from the mirror `eval.data_dir`; without it `datasets` downloads them once into its cache.
For a machine without network, fill that cache elsewhere: evaluate any model there once with eval.limit=1, or run the
command that the error names.
"""

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval.tasks
import yaml
from datasets import config as datasets_config
from datasets.exceptions import DatasetGenerationError, DatasetsError
from lm_eval.tasks import TaskManager

from eval.suites import Column, Suite, first_match, mean
from memphis.data.prompts import ANSWER, STOP_STRINGS, render_cot
from memphis.data.tiny import few_shot_prompt
from memphis.errors import MemphisError
from memphis.jsonl import read_rows

_STOCK = Path(lm_eval.tasks.__file__).parent
_VERSION = importlib.metadata.version("lm-eval")
METRICS = ("exact_match", "acc_norm", "acc")  # each item is right or wrong
SHOTS_SEED = 1234  # lm-eval's default; it decides which demonstrations GSM8K shows
MAX_ANSWER_TOKENS = 96  # twice the longest right answer of the tiny task


def load_task(suite: Suite, column: Column, task: str, data_dir: Path | None, folder: Path) -> Any:
    """Load the task as lm-eval has it, with its data; arguments as those of `write_task`. `folder` must outlive it.

    Raises MemphisError if the data cannot be loaded.
    """
    file = write_task(suite, column, task, data_dir, folder)
    try:
        (loaded,) = TaskManager(include_defaults=False).load([str(file)])["tasks"].values()
    except (OSError, ValueError, DatasetsError) as error:  # ConnectionError is an OSError
        raise MemphisError(_missing(suite, task, data_dir, error)) from error
    loaded.set_fewshot_seed(seed=SHOTS_SEED)
    return loaded


def named_tasks(names: Sequence[str]) -> tuple[tuple[Column, ...], dict[str, Any]]:
    """Return a column for each of these tasks and groups of lm-eval, and the loaded tasks by name.

    A column counts the first of METRICS that its tasks have, after their first filter.
    Raises MemphisError for an unknown name, for data that cannot be had, and for tasks with other metrics alone.
    """
    manager = TaskManager()
    columns: list[Column] = []
    loaded: dict[str, Any] = {}
    for name in names:
        if (entry := manager.task_index.get(name)) is None:
            cure = "`lm-eval ls tasks` lists those there are"
            raise MemphisError(f"eval.tasks: {name} is no task or group of lm-eval {_VERSION}; {cure}")
        try:
            found = manager.load([name])["tasks"]
        except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # RuntimeError: data that bring a script
            where = (entry.cfg or {}).get("dataset_path"), (entry.cfg or {}).get("dataset_name")
            raise MemphisError(_not_here("eval.tasks", name, where, "or leave it out", _reason(error))) from error
        described = {(_metric(name, task), task.config.num_fewshot or 0, _samples(task)) for task in found.values()}
        if len(described) > 1:
            raise MemphisError(f"eval.tasks: the tasks of {name} differ in metric or shots; name single ones of them")
        (((metric, filter_name), shots, sampled),) = described
        for task in found.values():
            task.set_fewshot_seed(seed=SHOTS_SEED)
        title = f"{name} ({metric})"
        columns.append(Column(name, title, tuple(found), metric, filter_name, shots, variant="named", sampled=sampled))
        loaded |= found
    return tuple(columns), loaded


def _metric(name: str, task: Any) -> tuple[str, str]:
    metric = next((one for one in METRICS if one in task.aggregation()), None)
    if metric is None:
        has = ", ".join(task.aggregation())
        raise MemphisError(f"eval.tasks: {name} is measured by {has}; only tasks with {', '.join(METRICS)} are counted")
    return metric, next((one["name"] for one in task.config.filter_list or ()), "none")


def _samples(task: Any) -> bool:
    settings = task.config.generation_kwargs or {}
    return bool(settings.get("do_sample") and settings.get("temperature", 1.0) > 0)


def write_task(suite: Suite, column: Column, task: str, data_dir: Path | None, folder: Path) -> Path:
    """Write the file of one task into `folder` and return its path.

    data_dir: suite tiny: the data stage's directory. The benchmarks: a local mirror of their data, None for the hub.
    Raises MemphisError if the data are not there.
    """
    cache = {"cache_dir": str(folder / "cache")}  # of converted local files, instead of the user's
    if suite.data == "stage":
        config = _tiny(task, data_dir, "dev" if suite.name == "dev" else "test")
        config["dataset_kwargs"] |= cache
    else:
        file, data, _ = _places(task)
        config = {"include": str(_STOCK / file)}
        if data_dir is not None:
            mirror = (data_dir / data).absolute()
            if not mirror.is_dir():
                cure = "give the benchmarks' mirror, or null for the hub"
                raise MemphisError(f"eval.data_dir={data_dir} has no folder {data}; {cure}")
            config |= {"dataset_path": str(mirror), "dataset_kwargs": cache}
    config |= {"task": task, **column.overrides, **column.task_overrides.get(task, {})}
    path = folder / f"{task}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000), encoding="utf-8")
    return path


def _tiny(task: str, data_dir: Path | None, split: str) -> dict[str, Any]:
    if data_dir is None or not (data_dir / f"{split}.jsonl").exists():
        raise MemphisError(
            f"eval.suites=[tiny] needs {split}.jsonl of the tiny task, and {data_dir} has none; use data=tiny"
        )
    config: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data_dir / f"{split}.jsonl")}},
        "test_split": "test",
        "num_fewshot": 0,
        "metadata": {"version": 1.0},
    }
    if task == "tiny_mc":
        return config | {
            "output_type": "multiple_choice",
            # All but the last result is given. Without its steps the answer is beyond a model of this size: 24 % of
            # 400 items after pre-training and 21 % after supervised training, where guessing gives 25 %.
            "doc_to_text": "{{prompt}} {{rationale.rsplit(' = ', 1)[0]}} =",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{gold}}",
            "metric_list": [mean("acc"), mean("acc_norm")],
        }
    config |= {"output_type": "generate_until", "doc_to_target": "{{answer}}", "metric_list": [mean("exact_match")]}
    if task == "tiny_gen":
        return config | {
            "doc_to_text": render_cot("{{prompt}}"),
            "generation_kwargs": _greedy(STOP_STRINGS),
            "filter_list": first_match(f"{ANSWER}\n(.*)"),
        }
    shots = read_rows(data_dir / "dev.jsonl")[:3]
    if task != "tiny_cot" or len(shots) < 3:
        raise MemphisError(
            f"{task}: dev.jsonl of {data_dir} has no three rows to show; use data.sources.tiny.dev=3 or more"
        )
    return config | {
        "doc_to_text": few_shot_prompt("{{prompt}}", []),
        "num_fewshot": 3,
        "fewshot_config": {
            "sampler": "first_n",
            "samples": shots,
            "doc_to_target": "{{rationale}} So the answer is {{answer}}.",
        },
        "generation_kwargs": _greedy(["Q:", "\n\n"]),
        "filter_list": first_match("(?<=the answer is )(.*)(?=.)"),  # as BBH
    }


def _missing(suite: Suite, task: str, data_dir: Path | None, error: Exception) -> str:
    reason = _reason(error)
    if suite.data == "stage":
        return f"data of {task} in {data_dir} cannot be read ({reason}); remove that stage and run the command again"
    _, folder, where = _places(task)
    if data_dir is not None:
        return (
            f"eval.data_dir={data_dir}: the data of {task} in its folder {folder} cannot be read ({reason}); restore "
            "the mirror, or take the hub's with eval.data_dir=null"
        )
    return _not_here("eval.data_dir=null", task, where, "or give a mirror with eval.data_dir=<directory>", reason)


def _reason(error: Exception) -> str:
    text = str(error.__cause__ or error) if isinstance(error, DatasetGenerationError) else str(error)
    return " ".join(text.split()).partition(" with any supported extension")[0][:300] or type(error).__name__


def _not_here(key: str, task: str, where: tuple[str | None, str | None], cure: str, reason: str) -> str:
    """Return the error for data that are neither cached nor to be had. where: hub name of the data, configuration."""
    arguments = ", ".join(repr(word) for word in where if word)
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    cache = datasets_config.HF_DATASETS_CACHE
    return (
        f"{key}: {task} needs the data set {where[0] or 'of its tasks'}, which is not in {cache} and cannot be had "
        f'from the hub{offline}; where there is network type `python -c "import datasets; '
        f'datasets.load_dataset({arguments})"`, {cure} ({reason})'
    )


def _places(task: str) -> tuple[str, str, tuple[str, str | None]]:
    """Return the path of the stock definition, the mirror's folder, and the data set's hub name with configuration."""
    name = task.removeprefix("bbh_cot_fewshot_").removeprefix("agieval_")
    dashed = name.replace("_", "-")
    if task == "gsm8k":
        return "gsm8k/gsm8k.yaml", "gsm8k", ("openai/gsm8k", "main")
    if task.startswith("agieval_"):
        return f"agieval/{dashed}.yaml", f"agieval/hub/{dashed}", (f"hails/agieval-{dashed}", None)
    return f"bbh/cot_fewshot/{name}.yaml", "bbh", ("SaylorTwift/bbh", name)


def _greedy(until: list[str]) -> dict[str, Any]:
    return {"until": until, "max_gen_toks": MAX_ANSWER_TOKENS, "do_sample": False, "temperature": 0.0}
