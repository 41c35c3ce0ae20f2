"""The web view: a sink that shows its results to browsers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.stream.result import Result, StatsView
from ghost_deploy.stream.sinks.outbox import DeliveryStats
from ghost_deploy.stream.web.address import Address, check_token, listen
from ghost_deploy.stream.web.board import Board, Figures
from ghost_deploy.stream.web.jpegs import Signal
from ghost_deploy.stream.web.status import ModelCard, Status, describe, health

if TYPE_CHECKING:
    from ghost_deploy.stream.web.serving import Server

__all__ = ["WebView"]


class WebView:
    """Serves the page, the pictures, the status and the metrics from a thread of its own.

    A sink: `write` keeps the newest result of each source and returns at once; a picture is drawn
    and encoded when somebody asks for it. It listens when the constructor returns.

    Args:
        address: `HOST:PORT`; port 0 lets the system choose.
        model: what runs.
        token: that a request must carry; needed where other machines can reach the address. What
            is served is not encrypted: on a network that is not trusted, put a proxy with TLS in
            front.
        deliveries: counters of the sinks that may lose results, by name.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed.
        UsageError: no such address, or a token is needed, or the token is too short.
        InputError: the address cannot be listened at.
    """

    def __init__(
        self,
        address: str,
        model: ModelCard,
        *,
        token: str | None = None,
        deliveries: Mapping[str, Callable[[], DeliveryStats]] | None = None,
    ) -> None:
        _check_installed()
        where = Address.parse(address)
        self._model = model
        self._deliveries = dict(deliveries or {})
        self._stats: StatsView | None = None
        self._started_s = time.monotonic()
        self._board = Board()
        self._signal = Signal()
        self._listener = listen(where)
        try:
            check_token(self._listener, token)
            self.address = Address(where.host, self._listener.getsockname()[1])
            self._server = self._make_server(token)
        except BaseException:
            self._listener.close()
            raise
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="web view", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to point a browser."""
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"http://{host}:{self.address.port}/"

    def watch(self, stats: StatsView) -> None:
        """Show these statistics; before, the page knows of no source."""
        self._stats = stats

    def write(self, result: Result) -> None:
        """Show one result."""
        self._board.put(result)
        self._signal.send()

    def close(self) -> None:
        """Stop serving; those who look are disconnected."""
        self._signal.close()
        self._server.should_exit = True
        self._thread.join()
        # The server leaves it open when it is told to stop before it has begun.
        self._listener.close()

    def _make_server(self, token: str | None) -> Server:
        from ghost_deploy.stream.web.guard import Keys
        from ghost_deploy.stream.web.routes import State, make_app
        from ghost_deploy.stream.web.serving import make_server

        state = State(self._board, self._signal, self._status)
        return make_server(make_app(state, Keys(token, self.address.port), self.address.host))

    def _status(self, figures: Mapping[str, Figures]) -> Status:
        sources = self._stats.snapshot() if self._stats else ()
        deliveries = {name: stats() for name, stats in self._deliveries.items()}
        return Status(
            tool=__version__,
            health=health(sources, deliveries.values()),
            uptime_s=time.monotonic() - self._started_s,
            model=self._model,
            sources=tuple(describe(stats, figures.get(stats.id)) for stats in sources),
            deliveries=deliveries,
        )


def _check_installed() -> None:
    for package in ("starlette", "uvicorn"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError.for_extra(package, "web") from error
