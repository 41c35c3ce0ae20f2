"""What a board says about itself before anything is installed there."""

from __future__ import annotations

import msgspec

from ghost_deploy.core.errors import BoardError
from ghost_deploy.core.spec import decode_json
from ghost_deploy.remote.answers import wrong_answer

_LAST_TIME_S = 4e9
"""In 2096; a clock that says more is not read wrongly, it is no clock."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """A board; unknown facts are empty, 0 or None.

    Attributes:
        folder: where everything of ours is kept there, an absolute path.
        free_bytes: of its disk.
        home: folder of the account.
        time_s: its clock, seconds since 1970.
        python, executable, implementation: its Python, e.g. `3.11.2`, its path, `cpython`.
        libc: e.g. `glibc 2.36` or `musl 1.2`.
        architecture: of its kernel, e.g. `aarch64`.
        bits: of its Python, 32 or 64.
        system, distribution: kernel and release.
        model: name of the board.
        cpuinfo: the beginning of `/proc/cpuinfo`.
        temperature_c: of the hottest sensor.
        governors: that choose the clocks of the cores.
        power_mode: of a Jetson.
        rsync: path of rsync there.
        packages: Python packages of its system that matter here: `tensorrt`, `cv2`.
    """

    folder: str
    free_bytes: int
    home: str
    time_s: float
    python: str
    executable: str
    implementation: str
    libc: str
    architecture: str
    bits: int
    system: str
    distribution: str
    model: str
    cpuinfo: str
    temperature_c: float | None
    governors: tuple[str, ...]
    power_mode: str
    rsync: str
    packages: tuple[str, ...]

    @classmethod
    def read(cls, text: bytes, name: str) -> Board:
        """Read what `board_facts` printed.

        Raises:
            BoardError: it is something else.
        """
        try:
            found = decode_json(text, cls, where=f"the facts of {name}")
        except ValueError as error:
            raise BoardError(
                f"{name} does not tell what it is",
                got=str(error)[:200],
                fix="Check that its Python works",
            ) from error
        if not 0 <= found.time_s < _LAST_TIME_S:
            raise wrong_answer(name, "a time", found.time_s)
        if not found.folder.startswith("/"):
            raise BoardError(
                f"the account on {name} has no home folder",
                got=found.folder,
                fix="Name a folder: ssh://HOST/FOLDER",
            )
        return found

    def path(self, *parts: str) -> str:
        """A path below our folder there."""
        return "/".join((self.folder, *parts))
