"""Sending a request again to a server that is away for a moment.

Inference changes nothing on the server, so a request may be sent again whenever there was no
answer: the connection was refused or broke, a gateway or the server said that it is overloaded, or
the model is not ready (yet, or again after it was reloaded). What the server refuses is never sent
again, and neither is what it did not answer in time: an overloaded server would only get more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from ghost_deploy.runtimes.kserve.protocol import (
    NoAnswerError,
    RequestRefusedError,
    ServerAwayError,
)

T = TypeVar("T")

_FIRST_S, _LONGEST_S = 0.05, 2.0
_QUIET_S = 1.0
"""An absence that is shorter is not told."""

_LOG = logging.getLogger("ghost_deploy")


def answered(
    ask: Callable[[], T],
    where: str,
    limit_s: float,
    ready: Callable[[], bool] | None = None,
    *,
    hurried: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The answer to a request, which is sent again while there is none.

    Args:
        ask: sends the request.
        where: the server, for messages.
        limit_s: seconds in which it is sent again; the pauses grow from 0.05 s to 2 s.
        ready: whether the model is ready; a refusal of a model that is not counts as no answer.
        hurried: whether to wait no longer.
        sleep, clock: of the system.

    Raises:
        ServerAwayError: the server did not answer in time or is away for too long.
        BackendError: it refuses.
    """
    start, pause, told = clock(), 0.0, False
    while True:
        try:
            answer = _ask(ask, ready)
        except NoAnswerError as error:
            seconds = clock() - start
            if seconds + pause > limit_s or hurried():
                raise _away(where, error, seconds) from error
            if seconds > _QUIET_S and not told:
                told = True
                _LOG.warning("%s is away (%s); trying for up to %g s", where, error, limit_s)
        else:
            if told:
                _LOG.warning("%s is back after %.1f s", where, clock() - start)
            return answer
        sleep(pause)
        pause = min(max(_FIRST_S, pause * 2), _LONGEST_S)


def _ask(ask: Callable[[], T], ready: Callable[[], bool] | None) -> T:
    try:
        return ask()
    except RequestRefusedError as error:
        if ready is None or ready():
            raise
        raise NoAnswerError(f"the model is not ready: {error.got}") from error


def _away(where: str, error: NoAnswerError, seconds: float) -> ServerAwayError:
    return ServerAwayError(
        f"{where} cannot be reached",
        got=f"{error}; tried for {seconds:.1f} s",
        fix="Check that the server runs, its address and its port: HTTP and gRPC have ports of "
        "their own, Triton 8000 and 8001",
    )
