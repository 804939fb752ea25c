"""Sample completions through one small protocol with two engines, vLLM (`vllm.py`) and transformers (`hf.py`).

Neither engine library is loaded before `open_engine` is called. An engine handles token ids, not prompt formats.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from memphis.errors import MemphisError
from memphis.sampling.progress import Meter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """Sampled continuation of a prompt."""

    text: str  # decoded, without end-of-text token and without the stop string that ended it
    token_ids: list[int]  # as sampled; the end-of-text token or the tokens of the stop string are still in it
    finished: bool  # ended by end-of-text or by a stop string; False when the token limit cut it off


class Engine(Protocol):
    """Model that is ready to sample. Not thread-safe; one per process."""

    name: str
    dtype: str
    max_model_len: int  # longest prompt plus completion, in tokens
    meter: Meter  # counts the steps of whatever is sampled or scored

    def load(self, path: Path) -> None:
        """Continue with the weights of another checkpoint directory. Cheap if nothing changed."""

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
        """Return `num_samples` completions for every prompt, in the order of the prompts.

        The result depends on the arguments and the weights alone, not on what the engine did before.

        prompts: token ids, nothing is added to them. A prompt that fills the model's context gets empty
            unfinished completions, and a warning says how many did.
        temperature: 0 is greedy decoding; then `top_p` and `seed` have no effect.
        top_p: in (0, 1]; sampling is restricted to the most probable tokens that together reach this probability.
        max_new_tokens: cut where the model's context ends, if that comes first.
        seed: any non-negative integer.
        """

    def close(self) -> None:
        """Free memory. The engine cannot be used afterwards."""


def open_engine(name: str, path: Path, *, dtype: str, device: str = "cpu") -> Engine:
    """Start the engine `name` with the weights of the checkpoint directory `path`.

    name: "vllm" or "hf". dtype: "float32", "bfloat16" or "float16". device: "cpu" or "cuda".
    Raises MemphisError for an unknown name, a missing package or a directory that holds no model.
    """
    if name not in ("vllm", "hf"):
        raise MemphisError(f"generate.engine={name} is unknown; use vllm or hf")
    if not (path / "config.json").exists():
        raise MemphisError(f"{path} holds no model (config.json is missing); give a Hugging Face checkpoint directory")
    if name == "vllm":
        from memphis.sampling.vllm import VllmEngine

        return VllmEngine(path, dtype=dtype, device=device)
    from memphis.sampling.hf import HfEngine

    return HfEngine(path, dtype=dtype, device=device)


def fitting(prompts: list[list[int]], max_model_len: int) -> list[int]:
    """Return the indices of the prompts that leave room for an answer; warn of the others."""
    found = [i for i, prompt in enumerate(prompts) if len(prompt) < max_model_len]
    if len(found) < len(prompts):
        logger.warning("%d prompts leave no room for an answer", len(prompts) - len(found))
    return found


def weights_stamp(path: Path) -> tuple[object, ...]:
    """Return a value that changes when the weights in a checkpoint directory do; reads no contents."""
    files = sorted(path.glob("*.safetensors"))
    return (path.resolve(), *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files))
