"""Windows on the desktop: a sink for live results, and `show` for single images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.sink import Annotate, Sink

_KEY_ESC, _KEY_Q = 27, ord("q")


def show(image: NDArray[np.uint8], title: str) -> bool:
    """Show an image in a window until a key is pressed.

    Args:
        image: (H, W, 3) uint8 BGR.
        title: of the window.

    Returns:
        False when the key was `q` or Escape, or the window was closed.

    Raises:
        UnavailableError: there is no display, or OpenCV was built without windows.
    """
    with _windows():
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(title, image)
        while (key := cv2.waitKey(100)) == -1:
            if _is_closed(title):
                return False
        cv2.destroyWindow(title)
    return key & 0xFF not in (_KEY_ESC, _KEY_Q)


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is not used."""
    return WindowSink(context.annotate, context.pipeline.stop)


class WindowSink(Sink):
    """Shows the newest annotated image of each source in a window.

    Args:
        annotate: returns the annotated image of a result.
        on_close: called when the user presses `q` or Escape, or closes a window.

    Raises:
        UnavailableError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self, annotate: Annotate, on_close: Callable[[], None]) -> None:
        self._annotate = annotate
        self._on_close = on_close
        self._titles: set[str] = set()
        _require_display()

    def write(self, result: Result) -> None:
        """Show one result."""
        title = f"{result.source}: {result.label}"
        with _windows():
            if title not in self._titles:
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
                self._titles.add(title)
            elif _is_closed(title):
                self._on_close()
                return
            cv2.imshow(title, self._annotate(result))
            if cv2.waitKey(1) & 0xFF in (_KEY_ESC, _KEY_Q):
                self._on_close()

    def close(self) -> None:
        """Close the windows."""
        for title in self._titles:
            with contextlib.suppress(cv2.error):  # the user closed it
                cv2.destroyWindow(title)


def _is_closed(title: str) -> bool:
    return bool(cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1)


def _require_display() -> None:
    # Without a display some OpenCV builds end the process instead of raising.
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UnavailableError(
            "there is no display to show images on", fix="Write them to a folder with -o DIR"
        )


@contextlib.contextmanager
def _windows() -> Iterator[None]:
    _require_display()
    try:
        yield
    except cv2.error as error:
        raise UnavailableError(
            "this OpenCV was built without windows",
            fix="Write the images to a folder with -o DIR, or install the package opencv-python",
        ) from error
