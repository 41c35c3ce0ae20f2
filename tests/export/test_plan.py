from __future__ import annotations

import importlib.util

import pytest

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.export.plan import ExportPlan, plan_export, plan_spec
from ghost_deploy.export.targets import TARGETS
from tests.support.model_specs import make_spec

DEFAULT = ["onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-fp16"]


@pytest.mark.parametrize(
    ("formats", "precisions", "expected"),
    [
        ([], [], DEFAULT),
        (["onnx"], [], DEFAULT[:2]),
        ([], ["fp16"], ["onnx-fp16", "openvino-fp16"]),
        (["openvino", "onnx", "onnx"], ["fp32"], ["onnx-fp32", "openvino-fp32"]),
    ],
)
def test_float_graphs(formats: list[str], precisions: list[str], expected: list[str]) -> None:
    plan = plan_export(formats, precisions)
    assert [target.id for target in plan.graphs] == expected
    assert (plan.int8_formats, plan.engines) == ((), ())


@pytest.mark.parametrize(
    ("formats", "precisions", "graphs", "int8_formats", "engines"),
    [
        ([], ["int8"], ["onnx-fp32", "openvino-fp32"], ("onnx", "openvino"), ()),
        (["openvino"], ["fp16", "int8"], DEFAULT, ("openvino",), ()),
        (["tensorrt"], ["int8"], ["onnx-fp32"], ("onnx",), ("int8",)),
        (["tensorrt"], ["fp16"], ["onnx-fp16"], (), ("fp16",)),
        (["openvino", "tensorrt"], ["fp32", "int8"], ["onnx-fp32", "openvino-fp32"],
         ("openvino", "onnx"), ("fp32", "int8")),
    ],
)  # fmt: skip
def test_int8_and_engines_bring_the_graphs_that_they_are_made_from(
    formats: list[str],
    precisions: list[str],
    graphs: list[str],
    int8_formats: tuple[str, ...],
    engines: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: real("json" if name == "tensorrt" else name)
    )
    plan = plan_export(formats, precisions, calibrated="int8" in precisions)
    assert [target.id for target in plan.graphs] == graphs
    assert (plan.int8_formats, plan.engines) == (int8_formats, engines)
    others = tuple(name for name in formats or ("onnx", "openvino") if name != "tensorrt")
    assert isinstance(plan, ExportPlan)
    assert plan.others == others


@pytest.mark.parametrize(("precisions", "calibrated"), [(["int8"], False), (["fp32"], True)])
def test_int8_and_images_belong_together(precisions: list[str], calibrated: bool) -> None:
    with pytest.raises(UsageError, match="belong together"):
        plan_export([], precisions, calibrated=calibrated)


@pytest.mark.parametrize(
    ("formats", "precisions", "known"),
    [(["onx"], [], "onnx, openvino, rknn, tensorrt"), ([], ["fp8"], "fp16, fp32, int8")],
)
def test_an_unknown_name_lists_the_known(
    formats: list[str], precisions: list[str], known: str
) -> None:
    with pytest.raises(UsageError, match=known):
        plan_export(formats, precisions)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else real(name)
    )
    plan_export(["onnx"])
    with pytest.raises(MissingExtraError, match=r"\[export\]"):
        plan_export(["openvino"])


def test_int8_needs_what_judges_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pycocotools" else real(name)
    )
    plan_export(["onnx"], ["fp32"])
    for format in ("onnx", "openvino", "rknn"):
        with pytest.raises(MissingExtraError, match=r"'pycocotools'.*\[validate\]"):
            plan_export([format], ["int8"], calibrated=True)


def test_without_tensorrt_the_device_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorrt" else real(name)
    )
    with pytest.raises(MissingExtraError, match="ghost-deploy build BUNDLE --trt") as caught:
        plan_export(["tensorrt"], ["fp16"])
    assert caught.value.exit_code == 3


def test_targets_are_unique() -> None:
    ids = [target.id for target in TARGETS]
    assert len(set(ids)) == len(ids)


SPEC = make_spec((416, 416))


def test_a_static_spec_has_one_size() -> None:
    planned = plan_spec(SPEC, size_hw=(320, 640)).input
    assert planned.size_hw == planned.min_hw == planned.max_hw == (320, 640)
    assert planned.batch == (1, 1)
    assert not planned.dynamic


def test_dynamic_ranges_are_half_and_twice() -> None:
    planned = plan_spec(SPEC, size_hw=(416, 32), dynamic=True).input
    assert (planned.min_hw, planned.max_hw, planned.batch) == ((192, 32), (832, 64), (1, 16))


def test_the_size_of_the_checkpoint_is_the_default() -> None:
    assert plan_spec(SPEC) == SPEC


@pytest.mark.parametrize(
    ("size_hw", "suggestion"),
    [
        ((417, 640), "448x640"),
        ((0, 32), "32x32"),
        ((32, -5), "32x32"),
        ((32, 8224), "up to 8192.*32x8192"),
        ((10**12, 32), "8192x32"),
    ],
)
def test_a_size_off_the_stride_names_the_next(size_hw: tuple[int, int], suggestion: str) -> None:
    with pytest.raises(UsageError, match=suggestion):
        plan_spec(SPEC, size_hw=size_hw)


def test_a_dynamic_range_beyond_the_largest_side() -> None:
    assert plan_spec(SPEC, size_hw=(32, 4128)).input.size_hw == (32, 4128)
    with pytest.raises(UsageError, match="up to 8192"):
        plan_spec(SPEC, size_hw=(32, 4128), dynamic=True)


def test_one_text_is_not_a_list_of_names() -> None:
    with pytest.raises(UsageError, match=r"formats are one text.*\('onnx',\)"):
        plan_export("onnx", ["fp32"])
