"""Devices of this machine: GPUs with their memory and speed, from nvidia-smi without torch, and CPU cores."""

import importlib.metadata
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memphis.errors import MemphisError

# Part of the name -> (dense bfloat16 FLOP/s, bytes/s of memory).
GPUS = {
    "3090": (71e12, 0.94e12),
    "4090": (165e12, 1.0e12),
    "A100": (312e12, 2.0e12),
    "H100": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
}


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes


def peak_flops(name: str) -> float | None:
    """Return the dense bfloat16 FLOP/s of the GPU named `name`; None if it is unknown."""
    return next((flops for part, (flops, _) in GPUS.items() if part in name), None)


def gpus(device: str) -> list[Gpu]:
    """List the GPUs that a run with `runtime.device` would use; none without nvidia-smi or a torch that can use them.

    CUDA_VISIBLE_DEVICES is respected.
    """
    if device == "cpu" or (device == "auto" and not _torch_has_cuda()):
        return []
    return list(_listed(os.environ.get("CUDA_VISIBLE_DEVICES")))


def gpu_name(number: int) -> str:
    """Return the GPU with this number among the visible ones, as CUDA_VISIBLE_DEVICES names it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number].strip() if visible else str(number)


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes of this machine's memory that are available; 8 GiB where that cannot be read."""
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 8 << 30)


def emulates_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True if this CPU has no instructions for bfloat16; False if unknown."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), None)
    return flags is not None and not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)


def computes_bfloat16(device: str) -> bool:
    """True if a run with `runtime.device` computes in bfloat16 without emulating it: on a GPU, or by instructions."""
    return bool(gpus(device)) or not emulates_bfloat16()


def check_number(device: str, num_devices: int) -> None:
    """Raise MemphisError if this machine has fewer devices; on a CPU each device is a core."""
    if num_devices == 1:
        return
    found = gpus(device)
    here, what = (len(found), "GPUs") if found or device == "cuda" else (cores(), "cores")
    if num_devices > here:
        raise MemphisError(
            f"runtime.num_devices={num_devices}: runtime.device={device} finds {here} {what} here; "
            f"runtime.num_devices={max(1, here)}, or a larger machine"
        )


def _torch_has_cuda() -> bool:
    try:
        return "+cpu" not in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False


@cache
def _listed(visible: str | None) -> tuple[Gpu, ...]:
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = []
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        index, uuid, mebibytes, name = (part.strip() for part in line.split(",", 3))
        chosen = visible is None or any(
            v and (v == index or uuid.startswith(v)) for v in map(str.strip, visible.split(","))
        )
        if chosen and mebibytes.isdigit():
            found.append(Gpu(name, int(mebibytes) << 20))
    return tuple(found)
