"""Single files with the metadata of Ultralytics' exporter, as version 8.4 writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes import file_description
from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.constant_model import write_constant_onnx
from tests.support.exports import shared_float_bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

HEADER: dict[str, Any] = {
    "description": "Ultralytics YOLOv8n-ghost model trained on bccd.yaml",
    "author": "Ultralytics",
    "date": "2026-11-30T18:23:33.285495+00:00",
    "version": "8.4.190",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "stride": 32,
    "task": "detect",
    "head": "Detect",
    "batch": 1,
    "imgsz": [64, 64],
    "names": {0: "cell"},
    "args": {"data": None, "batch": 1, "quantize": None, "nms": None, "dynamic": False},
    "channels": 3,
    "end2end": False,
}


def set_metadata(path: Path, header: dict[str, Any]) -> Path:
    """Replace the metadata of an ONNX file."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: str(value) for key, value in header.items()})
    onnx.save(model, path)
    return path


def write_model(path: Path, **changes: Any) -> Path:
    """A graph of one class, 64 x 64 and any batch."""
    header = {key: value for key, value in {**HEADER, **changes}.items() if value is not None}
    return set_metadata(write_constant_onnx(path), header)


def write_final(path: Path, rows: int = 300) -> Path:
    """A graph whose output is final: the best rows are two objects, the others are zero."""
    from onnx import TensorProto, helper, numpy_helper

    found = np.zeros((1, rows, 6), np.float32)
    found[0, :2] = [[8, 8, 40, 24, 0.9, 0], [30, 30, 60, 60, 0.6, 2]]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "canned"], ["output0"]),
        ],
        "final",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, 6])],
        [
            numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "zero"),
            numpy_helper.from_array(found, "canned"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"names": None}, "no model description"),
        ({"task": None}, "task"),
        ({"task": "segment"}, "task 'segment'"),
        ({"names": ""}, "names"),
        ({"names": "{}"}, "names"),
        ({"names": "{0: 'cell'"}, "names"),
        ({"names": "[" * 5000}, "names"),
        ({"names": "__import__('os').getcwd()"}, "names"),
        ({"names": {"a": "cell"}}, "ValueError"),
        ({"names": "{1e999: 'cell'}"}, "OverflowError"),
        ({"names": {-1: "cell"}}, "numbers"),
        ({"names": {0: "cell", 0.5: "dog"}}, "numbers"),
        ({"names": {0: "cell", "0": "dog"}}, "numbers"),
        ({"names": {0: "cell", 2: "dog"}}, "numbers"),
        ({"stride": "1e999"}, "OverflowError"),
        ({"batch": "1e999"}, "OverflowError"),
        ({"stride": "many"}, "ValueError"),
        ({"stride": 48}, "stride 48"),
        ({"stride": 16}, "stride 16"),
        ({"channels": 1}, "1 channels"),
        ({"batch": "[]"}, "TypeError"),
    ],
    ids=str,
)
def test_what_does_not_describe_a_detector(
    changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "best.onnx", **changes)
    with pytest.raises(gd.SpecError, match=match) as caught:
        gd.load(path, check=False)
    assert "ghost-deploy export" in caught.value.fix


def test_a_wrong_number_of_classes(tmp_path: Path) -> None:
    path = write_model(tmp_path / "best.onnx", names={0: "cell", 1: "dog"})
    with pytest.raises(gd.ShapeError, match="output does not fit"):
        gd.load(path, check=False)


def test_the_description_follows_the_graph(tmp_path: Path) -> None:
    """Older versions write less; what the graph fixes is not asked of the metadata."""
    few = dict.fromkeys(("imgsz", "args", "end2end", "channels", "version"))
    for changes in ({}, few, {"imgsz": [640, 640]}):
        with gd.load(write_model(tmp_path / "best.onnx", **changes)) as detector:
            spec = detector.spec
            assert spec.input.size_hw == spec.input.min_hw == spec.input.max_hw == (64, 64)
            assert spec.input.batch == (1, 1)
            assert (spec.head.decoder, spec.head.strides) == ("dfl", (8, 16, 32))
            assert detector.names == {0: "cell"}
            assert len(detector([np.zeros((9, 9, 3), np.uint8)] * 3)) == 3


def test_the_ranges_of_a_dynamic_graph() -> None:
    runtime = FakeRuntime(
        [TensorSpec("x", (-1, 3, -1, -1), "float32")],
        [TensorSpec("out", (-1, 5, -1), "float32")],
        lambda feeds: {"out": np.zeros((len(feeds["x"]), 5, 84), np.float32)},
        metadata={key: str(value) for key, value in HEADER.items()} | {"imgsz": "[96, 64]"},
    )
    spec = file_description.description_of(runtime, Path("best.onnx"))
    wanted = InputSpec(
        size_hw=(96, 64), name="x", batch=(1, 16), min_hw=(32, 32), max_hw=(192, 128)
    )
    assert (spec.input, spec.head.output) == (wanted, "out")
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(Detector(runtime, spec)([image] * 20, (64, 64))) == 20


@pytest.mark.parametrize(
    ("changes", "decoder", "max_det"),
    [
        ({"end2end": True}, "one2one", 300),
        ({}, "one2one", 300),  # older versions do not say it
        ({"args": {"nms": True}}, "nms", 50),
    ],
    ids=str,
)
def test_an_output_that_is_final(
    changes: dict[str, Any], decoder: str, max_det: int, tmp_path: Path
) -> None:
    names = {"names": {0: "RBC", 1: "WBC", 2: "Platelets"}}
    path = write_final(tmp_path / "best.onnx", max_det)
    set_metadata(path, {**HEADER, **names, **changes})
    with gd.load(path) as detector:
        assert (detector.spec.head.decoder, detector.thresholds.max_det) == (decoder, max_det)
        found = detector(np.zeros((64, 64, 3), np.uint8))
        assert found.names == ["RBC", "Platelets"]
        np.testing.assert_allclose(found.xyxy, [[8, 8, 40, 24], [30, 30, 60, 60]])
        with pytest.raises(gd.UsageError, match="NMS"):
            detector(np.zeros((64, 64, 3), np.uint8), agnostic=True)


# On a real model


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Our ONNX file of a checkpoint, a copy with Ultralytics' metadata, and these."""
    bundle = shared_float_bundle(GHOST, tmp_path_factory).bundle
    ours = bundle.path / "model.fp32.onnx"
    theirs = tmp_path_factory.mktemp("theirs") / "best.onnx"
    theirs.write_bytes(ours.read_bytes())
    header = {
        **HEADER,
        "imgsz": list(bundle.spec.input.size_hw),
        "names": dict(enumerate(bundle.spec.class_names)),
    }
    return ours, set_metadata(theirs, header), header


def write_openvino(source: Path, folder: Path, header: dict[str, Any]) -> Path:
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("yaml")
    openvino.save_model(openvino.convert_model(source), folder / "best.xml", compress_to_fp16=False)
    # JSON is YAML; Ultralytics' is in block style, but for the keys of `names` the same.
    text = json.dumps({**header, "names": {}}).replace('"names": {}', f'"names": {header["names"]}')
    (folder / "metadata.yaml").write_text(text)
    return folder


@needs_assets
def test_a_file_of_ultralytics_detects_as_ours(
    real: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    ours, theirs, header = real
    folder = write_openvino(theirs, tmp_path, header)
    images = val_images()[:3]
    with gd.load(ours) as detector:
        wanted = detector(images)
        spec = detector.spec
    assert sum(map(len, wanted)) > 20
    for path, runtime in ((theirs, "ort"), (folder, "openvino"), (folder / "best.xml", "openvino")):
        with gd.load(path) as detector:
            assert detector.runtime.info.runtime == runtime
            assert detector.spec.class_names == spec.class_names
            assert detector.spec.head == spec.head
            for found, want in zip(detector(images), wanted, strict=True):
                assert found.names == want.names
                np.testing.assert_allclose(found.xyxy, want.xyxy, atol=2e-3)
                np.testing.assert_allclose(found.score, want.score, atol=1e-5)


@needs_assets
def test_an_openvino_folder_that_is_damaged(
    real: tuple[Path, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs, header = real
    folder = write_openvino(theirs, tmp_path, header)
    beside = folder / "metadata.yaml"
    for text, match in (("names: [", "cannot be read"), ("- 1", "task None"), ("", "task None")):
        beside.write_text(text)
        with pytest.raises(gd.SpecError, match=match):
            gd.load(folder, check=False)
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "ghost_deploy.processing.strict_yaml", None)
        with pytest.raises(gd.MissingExtraError, match="pip install PyYAML"):
            gd.load(folder, check=False)
    beside.unlink()
    with pytest.raises(gd.SpecError, match="no model description"):
        gd.load(folder, check=False)
    (folder / "second.xml").write_bytes((folder / "best.xml").read_bytes())
    with pytest.raises(gd.BundleError, match="is not a bundle"):
        gd.load(folder, check=False)


def test_outputs_without_a_name(tmp_path: Path) -> None:
    """As graphs have that OpenVINO converted from PyTorch."""
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(write_model(tmp_path / "best.onnx"))
    model.outputs[0].get_tensor().set_names(set())
    openvino.save_model(model, tmp_path / "best.xml", compress_to_fp16=False)
    (tmp_path / "metadata.yaml").write_text(
        "task: detect\nstride: 32\nbatch: 1\nimgsz:\n- 64\n- 64\nnames:\n  0: cell\n"
    )
    with gd.load(tmp_path / "best.xml") as detector:
        assert detector.spec.head.output == "output0"
        assert len(detector(np.zeros((64, 64, 3), np.uint8))) == 0


def test_our_own_key_comes_first(tmp_path: Path) -> None:
    path = set_metadata(write_constant_onnx(tmp_path / "m.onnx"), {**HEADER, ModelSpec.Json: "{}"})
    with pytest.raises(gd.SpecError, match="not a valid"):
        gd.load(path, check=False)


def test_long_texts_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_description, "_MAX_LITERAL", 10)
    with pytest.raises(gd.SpecError, match="names"):
        gd.load(write_model(tmp_path / "best.onnx"), check=False)
