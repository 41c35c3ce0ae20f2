"""A folder for DeepStream's Gst-nvinfer: configuration, labels, output parser and notes.

The keys are those of
https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html. nvinfer
cannot read a YOLO head by itself, so the source of a parser for exactly this output comes along.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.spec import ModelSpec

__all__ = ["PARSER", "write_deepstream"]

PARSER = "nvdsinfer_ghost_deploy.cpp"
"""Source of the output parser; it is compiled on the device against DeepStream's headers."""

_LIBRARY = "libnvdsinfer_ghost_deploy.so"
_FUNCTION = "NvDsInferParseGhostDeploy"
_RGB, _BGR = 0, 1
_NETWORK_MODES = {"fp32": 0, "int8": 1, "fp16": 2}


@dataclass(frozen=True)
class _Variant:
    """A configuration file: the precision that nvinfer builds, and from what."""

    precision: str
    onnx: Artifact
    cache: str = ""


def write_deepstream(bundle: Bundle, target: str | os.PathLike[str]) -> list[str]:
    """Write the folder.

    Args:
        bundle: with an fp32 ONNX artifact; with int8 ones an int8 configuration is written, too.
        target: a folder that is not there yet, or empty.

    Returns:
        The names of the files.

    Raises:
        BundleError: there is no fp32 ONNX artifact, or a file was changed.
        UsageError: the folder holds something, or nvinfer cannot feed this graph.
        ExportError: the disk refuses; nothing is left behind.
    """
    root = Path(target)
    variants = _variants(bundle)
    _check(bundle.spec, root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
            folder = Path(scratch) / root.name
            folder.mkdir()
            for variant in variants:
                _write_variant(bundle, variant, folder)
            _write_common(bundle, folder)
            names = sorted(path.name for path in folder.iterdir())
            if root.exists():
                root.rmdir()
            os.replace(folder, root)
    except OSError as error:
        raise ExportError(
            f"cannot write {root}",
            got=error.strerror,
            fix="Free some space or choose a folder that you may write to",
        ) from error
    return names


def _variants(bundle: Bundle) -> list[_Variant]:
    """fp32 and fp16 engines of the fp32 graph, int8 of the graph with its Q/DQ pairs."""
    plain = bundle.artifact("onnx", "fp32")
    found = [_Variant("fp16", plain), _Variant("fp32", plain)]
    for artifact in bundle.artifacts:
        if artifact.form == "tensorrt" and artifact.format == "onnx":
            found.append(_Variant("int8", artifact))
            caches = [name for name in artifact.files if name.endswith(".trtcache")]
            found += [_Variant("int8", plain, name) for name in caches]
    return found


def _check(spec: ModelSpec, root: Path) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} exists already", fix="Choose another folder")
    if spec.input.embedded:
        raise UsageError(
            "nvinfer feeds float tensors, and this graph takes uint8 pixels",
            fix="Export without --embed-preprocess",
        )
    if len({*spec.input.mean}) != 1 or len({*spec.input.std}) != 1 or spec.input.mean[0]:
        raise UsageError(
            "nvinfer has one scale for all channels",
            got=f"mean {spec.input.mean}, std {spec.input.std}",
            fix="Use Triton instead",
        )
    if spec.head.decoder != "dfl":
        raise UsageError(
            "the parser reads boxes and scores of all anchors",
            got=spec.head.decoder,
            expected="dfl",
            fix="Export without --nms and --one2one",
        )


def _write_variant(bundle: Bundle, variant: _Variant, folder: Path) -> None:
    name = Path(variant.onnx.path).name
    source = bundle.verified_path(variant.onnx)
    shutil.copyfile(source, folder / name)
    if variant.cache:
        shutil.copyfile(bundle.path / variant.cache, folder / Path(variant.cache).name)
    tail = "_cache" if variant.cache else ""
    text = "".join(f"{line}\n" for line in _lines(bundle.spec, variant, name))
    (folder / f"config_infer_{variant.precision}{tail}.txt").write_text(text, encoding="utf-8")


def _lines(spec: ModelSpec, variant: _Variant, onnx_name: str) -> Iterator[str]:
    size = spec.input
    batch = size.batch[1]
    yield "# For DeepStream's Gst-nvinfer; made by ghost-deploy. Paths are relative to this file."
    yield "[property]"
    yield "gpu-id=0"
    yield f"onnx-file={onnx_name}"
    yield f"model-engine-file={onnx_name}_b{batch}_gpu0_{variant.precision}.engine"
    if variant.cache:
        yield f"int8-calib-file={Path(variant.cache).name}"
    yield f"network-mode={_NETWORK_MODES[variant.precision]}"
    yield f"batch-size={batch}"
    yield "infer-dims=3;{};{}".format(*size.size_hw)
    yield f"net-scale-factor={1 / (size.divisor * size.std[0])!r}"
    yield f"model-color-format={_RGB if size.color == 'rgb' else _BGR}"
    yield "maintain-aspect-ratio=1"
    yield "symmetric-padding=1"
    yield "network-type=0"
    yield "process-mode=1"
    yield "gie-unique-id=1"
    yield f"num-detected-classes={spec.num_classes}"
    yield "labelfile-path=labels.txt"
    yield f"output-blob-names={spec.head.output}"
    yield f"parse-bbox-func-name={_FUNCTION}"
    yield f"custom-lib-path={_LIBRARY}"
    yield "cluster-mode=2"
    yield ""
    yield "[class-attrs-all]"
    yield f"pre-cluster-threshold={spec.thresholds.conf:g}"
    yield f"nms-iou-threshold={spec.thresholds.iou:g}"
    yield f"topk={spec.thresholds.max_det}"


def _write_common(bundle: Bundle, folder: Path) -> None:
    own = resources.files(__package__)
    (folder / PARSER).write_bytes((own / PARSER).read_bytes())
    (folder / "README.md").write_bytes((own / "deepstream.md").read_bytes())
    labels = "".join(f"{name}\n" for name in bundle.spec.class_names)
    (folder / "labels.txt").write_text(labels, encoding="utf-8")
