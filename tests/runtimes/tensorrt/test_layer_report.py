"""What the engine inspector says, in the words of 8.5 to 11."""

from __future__ import annotations

import json

import pytest

from ghost_deploy.runtimes.tensorrt.layer_report import EngineLayer, read_report


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Layers": []}', "[" * 100_000])
def test_nothing_to_read(text: str) -> None:
    report = read_report(text, "8.5.3")
    assert report.layers == ()
    assert report.precisions == {}
    assert "0 layers: none" in report.summary()


def test_names_only() -> None:
    report = read_report('{"Layers": ["a", "b"], "Bindings": ["images"]}', "8.5.3")
    assert [layer.name for layer in report.layers] == ["a", "b"]
    assert report.precisions == {"unknown": 2}


def tensor(text: str) -> dict[str, object]:
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 16, 8, 8], "Format/Datatype": text}


def test_the_words_of_8_and_10() -> None:
    layers = [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv",
            "LayerType": "Reformat",
            "Inputs": [tensor("Row major linear FP32")],
            "Outputs": [tensor("Channel major FP16 format where channel % 8 == 0")],
        },
        {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("Thirty-two wide channel vectorized row major Int8 format")],
            "Outputs": [tensor("Row major linear FP16 format")],
        },
        {
            "Name": "conv2",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("Two wide channel vectorized row major FP16 format")],
            "Outputs": [tensor("Row major linear FP32")],
        },
        {
            "Name": "shape",
            "LayerType": "ShapeHostToDevice",
            "Inputs": [],
            "Outputs": [tensor("N/A due to dynamic shapes")],
        },
    ]
    report = read_report(json.dumps({"Layers": layers, "Bindings": ["images"]}), "10.3.0")
    assert [layer.precision for layer in report.layers] == ["fp32", "int8", "fp16", "unknown"]
    assert report.precisions == {"fp16": 1, "int8": 1, "unknown": 1}
    assert report.reformats == 1
    assert report.summary() == ("4 layers: 1 in fp16, 1 in int8, 1 in unknown; 1 only reformat")


@pytest.mark.parametrize(
    ("datatype", "precision"),
    [
        ("Half", "fp16"), ("Float", "fp32"), ("FP32", "fp32"), ("Int8", "int8"), ("kINT8", "int8"),
        ("BF16", "bf16"), ("FP8", "fp8"), ("Int64", "int64"), ("Bool", "bool"), ("E8M0", "unknown"),
    ],
)  # fmt: skip
def test_the_words_of_11(datatype: str, precision: str) -> None:
    entry = {
        "Name": "conv",
        "LayerType": "Convolution",
        "Inputs": [{"Name": "t", "Format": "Linear", "Datatype": datatype}],
        "Outputs": [],
    }
    report = read_report(json.dumps({"Layers": [entry], "I/O Tensors": ["images"]}), "11.4")
    assert report.layers == (
        EngineLayer(
            name="conv",
            type="Convolution",
            precision=precision,
            inputs=(f"{datatype} Linear",),
        ),
    )


@pytest.mark.parametrize("words", ["UInt8", "Row major linear UINT8 format", "kUINT8"])
def test_pixels_are_not_int8(words: str) -> None:
    """The input of `--embed-preprocess`: no kernel computes in it."""
    entry = {"Name": "cast", "LayerType": "Cast", "Inputs": [tensor(words)]}
    assert read_report(json.dumps({"Layers": [entry]}), "10.3").precisions == {"uint8": 1}


def test_entries_of_another_form_do_not_stop_it() -> None:
    text = json.dumps({"Layers": [1, {"Inputs": "x"}, {"Inputs": [3, {}]}]})
    assert len(read_report(text, "11.4").layers) == 3
