"""OpenVINO IR from our own simplified fp32 ONNX."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import openvino
from onnx import ModelProto
from openvino._offline_transformations import apply_moc_transformations

from ghost_deploy.core.bundle import Artifact, sha256_of
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.metadata import model_info, ultralytics_yaml

if TYPE_CHECKING:
    from ghost_deploy.export.artifacts import ExportSession
    from ghost_deploy.export.targets import Target

_SIDECAR = "metadata.yaml"
_NUMBERED = re.compile(r"\w+_\d+")


def make_artifact(session: ExportSession, target: Target) -> Artifact:
    """Write the OpenVINO artifact of an export; raises as `write_openvino`."""
    session.progress(f"OpenVINO {target.precision}", 0, 0)
    # Both precisions come from the fp32 graph: OpenVINO compresses the weights itself.
    source = session.onnx_file("fp32")
    folder = session.writer.folder / f"model.{target.precision}_openvino_model"
    path, *others = write_openvino(source, folder, session.spec, target.precision)
    return session.add(target, path, sha256_of(source), others)


def write_openvino(
    source: Path,
    folder: Path,
    spec: ModelSpec,
    precision: str,
    *,
    info: Mapping[str, str] | None = None,
    transform: Callable[[openvino.Model], openvino.Model] | None = None,
) -> list[Path]:
    """Convert an ONNX file and write the IR into a new folder.

    With `fp16` the weights are stored in float16; inputs and outputs stay float32, and what the
    arithmetic is done in is chosen when the model is compiled.

    Args:
        source: the fp32 ONNX file.
        folder: made here; its name should end in `_openvino_model`, by which Ultralytics' loader
            knows the format.
        spec: of the export.
        precision: `fp32`, `fp16`, or `int8` of a graph that has its Q/DQ pairs already or gets
            its quantization from `transform`.
        info: further entries of its rt_info.
        transform: applied to the converted model before it is described and written.

    Returns:
        The `.xml` that a runtime opens, then the other files.

    Raises:
        ExportError: OpenVINO refuses the graph or cannot write the files.
        OSError: the disk refuses the folder or the sidecar.
    """
    xml = folder / "model.xml"
    sidecar = folder / _SIDECAR
    folder.mkdir()
    try:
        core = openvino.Core()
        model = core.read_model(source)
        # What `openvino.convert_model` does to an ONNX file, without its telemetry, which sends
        # unless it was turned off. It makes the IR 2.6 times smaller and 0.2 s faster to load.
        apply_moc_transformations(model, cf=False, smart_reshape=True)
        if transform is not None:
            model = transform(model)
        _describe(model, spec)
        for key, value in (info or {}).items():
            model.set_rt_info(value, [key])
        openvino.save_model(model, xml, compress_to_fp16=precision == "fp16")
        # A disk that fills up with the last bytes is noticed only by reading them.
        written = core.read_model(xml).get_rt_info([ModelSpec.Json]).astype(str)
    # OpenVINO raises RuntimeError for a graph and for a full disk alike.
    except RuntimeError as error:
        raise _failed(folder, str(error)) from error
    if written != spec.to_json().decode():
        raise _failed(folder, "the description could not be read back")
    sidecar.write_text(ultralytics_yaml(spec), encoding="utf-8")
    return [xml, xml.with_suffix(".bin"), sidecar]


def append_to_openvino(xml: Path, tail: ModelProto, spec: ModelSpec) -> list[Path]:
    """Put a graph behind the output of an IR and describe it anew; its rt_info stays.

    Args:
        xml: of an IR in a folder of its own, which is replaced.
        tail: takes that output.
        spec: of the result.

    Returns:
        The files, as `write_openvino`.

    Raises:
        ExportError: OpenVINO refuses the graph or cannot write the files.
        OSError: the disk refuses.
    """
    folder = xml.parent
    place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        core = openvino.Core()
        model, end = core.read_model(xml), core.read_model(tail.SerializeToString())
        (old,), (result,) = model.get_results(), end.get_results()
        source = old.input_value(0)
        source.get_tensor().set_names({end.inputs[0].any_name})
        end.get_parameters()[0].output(0).replace(source)
        model.remove_result(old)
        model.add_results([result])
        model.validate_nodes_and_infer_types()
        _describe(model, spec)
        # Weights that are stored in float16 already stay so; the limits of NMS are not rounded.
        openvino.save_model(model, place / xml.name, compress_to_fp16=False)
    except RuntimeError as error:
        shutil.rmtree(place)
        raise _failed(folder, str(error)) from error
    (place / _SIDECAR).write_text(ultralytics_yaml(spec), encoding="utf-8")
    place.chmod(folder.stat().st_mode)
    shutil.rmtree(folder)
    place.replace(folder)
    return [xml, xml.with_suffix(".bin"), folder / _SIDECAR]


def _describe(model: openvino.Model, spec: ModelSpec) -> None:
    """Put the spec into rt_info, in place of a copy of the ONNX file's metadata."""
    # Nodes without a name of their own are numbered through the whole process: equal exports
    # would differ in bytes.
    for index, node in enumerate(model.get_ordered_ops()):
        if _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{index}")
    for section in ("framework", "nncf"):
        if section in model.rt_info:
            del model.rt_info[section]
    for key, value in model_info(spec).items():
        model.set_rt_info(value, ["model_info", key])
    model.set_rt_info(spec.to_json().decode(), [ModelSpec.Json])


def _failed(folder: Path, got: str) -> ExportError:
    return ExportError(
        f"cannot write the OpenVINO model {folder.name}",
        got=got,
        fix="Free some space, choose a folder that you may write to, or export ONNX alone",
    )
