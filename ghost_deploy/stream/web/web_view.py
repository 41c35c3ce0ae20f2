"""The web view: a sink that shows results in browsers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.stream.descriptors import descriptor_limit
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.sink import ReadDelivery, Sink
from ghost_deploy.stream.source_stats import ReadStats
from ghost_deploy.stream.web.health import Health, RecentLosses, judge_health
from ghost_deploy.stream.web.jpeg_cache import Notifier
from ghost_deploy.stream.web.latest_results import LatestResults, SourceTotals
from ghost_deploy.stream.web.listening import ListenAddress, check_token, listen
from ghost_deploy.stream.web.status import ModelCard, RunStatus, describe

if TYPE_CHECKING:
    from ghost_deploy.stream.web.connection_limits import WebLimits
    from ghost_deploy.stream.web.server import Server


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is `HOST:PORT`."""
    view = WebViewSink(
        target,
        ModelCard.of(context.detector),
        token=context.token,
        stats=context.pipeline.stats,
        deliveries=context.deliveries,
        note=context.note,
        strict_health=context.strict_health,
    )
    context.note(f"web view: {view.url}")
    return view


class WebViewSink(Sink):
    """Serves a page, images, the status and metrics from a thread of its own.

    `write` keeps the newest result of each source and returns at once; images are annotated and
    encoded on request. The server listens when the constructor returns.

    Args:
        address: `HOST:PORT`; with port 0 the system chooses one.
        model: the model that runs.
        token: that requests must carry; required if other machines can reach the address. Nothing
            is encrypted: on an untrusted network put a proxy with TLS in front.
        stats: returns the statistics of the sources.
        deliveries: counters of the sinks that may lose results, by name.
        note: takes a sentence about connections that were closed, at most once a minute.
        strict_health: `/healthz` answers 503 if anything is not as it should be.
        limits: of connections and requests; by default those of `WebLimits`, fewer where the
            process may have few descriptors.

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
        stats: ReadStats = lambda: (),
        deliveries: Mapping[str, ReadDelivery] | None = None,
        note: Callable[[str], None] = lambda _: None,
        strict_health: bool = False,
        limits: WebLimits | None = None,
    ) -> None:
        _check_installed()
        where = ListenAddress.parse(address)
        self._model = model
        self._deliveries = dict(deliveries or {})
        self._strict_health = strict_health
        self._stats = stats
        self._started_s = time.monotonic()
        self._losses = RecentLosses()
        self._results = LatestResults()
        self._news = Notifier()
        self._listener = listen(where)
        try:
            check_token(self._listener, token)
            self.address = ListenAddress(where.host, self._listener.getsockname()[1])
            self._server = self._make_server(token, note, limits)
        except BaseException:
            self._listener.close()
            raise
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="web view", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page."""
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"http://{host}:{self.address.port}/"

    def write(self, result: Result) -> None:
        """Show one result."""
        self._results.put(result)
        self._news.send()

    def close(self) -> None:
        """Stop serving; viewers are disconnected."""
        self._news.close()
        self._server.should_exit = True
        self._thread.join()
        # The server leaves it open if it is stopped before it has started.
        self._listener.close()

    def _make_server(
        self, token: str | None, note: Callable[[str], None], limits: WebLimits | None
    ) -> Server:
        from ghost_deploy.stream.web.connection_limits import WebLimits
        from ghost_deploy.stream.web.guard import AccessKeys
        from ghost_deploy.stream.web.routes import WebState, make_app
        from ghost_deploy.stream.web.server import make_server

        state = WebState(self._results, self._news, self._status, self._health, self._strict_health)
        app = make_app(state, AccessKeys(token, self.address.port), self.address.host)
        return make_server(app, note, limits or WebLimits.within(descriptor_limit()))

    def _health(self) -> Health:
        deliveries = {name: stats() for name, stats in self._deliveries.items()}
        return judge_health(self._stats(), deliveries, self._losses.of(deliveries))

    def _status(self, totals: Mapping[str, SourceTotals]) -> RunStatus:
        sources = self._stats()
        deliveries = {name: stats() for name, stats in self._deliveries.items()}
        health = judge_health(sources, deliveries, self._losses.of(deliveries))
        return RunStatus(
            tool=__version__,
            health=health.health,
            reasons=health.reasons,
            uptime_s=time.monotonic() - self._started_s,
            model=self._model,
            sources=tuple(describe(stats, totals.get(stats.id)) for stats in sources),
            deliveries=deliveries,
        )


def _check_installed() -> None:
    for package in ("starlette", "uvicorn"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError.for_extra(package, "web") from error
