"""The model's description inside the artifacts: ours, and the keys of the ecosystem.

Ultralytics' loader reads `task`, `names`, `stride`, `batch`, `imgsz`, `channels`, `args` and
`end2end` from ONNX metadata (as Python literals) or from `metadata.yaml` beside an OpenVINO IR;
`version` and `author` say what wrote the file and are not interpreted there. YOLOv5's loader reads
`names` and `stride`; what Ultralytics' would need for its own layout is left out of such a file.
OpenVINO's Model API reads `model_info` from an IR's rt_info.
"""

from __future__ import annotations

import json
from typing import Any

from ghost_deploy._version import __version__
from ghost_deploy.core.spec import ModelSpec

_NOT_ANCHORS = frozenset({"task", "head", "args", "end2end"})


def ultralytics_metadata(spec: ModelSpec) -> dict[str, Any]:
    """What the loader of the repository needs to run the file with the right names and shapes."""
    nms = spec.head.embedded_nms
    values = {
        "description": f"{spec.name} ({spec.family})",
        "author": "ghost-deploy",
        "version": __version__,
        "task": "detect",
        "head": "Detect",
        "stride": spec.input.stride,
        "batch": spec.input.batch[1],
        "imgsz": list(spec.input.size_hw),
        "names": dict(enumerate(spec.class_names)),
        "channels": 3,
        "args": {"batch": spec.input.batch[1], "dynamic": spec.input.dynamic, "nms": nms},
        "end2end": spec.head.end_to_end,
    }
    left_out = _NOT_ANCHORS if spec.head.anchor_sizes else frozenset()
    return {key: value for key, value in values.items() if key not in left_out}


def onnx_properties(spec: ModelSpec) -> dict[str, str]:
    """The `metadata_props` of an ONNX file, by key, in a fixed order."""
    values = {key: str(value) for key, value in ultralytics_metadata(spec).items()}
    return dict(sorted({**values, ModelSpec.Json: spec.to_json().decode()}.items()))


def ultralytics_yaml(spec: ModelSpec) -> str:
    """`metadata.yaml` for the folder of an OpenVINO IR; JSON, which every YAML 1.2 reader takes."""
    return json.dumps(ultralytics_metadata(spec), indent=2, ensure_ascii=False) + "\n"


def model_info(spec: ModelSpec) -> dict[str, str]:
    """The `model_info` section for OpenVINO's Model API, which has no decoder but for `dfl`."""
    if spec.head.decoder != "dfl":
        return {}
    # Model API would flip and scale once more what an embedded graph does itself.
    flipped = spec.input.color == "rgb" and not spec.input.embedded
    labels = " ".join("_".join(name.split()) or "_" for name in spec.class_names)
    agnostic = {"agnostic_nms": "YES"} if spec.thresholds.agnostic else {}
    return {
        **agnostic,
        "model_type": "YOLOv8",
        "labels": labels,
        "confidence_threshold": f"{spec.thresholds.conf:g}",
        "iou_threshold": f"{spec.thresholds.iou:g}",
        "pad_value": str(spec.input.pad_value),
        "resize_type": "fit_to_window_letterbox",
        "reverse_input_channels": "YES" if flipped else "NO",
        "scale_values": "1" if spec.input.embedded else f"{spec.input.divisor:g}",
    }
