from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.window import WindowSink, show

IMAGE = np.zeros((4, 4, 3), np.uint8)
RESULT = Result("0", "camera", Frame(IMAGE), Detections.empty(), 1.0, {})


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A display without key presses; the test sets what the user does."""
    state: dict[str, Any] = {"key": -1, "visible": 1.0, "shown": 0, "destroyed": []}

    def count(*_: Any) -> None:
        state["shown"] += 1

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", count)
    monkeypatch.setattr(cv2, "waitKey", lambda _: state["key"])
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: state["visible"])
    monkeypatch.setattr(cv2, "destroyWindow", state["destroyed"].append)
    return state


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UnavailableError, match="no display"):
        WindowSink(lambda _: IMAGE, lambda: None)


def test_each_result_is_shown_until_the_user_has_seen_enough(screen: dict[str, Any]) -> None:
    ended: list[bool] = []
    sink = WindowSink(lambda _: IMAGE, lambda: ended.append(True))
    sink.write(RESULT)
    sink.write(RESULT)
    assert (screen["shown"], ended) == (2, [])
    screen["key"] = ord("q")
    sink.write(RESULT)
    assert len(ended) == 1
    screen["key"], screen["visible"] = -1, 0.0
    sink.write(RESULT)
    assert (screen["shown"], len(ended)) == (3, 2)
    sink.close()
    assert screen["destroyed"] == ["0: camera"]


def test_an_opencv_without_windows(screen: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UnavailableError, match="without windows"):
        WindowSink(lambda _: IMAGE, lambda: None).write(RESULT)


def test_no_display_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UnavailableError, match="no display"):
        show(IMAGE, "x")


@pytest.mark.parametrize(
    ("keys", "visible", "goes_on"),
    [([-1, 32], 1, True), ([ord("q")], 1, False), ([27], 1, False), ([-1], 0, False)],
)
def test_a_window_waits_for_a_key(
    monkeypatch: pytest.MonkeyPatch, keys: list[int], visible: int, goes_on: bool
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    pressed = iter(keys)
    for name, answer in {
        "namedWindow": lambda *_: None,
        "imshow": lambda *_: None,
        "destroyWindow": lambda *_: None,
        "waitKey": lambda _: next(pressed),
        "getWindowProperty": lambda *_: visible,
    }.items():
        monkeypatch.setattr(cv2, name, answer)
    assert show(IMAGE, "x") is goes_on


def test_an_opencv_without_windows_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")

    def refuse(*_: object) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UnavailableError, match="without windows"):
        show(IMAGE, "x")
