"""What devices have: memory, peak speed and bandwidth, as their vendors state them."""

import os
from dataclasses import dataclass
from pathlib import Path

from aila_jax.config import one_of

GB, TERA = 1e9, 1e12
NVIDIA = "https://www.nvidia.com/en-us/data-center"
TPU = "https://cloud.google.com/tpu/docs"


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
      name: as it is asked for.
      memory: bytes; None where they are not known.
      bfloat16: FLOP/s of matrix products in bfloat16 with float32 sums, dense; None where nobody states it.
      float32: FLOP/s of float32, without TF32 or another coarser way of multiplying. TPUs multiply float32 in
        bfloat16 unless told otherwise, and their vendor states that speed alone.
      bandwidth: bytes/s of its memory; None where it is not known.
      source: where these figures are from.
    """

    name: str
    memory: float | None
    bfloat16: float | None
    float32: float | None
    bandwidth: float | None
    source: str

    def peak(self, dtype: str) -> float | None:
        """FLOP/s of matrix products of `float32` or `bfloat16`."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32

    @property
    def is_cpu(self) -> bool:
        """Whether attention is computed as on CPUs."""
        return self.name == "cpu"


def _listed(
    name: str, memory: float, bfloat16: float, float32: float, bandwidth: float, source: str
) -> Device:
    """Memory in GB, speeds in TFLOP/s, bandwidth in GB/s."""
    return Device(name, memory * GB, bfloat16 * TERA, float32 * TERA, bandwidth * GB, source)


LISTED = (
    _listed("h100", 80, 989.4, 66.9, 3350, f"{NVIDIA}/h100/, SXM5; without sparsity"),
    _listed("h200", 141, 989.4, 66.9, 4800, f"{NVIDIA}/h200/, SXM5; without sparsity"),
    _listed("a100", 80, 312.0, 19.5, 2039, f"{NVIDIA}/a100/, SXM4 80 GB; without sparsity"),
    _listed("a100-40gb", 40, 312.0, 19.5, 1555, f"{NVIDIA}/a100/, SXM4 40 GB; without sparsity"),
    _listed("l4", 24, 121.0, 30.3, 300, f"{NVIDIA}/l4/; without sparsity"),
    _listed("tpu-v4", 32, 275.0, 275.0, 1228, f"{TPU}/v4, a chip"),
    _listed("tpu-v5e", 16, 197.0, 197.0, 819, f"{TPU}/v5e, a chip"),
    _listed("tpu-v5p", 95, 459.0, 459.0, 2765, f"{TPU}/v5p, a chip"),
    _listed("tpu-v6e", 32, 918.0, 918.0, 1638, f"{TPU}/v6e, a chip"),
)
NAMES = ("cpu", *(device.name for device in LISTED))


def device_named(name: str) -> Device:
    """The device of that name; `cpu` is this machine's. ValueError, with all names, where there is none."""
    one_of("device", name, NAMES)
    return this_cpu() if name == "cpu" else next(one for one in LISTED if one.name == name)


def this_cpu() -> Device:
    """This machine: the memory that processes may have, and the speed of its cores by what their instructions
    allow at 2.5 GHz, which is a guess: where vector units are shared or throttled it is less.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    a_cycle = 64 if "avx512f" in _text("/proc/cpuinfo") else 32  # two fused multiply-adds of 16 or 8 numbers
    speed = cores * a_cycle * 2.5e9
    source = f"this machine: {cores} cores, {a_cycle} FLOP a cycle at 2.5 GHz (assumed)"
    return Device("cpu", machine_memory(), speed, speed, None, source)


def machine_memory() -> float | None:
    """Bytes of memory that processes here may have together; None where nothing says so."""
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    limit = _text("/sys/fs/cgroup/memory.max").strip()  # of a container
    if limit.isdecimal():
        found.append(float(limit))
    return min(found, default=None)


def _text(path: str) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
