"""Usage telemetry of the libraries that this package imports, switched off before their import."""

from __future__ import annotations

import os
import sys

_ORT = "ORT_DISABLE_TELEMETRY"
_ORT_OFF = frozenset({"1", "true", "on", "yes"})
"""The values by which ONNX Runtime 1.32 was seen to be silent, in any case of letters."""
_OPENVINO = "openvino_telemetry"


def switch_off() -> None:
    """Switch off the telemetry of libraries that start it when they are imported.

    - ONNX Runtime, since 1.29 on Linux, looks its server's name up and writes a device identifier
      and a database into the user's cache; `disable_telemetry_events()` comes after that.
    - OpenVINO reports each import of itself, from a forked process, where its telemetry package is
      installed. `None` in `sys.modules` makes that package missing; OpenVINO has a stub for that.

    A setting of the user is kept, and a library that was imported before is not changed.
    """
    os.environ.setdefault(_ORT, "1")
    sys.modules.setdefault(_OPENVINO, None)  # type: ignore[arg-type]


def telemetry() -> dict[str, bool]:
    """Whether usage telemetry is on in this process, by library."""
    return {
        "ONNX Runtime": os.environ.get(_ORT, "").lower() not in _ORT_OFF,
        "OpenVINO": sys.modules.get(_OPENVINO) is not None,
    }
