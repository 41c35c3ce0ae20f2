"""A folder for DeepStream's Gst-nvinfer: configuration, labels, output parser and notes.

The keys are those of
https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html. nvinfer
cannot read a YOLO head by itself, so the source of a parser for exactly this output comes along.

It builds engines by TensorRT's flags. Two consequences: it sets the INT8 flag only where a
calibration file is named, so that the graph with Q/DQ nodes names one, too (TensorRT then logs that
it is not used); and nothing but `layer-device-precision` keeps box decoding in float32 when it
builds in half precision, where boxes would be rounded to half a pixel.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.bundle.verdicts import failures_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import disk_error
from ghost_deploy.core.leftovers import Temporary
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.integrations.deepstream_folder import (
    LIBRARY,
    PARSER,
    put_folder,
    require_free,
)
from ghost_deploy.export.integrations.failed_artifacts import refuse_failed
from ghost_deploy.runtimes.tensorrt.calibration_cache import (
    CACHE_FILE,
    FOREIGN_BUILDS,
    read_calibration_cache,
)

_FUNCTIONS = {"dfl": "NvDsInferParseGhostDeploy", "anchors": "NvDsInferParseGhostDeployAnchors"}
"""The parser's function, by decoder."""

_RGB, _BGR = 0, 1
_TAIL_ENDS = ("Conv", "Constant")
_NETWORK_MODES = {"fp32": 0, "int8": 1, "fp16": 2}


@dataclass(frozen=True)
class _Configuration:
    """A configuration file.

    Attributes:
        name: of the file, without its start and end.
        precision: that nvinfer builds.
        onnx: what it builds from.
        caches: names of calibration files, one for each version of TensorRT.
        pinned: names of layers that are held in float32.
    """

    name: str
    precision: str
    onnx: Artifact
    caches: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()


def write_deepstream(
    bundle: Bundle,
    target: str | os.PathLike[str],
    trt_version: str = "",
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write the folder.

    Args:
        bundle: with an fp32 ONNX artifact; with int8 ones and their calibration cache, int8
            configurations are written, too.
        target: a folder that is not there yet, or empty.
        trt_version: TensorRT of the device, `major.minor.patch`; a calibration cache is valid for
            one version. Empty writes one for each version that DeepStream comes with.
        overwrite: replace a folder that this function wrote. What was built there of its files,
            the parser's library and engines, is removed; files of other names stay.

    Returns:
        The names of the files.

    Raises:
        BundleError: there is no fp32 ONNX artifact, or a file was changed.
        UsageError: the folder holds something, nvinfer cannot feed this graph, or there is no
            calibration cache for such a version.
        GateError: the fp32 ONNX artifact failed a verdict; an int8 one that did is left out.
        ExportError: the disk refuses; nothing is left behind.
    """
    root = Path(target)
    plain = bundle.artifact("onnx", "fp32")
    refuse_failed(bundle, plain)
    require_free(root, overwrite=overwrite)
    _check(bundle.spec)
    caches = _caches(bundle, trt_version)
    configurations = _configurations(bundle, plain, tuple(caches))
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with closing(Temporary(root, folder=True)) as scratch:
            folder = scratch.path / root.name
            folder.mkdir()
            for configuration in configurations:
                _write_configuration(bundle, configuration, folder)
            for name, data in caches.items():
                (folder / name).write_bytes(data)
            _write_common(bundle, folder)
            names = sorted(path.name for path in folder.iterdir())
            put_folder(folder, root)
    except OSError as error:
        raise disk_error(root, error) from error
    return names


def _caches(bundle: Bundle, trt_version: str) -> dict[str, bytes]:
    """The calibration cache of the bundle by file name, one for each version of TensorRT."""
    for artifact in bundle.artifacts:
        if CACHE_FILE in artifact.files:
            bundle.verified_path(artifact)
            cache = read_calibration_cache(bundle.path / CACHE_FILE)
            if trt_version:
                return {CACHE_FILE: cache.to_bytes(trt_version)}
            stem, _, end = CACHE_FILE.rpartition(".")
            return {f"{stem}.trt{each}.{end}": cache.to_bytes(each) for each in FOREIGN_BUILDS}
    return {}


def _configurations(
    bundle: Bundle, plain: Artifact, caches: tuple[str, ...]
) -> list[_Configuration]:
    """fp32 and fp16 engines of the fp32 graph, int8 of the graph with its Q/DQ pairs."""
    pinned = tuple(decode_tail_nodes(onnx.load(bundle.verified_path(plain))))
    found = [
        _Configuration("fp16", "fp16", plain, pinned=pinned),
        _Configuration("fp32", "fp32", plain),
    ]
    for artifact in bundle.artifacts if caches else ():
        fits = artifact.form == "tensorrt" and artifact.format == "onnx"
        if fits and not failures_of(bundle, artifact):
            found.append(_Configuration("int8", "int8", artifact, caches[:1]))
            found.append(_Configuration("int8_cache", "int8", plain, caches))
    return found


def decode_tail_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes between the last convolutions and the outputs that compute floats, in
    the graph's order. TensorRT's parser names its layers after them."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    integers = {
        value.name
        for value in graph.value_info
        if value.type.tensor_type.elem_type != TensorProto.FLOAT
    }
    producer = {name: node for node in graph.node for name in node.output}
    waiting, tail = [value.name for value in graph.output], set[str]()
    while waiting:
        node = producer.get(waiting.pop())
        if node is None or node.op_type in _TAIL_ENDS or node.name in tail:
            continue
        tail.add(node.name)
        waiting += [name for name in node.input if name not in integers]
    return [node.name for node in graph.node if node.name in tail]


def _check(spec: ModelSpec) -> None:
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
    if spec.head.decoder not in _FUNCTIONS:
        raise UsageError(
            "the parser reads boxes and scores of all anchors",
            got=spec.head.decoder,
            expected=" or ".join(_FUNCTIONS),
            fix="Export without --nms and --one2one",
        )


def _write_configuration(bundle: Bundle, configuration: _Configuration, folder: Path) -> None:
    name = Path(configuration.onnx.path).name
    shutil.copyfile(bundle.verified_path(configuration.onnx), folder / name)
    text = "".join(f"{line}\n" for line in _lines(bundle.spec, configuration, name))
    path = folder / f"config_infer_{configuration.name}.txt"
    path.write_text(text, encoding="utf-8")


def _lines(spec: ModelSpec, configuration: _Configuration, onnx_name: str) -> Iterator[str]:
    size, precision = spec.input, configuration.precision
    batch = size.batch[1]
    yield "# For DeepStream's Gst-nvinfer, by ghost-deploy. Paths are relative to this file."
    yield "[property]"
    yield "gpu-id=0"
    yield f"onnx-file={onnx_name}"
    yield f"model-engine-file={onnx_name}_b{batch}_gpu0_{precision}.engine"
    yield f"network-mode={_NETWORK_MODES[precision]}"
    if len(configuration.caches) > 1:
        yield "# One for each version of TensorRT; see yours with: dpkg -l | grep nvinfer"
    for index, name in enumerate(configuration.caches):
        yield f"{'#' if index else ''}int8-calib-file={name}"
    if configuration.pinned:
        layers = ";".join(f"{name}:fp32:gpu" for name in configuration.pinned)
        yield f"layer-device-precision={layers}"
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
    yield f"parse-bbox-func-name={_FUNCTIONS[spec.head.decoder]}"
    yield f"custom-lib-path={LIBRARY}"
    yield f"cluster-mode={4 if spec.thresholds.agnostic else 2}"
    yield from _class_limits(spec)


def _class_limits(spec: ModelSpec) -> Iterator[str]:
    """The thresholds of all classes, and of each class where they were chosen by class."""
    limits = spec.default_thresholds
    groups = {"all": limits.conf} | {str(i): conf for i, conf in enumerate(limits.class_conf)}
    for name, conf in groups.items():
        yield ""
        yield f"[class-attrs-{name}]"
        yield f"pre-cluster-threshold={conf:g}"
        # Again for each class: not every version takes them over from all.
        yield f"nms-iou-threshold={limits.iou:g}"
        yield f"topk={limits.max_det}"


def _own_nms(spec: ModelSpec) -> bytes:
    """What makes the parser do NMS over all classes, which nvinfer's clustering cannot."""
    limits = spec.thresholds
    if not limits.agnostic:
        return b""
    return (
        f"#define GHOST_DEPLOY_AGNOSTIC_IOU {limits.iou!r}f\n"
        f"#define GHOST_DEPLOY_MAX_DET {limits.max_det}\n"
    ).encode()


def _write_common(bundle: Bundle, folder: Path) -> None:
    own = resources.files(__package__)
    (folder / PARSER).write_bytes(_own_nms(bundle.spec) + (own / PARSER).read_bytes())
    (folder / "README.md").write_bytes((own / "deepstream.md").read_bytes())
    labels = "".join(f"{name}\n" for name in bundle.spec.class_names)
    (folder / "labels.txt").write_text(labels, encoding="utf-8")
