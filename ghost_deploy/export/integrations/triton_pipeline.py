"""The whole detector as a model of Triton's Python backend: its folder and its configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

from ghost_deploy.core.bundle import DOCUMENT, Bundle
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.integrations.prototext import EnumValue, Message, to_text

PIPELINE = "detector"
"""What the name of the model ends with."""

_MAX_BATCH = 16
"""Most images of a request; a graph of a fixed batch runs them one after another."""
_QUEUE_DELAY_US = 2000
_SETTINGS = {"runtime": "auto", "precision": "", "device": "cpu", "threads": "0", "check": "true"}
"""Parameters for `gd.load`; empty ones are left out."""


def write_pipeline(bundle: Bundle, folder: Path) -> None:
    """Write `folder` with `config.pbtxt`, `labels.txt` and version 1: `model.py` and the bundle.

    Raises:
        BundleError: a file of the bundle was changed.
        OSError: the disk refuses.
    """
    version = folder / "1"
    copy = version / "bundle"
    copy.mkdir(parents=True)
    for artifact in bundle.artifacts:
        bundle.verified_path(artifact)
    files = {name for artifact in bundle.artifacts for name in artifact.files}
    signed = {path.name for path in bundle.path.glob("*.signed.json*")}
    for name in sorted({DOCUMENT, *files, *bundle.evidence_files(), *signed}):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, copy / name)
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), version / "model.py")
    config = to_text(pipeline_config(bundle.spec, folder.name))
    (folder / "config.pbtxt").write_text(config, encoding="ascii")
    write_labels(bundle.spec, folder)


def pipeline_config(spec: ModelSpec, name: str) -> Message:
    """The `ModelConfig`: files of images in, columns of detections out.

    Requests are batched by Triton: the images of several are detected in one go.

    Args:
        spec: of the model.
        name: of the model on the server.
    """

    def tensor(name: str, kind: str, *dims: int) -> Message:
        return {"name": name, "data_type": EnumValue(kind), "dims": list(dims)}

    return {
        "name": name,
        "backend": "python",
        "max_batch_size": max(_MAX_BATCH, spec.input.batch[1]),
        "input": tensor("images", "TYPE_STRING", 1),
        "output": [
            tensor("count", "TYPE_INT32", 1),
            tensor("boxes", "TYPE_FP32", -1, 4),
            tensor("scores", "TYPE_FP32", -1),
            tensor("classes", "TYPE_INT32", -1),
            tensor("error", "TYPE_STRING", 1),
        ],
        "instance_group": {"count": 1, "kind": EnumValue("KIND_CPU")},
        "dynamic_batching": {"max_queue_delay_microseconds": _QUEUE_DELAY_US},
        "parameters": [
            {"key": key, "value": {"string_value": text}}
            for key, text in {ModelSpec.Json: spec.to_json().decode(), **_SETTINGS}.items()
        ],
    }


def write_labels(spec: ModelSpec, folder: Path) -> None:
    """Write `labels.txt`, a class a line."""
    labels = "".join(f"{name}\n" for name in spec.class_names)
    (folder / "labels.txt").write_text(labels, encoding="utf-8")
