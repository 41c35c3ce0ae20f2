"""Predict boxes: a Kalman filter of constant velocity for centre, width and height."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# In box heights: a detector places a box to about a twentieth of its height (N. Wojke et al.,
# Simple Online and Realtime Tracking with a Deep Association Metric, 2017, and its code).
_MEASURED = 1 / 20
# Box heights a second: how fast a new box may move.
_FIRST_SPEED = 2.0
# Box heights a second, after a second: how much the velocity wanders.
_WANDER = 1.0


class BoxFilter:
    """Centre, width and height of one box, and how fast each changes.

    The four are filtered apart, each with a state of value and velocity, driven by white noise
    in the acceleration (Y. Bar-Shalom et al., Estimation with Applications to Tracking and
    Navigation, 2001, section 6.2.2). Frames may come at any interval.

    Args:
        xyxy: (4,) the first box, pixels.
    """

    def __init__(self, xyxy: NDArray[np.float32]) -> None:
        self._value = _to_centre(xyxy)
        self._velocity = np.zeros(4)
        height = self._value[3]
        self._var = np.full(4, (_MEASURED * height) ** 2)
        self._covar = np.zeros(4)
        self._velocity_var = np.full(4, (_FIRST_SPEED * height) ** 2)

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """(4,) float32: the estimated box, pixels; not clipped."""
        x, y = self._value[:2]
        # A shrinking box must not become negative while it is not seen.
        half_w, half_h = np.maximum(self._value[2:], 1.0) / 2
        return np.array([x - half_w, y - half_h, x + half_w, y + half_h], np.float32)

    def predict(self, seconds: float) -> None:
        """Advance the estimate by a time."""
        noise = (_WANDER * self._value[3]) ** 2
        self._value = self._value + self._velocity * seconds
        self._var = (
            self._var
            + 2 * seconds * self._covar
            + seconds**2 * self._velocity_var
            + noise * seconds**3 / 3
        )
        self._covar = self._covar + seconds * self._velocity_var + noise * seconds**2 / 2
        self._velocity_var = self._velocity_var + noise * seconds

    def correct(self, xyxy: NDArray[np.float32]) -> None:
        """Update the estimate.

        Args:
            xyxy: (4,) the measured box, pixels.
        """
        measured = _to_centre(xyxy)
        innovation = measured - self._value
        total = self._var + (_MEASURED * measured[3]) ** 2
        gain, velocity_gain = self._var / total, self._covar / total
        self._value = self._value + gain * innovation
        self._velocity = self._velocity + velocity_gain * innovation
        self._velocity_var = self._velocity_var - velocity_gain * self._covar
        self._covar = (1 - gain) * self._covar
        self._var = (1 - gain) * self._var


def _to_centre(xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = np.asarray(xyxy, np.float64)
    # A box without height would have no measurement noise.
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, 1.0), max(y2 - y1, 1.0)])
