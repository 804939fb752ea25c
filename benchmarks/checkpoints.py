"""Two sharded bfloat16 checkpoints of random numbers to merge, and whether two merges agree.

python -m benchmarks.checkpoints build <tokenizer directory> <out>
python -m benchmarks.checkpoints same <merged> <merged>
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, StableLmForCausalLM

from benchmarks import material

BLOCK = 1 << 22  # random numbers that are drawn; larger tensors repeat them
UNEQUAL = 1e-2  # share of weights that may differ by rounding: mergekit takes the angle in float32


def build(tokenizer: Path, out: Path) -> None:
    """Write out/previous and out/updated: 0.6 G weights, 1.2 GB each, an angle of about 27 degrees between them."""
    with torch.device("meta"):
        config = material.config(hidden=1536, intermediate=4096, layers=16, heads=16, vocab_size=50_304)
        model = StableLmForCausalLM(config).bfloat16()
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(BLOCK, generator=generator) * 0.02 for _ in range(2))
    for name, block in (("previous", first), ("updated", first + 0.5 * second)):
        for weight in model.state_dict().values():
            repeats = -(-weight.numel() // BLOCK)
            weight.copy_(block.bfloat16().repeat(repeats)[: weight.numel()].view(weight.shape))
        model.save_pretrained(out / name, max_shard_size="320MB")  # four files
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(out / name)


def same(left: Path, right: Path) -> None:
    """Raises AssertionError unless both hold the same weights, but for the rounding of a few."""
    ours, theirs = _weights(left), _weights(right)
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-6)  # a step of bfloat16; sums that cancel
    unequal = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    assert unequal <= UNEQUAL * sum(weight.numel() for weight in ours.values()), f"{unequal} weights differ"


def _weights(directory: Path) -> dict[str, Tensor]:
    return {name: weight for file in directory.glob("*.safetensors") for name, weight in load_file(file).items()}


if __name__ == "__main__":
    {"build": build, "same": same}[sys.argv[1]](*map(Path, sys.argv[2:]))
