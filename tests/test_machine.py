"""Which instruction set the computations are held to."""

from pathlib import Path

import pytest

from cyclical.errors import InputError
from cyclical.machine import gpus, instruction_set, refuse_precision
from tasks.caching import gpu_here

OLDER = "processor : 0\nflags\t\t: fpu avx avx2 avx512f\nbugs\t: none\n"
NEWER = OLDER.replace("avx512f", "avx512f avx512bw avx512dq avx512cd avx512vl")
OTHER = "processor : 0\nFeatures\t: fp asimd\n"


@pytest.mark.parametrize(
    ("text", "wanted", "named"),
    [
        (OLDER, "", "AVX2"),
        (NEWER, "", "AVX512_CORE"),
        (NEWER, "AVX2", "AVX2"),
        (NEWER, "avx2", "AVX2"),
        (OLDER, "AVX512_CORE", "AVX2"),  # not more than there is
        (OTHER, "", "AVX2"),
    ],
)
def test_the_newest_that_the_processor_has_and_the_user_lets(
    text: str, wanted: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", wanted)
    assert instruction_set(cpuinfo) == named


def test_half_precision_is_refused_where_the_processor_cannot_or_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(InputError, match="precision=mixed_bfloat16 needs a GPU or a processor"):
        refuse_precision("mixed_bfloat16", [])
    refuse_precision("mixed_bfloat16", ["0"])
    refuse_precision("float32", [])


@pytest.mark.parametrize(
    ("environment", "left"),
    [
        ({}, ["H100", "T4", "T4"]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["H100", "T4", "T4"]),  # CUDA's own order: the fastest?
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ["H100"]),
        ({"CUDA_VISIBLE_DEVICES": "1, 2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ["T4", "T4"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, ["T4"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-c"}, ["H100", "T4"]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-7"}, ["H100", "T4", "T4"]),
    ],
)
def test_gpus_are_those_that_the_driver_tells_of_and_the_user_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], left: list[str]
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert gpus(tmp_path) == []
    for bus, model, uuid in (("01", "H100", "GPU-a"), ("02", "T4", "GPU-b"), ("41", "T4", "GPU-c")):
        (tmp_path / f"0000:{bus}:00.0").mkdir()
        (tmp_path / f"0000:{bus}:00.0" / "information").write_text(
            f"Model: \t\t {model}\nIRQ:   \t\t 42\nGPU UUID: \t {uuid}\n"
        )
    assert gpus(tmp_path) == left


def test_gpus_of_several_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclical.machine.gpus", lambda: ["T4", "H100", "T4"])
    with pytest.raises(
        InputError, match=r"of several kinds \(H100, T4\), .* CUDA_VISIBLE_DEVICES=0"
    ):
        gpu_here()
    monkeypatch.setattr("cyclical.machine.gpus", lambda: ["T4", "T4"])
    assert gpu_here()["gpu"] == "T4"
    monkeypatch.setattr("cyclical.machine.gpus", list)
    assert gpu_here()["gpu"] == "unknown"
