"""Sending a request again to a server that is away for a moment.

Inference changes nothing on the server, so a request may be sent again whenever there was no
answer: the connection was refused or broke, a gateway or the server said that it is overloaded, or
the model is not ready (yet, or again after it was reloaded). What the server refuses is never sent
again, and neither is what it did not answer in time: an overloaded server would only get more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ghost_deploy.core.errors import BackendError
from ghost_deploy.runtimes.kserve.protocol import NoAnswerError, RequestRefusedError

T = TypeVar("T")

_FIRST_S, _LONGEST_S = 0.05, 2.0


def answered(
    ask: Callable[[], T],
    where: str,
    limit_s: float,
    ready: Callable[[], bool] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The answer to a request, which is sent again while there is none.

    Args:
        ask: sends the request.
        where: the server, for messages.
        limit_s: seconds in which it is sent again; the pauses grow from 0.05 s to 2 s.
        ready: whether the model is ready; a refusal of a model that is not counts as no answer.
        sleep, clock: of the system.

    Raises:
        BackendError: the server refuses, did not answer in time or is away for too long.
    """
    start, pause = clock(), 0.0
    while True:
        try:
            return _ask(ask, ready)
        except NoAnswerError as error:
            if clock() - start + pause > limit_s:
                raise _away(where, error, clock() - start) from error
        sleep(pause)
        pause = min(max(_FIRST_S, pause * 2), _LONGEST_S)


def _ask(ask: Callable[[], T], ready: Callable[[], bool] | None) -> T:
    try:
        return ask()
    except RequestRefusedError as error:
        if ready is None or ready():
            raise
        raise NoAnswerError(f"the model is not ready: {error.got}") from error


def _away(where: str, error: NoAnswerError, seconds: float) -> BackendError:
    return BackendError(
        f"{where} cannot be reached",
        got=f"{error}; tried for {seconds:.1f} s",
        fix="Check that the server runs, its address and its port",
    )
