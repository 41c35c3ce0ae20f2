"""The whole detector in Triton's Python backend: image files in, detections out.

`export --triton` copies this file into the repository as `model.py`, beside a copy of the bundle.
The server's Python needs ghost-deploy with the extra of a runtime, and a NumPy that its version of
the backend can use: 1.26 for Triton 2.51.

Parameters of `config.pbtxt`, all texts: `runtime`, `precision`, `device`, `threads`, `check` as in
`ghost_deploy.load`; `conf`, `iou` and `max_det` replace the thresholds of the bundle.

One image that cannot be used is an error of its row: `count` is -1 there, and `error` says why. The
other images of the request, and of other requests in the batch, are done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

import ghost_deploy as gd
from ghost_deploy.processing.images import as_bgr

_NUMBERS = {"threads": int, "conf": float, "iou": float, "max_det": int}


class TritonPythonModel:
    """What Triton makes one of for each instance; one thread calls it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle; an error here is why Triton does not load the model."""
        require_working_numpy()
        config = json.loads(args["model_config"])
        settings = settings_of(config.get("parameters") or {})
        folder = os.path.join(args["model_repository"], args["model_version"], "bundle")
        self._detector = gd.load(folder, **settings)
        info = self._detector.runtime.info
        pb_utils.Logger.log_info(
            f"{args['model_name']}: {self._detector.spec.name} on {info.runtime} {info.version}, "
            f"{info.device}"
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Detect in the images of all requests together; one response for each request."""
        batches = [
            pb_utils.get_input_tensor_by_name(each, "images").as_numpy() for each in requests
        ]
        try:
            rows = self._detect([data for batch in batches for data in batch.ravel()])
        except Exception as error:  # of the model: it fails all requests, and the server lives on
            text = f"{type(error).__name__}: {error}"
            failed = pb_utils.TritonError(text)
            return [pb_utils.InferenceResponse(error=failed) for _ in requests]
        responses, start = [], 0
        for batch in batches:
            tensors = tensors_of(rows[start : start + len(batch)])
            start += len(batch)
            outputs = [pb_utils.Tensor(name, array) for name, array in tensors.items()]
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses

    def finalize(self) -> None:
        """Close the detector."""
        self._detector.close()

    def _detect(self, files: Sequence[bytes]) -> list[gd.Detections | str]:
        """The detections of each image file, or why it cannot be used."""
        rows: list[Any] = [_image_of(data) for data in files]
        places = [place for place, row in enumerate(rows) if not isinstance(row, str)]
        if places:
            found = self._detector.detect([rows[place] for place in places])
            for place, detections in zip(places, found, strict=True):
                rows[place] = detections
        return rows


def require_working_numpy() -> None:
    """Require that numbers come back from Triton's side as they went there.

    With a NumPy that the backend was not built for, tensors arrive empty or as zeros.

    Raises:
        RuntimeError: they do not.
    """
    sent = np.arange(1, 4, dtype=np.float32)
    there = pb_utils.Tensor("check", sent)
    back = pb_utils.Tensor.from_dlpack("check", there.to_dlpack()).as_numpy()
    if not np.array_equal(back, sent):
        raise RuntimeError(
            f"this Triton's Python backend does not work with NumPy {np.__version__}: tensors come "
            "back empty. Install another one in the server's Python: pip install 'numpy<2'"
        )


def settings_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `ghost_deploy.load` in the parameters of a configuration."""
    names = ("runtime", "precision", "device", "check", *_NUMBERS)
    texts = {name: parameters[name]["string_value"] for name in names if name in parameters}
    settings: dict[str, Any] = {k: _NUMBERS.get(k, str)(text) for k, text in texts.items() if text}
    settings["check"] = settings.get("check", "true").lower() == "true"
    return settings


def tensors_of(rows: Sequence[gd.Detections | str]) -> dict[str, NDArray[Any]]:
    """The output tensors of the images of one request.

    Args:
        rows: the detections of each image, or why it cannot be used.

    Returns:
        `count` (B, 1) int32, -1 for an image that cannot be used; `boxes` (B, N, 4) float32, x1 y1
        x2 y2 in pixels of the image, `scores` (B, N) float32 and `classes` (B, N) int32, with zeros
        and -1 behind the `count` of an image; `error` (B, 1) texts. N is at least 1.
    """
    found = [row if isinstance(row, gd.Detections) else gd.Detections.empty() for row in rows]
    most = max([1, *map(len, found)])
    boxes = np.zeros((len(rows), most, 4), np.float32)
    scores = np.zeros((len(rows), most), np.float32)
    classes = np.full((len(rows), most), -1, np.int32)
    for place, each in enumerate(found):
        boxes[place, : len(each)] = each.xyxy
        scores[place, : len(each)] = each.score
        classes[place, : len(each)] = each.class_id
    errors = [row if isinstance(row, str) else "" for row in rows]
    counts = [-1 if error else len(each) for error, each in zip(errors, found, strict=True)]
    return {
        "count": np.array(counts, np.int32).reshape(-1, 1),
        "boxes": boxes,
        "scores": scores,
        "classes": classes,
        "error": np.array([error.encode() for error in errors], np.object_).reshape(-1, 1),
    }


def _image_of(data: bytes) -> NDArray[np.uint8] | str:
    """The (H, W, 3) image in a file, or why it cannot be used."""
    try:
        return as_bgr(data)
    except gd.GhostDeployError as error:
        return str(error)
