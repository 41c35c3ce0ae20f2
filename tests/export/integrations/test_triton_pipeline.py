"""The whole detector in Triton's Python backend, without a server: folder and `model.py`."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.errors import BackendError, BundleError
from ghost_deploy.export.integrations.triton import write_triton
from tests.support.bundles import DYNAMIC, SPEC, write_placeholder_bundle
from tests.support.constant_model import write_constant_bundle
from tests.support.two_class_model import detections_of

text_format = pytest.importorskip("google.protobuf.text_format")
schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient")


def config_of(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


class Logger:
    lines: list[str] = []

    @classmethod
    def log_info(cls, text: str) -> None:
        cls.lines.append(text)


class FakeTensor:
    """`lost` is what a NumPy does that the backend was not built for."""

    lost = False

    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array

    def to_dlpack(self) -> Any:
        return np.zeros_like(self.array) if self.lost else self.array

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> FakeTensor:
        return cls(name, array)

    def as_numpy(self) -> Any:
        return self.array


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], ModuleType]:
    """Imports a `model.py` as Triton does, with its module of helpers."""
    utils = SimpleNamespace(
        Logger=Logger,
        Tensor=FakeTensor,
        TritonError=str,
        InferenceResponse=lambda output_tensors=(), error=None: SimpleNamespace(
            tensors={each.name: each.array for each in output_tensors}, error=error
        ),
        get_input_tensor_by_name=lambda request, name: SimpleNamespace(
            as_numpy=lambda: request[name]
        ),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location("model_of_triton", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def request_of(*files: bytes) -> dict[str, Any]:
    return {"images": np.array(files, np.object_).reshape(-1, 1)}


# The folder


def test_a_changed_bundle_is_not_copied(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b")
    (tmp_path / "b" / bundle.artifacts[0].path).write_bytes(b"other")
    with pytest.raises(BundleError):
        write_triton(bundle, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(("spec", "batch"), [(SPEC, 16), (DYNAMIC, 16)])
def test_the_folder(tmp_path: Path, spec: Any, batch: int) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b", spec)
    *_, name = write_triton(bundle, tmp_path / "models")
    folder = tmp_path / "models" / name
    assert name == "best_of_all_detector"
    assert gd.Bundle.read(folder / "1" / "bundle", verify=True).document == bundle.document
    config = config_of(folder)
    assert (config.name, config.backend, config.max_batch_size) == (name, "python", batch)
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    shapes = {each.name: [*each.dims] for each in (*config.input, *config.output)}
    assert shapes == {
        "images": [1],
        "count": [1],
        "boxes": [-1, 4],
        "scores": [-1],
        "classes": [-1],
        "error": [1],
    }
    text = config.parameters[gd.ModelSpec.Json].string_value
    assert gd.ModelSpec.from_json(text, where="config.pbtxt") == spec
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    assert labels == [*spec.class_names]


# model.py


def test_settings(tmp_path: Path, model: Callable[[Path], ModuleType]) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b")
    *_, name = write_triton(bundle, tmp_path / "models")
    module = model(tmp_path / "models" / name / "1" / "model.py")
    written = {
        k: {"string_value": v.string_value}
        for k, v in config_of(tmp_path / "models" / name).parameters.items()
    }
    assert module.settings_of(written) == {
        "runtime": "auto",
        "device": "cpu",
        "threads": 0,
        "check": True,
    }
    changed = {"conf": "0.5", "max_det": "7", "threads": "2", "precision": "fp16", "check": "no"}
    assert module.settings_of({k: {"string_value": v} for k, v in changed.items()}) == {
        "precision": "fp16",
        "threads": 2,
        "conf": 0.5,
        "max_det": 7,
        "check": False,
    }


def test_columns(tmp_path: Path, model: Callable[[Path], ModuleType]) -> None:
    from ghost_deploy.export.integrations import triton_pipeline

    module = model(Path(triton_pipeline.__file__).with_name("triton_model.py"))
    two = detections_of([(1, 2, 3, 4, 0.9, 1), (0, 0, 9, 9, 0.5, 0)])
    tensors = module.tensors_of([two, gd.Detections.empty(), "broken: äöü"])
    assert tensors["count"].tolist() == [[2], [0], [-1]]
    assert tensors["boxes"].shape == (3, 2, 4)
    np.testing.assert_array_equal(tensors["boxes"][0], two.xyxy)
    np.testing.assert_array_equal(tensors["scores"], [two.score, [0, 0], [0, 0]])
    assert tensors["classes"].tolist() == [[1, 0], [-1, -1], [-1, -1]]
    assert [each[0].decode() for each in tensors["error"]] == ["", "", "broken: äöü"]
    dtypes = {name: array.dtype.name for name, array in tensors.items()}
    assert dtypes == {
        "count": "int32",
        "boxes": "float32",
        "scores": "float32",
        "classes": "int32",
        "error": "object",
    }
    # Triton would return an output without elements as one of another shape.
    assert module.tensors_of([gd.Detections.empty()])["boxes"].shape == (1, 1, 4)


def test_requests_of_several_clients(
    tmp_path: Path, model: Callable[[Path], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_constant_bundle(tmp_path / "b", name="small")
    names = write_triton(bundle, tmp_path / "models")
    folder = tmp_path / "models" / names[-1]
    module = model(folder / "1" / "model.py")
    detector = module.TritonPythonModel()
    parameters = {"check": {"string_value": "false"}, "runtime": {"string_value": "ort"}}
    arguments = {
        "model_config": json.dumps({"parameters": parameters}),
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": names[-1],
    }
    detector.initialize(arguments)
    assert "small on ort" in Logger.lines[-1]
    png = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    requests = [request_of(png), request_of(b"broken", png, b""), request_of(b"broken")]
    answers = detector.execute(requests)
    assert [each.tensors["count"].ravel().tolist() for each in answers] == [[0], [-1, 0, -1], [-1]]
    assert "unknown format" in answers[2].tensors["error"][0, 0].decode()

    def broken(images: Any) -> Any:
        raise BackendError("the device is gone", fix="Look for it")

    monkeypatch.setattr(detector._detector, "detect", broken)
    answers = detector.execute(requests[:2])
    assert all("the device is gone" in each.error for each in answers)
    detector.finalize()


def test_a_bundle_that_cannot_be_opened_is_told(
    tmp_path: Path, model: Callable[[Path], ModuleType]
) -> None:
    bundle = write_constant_bundle(tmp_path / "b")
    *_, name = write_triton(bundle, tmp_path / "models")
    folder = tmp_path / "models" / name
    (folder / "1" / "bundle" / bundle.artifacts[0].path).write_bytes(b"other")
    module = model(folder / "1" / "model.py")
    with pytest.raises(gd.BundleError, match="was changed after it was written"):
        module.TritonPythonModel().initialize(
            {
                "model_config": "{}",
                "model_repository": str(folder),
                "model_version": "1",
                "model_name": name,
            }
        )


def test_a_numpy_that_the_backend_was_not_built_for(
    tmp_path: Path, model: Callable[[Path], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_constant_bundle(tmp_path / "b")
    *_, name = write_triton(bundle, tmp_path / "models")
    module = model(tmp_path / "models" / name / "1" / "model.py")
    module.require_working_numpy()
    monkeypatch.setattr(FakeTensor, "lost", True)
    with pytest.raises(RuntimeError, match="numpy<2"):
        module.TritonPythonModel().initialize({})
