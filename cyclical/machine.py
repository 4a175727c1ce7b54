"""What the machine computes with, as far as results depend on it to the bit."""

import os
import re
from collections.abc import Sequence
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
    """Name the models of the GPUs that NVIDIA's driver knows.

    Where CUDA_VISIBLE_DEVICES names UUIDs, or how they begin, it is those alone. Numbers tell
    nothing: CUDA counts by speed, and within a job or a container what that was lent.
    """
    told = [file.read_text() for file in sorted(folder.glob("*/information"))]
    known = [(_told("Model", text), _told("GPU UUID", text)) for text in told]
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    meant = [model for model, uuid in known if uuid.startswith(tuple(names))]
    by_uuid = all(any(uuid.startswith(name) for _, uuid in known) for name in names)
    return [model for model in (meant if by_uuid else [model for model, _ in known]) if model]


def _told(what: str, information: str) -> str:
    found = re.search(rf"^{what}:\s*(.+?)\s*$", information, re.MULTILINE)
    return found[1] if found else ""
