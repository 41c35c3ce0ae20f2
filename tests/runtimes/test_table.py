"""The table of runtimes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes import base
from ghost_deploy.runtimes.table import RUNTIMES, RuntimeRow, probe, runtime_row


def test_names_are_the_keys() -> None:
    assert {name: row.name for name, row in RUNTIMES.items()} == {name: name for name in RUNTIMES}


def test_a_suffix_belongs_to_one_row() -> None:
    suffixes = [suffix for row in RUNTIMES.values() for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize("name", ["", "auto", "tensorflow", "ORT", "fake"])
def test_an_unknown_runtime(name: str) -> None:
    with pytest.raises(UsageError, match="openvino, trt, ort, litert, rknn, ncnn, eager"):
        runtime_row(name)


@pytest.mark.parametrize("row", RUNTIMES.values(), ids=RUNTIMES)
def test_a_backend_imports_its_vendor_only_when_used(row: RuntimeRow) -> None:
    code = (
        f"import sys, {row.module} as module\n"
        f"print({row.package!r} in sys.modules, callable(module.open_model))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False True"


@pytest.mark.parametrize("row", RUNTIMES.values(), ids=RUNTIMES)
def test_probe_of_what_is_installed(row: RuntimeRow) -> None:
    if not row.installed:
        pytest.skip(f"{row.package} is not installed")
    found = probe(row.name)
    assert (found.runtime, found.installed, found.problem, found.fix) == (row.name, True, "", "")
    assert found.version[0].isdigit()
    assert found.devices[0].name == ("server" if row.remote else "cpu")
    assert row.remote or "fp32" in found.devices[0].precisions


@pytest.mark.parametrize("row", RUNTIMES.values(), ids=RUNTIMES)
def test_probe_of_what_is_absent(row: RuntimeRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, row.package, None)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")  # where rknn can be installed
    found = probe(row.name)
    if row.remote:  # HTTP needs no package
        assert (found.installed, found.problem, found.version) == (True, "", "")
        assert f"[{row.extra}]" in found.details["transports"]
        return
    assert (found.runtime, found.installed, found.devices) == (row.name, False, ())
    assert f"{row.package!r} is not installed" in found.problem
    brings = "python3-libnvinfer" if row.name == "trt" else f"[{row.extra}]"
    assert brings in found.fix


class Broken:
    """A finder under which importing `package` fails as with a missing shared library."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == self.package:
            raise ImportError("libvendor.so.9: cannot open shared object file")


@pytest.mark.parametrize("row", RUNTIMES.values(), ids=RUNTIMES)
def test_probe_of_what_is_broken(row: RuntimeRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: object())
    monkeypatch.delitem(sys.modules, row.package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(row.package), *sys.meta_path])
    found = probe(row.name)
    assert (found.installed, found.devices) == (True, ())
    assert "libvendor.so.9" in found.problem
    # TensorRT lacks a library of CUDA then; installing it again would not bring that.
    advice = "CUDA libraries" if row.name == "trt" else f"--force-reinstall {row.package}"
    assert advice in found.fix
