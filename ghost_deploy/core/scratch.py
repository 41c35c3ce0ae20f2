"""A temporary folder of the system that outlives no process for longer than until the next one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ghost_deploy.core.leftovers import Temporary


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that only this user may read, removed at the end of the block.

    `tempfile.TemporaryDirectory` leaves its folder behind when the process is killed. This one
    carries a lock, and the next process that makes one removes those without.

    Raises:
        OSError: the system refuses.
    """
    place = Path(tempfile.gettempdir()) / "scratch"
    with contextlib.closing(Temporary(place, folder=True)) as temporary:
        yield temporary.path
