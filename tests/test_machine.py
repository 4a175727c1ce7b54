"""Which instruction set the computations are held to."""

from pathlib import Path

import pytest

from cyclical.errors import InputError
from cyclical.machine import gpus, instruction_set, refuse_precision

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


def test_gpus_are_those_that_the_driver_tells_of(tmp_path: Path) -> None:
    assert gpus(tmp_path) == []
    for bus, model in (("0000:01:00.0", "NVIDIA H100 80GB HBM3"), ("0000:02:00.0", "Tesla T4")):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 42\n")
    assert gpus(tmp_path) == ["NVIDIA H100 80GB HBM3", "Tesla T4"]
