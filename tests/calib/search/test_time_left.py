"""How long a calibration still takes: all its steps, not only the one that runs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ghost_deploy.calib.forms import Int8Form, forms_of
from ghost_deploy.calib.search.time_left import TimeLeft

FORMS = forms_of(["onnx", "openvino"], ["x86"])


class Shown:
    """A display, and a clock that goes on by what each step takes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[str, int, int]] = []
        self.left: list[float] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.calls.append((what, done, total))

    def show_left(self, seconds: float) -> None:
        self.left.append(seconds)


def time_left(shown: Shown, forms: list[Int8Form] = FORMS, *, timed: bool = False) -> TimeLeft:
    return TimeLeft(
        shown, images=200, judged=100, forms=forms, timed=timed, clock=lambda: shown.now
    )


def run(
    progress: TimeLeft,
    shown: Shown,
    what: str,
    images: int,
    seconds: float,
    until: int | None = None,
) -> None:
    for done in range(images + 1 if until is None else until):
        progress(what, done, images)
        shown.now += seconds / images


def a_calibration(progress: TimeLeft, shown: Shown, labels: list[str]) -> None:
    run(progress, shown, "fp32", 100, 45)
    run(progress, shown, "collecting ranges", 200, 200)
    for label in labels:
        progress(label, 0, 0)
        run(progress, shown, label, 100, 60 if "tensorrt" in label else 35)


USUAL = ["ort-x86/minmax", "tensorrt/percentile", "tensorrt-fp16/percentile", "openvino/minmax"]


def test_nothing_is_said_at_the_beginning() -> None:
    shown = Shown()
    progress = time_left(shown)
    for done in range(5):
        progress("fp32", done, 100)
    assert shown.left == []
    assert len(shown.calls) == 5


def test_everything_is_passed_on_to_what_shows_no_time() -> None:
    calls: list[tuple[str, int, int]] = []
    progress = TimeLeft(
        lambda *call: calls.append(call), images=9, judged=9, forms=FORMS, timed=True
    )
    progress("another step", 0, 0)
    progress("fp32", 8, 9)
    assert calls == [("another step", 0, 0), ("fp32", 8, 9)]


def test_it_is_that_of_the_whole_and_becomes_less() -> None:
    shown = Shown()
    a_calibration(time_left(shown), shown, USUAL)
    whole = shown.now - 100
    assert shown.left[0] == pytest.approx(whole, rel=0.05)
    assert shown.left[-1] == pytest.approx(0, abs=1)
    assert all(after < before + 0.02 * whole for before, after in pairwise(shown.left))


def test_another_recipe_makes_it_longer() -> None:
    shown = Shown()
    progress = time_left(shown)
    a_calibration(progress, shown, USUAL)
    progress("openvino/mse", 0, 0)
    assert progress.seconds() == pytest.approx(35, rel=0.1)


@pytest.mark.parametrize("done", [20, 48])
def test_a_file_that_is_decided_early_makes_it_shorter(done: int) -> None:
    shown = Shown()
    progress = time_left(shown)
    a_calibration(progress, shown, USUAL[:1])
    run(progress, shown, USUAL[1], 100, 60)
    before = progress.seconds()
    run(progress, shown, USUAL[2], 100, 60, until=done)
    progress(USUAL[3], 0, 0)
    after = progress.seconds()
    assert before is not None
    assert after is not None
    assert after < before
    assert after == pytest.approx(35, rel=0.2)


def test_timing_is_part_of_it() -> None:
    shown = Shown()
    progress = time_left(shown, timed=True)
    a_calibration(progress, shown, USUAL)
    assert shown.left[-1] > 10
    progress("loading what is timed", 0, 0)
    progress("timing: round", 3, 6)
    assert shown.left[-1] == pytest.approx(6)
    progress("timing: round", 6, 6)
    assert shown.left[-1] == 0


def test_no_form() -> None:
    shown = Shown()
    run(time_left(shown, []), shown, "collecting ranges", 200, 200)
    assert shown.left[-1] == pytest.approx(0, abs=1)
