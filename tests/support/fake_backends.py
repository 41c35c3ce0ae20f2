"""Python packages that stand in for ONNX Runtime in a child process, and misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest

DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"

CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"

NEVER_ANSWERS = "import time\ntime.sleep(600)\n"

LACKS_AVX = """
import ctypes, mmap

code = bytes.fromhex("c5fd ef c0 c5f8 77 c3")  # vpxor ymm0, ymm0, ymm0; vzeroupper; ret
page = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
raise ImportError("this processor has AVX2")
"""
"""Runs an instruction of AVX2 when it is imported, as a wheel that was compiled for it does."""

EXCHANGES_CHANNELS = """
import importlib, sys

here = sys.path.index({folder!r})
del sys.path[here], sys.modules["onnxruntime"]
real = importlib.import_module("onnxruntime")


class InferenceSession(real.InferenceSession):
    def run(self, names, feeds):
        outputs = super().run(names, feeds)
        outputs[0][:, [4, 5]] = outputs[0][:, [5, 4]]
        return outputs


real.InferenceSession = InferenceSession
"""
"""The real package, whose first two class scores are exchanged."""


def install(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `program` what `import onnxruntime` runs in child processes; not here, where the real
    package is imported already."""
    import onnxruntime  # noqa: F401

    package = folder / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(program.replace("{folder!r}", repr(str(folder))))
    monkeypatch.syspath_prepend(str(folder))
