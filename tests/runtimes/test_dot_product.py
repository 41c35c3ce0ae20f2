"""CPUs with and without an 8-bit dot product, as described by Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.core.bundle import FORM_KEY, GUARD_KEY
from ghost_deploy.core.errors import DeviceError
from ghost_deploy.runtimes import int8_forms
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.dot_product import DotProduct, fuses_multiply_add, read_dot_product
from ghost_deploy.runtimes.ort import open_model
from tests.support.runtime_cases import write_onnx

BASE = "fpu sse sse2 ssse3 sse4_1 avx avx2 fma"
UNKNOWN = DotProduct()
NONE = DotProduct("", saturates=True)
ARM = "fp asimd evtstrm aes crc32 cpuid"


def cpuinfo(field: str, *processors: str) -> str:
    return "\n\n".join(
        f"processor\t: {k}\nmodel name\t: A CPU\n{field}\t\t: {flags}\nbugs\t\t: spectre_v1"
        for k, flags in enumerate(processors)
    )


def read(tmp_path: Path, text: str | bytes, machine: str) -> DotProduct:
    (tmp_path / "proc").mkdir()
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "proc" / "cpuinfo").write_bytes(data)
    return read_dot_product(tmp_path, machine)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", UNKNOWN),
        (b"\xff\xfe\x00flags: \x80avx512_vnni", UNKNOWN),
        ("flags", UNKNOWN),
        ("flags :", UNKNOWN),
        ("flags : avx512_vnni", UNKNOWN),
        (cpuinfo("Features", f"{BASE} avx_vnni"), UNKNOWN),
        (cpuinfo("flags", BASE), NONE),
        (cpuinfo("flags", f"{BASE} avx512f avx512bw avx512vl"), NONE),
        (cpuinfo("flags", f"{BASE} avx512_vnni_of_another_name"), NONE),
        (cpuinfo("flags", f"{BASE} avx512_vnni"), DotProduct("AVX512-VNNI", saturates=False)),
        (cpuinfo("flags", f"{BASE} avx_vnni"), DotProduct("AVX-VNNI", saturates=False)),
        (cpuinfo("flags", f"{BASE} avx_vnni", BASE), NONE),
    ],
)
def test_x86(tmp_path: Path, text: str | bytes, found: DotProduct) -> None:
    assert read(tmp_path, text, "x86_64") == found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", None),
        ("Features : what", None),
        (cpuinfo("Features", ARM), ""),
        (cpuinfo("Features", f"{ARM} asimddp"), "SDOT"),
        (cpuinfo("Features", f"{ARM} asimddp i8mm"), "I8MM"),
        (cpuinfo("Features", f"{ARM} asimddp", ARM), ""),
    ],
)
def test_arm_never_saturates(tmp_path: Path, text: str, name: str | None) -> None:
    assert read(tmp_path, text, "aarch64") == DotProduct(name, saturates=False)


def test_without_proc_and_on_other_processors_nothing_is_known(tmp_path: Path) -> None:
    assert read_dot_product(tmp_path, "AMD64") == UNKNOWN
    assert read(tmp_path, cpuinfo("flags", BASE), "riscv64") == UNKNOWN


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (UNKNOWN, "not known"),
        (NONE, "none: int8 files made for x86-vnni are refused, those for x86 are right"),
        (DotProduct("AVX512-VNNI", saturates=False), "AVX512-VNNI"),
        (DotProduct("", saturates=False), "none; int8 does not saturate on this kind of CPU"),
    ],
)
def test_what_doctor_says(found: DotProduct, said: str) -> None:
    assert found.sentence == said


@pytest.mark.parametrize(
    ("form", "guard", "found", "opened"),
    [
        ("ort-x86", "pairs", NONE, True),
        ("ort-x86", "", NONE, False),  # of a version that wrote no guard
        ("ort-x86-vnni", "", NONE, False),
        ("ort-x86-vnni", "", DotProduct("AVX-VNNI", saturates=False), True),
        ("ort-x86", "", UNKNOWN, True),
        ("ort-arm", "", NONE, True),
        ("tensorrt", "", NONE, True),
        ("", "", NONE, True),
    ],
)
def test_an_int8_file_that_overflows_on_this_cpu_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    guard: str,
    found: DotProduct,
    opened: bool,
) -> None:
    monkeypatch.setattr(int8_forms, "read_dot_product", lambda: found)
    metadata = {key: value for key, value in ((FORM_KEY, form), (GUARD_KEY, guard)) if value}
    path = write_onnx(tmp_path / "model.onnx", metadata=metadata)
    options = RuntimeOptions(precision="int8", any_form=True)
    if opened:
        open_model(path, options).close()
        return
    with pytest.raises(DeviceError, match=r"VNNI.*--for x86"):
        open_model(path, options)


@pytest.mark.parametrize(
    ("found", "forms"),
    [
        (NONE, ("ort-x86",)),
        (UNKNOWN, ("ort-x86",)),
        (DotProduct("AVX512-VNNI", saturates=False), ("ort-x86-vnni", "ort-x86")),
    ],
)
def test_forms_without_a_guard_need_vnni(
    monkeypatch: pytest.MonkeyPatch, found: DotProduct, forms: tuple[str, ...]
) -> None:
    monkeypatch.setattr(int8_forms, "read_dot_product", lambda: found)
    monkeypatch.setattr(int8_forms, "ort_form", lambda: "ort-x86")
    assert int8_forms.forms_here("ort") == forms
    assert int8_forms.forms_here("openvino") == tuple(
        form.replace("ort-x86", "openvino") for form in forms
    )


def test_arm_has_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_forms, "ort_form", lambda: "ort-arm")
    assert int8_forms.forms_here("ort") == ("ort-arm",)
    assert int8_forms.forms_here("openvino") == ()


@pytest.mark.parametrize(
    ("text", "machine", "fused"),
    [
        ("", "x86_64", True),
        ("flags :", "x86_64", True),
        (cpuinfo("flags", BASE), "x86_64", True),
        (cpuinfo("flags", BASE.replace(" fma", "")), "x86_64", False),
        (cpuinfo("flags", BASE, "fpu sse sse2"), "AMD64", False),
        (cpuinfo("Features", ARM), "aarch64", True),
        (cpuinfo("flags", "sse2"), "riscv64", True),
    ],
)
def test_fused_multiply_add(tmp_path: Path, text: str, machine: str, fused: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert fuses_multiply_add(tmp_path, machine) == fused
