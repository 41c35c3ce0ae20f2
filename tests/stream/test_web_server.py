from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import InputError, MissingExtraError, UsageError
from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.web import jpeg_cache
from ghost_deploy.stream.web.web_view import WebViewSink
from tests.stream.test_web_parts import CARD
from tests.support.stream_results import FakeStats, make_result
from tests.support.waiting import wait_until

TOKEN = "correct-horse-battery"
ROUTES = ("/", "/app.js", "/api/status", "/api/history", "/api/images", "/stream/cam1.mjpg")
ROUTES += ("/metrics", "/healthz", "/readyz", "/livez", "/nowhere")


@contextmanager
def served(token: str | None = None, **options: Any) -> Iterator[WebViewSink]:
    """A view that is closed at the end, and leaves no thread."""
    before = threading.active_count()
    view = WebViewSink("127.0.0.1:0", CARD, token=token, **options)
    try:
        yield view
    finally:
        view.close()
    # A thread of AnyIO's pool ends when its event loop is gone, a moment later.
    wait_until(lambda: threading.active_count() == before, 2.0, threading.enumerate)


Answer = tuple[int, dict[str, str], bytes]


def ask(
    view: WebViewSink, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection(view.address.host, view.address.port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        # A stream has no end: what its head says is all that is asked here.
        endless = found.get("content-type", "").startswith("multipart/")
        return response.status, found, b"" if endless else response.read()
    finally:
        connection.close()


def health(view: WebViewSink) -> tuple[int, str, list[str]]:
    status, _, body = ask(view, "/healthz")
    document = json.loads(body)
    return status, document["health"], document["reasons"]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999"])
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(UsageError):
        WebViewSink(address, CARD)


def test_a_port_in_use() -> None:
    with served() as view, pytest.raises(InputError, match="in use"):
        WebViewSink(f"127.0.0.1:{view.address.port}", CARD)


def test_other_machines_need_a_token() -> None:
    before = threading.active_count()
    with pytest.raises(UsageError, match="other machines"):
        WebViewSink("0.0.0.0:0", CARD)
    # A thread of AnyIO's pool ends when its event loop is gone, a moment later.
    wait_until(lambda: threading.active_count() == before, 2.0, threading.enumerate)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_packages(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"\[web\]"):
        WebViewSink("127.0.0.1:0", CARD)


def test_before_the_first_result() -> None:
    with served() as view:
        assert view.url == f"http://127.0.0.1:{view.address.port}/"
        status, _, body = ask(view, "/api/status")
        assert (status, json.loads(body)["sources"]) == (200, [])
        assert json.loads(ask(view, "/api/history")[2]) == {}
        assert ask(view, "/stream/cam1.mjpg")[0] == 404
        assert health(view) == (503, "starting", [])
        assert ask(view, "/readyz")[0] == 503
        assert ask(view, "/livez")[0] == 200
        assert ask(view, "/metrics")[0] == 200
        assert ask(view, "/nowhere")[0] == 404
        assert ask(view, "/api/status", "POST")[0] == 405


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=²", "side=7", "side=", "after=" + "9" * 40]
)
def test_wrong_numbers(query: str) -> None:
    with served() as view:
        assert ask(view, f"/api/images?{query.replace('²', '%C2%B2')}")[0] == 400


def test_the_status() -> None:
    stats = FakeStats((SourceStats("cam1", "rtsp://***@host/cam1", "live", 5, 2, {"newer": 3}),))
    with served(stats=stats, deliveries={"webhook": lambda: DeliveryStats(sent=1)}) as view:
        view.write(make_result())
        _, _, body = ask(view, "/api/status")
        document = json.loads(body)
        (source,) = document["sources"]
        assert document["schema"] == 1
        assert document["model"]["precision"] == "fp32"
        assert document["deliveries"]["webhook"]["sent"] == 1
        assert (source["captured"], source["dropped"]) == (5, {"newer": 3})
        assert source["counts"] == source["totals"] == {"dög": 1, "cat": 1}
        assert source["timings_ms"] == {"pre": 2.0, "run": 12.0, "post": 1.0}
        assert health(view) == (200, "ok", [])
        assert ask(view, "/readyz")[0] == 200
        stats.sources += (SourceStats("cam2", "", "lost"),)
        assert health(view) == (200, "degraded", ["cam2: lost"])
        assert ask(view, "/readyz")[0] == 200
        stats.sources = stats.sources[1:]
        assert health(view) == (503, "down", ["cam2: lost"])
        assert ask(view, "/readyz")[0] == 503
        assert ask(view, "/livez")[0] == 200


def test_strict_health_is_bad_if_anything_is() -> None:
    sources = (SourceStats("cam1", "", "live"), SourceStats("cam2", "", "stalled"))
    with served(stats=FakeStats(sources), strict_health=True) as view:
        view.write(make_result())
        assert health(view) == (503, "degraded", ["cam2: stalled"])
        assert ask(view, "/readyz")[0] == 200


def images_of(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    line, _, rest = body.partition(b"\n")
    head, jpegs = json.loads(line), []
    for each in head["images"]:
        jpegs.append(rest[: each["bytes"]])
        rest = rest[each["bytes"] :]
    assert rest == b""
    return head, jpegs


def test_images_come_once_and_only_the_newest() -> None:
    with served() as view:
        for shade in (10, 200):
            view.write(make_result(shade=shade))
        view.write(make_result("cam2"))
        head, jpegs = images_of(ask(view, "/api/images")[2])
        assert [p["id"] for p in head["images"]] == ["cam1", "cam2"]
        image = cv2.imdecode(np.frombuffer(jpegs[0], np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image[45:, 50:].mean() > 180
        view.write(make_result("cam2"))
        head, _ = images_of(ask(view, f"/api/images?after={head['serial']}")[2])
        assert [p["id"] for p in head["images"]] == ["cam2"]


def test_a_question_waits_for_the_next_image() -> None:
    with served() as view, ThreadPoolExecutor() as pool:
        view.write(make_result())
        asked = pool.submit(ask, view, "/api/images?after=1")
        while not view._news._listeners:
            pass
        assert not asked.done()
        view.write(make_result("cam2"))
        head, _ = images_of(asked.result()[2])
        assert [p["id"] for p in head["images"]] == ["cam2"]


def test_nothing_is_encoded_without_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []

    def encode(result: object, side: int) -> bytes:
        encoded.append((result, side))
        return b"jpeg"

    monkeypatch.setattr(jpeg_cache, "encode", encode)
    with served() as view:
        for _ in range(50):
            view.write(make_result())
        ask(view, "/api/status")
        assert encoded == []
        for _ in range(3):
            ask(view, "/api/images")
        assert len(encoded) == 1


def test_motion_jpeg() -> None:
    with served() as view:
        view.write(make_result("a/b"))
        connection = http.client.HTTPConnection(view.address.host, view.address.port, timeout=20)
        connection.request("GET", "/stream/a/b.mjpg")
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
        for _ in range(3):
            assert response.readline() == b"--frame\r\n"
            assert response.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(response.readline().split()[1])
            assert response.readline() == b"\r\n"
            assert response.read(length)[:2] == b"\xff\xd8"
            assert response.readline() == b"\r\n"
            view.write(make_result("a/b"))
        # The view is closed while somebody looks.
        view.close()
        connection.close()


def test_every_route_needs_the_token() -> None:
    with served(TOKEN) as view:
        view.write(make_result())
        for path in sorted({*ROUTES} - {"/livez", "/readyz"}):
            assert ask(view, path)[0] == 401, path
            assert ask(view, path, Authorization="Bearer wrong")[0] == 401, path
            assert ask(view, f"{path}?token={TOKEN}")[0] == 401, path
            expected = {"/nowhere": {404}, "/healthz": {503}, "/readyz": {503}}.get(path, {200})
            assert ask(view, path, Authorization=f"Bearer {TOKEN}")[0] in expected, path


def test_probes_need_no_token_and_learn_a_word() -> None:
    with served(TOKEN) as view:
        assert ask(view, "/livez")[::2] == (200, b"ok\n")
        assert ask(view, "/readyz")[::2] == (503, b"not ready\n")
        for path in ("/livez/", "/livez/../metrics", "/healthz", "/metrics", "/livez%2f"):
            assert ask(view, path)[0] == 401, path


def test_a_browser_gets_a_cookie_for_the_token() -> None:
    with served(TOKEN) as view:
        status, _, page = ask(view, "/", Accept="text/html")
        assert status == 401
        assert b"<form" in page
        assert ask(view, "/style.css")[0] == 200
        assert ask(view, "/login")[0] == 405
        assert ask(view, "/login", "POST", "x" * 5000)[0] == 413
        for body in ("", "token=", "token=wrong", "\xff"):
            status, headers, _ = ask(view, "/login", "POST", body)
            assert (status, headers["location"]) == (303, "/#wrong")
            assert "set-cookie" not in headers
        status, headers, _ = ask(view, "/login", "POST", f"token={TOKEN}")
        assert (status, headers["location"]) == (303, "/")
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict"} <= set(attributes)
        assert ask(view, "/api/status", Cookie=cookie)[0] == 200
    with served(TOKEN) as view:  # another run does not know it
        assert ask(view, "/api/status", Cookie=cookie)[0] == 401


@pytest.mark.parametrize("token", [None, TOKEN])
def test_another_host_is_refused_first(token: str | None) -> None:
    with served(token) as view:
        for path in (*ROUTES, "/login", "/style.css"):
            headers = {"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}
            assert ask(view, path, **headers)[0] == 421, path
        assert ask(view, "/livez", Host="", Authorization=f"Bearer {TOKEN}")[0] == 421


def test_headers_keep_other_pages_out() -> None:
    with served() as view:
        for path in ("/", "/api/status", "/nowhere"):
            headers = ask(view, path)[1]
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers


def test_nothing_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with served(TOKEN) as view:
        ask(view, f"/api/status?token={TOKEN}", Authorization=f"Bearer {TOKEN}")
        ask(view, "/login", "POST", f"token={TOKEN}")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_page_needs_nothing_from_elsewhere() -> None:
    with served() as view:
        for path in ("/", "/app.js", "/chart.js", "/style.css", "/icon.svg"):
            status, _, body = ask(view, path)
            assert status == 200
            foreign = body.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"//" not in foreign.replace(b"// ", b"").replace(b"\n//", b""), path


def test_many_ask_while_results_come() -> None:
    with served() as view, ThreadPoolExecutor(8) as pool:
        view.write(make_result())
        asked = [
            pool.submit(ask, view, path)
            for _ in range(10)
            for path in ("/api/images", "/api/status", "/metrics", "/api/history")
        ]
        for index in range(200):
            view.write(make_result(f"cam{index % 3}", index=index))
        assert {answer.result()[0] for answer in asked} == {200}


def test_a_viewer_who_stops_reading(capfd: pytest.CaptureFixture[str]) -> None:
    """He gets no more than the buffers hold, keeps no one else waiting, and is cut off."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with served() as view:
        view.write(make_result())
        with socket.create_connection((view.address.host, view.address.port)) as stuck:
            stuck.sendall(b"GET /stream/cam1.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stuck.recv(12) == b"HTTP/1.1 200"
            for index in range(40):
                result = make_result(index=index, size_hw=(480, 640))
                view.write(replace(result, frame=replace(result.frame, image=noise)))
                assert ask(view, "/api/images")[0] == 200
            view.close()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_view_that_is_closed_at_once() -> None:
    for _ in range(5):
        with served() as view:
            view.close()
            with pytest.raises(ConnectionRefusedError):
                ask(view, "/livez")
