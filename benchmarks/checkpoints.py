"""Two sharded bfloat16 checkpoints of random numbers to merge, and whether two merges agree.

python -m benchmarks.checkpoints build <tokenizer directory> <out>
python -m benchmarks.checkpoints same <merged> <merged>
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import StableLmConfig, StableLmForCausalLM

SHARDS = 4
BLOCK = 1 << 22  # random numbers that are drawn; larger tensors repeat them
CONFIG = StableLmConfig(
    vocab_size=50_304,
    hidden_size=1536,
    intermediate_size=4096,
    num_hidden_layers=16,
    num_attention_heads=16,
    num_key_value_heads=16,
    dtype=torch.bfloat16,
    architectures=["StableLmForCausalLM"],
)  # 0.6 G weights, 1.2 GB
UNEQUAL = 1e-2  # share of weights that may differ by rounding: mergekit takes the angle in float32


def build(tokenizer: Path, out: Path) -> None:
    """out/previous and out/updated, an angle of about 27 degrees between them."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in StableLmForCausalLM(CONFIG).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(BLOCK, generator=generator) * 0.02 for _ in range(2))
    for name, block in (("previous", first), ("updated", first + 0.5 * second)):
        _write(out / name, shapes, block.bfloat16())
        for file in tokenizer.glob("tokenizer*"):
            shutil.copyfile(file, out / name / file.name)


def _write(directory: Path, shapes: dict[str, torch.Size], block: Tensor) -> None:
    directory.mkdir(parents=True)
    CONFIG.save_pretrained(directory)
    total = sum(shape.numel() for shape in shapes.values())
    shards: list[dict[str, Tensor]] = [{} for _ in range(SHARDS)]
    written = 0
    for name, shape in shapes.items():
        repeats = -(-shape.numel() // BLOCK)
        shards[written * SHARDS // total][name] = block.repeat(repeats)[: shape.numel()].view(shape)
        written += shape.numel()
    files: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        save_file(shard, directory / file, metadata={"format": "pt"})
        files |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": 2 * total}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def same(left: Path, right: Path) -> None:
    """Raises SystemExit unless both hold the same weights, but for the rounding of a few."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(right.glob("*.safetensors")):
        tensors |= load_file(file)
    unequal = total = 0
    for file in sorted(left.glob("*.safetensors")):
        for name, value in load_file(file).items():
            other = tensors.pop(name)
            unequal += int((value != other).sum())
            total += value.numel()
            torch.testing.assert_close(value, other, rtol=2**-7, atol=1e-6)  # a step of bfloat16; sums that cancel
    if tensors or unequal > UNEQUAL * total:
        sys.exit(f"{unequal} of {total} weights differ; only in one: {sorted(tensors)[:3]}")


if __name__ == "__main__":
    {"build": build, "same": same}[sys.argv[1]](*map(Path, sys.argv[2:]))
