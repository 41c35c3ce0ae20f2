from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ghost_deploy.core.errors import MissingExtraError, UsageError
from tests.support.stream_results import NOTHING, make_result
from tests.support.waiting import wait_until

pytest.importorskip("paho.mqtt.client")

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from ghost_deploy.stream.sinks.mqtt import MqttSink

# Debian keeps it out of the path of ordinary users.
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Broker:
    """A real broker that can be stopped and started again on one port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def subscribe() -> Iterator[Callable[[int], list[tuple[str, bytes]]]]:
    """Subscribes to everything on a port; gives the list that (topic, payload) go to."""
    clients = []

    def start(port: int) -> list[tuple[str, bytes]]:
        seen: list[tuple[str, bytes]] = []
        ready = threading.Event()

        def keep(_client: Client, _data: object, message: MQTTMessage) -> None:
            seen.append((message.topic, message.payload))

        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = keep
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.subscribe("#", 1)
        clients.append(client)
        assert ready.wait(20)
        return seen

    yield start
    for client in clients:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "http://host",
        "mqtt://",
        "mqtt://u:secret@h:x/",
        "mqtt://h/a/#",
        "mqtt://h/%2b",
        f"mqtt://h/{'t' * 65_536}",
    ],
)
def test_an_address_that_cannot_be_used(url: str) -> None:
    with pytest.raises(UsageError, match="MQTT") as caught:
        MqttSink(url)
    assert "secret" not in str(caught.value)


def test_without_paho(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"\[stream\]"):
        MqttSink("mqtt://127.0.0.1")


def test_no_broker() -> None:
    threads = threading.active_count()
    sink = MqttSink(f"mqtt://user:secret@127.0.0.1:{free_port()}/home", every_s=0)
    for index in range(300):
        sink.write(make_result(index=index))
    wait_until(lambda: sink.stats().retries)
    stats = sink.stats()
    assert (stats.sent, stats.waiting, stats.dropped) == (0, 256, 44)
    assert "secret" not in stats.last_error
    sink.close()
    assert sink.stats().dropped == 300
    assert sink.stats().waiting == 0
    assert threading.active_count() == threads


@needs_broker
def test_topics(broker: Broker, subscribe: Callable[[int], list[tuple[str, bytes]]]) -> None:
    broker.start()
    seen = subscribe(broker.port)
    sink = MqttSink(f"mqtt://127.0.0.1:{broker.port}/home/ai/")
    wait_until(lambda: seen)
    sink.write(make_result(found=NOTHING, at_ms=0))
    for index, at_ms in enumerate((0, 100, 1000)):
        sink.write(make_result("a/+b", index=index, at_ms=at_ms))
    sink.close()
    wait_until(lambda: len(seen) >= 4)
    assert [topic for topic, _ in seen] == [
        "home/ai/status",
        *["home/ai/a__b/detections"] * 2,
        "home/ai/status",
    ]
    assert [seen[0][1], seen[3][1]] == [b"online", b"offline"]
    assert [json.loads(payload)["index"] for _, payload in seen[1:3]] == [0, 2]
    assert (sink.stats().sent, sink.stats().dropped) == (2, 0)


@needs_broker
def test_a_broker_that_comes_late_and_restarts(
    broker: Broker, subscribe: Callable[[int], list[tuple[str, bytes]]]
) -> None:
    sink = MqttSink(f"mqtt://127.0.0.1:{broker.port}", every_s=0)
    sink.write(make_result(index=0))
    broker.start()
    seen = subscribe(broker.port)
    wait_until(lambda: sink.stats().sent == 1)
    broker.stop()
    wait_until(lambda: not sink._client.is_connected())
    sink.write(make_result(index=1))
    broker.start()
    wait_until(lambda: sink.stats().sent == 2)
    sink.write(make_result(index=2))
    sink.close()
    assert (sink.stats().sent, sink.stats().dropped, sink.stats().waiting) == (3, 0, 0)
    assert sink.stats().last_error
    wait_until(lambda: any(payload == b"online" for _, payload in seen))
