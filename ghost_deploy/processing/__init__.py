"""Pre- and post-processing, shared by all runtimes, validation and calibration.

Depends on NumPy and OpenCV only.
"""

from __future__ import annotations

from ghost_deploy.core.errors import MissingExtraError

try:
    import cv2  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"OpenCV's Python module 'cv2' cannot be imported ({error})",
        fix="Install it with: pip install opencv-python-headless "
        "(on a Jetson: sudo apt install python3-opencv)",
    ) from error
