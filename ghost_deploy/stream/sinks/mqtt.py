"""Results to an MQTT broker."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.record import DetectionGate, result_message
from ghost_deploy.stream.sinks.sink import CountingSink, DeliveryStats, Sink, server_url

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo
    from paho.mqtt.reasoncodes import ReasonCode

_CAPACITY = 256
_FIRST_WAIT_S, _LONGEST_WAIT_S, _GRACE_S = 1, 30, 2.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_AT_LEAST_ONCE = 1
_LONGEST_TOPIC = 60_000  # of 65,535 bytes, as the names of sources follow
# `+` and `#` are wildcards, `/` would add a level (MQTT 5.0, section 4.7).
_WILDCARD = re.compile(r"[+#\0]")
_NOT_A_LEVEL = re.compile(r"[+#/\0]")


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a URL."""
    return MqttSink(target)


class MqttSink(CountingSink):
    """Publishes results with detections as JSON to `<topic>/<source>/detections`, at least once.

    `<topic>/status` holds `online` or `offline`, retained; the broker itself sets `offline` when
    the process dies. The client connects and reconnects automatically, with back-off; up to 256
    messages wait in memory, later ones are dropped and counted.

    Args:
        url: `mqtt://[user:password@]host[:port][/topic]`, or `mqtts` for TLS; the topic is
            `ghost-deploy` by default.
        every_s: least time between two results of a source, seconds; 0 sends all.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        UsageError: not a valid URL.
    """

    def __init__(self, url: str, *, every_s: float = 1.0) -> None:
        parts = _checked(url)
        self._topic = unquote(parts.path).strip("/") or "ghost-deploy"
        self._gate = DetectionGate(every_s)
        self._lock = threading.Lock()
        self._under_way: list[MQTTMessageInfo] = []
        self._sent = self._dropped = self._retries = 0
        self._last_error = ""
        self._client = _new_client(parts)
        self._client.will_set(f"{self._topic}/status", "offline", _AT_LEAST_ONCE, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        self._client.loop_start()

    def write(self, result: Result) -> None:
        """Publish one result, if it has detections and the interval is over."""
        if not self._gate.admits(result):
            return
        body = result_message(result)
        topic = f"{self._topic}/{_NOT_A_LEVEL.sub('_', result.source)}/detections"
        with self._lock:
            self._settle()
            if len(self._under_way) < _CAPACITY:
                self._under_way.append(self._publish(topic, body))
            else:
                self._dropped += 1

    def stats(self) -> DeliveryStats:
        """Return the counters now; `retries` counts lost connections."""
        with self._lock:
            self._settle()
            return DeliveryStats(
                self._sent, self._dropped, len(self._under_way), self._retries, self._last_error
            )

    def close(self) -> None:
        """Deliver what waits, for two seconds at most, and disconnect; the rest is dropped."""
        end = time.monotonic() + _GRACE_S
        if self._client.is_connected():
            last = self._publish(f"{self._topic}/status", b"offline", retain=True)
            for info in (*self._under_way, last):
                info.wait_for_publish(max(0.0, end - time.monotonic()))
        self._client.disconnect()
        self._client.loop_stop()
        with self._lock:
            self._settle()
            self._dropped += len(self._under_way)
            self._under_way.clear()

    def _publish(self, topic: str, body: bytes, *, retain: bool = False) -> MQTTMessageInfo:
        from paho.mqtt.enums import MQTTErrorCode

        info = self._client.publish(topic, body, _AT_LEAST_ONCE, retain)
        # Without a connection the client keeps the message and sends it later, yet an `info`
        # with that code raises when it is asked whether it was published.
        if info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN:
            info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        return info

    def _settle(self) -> None:
        """Count what the broker has acknowledged."""
        waiting = [info for info in self._under_way if not info.is_published()]
        self._sent += len(self._under_way) - len(waiting)
        self._under_way = waiting

    # The client calls these from its own thread, while it holds locks of its own that
    # `publish` takes too: they must not wait for this sink's lock.

    def _on_connect(
        self, client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if code.is_failure:
            self._last_error = f"the broker refused: {code}"
        else:
            client.publish(f"{self._topic}/status", "online", _AT_LEAST_ONCE, retain=True)

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        self._retries += 1
        self._last_error = "the broker cannot be reached"

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if code.is_failure:
            self._retries += 1
            self._last_error = self._last_error or f"the connection was lost: {code}"


def _new_client(parts: SplitResult) -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtraError.for_extra("paho-mqtt", "stream") from error
    client = Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(_FIRST_WAIT_S, _LONGEST_WAIT_S)
    if parts.username is not None:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set()
    return client


def _checked(url: str) -> SplitResult:
    parts = server_url(url, _PORTS)
    topic = unquote(parts.path) if parts else ""
    is_topic = not _WILDCARD.search(topic) and len(topic.encode()) <= _LONGEST_TOPIC
    if parts is None or "#" in url or parts.query or not is_topic:
        # The URL may hold a password: it is not repeated.
        raise UsageError(
            "the address of the MQTT broker cannot be used",
            expected="mqtt://host/topic or mqtts://host/topic",
            fix="Give the address of a broker and a topic without wildcards",
        )
    return parts
