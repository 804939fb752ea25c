"""Transformers engine: slower than vLLM, but needs no further package. Greedy decoding gives vLLM's tokens."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedTokenizerBase

from memphis.data.tokens import load_tokenizer
from memphis.errors import NotLoadable
from memphis.sampling import Completion, fitting, weights_stamp
from memphis.sampling.progress import Meter
from memphis.sampling.top_p import MOST, SMALL, nucleus

BATCH_SEQUENCES = 64  # enters the random draws: changing it changes samples


class HfEngine:
    """Engine (see `memphis.sampling`) on transformers."""

    name = "hf"

    def __init__(self, path: Path, *, dtype: str, device: str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self.meter = Meter()
        self._stamp: tuple[object, ...] = ()
        self.load(path)

    def load(self, path: Path) -> None:
        if weights_stamp(path) == self._stamp:
            return
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(path)
        self.model = _load(path, getattr(torch, self.dtype)).to(self.device).eval().requires_grad_(False)
        self.max_model_len: int = self.model.config.max_position_embeddings
        ends = self.model.generation_config.eos_token_id
        self._ends = {self.tokenizer.eos_token_id, *([ends] if isinstance(ends, int) else ends or [])}
        self._stamp = weights_stamp(path)

    def generate(
        self,
        prompts: list[list[int]],
        *,
        num_samples: int,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        stop: list[str],
        seed: int,
    ) -> list[list[Completion]]:
        generator = torch.Generator(self.device).manual_seed(seed)
        draw = partial(choose, temperature=temperature, top_p=top_p, generator=generator)
        repeats = 1 if temperature == 0 else num_samples
        rows = [i for i in fitting(prompts, self.max_model_len) for _ in range(repeats)]
        found: dict[int, list[Completion]] = {i: [] for i in rows}
        waiting = len(rows)

        def count(finished: int, tokens: int) -> None:
            nonlocal waiting
            waiting -= finished
            self.meter(finished, waiting, tokens, max_new_tokens)

        for start in range(0, len(rows), BATCH_SEQUENCES):
            batch = rows[start : start + BATCH_SEQUENCES]
            completions = self._batch([prompts[i] for i in batch], max_new_tokens, stop, draw, count)
            for i, completion in zip(batch, completions, strict=True):
                found[i].append(completion)
        nothing = [Completion("", [], False)] * num_samples
        return [found[i] * (num_samples // repeats) if i in found else nothing for i in range(len(prompts))]

    def close(self) -> None:
        del self.model

    @torch.inference_mode()
    def _batch(
        self,
        prompts: list[list[int]],
        max_new_tokens: int,
        stop: list[str],
        draw: Callable[[Tensor], Tensor],
        count: Callable[[int, int], None],
    ) -> list[Completion]:
        longest = max(map(len, prompts))
        input_ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        limits = [min(max_new_tokens, self.max_model_len - len(prompt)) for prompt in prompts]
        rows = list(map(_Row, limits))
        cache = DynamicCache(config=self.model.config)
        for _ in range(max(limits)):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
            logits = self.model(
                input_ids=input_ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            tokens = draw(logits)
            going = [(row, token) for row, token in zip(rows, tokens.tolist(), strict=True) if not row.done]
            for row, token in going:
                row.add(token, self._ends, stop, self.tokenizer)
            count(sum(row.done for row, _ in going), len(going))
            if all(row.done for row in rows):
                break
            input_ids = tokens[:, None]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        return [Completion(row.text, row.token_ids, row.finished) for row in rows]


def _load(path: Path, dtype: torch.dtype) -> Any:
    """Load a model. Raises NotLoadable, also where transformers would fill missing tensors with random numbers."""
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        first = " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())[:300].rstrip(" .")
        if "ignore_mismatched_sizes" in first:
            first = "its weights do not have the shapes that config.json says"
        raise NotLoadable(f"generate.engine=hf (transformers) cannot load this model: {first}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise NotLoadable(
            f"generate.engine=hf: this checkpoint lacks {len(missing)} tensors that its config.json asks for "
            f"({missing[0]}, …); config.json and weights do not belong together"
        )
    forward = inspect.signature(model.forward).parameters
    if "position_ids" not in forward or not hasattr(model.config, "max_position_embeddings"):
        raise NotLoadable(
            f"generate.engine=hf: {type(model).__name__} has no position ids, which this engine needs; "
            "the other engine is generate=vllm"
        )
    return model


class _Row:
    """Sequence that is being generated, of at most `limit` tokens."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.token_ids: list[int] = []
        self.text = ""
        self.finished = False

    @property
    def done(self) -> bool:
        return self.finished or len(self.token_ids) == self.limit

    def add(self, token: int, ends: set[int], stop: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self.token_ids.append(token)
        if token in ends:
            self.finished = True
            return
        # Decoding everything again is quadratic, but correct for any tokenizer, whatever it does between tokens.
        text = tokenizer.decode(self.token_ids, skip_special_tokens=False).rstrip("\ufffd")
        hits = [place for string in stop if (place := text.find(string)) >= 0]
        self.finished = bool(hits)
        self.text = text[: min(hits)] if hits else text


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """Draw one token per row of logits [B, V] -> [B]; temperature 0 takes the most probable one."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    if logits.device.type == "cpu" and logits.shape[-1] > SMALL and top_p < 1:
        kept, order = torch.zeros_like(probabilities), torch.empty_like(probabilities, dtype=torch.long)
        best, order[:, :MOST] = probabilities.topk(MOST, dim=-1)
        inside, sure = nucleus(best, best, top_p)
        kept[:, :MOST] = best.masked_fill(~inside, 0.0)
        kept[~sure], order[~sure] = _sorted(probabilities[~sure], top_p)
    else:
        kept, order = _sorted(probabilities, top_p)
    place = torch.multinomial(kept, 1, generator=generator)
    return order.gather(-1, place)[:, 0]


def _sorted(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return probabilities [B, V], largest first and 0 outside of the nucleus, and the tokens in their order."""
    ordered, order = probabilities.sort(descending=True)
    before = ordered.cumsum(-1) - ordered  # total of all more probable tokens
    kept = ordered.masked_fill(before >= top_p, 0.0)
    kept[:, 0] = ordered[:, 0]
    return kept, order
