"""Class names, families, image sizes and metrics of checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from ghost_deploy.checkpoints.checkpoint_info import (
    family_of,
    image_size_of,
    metrics_of,
    structure_notes,
)
from ghost_deploy.checkpoints.plain_values import NotPlainError, PlainReader, base_name
from ghost_deploy.checkpoints.records import Call, GlobalRef
from ghost_deploy.models.tree import ModuleNode
from tests.support.forged_checkpoints import call, new


@pytest.mark.parametrize(
    ("yaml_file", "scale", "classes", "expected"),
    [
        ("", "", [], ("yolo", "")),
        ("", "", ["GhostConv"], ("yolo-ghost", "")),
        ("yolov8n-ghost.yaml", "n", [], ("yolov8-ghost", "n")),
        ("yolov8n-ghost.yaml", "", ["C3Ghost"], ("yolov8-ghost", "n")),
        ("yolov8-ghost-p2.yaml", "s", [], ("yolov8-ghost-p2", "s")),
        ("yolo11x.yaml", "x", ["C3k2Ghost"], ("yolo11-ghost", "x")),
        ("yolov10n.yaml", "n", ["C2f"], ("yolov10", "n")),
        ("my net.yaml", "n", ["Ghost"], ("yolo-ghost", "n")),
        ("../x/yolov5s-ghost.yml", "", [], ("yolov5-ghost", "s")),
        ("a" * 100, "n" * 100, [], ("yolo", "")),
    ],
)
def test_family(yaml_file: str, scale: str, classes: list[str], expected: tuple[str, str]) -> None:
    assert family_of(yaml_file, scale, classes) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (640, (640, 640)), ([640], (640, 640)), ([320, 640], (320, 640)), (0, None),
     (-1, None), (9999, None), ("640", None), ([1, 2, 3], None), (True, None), (640.0, None)],
)  # fmt: skip
def test_image_size(value: object, expected: object) -> None:
    assert image_size_of(value) == expected


def test_metrics() -> None:
    recorded = {
        "metrics/mAP50-95(B)": 0.5, "metrics/precision(B)": 1, "val/box_loss": 3.0, "fitness": 1.0,
        "metrics/mAP50(B)": float("nan"), "metrics/recall(B)": "high", "metrics/a b": 1.0,
    }  # fmt: skip
    assert metrics_of(recorded) == {"mAP50-95": 0.5, "precision": 1.0}
    assert metrics_of(None) == {}


def test_notes_on_batch_norm() -> None:
    norm = ModuleNode("torch.nn.modules.batchnorm.BatchNorm2d", {"eps": 1e-5})
    assert "eps 1e-05" in structure_notes(ModuleNode("Net", children={"bn": norm}))[0]
    assert "folded" in structure_notes(ModuleNode("Net"))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), ("nearest", "nearest"), ("a/b", "a/b"), ("/home/me/x.yaml", "x.yaml"),
     ("C:\\Users\\me\\x.yaml", "x.yaml"), ("D:/me/x", "x"), ("~/x/y", "y"), ("\\\\host\\x", "x")],
)  # fmt: skip
def test_absolute_paths_lose_their_folders(text: str, expected: str) -> None:
    assert base_name(text) == expected


def numpy_scalar(kind: str, raw: object) -> Call:
    dtype = call("numpy.dtype", kind, False, True)
    dtype.state = (3, "<", None, None, None, -1, -1, 0)
    return call("numpy._core.multiarray.scalar", dtype, raw)


def with_items(path: str, *items: object) -> Call:
    record = call(path)
    record.items.extend(items)
    return record


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, [2.5, None, True, "x"]), [1, [2.5, None, True, "x"]]),
        ({1: {"a": ()}}, {"1": {"a": []}}),
        (call("torch.Size", [1, 2]), [1, 2]),
        (call("builtins.set", ["a"]), ["a"]),
        (with_items("collections.deque", 1, 2), [1, 2]),
        (new("ultralytics.utils.IterableSimpleNamespace", {"imgsz": 640}), {"imgsz": 640}),
        (new("argparse.Namespace", {"a": 1}), {"a": 1}),
        (call("pathlib.PosixPath", "/", "home", "me"), "me"),
        (call("torch.device", "cuda", 0), "cuda:0"),
        (GlobalRef("torch", "float16"), "torch.float16"),
        (numpy_scalar("f8", b"\0\0\0\0\0\0\xf0\x3f"), 1.0),
        (numpy_scalar("<f4", call("_codecs.encode", "\0\0\x80\x3f", "latin1")), 1.0),
        (numpy_scalar("i8", b"\x05" + bytes(7)), 5),
    ],
)
def test_plain_values(value: Any, expected: object) -> None:
    assert PlainReader("x").read(value) == expected


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (GlobalRef("os", "system"), r"os\.system"),
        (call("os.system", "x"), r"a call of os\.system"),
        (new("some.Thing", {}), r"an object of class some\.Thing"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (b"raw", "a bytes"),
        (numpy_scalar("f8", b"short"), "numpy"),
        (numpy_scalar("O8", b"12345678"), "numpy"),
        (call("numpy._core.multiarray.scalar"), "numpy"),
        (call("torch.Size", 5), "5"),
    ],
)
def test_what_is_no_plain_value(value: Any, what: str) -> None:
    with pytest.raises(NotPlainError, match=what):
        PlainReader("x").read(value)
