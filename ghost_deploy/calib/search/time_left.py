"""About how long a calibration still takes, all its steps together.

The time of a step that has not begun follows from those that have, by what they took on two trained
Ghost detectors. A recipe that is tried in addition makes the estimate longer when it begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ghost_deploy.calib.forms import Int8Form
from ghost_deploy.core.progress import Progress, show_left

# The time of one image, in that of collecting its ranges: two cores, 640 pixels.
_FLOAT, _COLLECTING, _NATIVE, _FOREIGN = 0.45, 1.0, 0.35, 0.6
_TIMING_S = 12.0

_FIRST_IMAGES = 5
"""Nothing is estimated from less."""


class TimeLeft:
    """A `Progress` that passes everything on and shows how long the whole still takes.

    Args:
        progress: to pass on to.
        images: to collect ranges from.
        judged: images that files are judged on.
        forms: to make.
        timed: whether the result is timed.
        clock: in seconds.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        images: int,
        judged: int,
        forms: Sequence[Int8Form],
        timed: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._clock, self._start = progress, clock, clock()
        self._timing_s = _TIMING_S if timed else 0.0
        # How the label of a step begins, its images, and the time of each, in the order of steps.
        self._steps = [("fp32", judged, _FLOAT), ("collecting", images, _COLLECTING)]
        for form in forms:
            cost = _NATIVE if form.executed else _FOREIGN
            names = (form.name, *(each.name for each in form.derived))
            self._steps += [(f"{name}/", judged, cost) for name in names]
        self._at, self._label, self._done = 0, "", 0
        self._images, self._spent = 0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Pass on a step, see `core.progress.Progress`, and show the time left."""
        self._note(what, done, total)
        left = self.seconds()
        if left is not None:
            show_left(self._progress, left)
        self._progress(what, done, total)

    def seconds(self) -> float | None:
        """About how long it still takes; None at the beginning."""
        if self._images < _FIRST_IMAGES:
            return None
        rate = (self._clock() - self._start) / self._spent
        sizes = [images * cost for _, images, cost in self._steps[self._at :]]
        done = self._done * self._steps[self._at][2] if sizes else 0.0
        return rate * max(sum(sizes) - done, 0.0) + self._timing_s

    def _note(self, what: str, done: int, total: int) -> None:
        if what.startswith("timing") and total:
            self._at, self._timing_s = len(self._steps), _TIMING_S * (1 - done / total)
            return
        found = [at for at, step in enumerate(self._steps) if what.startswith(step[0])]
        if not found:
            return
        if what != self._label:  # another recipe of a form is a step that was not planned
            self._at, self._label, self._done = found[-1], what, 0
        if total:
            label, _, cost = self._steps[self._at]
            self._steps[self._at] = (label, total, cost)
            self._images += max(done - self._done, 0)
            self._spent += max(done - self._done, 0) * cost
            self._done = done
