"""Stub libraries made of what a library says that it needs."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.tensorrt_stubs import make_stubs

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(
    COMPILER is None or shutil.which("readelf") is None or shutil.which("objdump") is None,
    reason="there is no C compiler, readelf or objdump",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A library that needs two functions of a cuBLAS, under its version, and nothing of it here."""
    needed = tmp_path / "libcublas.so.11"
    names = ["cublasCreate_v2", "cublasDestroy_v2"]
    make_stubs.compile_stub(str(COMPILER), needed, {"libcublas.so.11": names})
    source = tmp_path / "plugin.c"
    source.write_text(
        "int cublasCreate_v2(void); int cublasDestroy_v2(void);\n"
        "int call(void) { return cublasCreate_v2() + cublasDestroy_v2(); }\n"
    )
    folder = tmp_path / "tensorrt"
    folder.mkdir()
    subprocess.run(
        [str(COMPILER), "-shared", "-fPIC", "-o", folder / "libplugin.so.8", source, needed],
        check=True,
    )
    needed.unlink()
    return folder


def test_what_is_needed(package: Path) -> None:
    assert make_stubs.wanted_symbols(package.glob("*.so*")) == {
        "libcublas.so.11": {"libcublas.so.11": ["cublasCreate_v2", "cublasDestroy_v2"]}
    }


def test_the_library_loads_with_the_stubs(package: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"libcublas\.so\.11"):
        ctypes.CDLL(str(package / "libplugin.so.8"))
    out = tmp_path / "stubs"
    assert make_stubs.main([str(package), "-o", str(out)]) == 0
    code = f"import ctypes; print(ctypes.CDLL({str(package / 'libplugin.so.8')!r}).call())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LD_LIBRARY_PATH": str(out)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "2", "each stub answers with the error 1"


def test_a_real_library_is_not_shadowed(package: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    make_stubs.compile_stub(
        str(COMPILER), real / "libcublas.so.11", {"libcublas.so.11": ["cublasCreate_v2"]}
    )
    script = [sys.executable, make_stubs.__file__, package, "-o", tmp_path / "stubs"]
    done = subprocess.run(
        script, env={**os.environ, "LD_LIBRARY_PATH": str(real)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "it stays" in done.stdout
    assert list((tmp_path / "stubs").iterdir()) == []


def test_a_folder_that_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_stubs.main([str(tmp_path)])
    assert "no library" in capsys.readouterr().err
