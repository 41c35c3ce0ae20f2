"""Show pictures in windows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.record import Picture

__all__ = ["WindowSink", "show"]

_KEY_ESC, _KEY_Q = 27, ord("q")


def show(picture: NDArray[np.uint8], title: str) -> bool:
    """Show a picture in a window until a key is pressed.

    Returns:
        False when the key was `q` or Escape, or the window was closed.

    Raises:
        UnavailableError: there is no display, or OpenCV was built without windows.
    """
    with _windows():
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(title, picture)
        while (key := cv2.waitKey(100)) == -1:
            if _is_closed(title):
                return False
        cv2.destroyWindow(title)
    return key & 0xFF not in (_KEY_ESC, _KEY_Q)


class WindowSink:
    """A window for each source with its newest annotated picture.

    Args:
        picture: gives the annotated picture of a result.
        on_close: called when the user presses `q` or Escape, or closes a window.

    Raises:
        UnavailableError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self, picture: Picture, on_close: Callable[[], None]) -> None:
        self._picture = picture
        self._on_close = on_close
        self._titles: set[str] = set()
        _require_display()

    def write(self, result: Result) -> None:
        """Show one result; it costs about the time of drawing."""
        title = f"{result.source}: {result.label}"
        with _windows():
            if title not in self._titles:
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
                self._titles.add(title)
            elif _is_closed(title):
                self._on_close()
                return
            cv2.imshow(title, self._picture(result))
            if cv2.waitKey(1) & 0xFF in (_KEY_ESC, _KEY_Q):
                self._on_close()

    def close(self) -> None:
        """Close the windows."""
        for title in self._titles:
            with contextlib.suppress(cv2.error):  # the user has closed it
                cv2.destroyWindow(title)


def _is_closed(title: str) -> bool:
    return bool(cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1)


def _require_display() -> None:
    # Without a display some OpenCV builds end the process instead of raising.
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UnavailableError(
            "there is no display to show pictures on", fix="Write them to a folder with -o DIR"
        )


@contextlib.contextmanager
def _windows() -> Iterator[None]:
    _require_display()
    try:
        yield
    except cv2.error as error:
        raise UnavailableError(
            "this OpenCV was built without windows",
            fix="Write the pictures to a folder with -o DIR, or install the package opencv-python",
        ) from error
