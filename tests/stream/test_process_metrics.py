"""The metrics, read by Prometheus' own parser."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.web.latest_results import LatestResults
from ghost_deploy.stream.web.metrics import render_metrics
from ghost_deploy.stream.web.process_metrics import process_lines
from ghost_deploy.stream.web.status import RunStatus, describe
from tests.stream.test_web_parts import CARD
from tests.support.stream_results import make_result

parser: Any = pytest.importorskip("prometheus_client.parser")

HOSTILE = 'a "b" \\ \n c{}=,é'


def families(text: str) -> dict[str, Any]:
    found = list(parser.text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def value(family: Any, **labels: str) -> float:
    (sample,) = [s for s in family.samples if labels.items() <= s.labels.items()]
    return float(sample.value)


def test_without_proc_there_are_no_lines(tmp_path: Path) -> None:
    assert list(process_lines(tmp_path)) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_memory_and_cpu_time_of_this_process() -> None:
    before = time.process_time()
    found = families("\n".join(process_lines()) + "\n")
    after = time.process_time()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before - 2 * tick <= value(found["process_cpu_seconds"]) <= after + 2 * tick
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak / 4 < value(found["process_resident_memory_bytes"]) < peak * 1.1
    assert value(found["process_virtual_memory_bytes"]) > peak / 4
    assert 0 < time.time() - value(found["process_start_time_seconds"]) < 86_400
    assert value(found["process_threads"]) >= 1
    files = value(found["process_open_fds"])
    with open(os.devnull):
        assert value(families("\n".join(process_lines()) + "\n")["process_open_fds"]) == files + 1


def test_a_name_of_a_process_with_brackets(tmp_path: Path) -> None:
    (tmp_path / "fd").mkdir()
    fields = " ".join(str(n) for n in range(4, 53))
    (tmp_path / "stat").write_text(f"7 (a) b ( c) S {fields}\n")
    found = families("\n".join(process_lines(tmp_path)) + "\n")
    # Numbered as in proc_pid_stat(5): 14 and 15 are the times, 20 the threads, 24 the pages.
    assert value(found["process_cpu_seconds"]) == (14 + 15) / os.sysconf("SC_CLK_TCK")
    assert value(found["process_threads"]) == 20
    assert value(found["process_resident_memory_bytes"]) == 24 * resource.getpagesize()


def test_all_metrics_of_a_run() -> None:
    results = LatestResults()
    results.put(make_result(HOSTILE, age_ms=30.0))
    totals = results.totals()
    stats = SourceStats(HOSTILE, "label", "live", captured=9, processed=2, dropped={"newer": 7})
    status = RunStatus(
        tool="0",
        health="ok",
        uptime_s=1.5,
        model=CARD,
        sources=(describe(stats, totals[HOSTILE]),),
        deliveries={"videos": DeliveryStats(sent=4, waiting=2, dropped=1)},
    )
    found = families(render_metrics(status, totals))
    assert all(family.type != "unknown" and family.documentation for family in found.values())
    assert {name.split("_")[0] for name in found} == {"ghost", "process"}
    assert value(found["ghost_deploy_frames_dropped"], source=HOSTILE, cause="newer") == 7
    assert value(found["ghost_deploy_messages_sent"], sink="videos") == 4
    assert value(found["ghost_deploy_messages_waiting"], sink="videos") == 2
    ages = found["ghost_deploy_frame_age_seconds"]
    assert ages.type == "histogram"
    assert {s.labels["source"] for s in ages.samples} == {HOSTILE}
