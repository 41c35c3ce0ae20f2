"""Each judgement of the soak run can fail."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("starlette")

from ghost_deploy.stream.source_stats import SourceStats
from tools import soak_growth
from tools.soak import make_parser
from tools.soak_frames import Check
from tools.soak_outcome import Soak
from tools.soak_samples import Sample

CAMERA = SourceStats("0", "a", "live", 10, 8, {"newer": 2}, reconnects=3)
STEADY = SourceStats("1", "b", "live", 5, 5)
BOMBS = SourceStats("1", "b", "live", 5000, 4900, {"broken": 100})
DEAD = SourceStats("2", "c", "lost")


def made(**changes: Any) -> Any:
    """A run without fault, but for `changes`."""
    check = Check()
    for _ in range(100):
        check.ages.add(60.0)
        check.times.add(30.0)
    check.wrong.update(changes.pop("frames", {}))
    leak, hidden = changes.pop("leak", 0.0), changes.pop("hidden", 0.0)
    growth = changes.pop("growth", {})
    samples = []
    minutes = changes.get("limits", {}).get("minutes", 10)
    for i in range(minutes * 60):
        counts = {"threads": 9, "descriptors": 20, "children": 2}
        counts.update({name: counts[name] + n for name, n in growth.items() if i > minutes * 45})
        # A heap that settles in the first minutes, and decoders that come and go.
        settling, decoders = -20 * math.exp(-i / 240), (i // 60) % 3
        rss = 200 + leak * i / 3600 + (settling + decoders if minutes > 10 else 0.01 * (i % 7))
        used = 60 + hidden * i / 3600 + 0.9 * (i % 7) - 5 * (i % 60 < 2)
        samples.append(Sample(at_s=float(i), rss_mib=rss, used_mib=used, **counts))
    if "age" in changes:
        for _ in range(100):
            check.ages.add(changes["age"])
        del changes["age"]
    facts = {
        "limits": argparse.Namespace(
            **vars(make_parser().parse_args([])) | changes.pop("limits", {})
        ),
        "check": check,
        "samples": samples,
        "stats": (CAMERA, STEADY, DEAD),
        "restarts": 3,
        "looks": 100,
        "kept_mib": 20.0,
        "lost": 0,
        "visits": (20, 0),
    }
    return Soak(**(facts | changes))


def test_a_run_without_fault() -> None:
    run = made()
    assert run.wrong() == []
    assert "| restarts of a camera, reconnects counted | 3, 3 |" in run.table()


def test_huge_images_that_are_counted() -> None:
    assert made(stats=(CAMERA, BOMBS, DEAD)).wrong() == []
    assert made(limits={"faults": False}, visits=()).wrong() == []


@pytest.mark.parametrize(("inflated", "least", "most"), [(True, 0.85, 1), (False, 0.5, 0.75)])
def test_the_error_of_a_slope_where_samples_are_alike(
    inflated: bool,
    least: float,
    most: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How often two errors cover the slope of a random series without growth."""
    if not inflated:
        monkeypatch.setattr(soak_growth, "_inflation", lambda _residual: 1.0)
    chance, covered = np.random.default_rng(0), 0
    blocks = [[Sample(60.0 * i, 0, 0, 1, 1, 1)] for i in range(20)]
    for _ in range(300):
        values = [0.0]
        for noise in chance.normal(size=19):
            values.append(0.6 * values[-1] + float(noise))
        rate, error = soak_growth.fit(blocks, values)
        covered += abs(rate) <= 2 * error
    assert least * 300 <= covered <= most * 300


def test_a_heap_that_settles_is_no_leak() -> None:
    assert made(limits={"minutes": 60}).wrong() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": {"invented": 1}}, "1 frames invented"),
        ({"leak": 30.0}, "the resident memory grows"),
        ({"leak": 5.0, "limits": {"minutes": 60}}, "the resident memory grows"),
        ({"hidden": 20.0}, "the memory in use grows"),
        ({"limits": {"most_mib_per_hour": 0.001, "minutes": 60}}, "too noisy for a verdict"),
        ({"growth": {"threads": 1}}, "threads have grown from 9 to 10"),
        ({"growth": {"descriptors": 2}}, "descriptors have grown"),
        ({"growth": {"children": 1}}, "children have grown"),
        ({"age": 200.0}, "frames are up to"),
        ({"looks": 0}, "web view"),
        ({"lost": 2}, "lost 2 results"),
        ({"visits": (20, 1)}, "/livez"),
        ({"visits": ()}, "/livez"),
        ({"stats": (CAMERA, SourceStats("1", "b", "live", 500, 500), DEAD)}, "not counted"),
        ({"kept_mib": 40.0}, "40 MiB were kept"),
        ({"restarts": 5}, "3 reconnects in 5 restarts"),
        ({"stats": (SourceStats("0", "a", "live", 9, 8, reconnects=3), DEAD)}, "do not add up"),
        ({"stats": (SourceStats("0", "a", "lost", reconnects=3), DEAD)}, "gave nothing"),
        ({"stats": (CAMERA, SourceStats("1", "b", "live", 5, 5, reconnects=1), DEAD)}, "was lost"),
        ({"stats": (CAMERA, SourceStats("2", "c", "live", 1, 1))}, "the dead source is live"),
    ],
)
def test_every_fault_is_seen(changes: dict[str, Any], message: str) -> None:
    assert any(message in each for each in made(**changes).wrong())
