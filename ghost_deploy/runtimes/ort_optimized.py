"""Graphs as ONNX Runtime optimized them, kept for the commands that open a model for one run.

Optimizing takes half of the time that opening takes, and memory for both graphs. The optimized
graph holds weights in the layout of this kind of processor, so that the cache folder is one
processor's (`api.common.cache_dir`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.files import write_whole
from ghost_deploy.runtimes.compiled_cache import CompiledCache

_FILE = "optimized.onnx"


def open_optimized(
    path: Path, root: Path, content: str, session: Callable[[Path, Path | None, bool], Any]
) -> Any:
    """A session of the optimized graph of a model; it is made first where there is none.

    A cache that cannot be used is no error: the graph is then optimized for this session alone.

    Args:
        path: the model file.
        root: folder for compiled models of this user and kind of processor.
        content: of the cache: the version of ONNX Runtime and the hash of the model file.
        session: opens (file, where to save the optimized graph or None, whether to optimize).
    """
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    cache = CompiledCache(root, f"ort-{key}")
    if cache.prepare():
        return session(path, None, True)
    kept = cache.folder / _FILE
    if kept.is_file():
        with contextlib.suppress(Exception):  # its errors have no other common base
            return session(kept, None, False)
        return session(path, None, True)
    from ghost_deploy.core.scratch import scratch_folder

    try:
        with scratch_folder() as folder:
            opened = session(path, folder / _FILE, True)
            _keep(folder / _FILE, kept)
    except OSError:  # no room for temporary files
        return session(path, None, True)
    cache.record()
    return opened


def _keep(made: Path, kept: Path) -> None:
    try:
        write_whole(kept, lambda opened: opened.write(made.read_bytes()))
    except ExportError:  # a full disk: the next command optimizes again
        return
