"""What the machine computes with, as far as results depend on it to the bit."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from cyclical.errors import InputError
from cyclical.values import Precision

AVX512_CORE = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512cd", "avx512vl"})
GPUS = Path("/proc/driver/nvidia/gpus")
ISA = "ONEDNN_MAX_CPU_ISA"


def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name the newest of the two instruction sets that oneDNN is held to: AVX512_CORE or AVX2.

    The environment's ONEDNN_MAX_CPU_ISA=AVX2 holds a processor that has both to the older one; its
    other values have no effect.
    """
    if os.environ.get(ISA, "").upper() == "AVX2":
        return "AVX2"
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    newer = flags is not None and set(flags[1].split()) >= AVX512_CORE
    return "AVX512_CORE" if newer else "AVX2"


def refuse_precision(precision: Precision, on_gpus: Sequence[str]) -> None:
    """Raise InputError where TensorFlow can't compute in a precision: bfloat16 needs AVX-512."""
    if precision != "float32" and not on_gpus and instruction_set() == "AVX2":
        raise InputError(
            f"precision={precision} needs a GPU or a processor with AVX-512 that {ISA} does not "
            "hold to AVX2: take float32"
        )


def gpus(folder: Path = GPUS) -> list[str]:
    """Name the models of the GPUs that NVIDIA's driver knows and CUDA_VISIBLE_DEVICES leaves.

    A number is the GPU's place by PCI address where CUDA_DEVICE_ORDER=PCI_BUS_ID says so, another
    name begins its UUID; what else may be named, a number in CUDA's own order too, may be any.
    """
    told = [file.read_text() for file in sorted(folder.glob("*/information"))]
    models, uuids = (_told(what, told) for what in ("Model", "GPU UUID"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    left = {place for name in named if name.strip() for place in _meant(name.strip(), uuids)}
    return [model for place, model in enumerate(models) if place in left or not left]


def _meant(name: str, uuids: Sequence[str]) -> Collection[int]:
    """Return which of the GPUs CUDA may mean by a name."""
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" and name.isdecimal():
        return {int(name)}
    begun = {place for place, uuid in enumerate(uuids) if uuid.startswith(name)}
    return begun or range(len(uuids))


def _told(what: str, information: Sequence[str]) -> list[str]:
    found = [re.search(rf"^{what}:\s*(.+?)\s*$", text, re.MULTILINE) for text in information]
    return [line[1] if line else "" for line in found]
