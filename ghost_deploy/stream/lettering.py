"""Text in any script on images: with a font that has its letters, where there is one.

OpenCV's Hershey fonts hold ASCII. Other letters are drawn by what this machine has: OpenCV 5,
which has fonts for many scripts built in and opens font files, or Pillow, which opens font files.
Files are looked for with fontconfig (`fc-list`), else in the usual folders.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.said_once import say_once

Ink = tuple[int, int, int]

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
_FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
_MOST_FILES = 400
_BUILT_IN = ("sans", "uni")
_WEIGHT = 600
# The cells of one letter that is drawn to see whether a font has it.
_PROBE_SIZE, _PROBE_CELLS = 24, 48
_MISSING = "\N{REPLACEMENT CHARACTER}"
_NO_CHARACTER = "\ufdd0"  # assigned in no font, which shows its glyph of what it lacks
_FC_LIST_S = 5.0


class Letters(Protocol):
    """A font that draws text of its letters."""

    def size(self, text: str, pixels: int) -> tuple[int, int, int]:
        """(width, height above the baseline, depth below it) of `text`, pixels."""

    def paint(
        self, canvas: NDArray[np.uint8], text: str, origin: tuple[int, int], pixels: int, ink: Ink
    ) -> None:
        """Draw `text` with its baseline at `origin`, x and y, in the BGR colour `ink`."""


def letters_for(text: str) -> Letters | None:
    """What draws `text`; None where nothing on this machine has all of its letters."""
    return _letters_for("".join(sorted(set(text))))


@functools.lru_cache(maxsize=256)
def _letters_for(characters: str) -> Letters | None:
    needed = frozenset(each for each in characters if not each.isspace())
    return next((font for font in _fonts(needed) if _has_all(font, needed)), None)


def drawable(name: str, class_id: int) -> str:
    """The name of a class as it can be drawn here.

    Args:
        name: of the class.
        class_id: its number.

    Returns:
        The name; where no font has its letters what is left of it in ASCII, else `class N`. That
        is logged once for each name.
    """
    text = unicodedata.normalize("NFC", "".join(c for c in name if c.isprintable())).strip()
    if text and (text.isascii() or letters_for(text)):
        return text
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().strip()
    shown = plain or f"class {class_id}"
    if text:
        say_once(
            f"letters of {name}",
            f"no font here has the letters of the class {text!r}: it is drawn as {shown!r}. "
            "Install a font, e.g. fonts-noto-cjk, and OpenCV 5 or Pillow",
        )
    return shown


def _fonts(needed: frozenset[str]) -> Iterator[Letters]:
    """Fonts that may have these letters, the cheapest first."""
    if hasattr(cv2, "FontFace"):
        yield from map(_OpencvFont, _BUILT_IN)
    elif not _has_pillow():
        return
    for file in _font_files(needed):
        font = _open(file)
        if font is not None:
            yield font


def _has_pillow() -> bool:
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError:
        return False
    return True


@functools.lru_cache(maxsize=32)
def _open(file: str) -> Letters | None:
    """The font in a file; None where it cannot be opened."""
    try:
        return _OpencvFont(file) if hasattr(cv2, "FontFace") else _PillowFont(file)
    except (cv2.error, OSError):
        return None


def _font_files(needed: frozenset[str]) -> Iterator[str]:
    """Files of fonts; with fontconfig only those that have the letters."""
    program = shutil.which("fc-list")
    if program:
        charset = " ".join(f"{ord(each):x}" for each in sorted(needed))
        command = [program, f":charset={charset}", "--format", "%{file}\n"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_FC_LIST_S, check=False
            )
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return
        files = sorted(set(done.stdout.splitlines()), key=_plain_first)
        yield from (file for file in files if file.lower().endswith(_FONT_SUFFIXES))
        return
    count = 0
    for folder in _FOLDERS:
        for where, _, names in os.walk(os.path.expanduser(folder)):
            for name in sorted(names, key=_plain_first):
                if name.lower().endswith(_FONT_SUFFIXES) and count < _MOST_FILES:
                    count += 1
                    yield os.path.join(where, name)


def _plain_first(file: str) -> tuple[bool, bool, str]:
    """A sort key: upright sans-serif fonts of a usual weight come first."""
    name = Path(file).name.lower()
    odd = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "medium")
    return any(word in name for word in odd), "sans" not in name, file


def _has_all(font: Letters, needed: frozenset[str]) -> bool:
    missing = {_drawn(font, each).tobytes() for each in (_MISSING, _NO_CHARACTER, "?")}
    empty = np.zeros((_PROBE_CELLS, _PROBE_CELLS, 3), np.uint8).tobytes()
    for each in needed:
        drawn = _drawn(font, each).tobytes()
        # A combining mark alone may be drawn as nothing.
        if each not in ("?", _MISSING) and drawn in missing:
            return False
        if drawn == empty and not unicodedata.combining(each):
            return False
    return True


def _drawn(font: Letters, character: str) -> NDArray[np.uint8]:
    canvas = np.zeros((_PROBE_CELLS, _PROBE_CELLS, 3), np.uint8)
    font.paint(canvas, character, (8, 34), _PROBE_SIZE, (255, 255, 255))
    return canvas


class _OpencvFont:
    """A font of OpenCV 5: built in, or in a file."""

    # One font is not for several threads: it keeps what it has drawn.
    _lock = threading.Lock()

    def __init__(self, name: str) -> None:
        self._face: Any = cv2.FontFace(name)

    def size(self, text: str, pixels: int) -> tuple[int, int, int]:
        with self._lock:
            _, top, width, height = cv2.getTextSize(
                (1, 1), text, (0, 0), self._face, pixels, _WEIGHT
            )
        return width, -top, height + top

    def paint(
        self, canvas: NDArray[np.uint8], text: str, origin: tuple[int, int], pixels: int, ink: Ink
    ) -> None:
        with self._lock:
            cv2.putText(canvas, text, origin, ink, self._face, pixels, _WEIGHT)


class _PillowFont:
    """A font file that Pillow opens."""

    def __init__(self, file: str) -> None:
        from PIL import ImageFont

        self._file = file
        self._font = functools.lru_cache(maxsize=8)(
            lambda pixels: ImageFont.truetype(self._file, pixels)
        )
        self._font(_PROBE_SIZE)

    def size(self, text: str, pixels: int) -> tuple[int, int, int]:
        _, top, right, bottom = self._font(pixels).getbbox(text, anchor="ls")
        return round(right), round(-top), round(bottom)

    def paint(
        self, canvas: NDArray[np.uint8], text: str, origin: tuple[int, int], pixels: int, ink: Ink
    ) -> None:
        from PIL import Image, ImageDraw

        width, above, below = self.size(text, pixels)
        x1, y1 = max(0, origin[0]), max(0, origin[1] - above)
        x2, y2 = origin[0] + width, origin[1] + below
        part = canvas[y1 : max(y1, y2), x1 : max(x1, x2)]
        if part.size:
            image = Image.fromarray(np.ascontiguousarray(part))
            place = (origin[0] - x1, origin[1] - y1)
            ImageDraw.Draw(image).text(place, text, ink, self._font(pixels), anchor="ls")
            part[:] = np.asarray(image)
