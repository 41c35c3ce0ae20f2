"""The result of a training: its accuracy, and its files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.checkpoints.native import save_native
from ghost_deploy.core.bundle import Source
from ghost_deploy.core.evidence.accuracy import Accuracy
from ghost_deploy.core.spec import ModelSpec, encode_json
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.runtimes.eager import EagerRuntime
from tools.training.record import ModelRecord
from tools.training.samples import Data

__all__ = ["evaluate_net", "rounded", "write_result"]


def rounded(net: DetectionNet) -> DetectionNet:
    """Return a copy with weights rounded to float16, as stored."""
    copied = copy.deepcopy(net)
    state = {
        name: value.half().to(value.dtype) if value.is_floating_point() else value
        for name, value in copied.state_dict().items()
    }
    copied.load_state_dict(state)
    return copied


def evaluate_net(net: DetectionNet, spec: ModelSpec, held_out: DataSet) -> Accuracy:
    """Measure the accuracy of the float16-rounded weights, as `ghost-deploy validate` does.

    Args:
        net: the trained network.
        spec: its description.
        held_out: the data to evaluate on.
    """
    with Detector(EagerRuntime(rounded(net), spec.input), spec) as detector:
        return measure(detector, held_out).accuracy


def write_result(
    folder: Path, net: DetectionNet, spec: ModelSpec, data: Data, history: Mapping[str, str]
) -> ModelRecord:
    """Write `model.safetensors`, in float16, and its record `model.json`.

    Args:
        folder: for the files.
        net: the trained network.
        spec: its description.
        data: the data set; the accuracy is measured on its held-out part.
        history: facts on the training, by topic.

    Returns:
        The record; accuracies are those of the float16-rounded weights.

    Raises:
        CheckpointError: a weight exceeds float16.
        ExportError: a file cannot be written.
    """
    accuracy = evaluate_net(net, spec, data.held_out)
    metrics = {
        "mAP50-95": round(accuracy.map50_95, 4),
        "mAP50": round(accuracy.map50, 4),
        "mAP75": round(accuracy.map75, 4),
    }
    training = {
        **history,
        "data": data.description,
        "protocol": f"{accuracy.protocol}; {accuracy.images} images held out",
    }
    source = Source(
        file=f"{spec.name}.safetensors",
        sha256="",
        trained_with=spec.trained_with,
        trained_at=datetime.now(timezone.utc).date().isoformat(),
        metrics=metrics,
        training=training,
    )
    file = folder / "model.safetensors"
    save_native(file, net, spec, source, "float16")
    loaded = load_checkpoint(file)
    record = ModelRecord(
        name=spec.name,
        sha256=loaded.source.sha256,
        class_names=spec.class_names,
        size_hw=spec.input.size_hw,
        parameters=spec.parameters,
        metrics=metrics,
        classes={c.name: round(c.ap50_95, 4) for c in accuracy.classes if c.ap50_95 is not None},
        images=accuracy.images,
        boxes=accuracy.boxes,
        training=training,
    )
    (folder / "model.json").write_bytes(encode_json(record) + b"\n")
    return record
