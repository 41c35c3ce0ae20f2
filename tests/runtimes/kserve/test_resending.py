"""When a request is sent again, on a clock of the test."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from ghost_deploy.core.errors import BackendError
from ghost_deploy.runtimes.kserve.protocol import NoAnswerError, RequestRefusedError
from ghost_deploy.runtimes.kserve.resending import answered


class Server:
    """Is away until `back_at`; `pauses` are those of the client."""

    def __init__(self, back_at: float, refuses: bool = False) -> None:
        self.now, self.back_at, self.refuses = 0.0, back_at, refuses
        self.asked, self.pauses = 0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def ask(self) -> str:
        self.asked += 1
        self.now += 0.001
        if self.now >= self.back_at:
            return "answer"
        if self.refuses:
            raise RequestRefusedError("no", got="unknown model", fix="-")
        raise NoAnswerError("Connection refused")

    def run(self, limit_s: float, ready: Callable[[], bool] | None = None) -> str:
        clock = lambda: self.now  # noqa: E731
        return answered(self.ask, "there", limit_s, ready, sleep=self.sleep, clock=clock)


def test_at_once_and_then_in_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(back_at=9)
    with caplog.at_level(logging.WARNING, "ghost_deploy"):
        assert server.run(60) == "answer"
    assert server.pauses[:7] == [0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert max(server.pauses) == 2
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "there is away (Connection refused); trying for up to 60 s"
    assert last.startswith("there is back after 9")


def test_a_short_absence_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    Server(back_at=0.5).run(60)
    assert caplog.records == []


@pytest.mark.parametrize(("limit_s", "least", "most"), [(0, 1, 1), (1, 5, 6), (60, 30, 40)])
def test_the_limit(limit_s: float, least: int, most: int) -> None:
    server = Server(back_at=1e9)
    with pytest.raises(BackendError, match=r"there cannot be reached.*Connection refused"):
        server.run(limit_s)
    assert least <= server.asked <= most
    assert server.now <= limit_s + 1


@pytest.mark.parametrize(
    ("ready", "asked"), [(None, 1), (lambda: True, 1), (lambda: False, 4)], ids=["-", "yes", "no"]
)
def test_a_refusal_counts_where_the_model_is_ready(
    ready: Callable[[], bool] | None, asked: int
) -> None:
    server = Server(back_at=0.1, refuses=True)
    if asked == 1:
        with pytest.raises(RequestRefusedError):
            server.run(60, ready)
    else:
        assert server.run(60, ready) == "answer"
    assert server.asked == asked
