"""Show a picture in a window."""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.errors import UnavailableError

__all__ = ["show"]

_KEY_ESC, _KEY_Q = 27, ord("q")


def show(picture: NDArray[np.uint8], title: str) -> bool:
    """Show a picture in a window until a key is pressed.

    Returns:
        False when the key was `q` or Escape, or the window was closed.

    Raises:
        UnavailableError: there is no display, or OpenCV was built without windows.
    """
    # Without a display some OpenCV builds end the process instead of raising.
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UnavailableError(
            "there is no display to show pictures on", fix="Write them to a folder with -o DIR"
        )
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(title, picture)
        while (key := cv2.waitKey(100)) == -1:
            if cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
                return False
        cv2.destroyWindow(title)
    except cv2.error as error:
        raise UnavailableError(
            "this OpenCV was built without windows",
            fix="Write the pictures to a folder with -o DIR, or install the package opencv-python",
        ) from error
    return key & 0xFF not in (_KEY_ESC, _KEY_Q)
