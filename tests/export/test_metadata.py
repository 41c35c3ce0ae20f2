from __future__ import annotations

import ast
import json

import msgspec

from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.export.metadata import model_info, onnx_properties, ultralytics_yaml
from tests.support.tiny_detectors import NAMES, tiny_spec

ULTRALYTICS_TYPES = {
    "stride": int,
    "batch": int,
    "channels": int,
    "imgsz": list,
    "names": dict,
    "args": dict,
    "end2end": bool,
}


def test_the_spec_comes_back_equal() -> None:
    assert ModelSpec.from_json(onnx_properties(tiny_spec())[ModelSpec.Json]) == tiny_spec()


def test_ultralytics_reads_literals_of_the_right_type() -> None:
    properties = onnx_properties(tiny_spec())
    for key, kind in ULTRALYTICS_TYPES.items():
        assert type(ast.literal_eval(properties[key])) is kind, key
    assert ast.literal_eval(properties["names"]) == dict(enumerate(NAMES))
    assert ast.literal_eval(properties["args"])["nms"] is False
    assert properties["task"] == "detect"


def test_hostile_class_names_stay_names() -> None:
    names = ("'}", '"; x', "\\", "a\nb", "{0}")
    properties = onnx_properties(msgspec.structs.replace(tiny_spec(), class_names=names))
    assert ast.literal_eval(properties["names"]) == dict(enumerate(names))


def test_dynamic_and_end_to_end_are_told() -> None:
    dynamic = InputSpec(
        size_hw=(96, 96), stride=16, batch=(1, 4), min_hw=(32, 32), max_hw=(96, 128)
    )
    properties = onnx_properties(msgspec.structs.replace(tiny_spec(), input=dynamic))
    assert ast.literal_eval(properties["args"])["dynamic"] is True
    assert properties["batch"] == "4"
    assert onnx_properties(tiny_spec(one2one=True))["end2end"] == "True"


def test_the_sidecar_keeps_unicode() -> None:
    text = ultralytics_yaml(tiny_spec())
    assert "naïve" in text
    assert json.loads(text)["imgsz"] == [96, 128]


def test_model_info_labels_hold_no_blanks() -> None:
    assert model_info(tiny_spec())["labels"].split(" ") == ["red_cell", "white_cell", "naïve"]
    assert model_info(tiny_spec(one2one=True)) == {}
