"""`export(nms=True)`: by the head, by an operator, by TensorRT's plugin, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from ghost_deploy.core.bundle import NMS_FORM, BundleWriter
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.export import plan as plan_module
from ghost_deploy.export.efficient_nms import OPERATOR, append_nms_to_bundle
from ghost_deploy.export.plan import plan_export
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import choose
from tests.support.exports import export_artifacts
from tests.support.tiny_detectors import tiny_loaded


@pytest.fixture(autouse=True)
def with_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "require_tools", lambda targets: None)


def test_a_head_that_needs_no_nms_takes_no_plugin() -> None:
    loaded: Any = tiny_loaded(one2one=True)
    assert plan_export(("onnx", "openvino")).nms_decoder(loaded.spec) == ""


@pytest.mark.parametrize(
    ("formats", "decoder"),
    [((), "nms"), (("onnx",), "nms"), (("openvino",), "nms"), (("tensorrt",), "efficient-nms")],
)
def test_tensorrt_has_a_plugin_and_others_the_operator(
    formats: tuple[str, ...], decoder: str
) -> None:
    loaded: Any = tiny_loaded()
    assert plan_export(formats).nms_decoder(loaded.spec) == decoder


def test_one_bundle_has_one_kind_of_nms() -> None:
    loaded: Any = tiny_loaded()
    with pytest.raises(UsageError, match=r"EfficientNMS.*Make two bundles"):
        plan_export(("openvino", "tensorrt")).nms_decoder(loaded.spec)


def test_an_int8_graph_does_not_end_in_the_plugin() -> None:
    loaded: Any = tiny_loaded()
    with pytest.raises(UsageError, match="plugin"):
        plan_export(("tensorrt",), ("int8",), calibrated=True).nms_decoder(loaded.spec)


def test_the_graphs_of_a_draft_end_in_the_plugin(tmp_path: Path) -> None:
    loaded: Any = tiny_loaded()
    with BundleWriter(tmp_path / "bundle") as writer:
        spec, _ = export_artifacts(loaded, writer, formats=("onnx",), precisions=("fp32",))
        append_nms_to_bundle(writer, writer.draft(spec, loaded.source, "test")).save()
        bundle = writer.finish()
    (artifact,) = bundle.artifacts
    assert (artifact.form, bundle.spec.head.decoder) == (NMS_FORM, "efficient-nms")
    model = onnx.load(bundle.verified_path(artifact))
    assert OPERATOR in {node.op_type for node in model.graph.node}
    assert sorted(path.name for path in bundle.path.iterdir()) == ["bundle.json", artifact.path]
    with pytest.raises(BundleError, match="nothing to run"):
        choose(bundle, runtime="ort", options=RuntimeOptions(any_form=True))
