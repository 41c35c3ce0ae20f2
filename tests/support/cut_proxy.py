"""A TCP proxy that cuts its connections after given numbers of bytes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from types import TracebackType
from typing import Any

_CHUNK = 1 << 14


class CutProxy:
    """Passes connections to a port of this machine on, until they are cut.

    Attributes:
        port: that it listens on.
        passed: bytes that went through, in both directions.
        cuts: how often connections were cut.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed = 0
        self.cuts = 0
        self._limits: deque[int] = deque()
        self._lock = threading.Lock()
        self._ended = False
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def cut_after(self, *counts: int) -> None:
        """Cut all connections after so many more bytes; each further number counts from there."""
        with self._lock:
            self._limits = deque(counts)
            if self._limits:
                self._limits[0] += self.passed

    def cut(self) -> None:
        """Cut all connections now."""
        with self._lock:
            self.cuts += 1
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> CutProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self.cut()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while not self._ended:
            for key, _ in selector.select(0.05):
                if key.fileobj is self._listener:
                    self._accept(selector)
                else:
                    self._pass_on(selector, key.fileobj, key.data)
        for each in list(self._open):
            each.close()
        selector.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            selector.register(one, selectors.EVENT_READ, other)
            self._open.append(one)

    def _pass_on(
        self, selector: selectors.BaseSelector, source: Any, target: socket.socket
    ) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(_CHUNK)
        if data:
            self.passed += len(data)
            with contextlib.suppress(OSError):
                target.sendall(data)
        if self._limits and self.passed >= self._limits[0]:
            self._limits.popleft()
            if self._limits:
                self._limits[0] += self.passed
            self.cut()
        if not data:
            for each in (source, target):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(each)
                with contextlib.suppress(ValueError):
                    self._open.remove(each)
                each.close()
