"""TensorRT's log, and the causes of failed builds that it shows.

TensorRT has one logger for the life of the process; each line goes to every `TensorrtLog`
that listens.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ghost_deploy.core.errors import ExportError
from ghost_deploy.runtimes.tensorrt.compat import ParserFault, TensorrtApi, process_logger

_KEPT = 20
_ERRORS = ("internal_error", "error")

_lock = threading.Lock()
_listeners: tuple[weakref.ref[TensorrtLog], ...] = ()


class TensorrtLog:
    """Receives TensorRT's log lines from `listen` on, while it is referenced.

    Args:
        sink: called with the severity in lower case, e.g. `warning`, and the line.

    Attributes:
        errors, warnings: the newest lines of each severity, without repetitions.
        interrupted: `sink` raised KeyboardInterrupt; the build was not stopped.
    """

    def __init__(self, sink: Callable[[str, str], None] | None = None) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT)
        self.warnings: deque[str] = deque(maxlen=_KEPT)
        self.interrupted = False
        self._sink = sink

    def listen(self, api: TensorrtApi) -> Any:
        """Start receiving lines; the `tensorrt.ILogger` for a Builder, Parser or Runtime."""
        global _listeners  # noqa: PLW0603 # as the logger, there is one for the process
        with _lock:
            others = tuple(ref for ref in _listeners if ref() not in (None, self))
            _listeners = (*others, weakref.ref(self))
            return process_logger(api, _dispatch)

    def take(self, severity: str, line: str) -> None:
        """Receive a line. TensorRT calls it from its own threads."""
        errors = severity in _ERRORS
        kept = self.errors if errors else self.warnings if severity == "warning" else None
        if kept is not None and line not in kept:
            kept.append(line)
        if self._sink is None:
            return
        try:
            self._sink(severity, line)
        except KeyboardInterrupt:
            self.interrupted = True
        # An exception must not propagate through TensorRT's code: a sink that fails, such as a
        # closed pipe, is not called again.
        except Exception:
            self._sink = None

    def last(self) -> str:
        """The newest error, or an empty string."""
        return _short(self.errors[-1]) if self.errors else ""


def _dispatch(severity: str, line: str) -> None:
    for ref in _listeners:
        log = ref()
        if log is not None:
            log.take(severity, line)


_PARSER_CAUSES = (
    (
        r"No importer registered for op|UNSUPPORTED_NODE\b|Plugin not found",
        "this version has no such operator",
        "Use a newer TensorRT, or export the head that does NMS on the host",
    ),
    (
        r"opset|ir_version|IR version",
        "the file is of an ONNX version that this TensorRT does not read",
        "Export again: graphs of ghost-deploy have opset 17, which 8.5 and newer read",
    ),
    (
        r"[Zz]ero.?point|UINT8|asymmetric",
        "TensorRT quantizes symmetrically, with signed integers",
        "Use the INT8 artifact of the form tensorrt: ghost-deploy calibrate BUNDLE --calib FOLDER",
    ),
    (
        r"[Ss]cale.*(type|positive|>)|FP16 scale|scale coefficients",
        "a quantization scale has a type or value that this parser does not take",
        "Use the artifact of the form tensorrt up to version 10, tensorrt-fp16 from 10 on",
    ),
    (r"K not.*(initializer|constant)|TopK", "TopK needs a constant K here",
     "Export again, with the one2many head"),
    (r"parse|protobuf|deserialize|ModelProto", "the file is damaged or no ONNX",
     "Copy the bundle again, or export the model again"),
)  # fmt: skip


def parse_failed(faults: Sequence[ParserFault], log: TensorrtLog, what: str) -> ExportError:
    """The error for a file that the ONNX parser rejects: node, operator, cause and fix.

    Args:
        faults: of `compat.parser_faults`.
        log: that received the parser's lines.
        what: name of the file.
    """
    if not faults:
        cause, fix = _match(log.last(), _PARSER_CAUSES)
        got = log.last() or "TensorRT gave no reason"
        return ExportError(f"TensorRT cannot read {what}{cause}", got=got, fix=fix)
    first = faults[0]
    place = f" {first.name}" if first.name else f" number {first.node}"
    operator = f" ({first.operator})" if first.operator else ""
    cause, fix = _match(first.text, _PARSER_CAUSES)
    more = f"; {len(faults) - 1} more errors" if len(faults) > 1 else ""
    return ExportError(
        f"TensorRT cannot read {what}: node{place}{operator}{cause}",
        got=_short(first.text) + more,
        fix=fix,
    )


_MEMORY_FIX = (
    "Lower it: --workspace {half} (MiB, it was {workspace}), a lower --opt-level, a smaller input "
    "size or, for a dynamic graph, a smaller largest batch; and close other programs (PyTorch "
    "alone takes over 1 GiB of a Jetson)"
)
_BUILD_CAUSES = (
    (r"(?i)out ?of ?memory|insufficient memory|memory allocation|bad_alloc|cudaErrorMemory",
     "there was not enough memory", _MEMORY_FIX),
    (r"[Cc]alibration table|scaling factors|[Cc]alibrat", "the calibration cache does not fit",
     "Make it again of this very model: ghost-deploy calibrate BUNDLE --calib FOLDER"),
    (r"checkLinks", "this is the known fault of 10.3.0 with INT8 and a TopK or NMS tail",
     "Export the one2many head, or use TensorRT 10.7 or newer"),
    (r"strongly typed", "precision flags and strong typing exclude each other", "Report this"),
    (r"Could not find any implementation", "no kernel fits one of the layers",
     "Raise --workspace ({double} MiB), or build another precision: --fp32"),
    (r"DLA", "the DLA cannot take the graph", "Build for the GPU: leave out --dla"),
)  # fmt: skip


def build_failed(log: TensorrtLog, workspace_bytes: int) -> ExportError:
    """The error for a failed build: cause and fix."""
    lines = list(log.errors) + list(log.warnings)
    text = "\n".join(lines)
    cause, fix = _match(text, _BUILD_CAUSES)
    workspace = workspace_bytes >> 20
    return ExportError(
        f"TensorRT could not build the engine{cause}",
        got=_short(lines[0]) if lines else "no reason given",
        fix=fix.format(half=max(64, workspace // 2), workspace=workspace, double=2 * workspace),
    )


def _match(text: str, causes: Sequence[tuple[str, str, str]]) -> tuple[str, str]:
    for pattern, cause, fix in causes:
        if re.search(pattern, text):
            return f", {cause}", fix
    return "", "Look for that message in NVIDIA's forum; --verbose shows all that TensorRT says"


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= 300 else text[:297] + "..."
