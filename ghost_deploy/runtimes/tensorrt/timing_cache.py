"""The timing cache: kernel timings of the builder, kept beside the bundle for the next build.

It only saves time. A file of another machine or TensorRT, or a damaged one, is ignored.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.build import Fingerprint
from ghost_deploy.core.files import read_regular, write_whole

_MAGIC = b"ghost-deploy timing 1\n"
_DIGEST = 32
_MAX_BYTES = 256 << 20


def cache_path(bundle: Path, machine: Fingerprint) -> Path:
    """Path of the cache of a machine: beside the bundle, so that it is not copied with it."""
    parts = ("trt" + machine.tensorrt, "sm" + machine.compute_capability)
    key = "-".join((*parts, machine.gpu, machine.platform))
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}.{re.sub('[^A-Za-z0-9.]+', '-', key)}.timing")


class TimingCache:
    """The timing cache of one build.

    Args:
        path: the file; None keeps no cache.

    Attributes:
        state: `none`, `new`, `reused`, `ignored` (foreign or damaged).
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.state = "none"

    def attach(self, config: Any) -> None:
        """Set the content of the file in a builder configuration."""
        if self.path is None:
            return
        data = _read(self.path)
        self.state = "reused" if data else "ignored" if self.path.exists() else "new"
        # ignore_mismatch=False: timings of another GPU would choose the wrong kernels.
        if not config.set_timing_cache(config.create_timing_cache(data), False):
            self.state = "ignored"
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def store(self, config: Any) -> None:
        """Write the timings of the build; an error of the disk does not fail the build."""
        cache = config.get_timing_cache() if self.path is not None else None
        if cache is None or self.path is None:
            return
        data = bytes(cache.serialize())
        try:
            write_whole(
                self.path, lambda file: file.write(_MAGIC + hashlib.sha256(data).digest() + data)
            )
        except ExportError:
            self.state = "not stored"


def _read(path: Path) -> bytes:
    """The content; empty for no file or a damaged one."""
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError:
        return b""
    start = len(_MAGIC) + _DIGEST
    content = data[start:]
    if (
        data[: len(_MAGIC)] != _MAGIC
        or hashlib.sha256(content).digest() != data[len(_MAGIC) : start]
    ):
        return b""
    return content
