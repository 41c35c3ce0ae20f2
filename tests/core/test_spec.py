from __future__ import annotations

import json

import msgspec
import pytest

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.spec import SCHEMA, HeadSpec, InputSpec, ModelSpec, Thresholds, decode_json

HEAD = HeadSpec(decoder="dfl", strides=(8, 16, 32))
SPEC = ModelSpec(
    name="cells",
    family="yolov8-ghost",
    class_names=("RBC", "WBC", "Größe 測"),
    input=InputSpec(size_hw=(480, 640), batch=(1, 8), min_hw=(320, 320), max_hw=(640, 1280)),
    head=HEAD,
    thresholds=Thresholds(conf=0.001, iou=0.6, max_det=1000),
    parameters=1_719_549,
    gflops=5.5,
    trained_with="ultralytics 8.4.190",
    source_sha256="ab" * 32,
)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", "{}", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(SpecError, match="the metadata is not a valid ModelSpec"):
        ModelSpec.from_json(text, where="the metadata")


def test_round_trip():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC
    minimal = ModelSpec(
        name="m", family="f", class_names=("a",), input=InputSpec(size_hw=(64, 64)), head=HEAD
    )
    assert ModelSpec.from_json(minimal.to_json().decode()) == minimal


def test_json_is_stable_and_readable():
    text = SPEC.to_json().decode()
    fields = json.loads(text)
    assert fields["schema"] == SCHEMA
    assert list(fields) == list(ModelSpec.__struct_fields__)
    assert "Größe 測" in text
    assert text.startswith('{\n  "name": "cells",\n')


def altered(**changes):
    """The JSON of SPEC with values replaced: `input__color` is `color` in `input`."""
    fields = json.loads(SPEC.to_json())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = fields
        for parent in parents:
            place = place[parent]
        place[last] = value
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"input__unknown": 1}, "unknown"),
        ({"schema": SCHEMA + 1}, "reads schema 1"),
        ({"schema": "1"}, "schema"),
        ({"class_names": []}, "1 to 100000 class names"),
        ({"class_names": [1]}, "class_names"),
        ({"name": None}, "name"),
        ({"input__size_hw": [480]}, "size_hw"),
        ({"input__size_hw": [480, 640, 3]}, "size_hw"),
        ({"input__size_hw": [500, 640]}, "a multiple of 32"),
        ({"input__max_hw": [9600, 9600]}, "up to 8192"),
        ({"input__size_hw": [-32, 640]}, "a multiple of 32"),
        ({"input__min_hw": [512, 512]}, "min_hw <= size_hw <= max_hw"),
        ({"input__max_hw": [640, 320]}, "min_hw <= size_hw <= max_hw"),
        ({"input__stride": 0}, "stride must be"),
        ({"input__color": "gray"}, "color"),
        ({"input__divisor": 0}, "divisor and std"),
        ({"input__std": [1, 1, 0]}, "divisor and std"),
        ({"input__mean": [0, 0]}, "mean"),
        ({"input__pad_value": 256}, "pad_value"),
        ({"input__pad_value": 114.5}, "pad_value"),
        ({"input__resize": "stretch"}, "resize"),
        ({"input__batch": [2, 1]}, "batch is"),
        ({"input__batch": [0, 1]}, "batch is"),
        ({"head__decoder": "yolo"}, "decoder"),
        ({"head__decoder": "one2one"}, "needs branch one2one"),
        ({"head__strides": []}, "at least one stride"),
        ({"head__strides": [8, 0]}, "strides 1 to 1024"),
        ({"head__strides": [8, 16, 64]}, "multiple of every head stride"),
        ({"head__strides": [8, 12, 32]}, "multiple of every head stride"),
        ({"head__reg_max": 0}, "reg_max"),
        ({"thresholds__conf": 1}, "conf must be"),
        ({"thresholds__conf": -0.1}, "conf must be"),
        ({"thresholds__iou": 1.1}, "iou must be"),
        ({"thresholds__max_det": 0}, "max_det must be"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_name(changes, message):
    with pytest.raises(SpecError) as caught:
        ModelSpec.from_json(altered(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: InputSpec(size_hw=(64, 65)),
        lambda: InputSpec(size_hw=(64, 64), divisor=float("nan")),
        lambda: InputSpec(size_hw=(64, 64), mean=(0, float("inf"), 0)),
        lambda: HeadSpec(decoder="dfl", strides=()),
        lambda: Thresholds(conf=float("nan")),
        lambda: msgspec.structs.replace(SPEC, class_names=()),
    ],
)
def test_values_made_in_python_are_checked_too(make):
    with pytest.raises(SpecError):
        make()


def test_specs_are_frozen_and_hashable():
    with pytest.raises(AttributeError):
        SPEC.name = "other"
    assert hash(SPEC) == hash(ModelSpec.from_json(SPEC.to_json()))


def test_static_and_dynamic_inputs():
    static = InputSpec(size_hw=(64, 96))
    assert (static.min_hw, static.max_hw) == ((64, 96), (64, 96))
    assert not static.dynamic
    assert InputSpec(size_hw=(64, 64), batch=(1, 2)).dynamic
    assert InputSpec(size_hw=(64, 64), min_hw=(32, 32)).dynamic
    assert not InputSpec(size_hw=(64, 64), batch=(4, 4)).dynamic


@pytest.mark.parametrize(
    ("size_hw", "anchors"), [((640, 640), 8400), ((416, 416), 3549), ((32, 64), 42)]
)
def test_anchors(size_hw, anchors):
    assert HEAD.anchors(size_hw) == anchors


def test_decode_json_names_the_place_of_the_fault():
    with pytest.raises(SpecError, match=r"box\.json is not a valid Thresholds: got .*iou"):
        decode_json(b'{"iou": "much"}', Thresholds, where="box.json")


def test_num_classes_and_end_to_end():
    assert SPEC.num_classes == 3
    assert not HEAD.end_to_end
    assert HeadSpec(decoder="one2one", branch="one2one", strides=(8,)).end_to_end
    nms = HeadSpec(decoder="efficient-nms", strides=(8,))
    assert nms.end_to_end
    assert nms.branch == "one2many"


def test_an_input_of_pixels():
    pixels = InputSpec(size_hw=(64, 96), batch=(1, 4), layout="nhwc", dtype="uint8")
    assert pixels.embedded
    assert pixels.shape(2, (32, 64)) == (2, 32, 64, 3)
    assert pixels.image_size((2, 32, 64, 3)) == (32, 64)
    assert pixels.graph_shape() == (-1, 64, 96, 3)
    numbers = InputSpec(size_hw=(64, 96), max_hw=(64, 128))
    assert not numbers.embedded
    assert numbers.graph_shape() == (1, 3, 64, -1)
    assert numbers.image_size((1, 3, 64, 96)) == (64, 96)


@pytest.mark.parametrize("changes", [{"layout": "nhwc"}, {"dtype": "uint8"}])
def test_layout_and_type_belong_together(changes):
    with pytest.raises(SpecError, match="nchw float32 or nhwc uint8"):
        InputSpec(size_hw=(64, 64), **changes)


def test_a_description_from_before_pixels_is_read():
    old = json.loads(SPEC.to_json())
    del old["input"]["layout"], old["input"]["dtype"]
    assert ModelSpec.from_json(json.dumps(old)) == SPEC
