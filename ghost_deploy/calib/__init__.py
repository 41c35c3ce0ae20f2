"""Everything int8: calibration images, ranges, placement, int8 files and the search among them.

`make_int8` is the way in: it takes an `Int8Request`, an `AccuracyJudge` and a `Stopwatch`.
"""

from ghost_deploy.calib.images.collection import CalibrationSet, collect_images
from ghost_deploy.calib.search.make import Int8Request, make_int8
from ghost_deploy.calib.search.protocols import AccuracyJudge, Stopwatch

__all__ = [
    "AccuracyJudge",
    "CalibrationSet",
    "Int8Request",
    "Stopwatch",
    "collect_images",
    "make_int8",
]
