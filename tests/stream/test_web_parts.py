from __future__ import annotations

import re
import socket

import cv2
import numpy as np
import pytest
from starlette.datastructures import Headers

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats, State
from ghost_deploy.stream.web.guard import AccessKeys
from ghost_deploy.stream.web.health import RecentLosses, judge_health
from ghost_deploy.stream.web.history import SECONDS, History
from ghost_deploy.stream.web.jpeg_cache import encode
from ghost_deploy.stream.web.latest_results import AGE_BUCKETS_S, LatestResults
from ghost_deploy.stream.web.listening import ListenAddress, check_token, is_expected_host, listen
from ghost_deploy.stream.web.metrics import render_metrics
from ghost_deploy.stream.web.status import ModelCard, RunStatus, describe
from tests.support.clocks import ManualTime
from tests.support.stream_results import NAMES, NOTHING, make_result

CARD = ModelCard(
    name='a "model"',
    runtime="fake",
    version="1",
    device="cpu",
    precision="fp32",
    size_hw=(64, 64),
    class_names=NAMES,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:80",
        "[::1:80",
        "a b:80",
        "http://host:80",
        "[host]x:80",
        "h:²",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="address") as caught:
        ListenAddress.parse(text)
    assert "127.0.0.1:8080" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        (":0", "127.0.0.1", 0),
        (" 0.0.0.0:80 ", "0.0.0.0", 80),
        ("[::1]:8080", "::1", 8080),
        ("edge-box.local:65535", "edge-box.local", 65535),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    assert ListenAddress.parse(text) == ListenAddress(host, port)


def test_an_address_that_cannot_be_listened_at() -> None:
    with listen(ListenAddress("127.0.0.1", 0)) as first, pytest.raises(InputError, match="in use"):
        listen(ListenAddress("127.0.0.1", first.getsockname()[1]))
    with pytest.raises(InputError, match="cannot serve at"):
        listen(ListenAddress("192.0.2.1", 0))  # RFC 5737: of no machine
    with pytest.raises(InputError, match="cannot serve at"):
        listen(ListenAddress("a..b", 80))


@pytest.mark.parametrize(
    ("host", "token", "ok"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("127.0.0.1", "t" * 16, True),
        ("127.0.0.1", "tiny", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", None, False),
        ("0.0.0.0", "t" * 15, False),
        ("0.0.0.0", "t" * 16, True),
    ],
)
def test_where_a_token_is_needed(host: str, token: str | None, ok: bool) -> None:
    with listen(ListenAddress(host, 0)) as listener:
        if ok:
            check_token(listener, token)
            return
        with pytest.raises(UsageError, match="token") as caught:
            check_token(listener, token)
        assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "ok"),
    [
        ("", False),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("[evil]:80", False),
        ("127.0.0.1", True),
        ("192.168.1.7:8080", True),
        ("[::1]:8080", True),
        ("LocalHost:8080", True),
        ("edge.example:80", True),
        (socket.gethostname(), True),
    ],
)
def test_the_host_of_a_request(header: str, ok: bool) -> None:
    assert is_expected_host(header, "edge.example") is ok


@pytest.mark.parametrize(
    ("headers", "ok"),
    [
        ({}, False),
        ({"authorization": "Bearer "}, False),
        ({"authorization": "Bearer secret-tokeN"}, False),
        ({"authorization": "Bearer sécret"}, False),
        ({"authorization": "Basic secret-token"}, False),
        ({"cookie": "ghost_deploy_80=secret-token"}, False),
        ({"cookie": "ghost_deploy_80=; a"}, False),
        ({"authorization": "bearer secret-token"}, True),
    ],
)
def test_keys(headers: dict[str, str], ok: bool) -> None:
    assert AccessKeys("secret-token", 80).admits(Headers(headers)) is ok
    assert AccessKeys(None, 80).admits(Headers(headers))


def test_no_results() -> None:
    results = LatestResults()
    assert results.newer_than(0) == []
    assert results.newest("cam1") is None
    assert results.totals() == {}
    assert results.histories() == {}


def test_the_newest_results_and_the_totals() -> None:
    now = [100.0]
    results = LatestResults(clock=lambda: now[0])
    for age_ms in (10.0, 30.0):
        results.put(make_result(age_ms=age_ms))
    other = make_result("cam2", found=NOTHING, age_ms=60_000.0)
    results.put(other)
    assert [(x.serial, x.result.source) for x in results.newer_than(0)] == [
        (2, "cam1"),
        (3, "cam2"),
    ]
    assert [x.serial for x in results.newer_than(2)] == [3]
    assert results.newest("cam1", 2) is None
    totals = results.totals()
    assert totals["cam1"].detections == {"dög": 2, "cat": 2}
    assert totals["cam1"].age_buckets == [1, 0, 1] + [0] * (len(AGE_BUCKETS_S) - 2)
    assert totals["cam1"].age_sum_ms == 40.0
    assert totals["cam1"].stage_sums_ms == {"pre": 4.0, "run": 24.0, "post": 2.0}
    assert totals["cam2"].detections == {}
    assert totals["cam2"].age_buckets[-1] == 1
    now[0] = 101.0
    assert results.histories()["cam1"]["age_max"] == [30.0]


def test_history() -> None:
    history = History()
    assert set(map(tuple, history.columns(0).values())) == {()}
    for now, age in ((10.0, 5.0), (10.9, 7.0), (11.0, 9.0), (14.2, 1.0)):
        history.add(now, age, {"run": 2 * age})
    columns = history.columns(14.9)
    assert columns["ago"] == [4, 3]  # the second under way is not complete
    assert columns["fps"] == [2, 1]
    assert columns["age_mean"] == [6.0, 9.0]
    assert columns["age_max"] == [7.0, 9.0]
    assert columns["run"] == [12.0, 18.0]
    assert columns["pre"] == [0.0, 0.0]
    assert history.columns(15.0 + SECONDS)["ago"] == []
    for second in range(1000):
        history.add(20.0 + second, 1.0, {})
    assert len(history.columns(1020.0)["ago"]) == SECONDS


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ((), "starting"),
        (("connecting",), "starting"),
        (("live", "connecting"), "starting"),
        (("live", "ended"), "ok"),
        (("ended",), "ok"),
        (("live", "lost"), "degraded"),
        (("stalled",), "down"),
        (("lost", "stalled"), "down"),
        (("live", "stalled"), "degraded"),
        (("connecting", "failed"), "degraded"),
        (("lost", "failed"), "down"),
    ],
)
def test_health(states: tuple[State, ...], word: str) -> None:
    sources = [SourceStats(f"c{i}", "", state=s) for i, s in enumerate(states)]
    found = judge_health(sources, {})
    assert found.health == word
    assert found.works is bool({"live", "ended"} & set(states))
    assert bool(found.reasons) is (word not in {"ok"} and bool(states))
    assert found.status(strict=True) == (200 if word == "ok" else 503)
    assert found.status(strict=False) == (200 if found.works else 503)


def test_a_sink_that_hangs_is_no_good_health() -> None:
    live = (SourceStats("c", "", state="live"),)
    fine, stuck = DeliveryStats(sent=1), DeliveryStats(stuck=True)
    assert judge_health(live, {"mqtt": fine}).health == "ok"
    found = judge_health(live, {"mqtt": fine, "video": stuck}, ["mqtt", "video"])
    assert (found.health, found.works) == ("degraded", True)
    assert found.reasons == ("video: it hangs", "mqtt: it loses results")


def test_losses_count_for_a_minute() -> None:
    clock = ManualTime()
    losses = RecentLosses(clock.monotonic)
    assert losses.of({"mqtt": DeliveryStats(sent=1)}) == ()
    for dropped, wait, losing in [(1, 59, True), (1, 2, True), (1, 0, False), (2, 0, True)]:
        assert losses.of({"mqtt": DeliveryStats(dropped=dropped)}) == (("mqtt",) if losing else ())
        clock.now += wait


SAMPLE = re.compile(
    r'[a-z_]+(\{[a-z_]+="(\\.|[^"\\\n])*"(,[a-z_]+="(\\.|[^"\\\n])*")*\})? [0-9.e+-]+'
)


def test_metrics() -> None:
    results = LatestResults()
    results.put(make_result(age_ms=30.0))
    results.put(make_result(age_ms=20_000.0))
    stats = SourceStats(
        "cam1", "label", "live", captured=9, processed=2, dropped={"newer": 7}, reconnects=3
    )
    totals = results.totals()
    status = RunStatus(
        tool="0",
        health="ok",
        uptime_s=1.5,
        model=CARD,
        sources=(describe(stats, totals["cam1"]), describe(SourceStats("new", ""), None)),
        deliveries={"webhook": DeliveryStats(sent=4)},
    )
    lines = render_metrics(status, totals).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert [line for line in samples if not SAMPLE.fullmatch(line)] == []
    assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)
    assert {
        'ghost_deploy_source_state{source="cam1",state="live"} 1',
        'ghost_deploy_source_state{source="cam1",state="lost"} 0',
        'ghost_deploy_frames_dropped_total{source="cam1",cause="newer"} 7',
        'ghost_deploy_reconnects_total{source="cam1"} 3',
        'ghost_deploy_detections_total{source="cam1",class="cat"} 2',
        'ghost_deploy_frame_age_seconds_bucket{source="cam1",le="0.025"} 0',
        'ghost_deploy_frame_age_seconds_bucket{source="cam1",le="0.05"} 1',
        'ghost_deploy_frame_age_seconds_bucket{source="cam1",le="+Inf"} 2',
        'ghost_deploy_frame_age_seconds_sum{source="cam1"} 20.03',
        'ghost_deploy_stage_seconds_count{source="cam1",stage="run"} 2',
        'ghost_deploy_messages_sent_total{sink="webhook"} 4',
    } <= set(samples)
    assert any(r'model="a \"model\""' in line for line in samples)


@pytest.mark.parametrize(
    ("size_hw", "side", "expected"),
    [((48, 64), 480, (48, 64)), ((96, 640), 480, (72, 480)), ((900, 2), 480, (480, 1))],
)
def test_images_are_made_smaller_with_their_boxes(
    size_hw: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    result = make_result(size_hw=size_hw)
    image = cv2.imdecode(np.frombuffer(encode(result, side), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (*expected, 3)
