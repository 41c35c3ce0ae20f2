"""Run one GStreamer pipeline and write its frames to standard output; a program of its own.

    python -I -S gst_child.py < request

GStreamer, its plug-ins and drivers may hang or crash: in a process of their own they affect nothing
else and can be killed. The request, a line of JSON on standard input, keeps addresses with their
passwords out of the list of processes. A pipeline ends with its standard input, at once or after
`_LEAVE_S` if GStreamer hangs: it never outlives the process that started it.

Requests:
    {"pipeline": TEXT, "set": {ELEMENT: {PROPERTY: TEXT}}}: TEXT ends in an appsink. The answers
        are records, each a `HEADER` and its bytes: `FRAME`, BGR images with rows padded to four
        bytes, or `ERROR`, UTF-8 text, after which there is nothing more.
    {"find": [ELEMENT, ...]}: answered by a line of JSON, `{"version": TEXT, "found": [...]}`.

Nothing is imported but the standard library, and GStreamer's own libraries through `ctypes`.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import threading
import time
from typing import Any

HEADER = struct.Struct("<4sIIIq")
"""Kind, width and height in pixels, number of bytes that follow, and the time of capture on the
monotonic clock in nanoseconds, 0 where it is not known."""
FRAME, ERROR = b"FRAM", b"FAIL"
SINK = "ghost_deploy_sink"
"""The name of the last element of the pipeline."""

_LEAVE_S = 1.5
_POLL_NS = 100_000_000
_NONE = 2**64 - 1  # GST_CLOCK_TIME_NONE
# Values of GStreamer's enumerations, the same since 1.0.
_STATE_NULL, _STATE_PAUSED, _STATE_PLAYING = 1, 3, 4
_CHANGE_FAILURE, _CHANGE_NO_PREROLL = 0, 3
_FORMAT_TIME, _MAP_READ = 3, 1
_MESSAGE_EOS, _MESSAGE_ERROR = 1 << 0, 1 << 1

_P, _TEXT, _U64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gst_init_check": (ctypes.c_int, (_P, _P, _P)),
    "gst_version_string": (_TEXT, ()),
    "gst_element_factory_find": (_P, (_TEXT,)),
    "gst_parse_launch": (_P, (_TEXT, _P)),
    "gst_bin_get_by_name": (_P, (_P, _TEXT)),
    "gst_util_set_object_arg": (None, (_P, _TEXT, _TEXT)),
    "gst_system_clock_obtain": (_P, ()),
    "gst_pipeline_use_clock": (None, (_P, _P)),
    "gst_element_set_state": (ctypes.c_int, (_P, ctypes.c_int)),
    "gst_element_get_base_time": (_U64, (_P,)),
    "gst_element_get_bus": (_P, (_P,)),
    "gst_bus_timed_pop_filtered": (_P, (_P, _U64, ctypes.c_int)),
    "gst_message_parse_error": (None, (_P, _P, _P)),
    "gst_mini_object_unref": (None, (_P,)),
    "gst_sample_get_buffer": (_P, (_P,)),
    "gst_sample_get_caps": (_P, (_P,)),
    "gst_sample_get_segment": (_P, (_P,)),
    "gst_segment_to_running_time": (_U64, (_P, ctypes.c_int, _U64)),
    "gst_caps_from_string": (_P, (_TEXT,)),
    "gst_caps_get_structure": (_P, (_P, ctypes.c_uint)),
    "gst_structure_get_int": (ctypes.c_int, (_P, _TEXT, _P)),
    "gst_buffer_map": (ctypes.c_int, (_P, _P, ctypes.c_int)),
    "gst_buffer_unmap": (None, (_P, _P)),
}
_APP_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gst_app_sink_set_caps": (None, (_P, _P)),
    "gst_app_sink_set_drop": (None, (_P, ctypes.c_int)),
    "gst_app_sink_set_max_buffers": (None, (_P, ctypes.c_uint)),
    "gst_app_sink_try_pull_sample": (_P, (_P, _U64)),
    "gst_app_sink_is_eos": (ctypes.c_int, (_P,)),
}


class _Error(ctypes.Structure):
    """GError."""

    _fields_ = (("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", _TEXT))


class _MapInfo(ctypes.Structure):
    """GstMapInfo."""

    _fields_ = (
        ("memory", _P),
        ("flags", ctypes.c_int),
        ("data", _P),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("reserved", _P * 8),
    )


class _Buffer(ctypes.Structure):
    """GstBuffer, as far as its time stamp; the layout is a part of GStreamer 1's interface."""

    _fields_ = (
        ("type", ctypes.c_size_t),
        ("refcount", ctypes.c_int),
        ("lockstate", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("functions", _P * 3),
        ("priv_uint", ctypes.c_uint),
        ("priv_pointer", _P),
        ("pool", _P),
        ("pts", _U64),
    )


class PipelineError(Exception):
    """What GStreamer reports."""


def main() -> int:
    # Some drivers print to standard output, which is for the records.
    out = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    over = threading.Event()
    if "pipeline" in request:
        threading.Thread(target=_watch_parent, args=(over,), daemon=True).start()
    try:
        gst, app = _libraries()
        if "find" in request:
            _send(out, json.dumps(_find(gst, request["find"])).encode() + b"\n")
        else:
            _play(gst, app, request, out, over)
    except BrokenPipeError:
        return 0
    except PipelineError as error:
        text = str(error).encode(errors="replace")
        _send(out, HEADER.pack(ERROR, 0, 0, len(text), 0) + text)
        return 1
    return 0


def _watch_parent(over: threading.Event) -> None:
    while os.read(0, 1 << 10):
        pass
    over.set()
    time.sleep(_LEAVE_S)
    os._exit(0)


def _libraries() -> tuple[Any, Any]:
    try:
        gst = ctypes.CDLL("libgstreamer-1.0.so.0")
        app = ctypes.CDLL("libgstapp-1.0.so.0")
    except OSError as error:
        raise PipelineError(f"GStreamer is not installed: {error}") from error
    for library, signatures in ((gst, _SIGNATURES), (app, _APP_SIGNATURES)):
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    error_pointer = ctypes.POINTER(_Error)()
    if not gst.gst_init_check(None, None, ctypes.byref(error_pointer)):
        raise PipelineError(_message(error_pointer) or "GStreamer does not start")
    return gst, app


def _find(gst: Any, names: list[str]) -> dict[str, Any]:
    version = gst.gst_version_string().decode()
    return {
        "version": version.rpartition(" ")[2],
        "found": [name for name in names if gst.gst_element_factory_find(name.encode())],
    }


def _play(gst: Any, app: Any, request: dict[str, Any], out: int, over: threading.Event) -> None:
    pipeline, sink = _build(gst, app, request)
    bus = gst.gst_element_get_bus(pipeline)
    try:
        change = gst.gst_element_set_state(pipeline, _STATE_PAUSED)
        is_live = change == _CHANGE_NO_PREROLL
        if change != _CHANGE_FAILURE:
            change = gst.gst_element_set_state(pipeline, _STATE_PLAYING)
        if change == _CHANGE_FAILURE:
            _raise_error(gst, bus, _POLL_NS)
            raise PipelineError("the pipeline does not start")
        while not over.is_set():
            # Unread messages would accumulate over weeks: all but errors are dropped.
            _raise_error(gst, bus, 0)
            sample = app.gst_app_sink_try_pull_sample(sink, _POLL_NS)
            if sample:
                base_ns = gst.gst_element_get_base_time(pipeline) if is_live else 0
                _send_sample(gst, sample, base_ns, out)
            elif app.gst_app_sink_is_eos(sink):
                _raise_error(gst, bus, 0)
                raise PipelineError("the pipeline came to its end")
    finally:
        # Camera daemons keep what is not released.
        gst.gst_element_set_state(pipeline, _STATE_NULL)


def _build(gst: Any, app: Any, request: dict[str, Any]) -> tuple[int, int]:
    error = ctypes.POINTER(_Error)()
    pipeline = gst.gst_parse_launch(request["pipeline"].encode(), ctypes.byref(error))
    if error or not pipeline:
        raise PipelineError(_message(error) or "the pipeline cannot be read")
    for element_name, properties in request.get("set", {}).items():
        element = gst.gst_bin_get_by_name(pipeline, element_name.encode())
        for name, value in properties.items():
            gst.gst_util_set_object_arg(element, name.encode(), value.encode())
    sink = gst.gst_bin_get_by_name(pipeline, SINK.encode())
    if not sink:
        raise PipelineError("the pipeline does not end in an appsink")
    app.gst_app_sink_set_caps(sink, gst.gst_caps_from_string(b"video/x-raw,format=BGR"))
    # The newest frame wins, and memory stays bounded, whatever the pipeline says.
    app.gst_app_sink_set_drop(sink, 1)
    app.gst_app_sink_set_max_buffers(sink, 1)
    # The system clock of GStreamer is the monotonic clock, on which frames are dated.
    gst.gst_pipeline_use_clock(pipeline, gst.gst_system_clock_obtain())
    return pipeline, sink


def _send_sample(gst: Any, sample: int, base_ns: int, out: int) -> None:
    try:
        structure = gst.gst_caps_get_structure(gst.gst_sample_get_caps(sample), 0)
        width, height = ctypes.c_int(), ctypes.c_int()
        gst.gst_structure_get_int(structure, b"width", ctypes.byref(width))
        gst.gst_structure_get_int(structure, b"height", ctypes.byref(height))
        buffer, info = gst.gst_sample_get_buffer(sample), _MapInfo()
        stamp_ns = _captured_ns(gst, sample, buffer, base_ns)
        if not gst.gst_buffer_map(buffer, ctypes.byref(info), _MAP_READ):
            raise PipelineError("a frame cannot be read")
        try:
            data = (ctypes.c_ubyte * info.size).from_address(info.data or 0)
            _send(out, HEADER.pack(FRAME, width.value, height.value, info.size, stamp_ns))
            _send(out, memoryview(data).cast("B"))
        finally:
            gst.gst_buffer_unmap(buffer, ctypes.byref(info))
    finally:
        gst.gst_mini_object_unref(sample)


def _captured_ns(gst: Any, sample: int, buffer: int, base_ns: int) -> int:
    """When a live source captured the frame, on the monotonic clock; 0 if unknown."""
    pts = ctypes.cast(buffer, ctypes.POINTER(_Buffer)).contents.pts
    if not base_ns or pts == _NONE:
        return 0
    segment = gst.gst_sample_get_segment(sample)
    running = int(gst.gst_segment_to_running_time(segment, _FORMAT_TIME, pts))
    return 0 if running == _NONE else base_ns + running


def _raise_error(gst: Any, bus: int, wait_ns: int) -> None:
    message = gst.gst_bus_timed_pop_filtered(bus, wait_ns, _MESSAGE_ERROR)
    if message:
        error, details = ctypes.POINTER(_Error)(), _TEXT()
        gst.gst_message_parse_error(message, ctypes.byref(error), ctypes.byref(details))
        # The last line of the details is the reason; those before name GStreamer's source files.
        reason = (details.value or b"").decode(errors="replace").strip().rpartition("\n")[2]
        raise PipelineError(f"{_message(error)} ({reason})" if reason else _message(error))


def _message(error: Any) -> str:
    return (error.contents.message or b"").decode(errors="replace") if error else ""


def _send(out: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


if __name__ == "__main__":
    # Without Python's shutdown, which a thread inside a library could block.
    os._exit(main())
