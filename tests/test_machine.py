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
    ("named", "left"),
    [
        (None, ["H100", "T4", "T4"]),
        ("", ["H100", "T4", "T4"]),
        ("0", ["H100", "T4", "T4"]),  # whichever CUDA counts first
        ("GPU-b", ["T4"]),
        ("GPU-b, GPU-c", ["T4", "T4"]),
        ("GPU-a,GPU-c", ["H100", "T4"]),
        ("GPU-b,1", ["H100", "T4", "T4"]),
        ("MIG-7", ["H100", "T4", "T4"]),
    ],
)
def test_gpus_are_those_that_the_driver_tells_of_or_that_uuids_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, left: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus(tmp_path) == []
    for bus, told in (
        ("01", "Model: \t\t H100\nIRQ:   \t\t 42\nGPU UUID: \t GPU-a\n"),
        ("02", "Model: \t\t T4\nGPU UUID: \t GPU-b\n"),
        ("03", "IRQ:   \t\t 42\n"),
        ("41", "Model: \t\t T4\nGPU UUID: \t GPU-c\n"),
    ):
        (tmp_path / f"0000:{bus}:00.0").mkdir()
        (tmp_path / f"0000:{bus}:00.0" / "information").write_text(told)
    assert gpus(tmp_path) == left


def test_gpus_of_several_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclical.machine.gpus", lambda: ["T4", "H100", "T4"])
    with pytest.raises(
        InputError, match=r"of several kinds \(H100, T4\), .*CUDA_VISIBLE_DEVICES=GPU"
    ):
        gpu_here()
    monkeypatch.setattr("cyclical.machine.gpus", lambda: ["T4", "T4"])
    assert gpu_here()["gpu"] == "T4"
    monkeypatch.setattr("cyclical.machine.gpus", list)
    assert gpu_here()["gpu"] == "unknown"
