"""A trained network: measured as it will be used, and written with how it came about."""

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
from ghost_deploy.demo.embedded import ModelRecord
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.measure import evaluate
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.runtimes.eager import EagerRuntime
from tools.training.samples import Data

__all__ = ["judge", "rounded", "write_result"]


def rounded(net: DetectionNet) -> DetectionNet:
    """A copy whose weights are rounded to float16, as they are stored."""
    copied = copy.deepcopy(net)
    state = {
        name: value.half().to(value.dtype) if value.is_floating_point() else value
        for name, value in copied.state_dict().items()
    }
    copied.load_state_dict(state)
    return copied


def judge(net: DetectionNet, spec: ModelSpec, held_out: DataSet) -> Accuracy:
    """The accuracy of the float16-rounded weights, by the protocol of `ghost-deploy validate`."""
    with Detector(EagerRuntime(rounded(net), spec.input), spec) as detector:
        return evaluate(detector, held_out)


def write_result(
    folder: Path, net: DetectionNet, spec: ModelSpec, data: Data, history: Mapping[str, str]
) -> ModelRecord:
    """Write `model.safetensors`, in float16, and `model.json`, the same facts for a reader of JSON.

    Args:
        folder: that is written to.
        net: the trained network.
        spec: its description.
        data: what it was trained on; its held-out part is what it is judged by.
        history: how it was trained, by topic.

    Returns:
        What `model.json` holds; the accuracy is that of the float16-rounded weights.

    Raises:
        CheckpointError: a weight exceeds float16, or the disk refuses.
    """
    accuracy = judge(net, spec, data.held_out)
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
