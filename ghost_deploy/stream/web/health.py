"""The health of a run, for monitors: one word, the reasons, and what its routes answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats

_SERVING = frozenset({"live", "ended"})
_RECENT_S = 60.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of all sources and sinks.

    Attributes:
        health: `ok`; `starting`, while some sources have not begun and none has failed;
            `degraded`, if a source is stalled, lost or failed, or a sink hangs or has lost results
            in the last minute; `down`, if no source delivers or can begin to.
        works: at least one source delivers, or has ended as it should.
        reasons: what is not as it should be, e.g. `cam2: lost`.
    """

    health: str
    works: bool
    reasons: tuple[str, ...] = ()

    def status(self, *, strict: bool) -> int:
        """The HTTP status of `/healthz`: 200 while something works, if `strict` while all does."""
        return 200 if self.health == "ok" or (self.works and not strict) else 503


def judge_health(
    sources: Collection[SourceStats],
    deliveries: Mapping[str, DeliveryStats],
    losing: Collection[str] = (),
) -> Health:
    """The health of a run.

    Args:
        sources: their counters.
        deliveries: the counters of the sinks that may lose results, by name.
        losing: the names of the sinks that have lost results lately.
    """
    states = {source.state for source in sources}
    bad = [f"{each.id}: {each.state}" for each in sources if each.state not in _SERVING]
    waits = [name for name in bad if name.endswith(": connecting")]
    sinks = [f"{name}: it hangs" for name, each in deliveries.items() if each.stuck]
    sinks += [f"{name}: it loses results" for name in losing if not deliveries[name].stuck]
    if not states:
        word = "starting"
    elif not states & (_SERVING | {"connecting"}):
        word = "down"
    elif len(waits) < len(bad) or sinks:
        word = "degraded"
    else:
        word = "starting" if waits else "ok"
    return Health(health=word, works=bool(states & _SERVING), reasons=(*bad, *sinks))


class RecentLosses:
    """Which sinks have lost results in the last minute.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}

    def of(self, deliveries: Mapping[str, DeliveryStats]) -> tuple[str, ...]:
        """Their names, given the counters now."""
        now, losing = self._clock(), []
        for name, stats in deliveries.items():
            dropped, last_s = self._seen.get(name, (0, float("-inf")))
            if stats.dropped > dropped:
                last_s = now
            self._seen[name] = (stats.dropped, last_s)
            if now - last_s < _RECENT_S:
                losing.append(name)
        return tuple(losing)
