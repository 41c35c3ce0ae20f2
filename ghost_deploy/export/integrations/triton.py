"""A Triton Inference Server model repository.

One model for each artifact that a Triton backend runs, with the layout and the fields that
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
and `model_config.proto` of https://github.com/triton-inference-server/common describe. The server
returns their raw outputs: decoding and NMS stay with the client, who finds the model's description
in the parameter `ghost_deploy.spec`; others name the precision and the hash of the artifact.

One more model is the whole detector in Triton's Python backend, see `triton_pipeline`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.bundle.verdicts import failures_of
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.core.files import disk_error
from ghost_deploy.core.leftovers import Temporary, put_in_place
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.integrations.failed_artifacts import refuse_failed
from ghost_deploy.export.integrations.prototext import EnumValue, Message, to_text
from ghost_deploy.export.integrations.triton_pipeline import PIPELINE, write_labels, write_pipeline
from ghost_deploy.runtimes.inference_server import HASH_KEY, PRECISION_KEY


@dataclass(frozen=True)
class _Backend:
    """A Triton backend: its name, what it calls the model's files, and where it runs them."""

    name: str
    files: tuple[str, ...]
    kind: str


_BACKENDS = {
    "onnx": _Backend("onnxruntime", ("model.onnx",), "KIND_AUTO"),
    "openvino": _Backend("openvino", ("model.xml", "model.bin"), "KIND_CPU"),
    "tensorrt": _Backend("tensorrt", ("model.plan",), "KIND_GPU"),
}
_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_QUEUE_DELAY_US = 2000
"""A request waits at most so long for others: half the time of a small detector on a small GPU."""


def write_triton(
    bundle: Bundle, target: str | os.PathLike[str], *, overwrite: bool = False
) -> list[str]:
    """Write a model repository.

    Args:
        bundle: whose artifacts are served.
        target: folder of the repository; models of other names in it stay as they are.
        overwrite: replace models of the same names.

    Returns:
        The names of the models, in the bundle's order, and that of the whole detector for Triton's
        Python backend. Artifacts that failed a verdict which the bundle keeps are left out.

    Raises:
        BundleError: no artifact suits a backend, or a file was changed.
        GateError: all that suit failed a verdict.
        UsageError: a model of such a name is there already.
        ExportError: the disk refuses; nothing is left behind.
    """
    fitting = [artifact for artifact in bundle.artifacts if _is_served(artifact)]
    served = [artifact for artifact in fitting if not failures_of(bundle, artifact)]
    if fitting and not served:
        refuse_failed(bundle, fitting[0])
    if not served:
        raise BundleError(
            f"{bundle.path} has nothing that a Triton backend runs",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            expected=", ".join(_BACKENDS),
            fix="Export ONNX, OpenVINO or TensorRT artifacts",
        )
    root = Path(target)
    names = [_model_name(bundle.spec, artifact.id) for artifact in served]
    pipeline = _model_name(bundle.spec, PIPELINE)
    if not overwrite:
        _refuse_there(root, [name for name in (*names, pipeline) if (root / name).exists()])
    try:
        root.mkdir(parents=True, exist_ok=True)
        with closing(Temporary(root / "models", folder=True)) as scratch:
            for artifact, name in zip(served, names, strict=True):
                _write_model(bundle, artifact, scratch.path / name)
            write_pipeline(bundle, scratch.path / pipeline)
            for name in (*names, pipeline):
                put_in_place(scratch.path / name, root / name)
    except OSError as error:
        raise disk_error(root, error) from error
    return [*names, pipeline]


def refuse_models_of(checkpoint: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Refuse a repository with models of a checkpoint's name before it is exported for minutes.

    A checkpoint may hold another name than its file; that is seen by `write_triton`.

    Args:
        checkpoint: its file, after which the models are named.
        target: folder of the repository.

    Raises:
        UsageError: there are some, or it is no folder.
    """
    root = Path(target)
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a folder", fix="Choose another place for --triton")
    begin = _clean_name(f"{Path(checkpoint).stem}_")
    kinds = (PIPELINE, *(f"{backend}-" for backend in _BACKENDS))
    there = sorted(path.name for path in root.glob("*"))
    _refuse_there(
        root, [name for name in there if name.startswith(tuple(f"{begin}_{k}" for k in kinds))]
    )


def _refuse_there(root: Path, names: Sequence[str]) -> None:
    if names:
        raise UsageError(
            f"{root / names[0]} exists already",
            fix="Add --overwrite to replace the models of these names, or choose another folder",
        )


def model_config(spec: ModelSpec, artifact: Artifact, name: str) -> Message:
    """The `ModelConfig` of an artifact.

    A graph of a fixed batch is described with its whole shape and `max_batch_size` 0, as Triton
    wants it; one that takes several images gets a dynamic batcher.

    Args:
        spec: of the model.
        artifact: of the bundle.
        name: of the model.
    """
    backend, size = _BACKENDS[artifact.format], spec.input
    low, high = size.batch
    batched = low < high
    shape = [*size.graph_shape()][1 if batched else 0 :]
    output = [*spec.output_shape()][1 if batched else 0 :]
    config: dict[str, object] = {
        "name": name,
        "backend": backend.name,
        "max_batch_size": high if batched else 0,
        "input": {"name": size.name, "data_type": EnumValue(_TYPES[size.dtype]), "dims": shape},
        "output": {"name": spec.head.output, "data_type": EnumValue("TYPE_FP32"), "dims": output},
        "instance_group": {"count": 1, "kind": EnumValue(backend.kind)},
    }
    if batched:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": _QUEUE_DELAY_US}
    config["model_warmup"] = {
        "name": "zeros",
        "batch_size": 1,
        "inputs": {
            "key": size.name,
            "value": {
                "data_type": EnumValue(_TYPES[size.dtype]),
                "dims": [*size.shape(low, size.size_hw)][1 if batched else 0 :],
                "zero_data": True,
            },
        },
    }
    texts = {
        ModelSpec.Json: spec.to_json().decode(),
        PRECISION_KEY: artifact.precision,
        HASH_KEY: artifact.files[artifact.path],
    }
    config["parameters"] = [
        {"key": key, "value": {"string_value": text}} for key, text in texts.items()
    ]
    return config  # type: ignore[return-value] # a dict of such values


def _is_served(artifact: Artifact) -> bool:
    """Whether a backend runs it as it is; int8 graphs in another runtime's form are left out."""
    if artifact.format not in _BACKENDS or artifact.form == NMS_FORM or artifact.is_candidate:
        return False
    return artifact.format != "onnx" or not artifact.form.startswith("tensorrt")


def _model_name(spec: ModelSpec, kind: str) -> str:
    return _clean_name(f"{spec.name}_{kind}") or "model"


def _clean_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("._")


def _write_model(bundle: Bundle, artifact: Artifact, folder: Path) -> None:
    """`folder` with `config.pbtxt`, `labels.txt` and version 1."""
    version = folder / "1"
    version.mkdir(parents=True)
    opened = bundle.verified_path(artifact)
    sources = (opened, opened.with_suffix(".bin"))
    for source, name in zip(sources, _BACKENDS[artifact.format].files, strict=False):
        shutil.copyfile(source, version / name)
    config = to_text(model_config(bundle.spec_of(artifact), artifact, folder.name))
    (folder / "config.pbtxt").write_text(config, encoding="ascii")
    write_labels(bundle.spec, folder)
