"""DeepStream's folder; the parser is compiled against a stand-in for the headers and run."""

from __future__ import annotations

import configparser
import ctypes
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import NMS_FORM
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.export.integrations.deepstream import write_deepstream
from ghost_deploy.export.integrations.deepstream_folder import PARSER
from ghost_deploy.processing.decode import decode_dfl
from ghost_deploy.processing.decode_anchors import decode_anchors
from ghost_deploy.processing.nms import nms
from ghost_deploy.runtimes.tensorrt.calibration_cache import (
    FOREIGN_BUILDS,
    cache_header,
    read_calibration_cache,
)
from tests.support.bundles import CACHE_BYTES, DYNAMIC, SPEC, write_placeholder_bundle

HEADERS = Path(__file__).parent / "nvdsinfer_stand_in.h"
CALLER = Path(__file__).parent / "call_parser.cpp"
ANCHORS = msgspec.structs.replace(
    SPEC,
    head=HeadSpec(
        decoder="anchors",
        strides=(8, 16, 32),
        anchor_sizes=(((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198))),
    ),
)
FLAGS = ("-shared", "-fPIC", "-O1", "-std=c++14", "-Wall", "-Wextra", "-Werror")

WRONG_SPECS = [
    (
        msgspec.structs.replace(
            SPEC, input=msgspec.structs.replace(SPEC.input, layout="nhwc", dtype="uint8")
        ),
        "uint8",
    ),
    (
        msgspec.structs.replace(
            SPEC, input=msgspec.structs.replace(SPEC.input, mean=(0.1, 0.2, 0.3))
        ),
        "one scale",
    ),
    (
        msgspec.structs.replace(
            SPEC, head=HeadSpec(decoder="one2one", branch="one2one", strides=(8, 16, 32))
        ),
        "all anchors",
    ),
]


def test_without_a_plain_onnx_there_is_nothing_to_build_from(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(
        tmp_path / "b", kinds=(("openvino", "fp32", ""), ("onnx", "fp32", NMS_FORM))
    )
    with pytest.raises(BundleError):
        write_deepstream(bundle, tmp_path / "ds")
    assert not (tmp_path / "ds").exists()


@pytest.mark.parametrize(("spec", "said"), WRONG_SPECS)
def test_a_graph_that_nvinfer_cannot_feed_is_refused(
    tmp_path: Path, spec: ModelSpec, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        write_deepstream(write_placeholder_bundle(tmp_path / "b", spec), tmp_path / "ds")


def test_a_folder_of_others_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_deepstream(write_placeholder_bundle(tmp_path / "b"), tmp_path / "ds")


def test_overwrite_takes_the_place_of_what_was_written_and_built(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    names = write_deepstream(write_placeholder_bundle(tmp_path / "b"), root)
    with pytest.raises(UsageError, match="exists already"):
        write_deepstream(write_placeholder_bundle(tmp_path / "c"), root)
    plain = write_placeholder_bundle(tmp_path / "plain", kinds=(("onnx", "fp32", ""),))
    built = ("model.fp32.onnx_b1_gpu0_fp16.engine", "libnvdsinfer_ghost_deploy.so")
    for name in (*built, "app.txt", "labels.txt"):
        (root / name).write_text("changed")
    (root / "videos").mkdir()
    (root / "videos" / "a.mp4").write_text("mine")
    (root / "link").symlink_to("app.txt")
    fewer = write_deepstream(plain, root, overwrite=True)
    assert set(fewer) < set(names)  # no int8 any more, neither its configuration nor its cache
    there = {path.name for path in root.iterdir()}
    assert there == {*fewer, "app.txt", "videos", "link"}
    assert (root / "app.txt").read_text() == "changed"
    assert (root / "videos" / "a.mp4").read_text() == "mine"
    assert (root / "link").is_symlink()
    assert (root / "labels.txt").read_text() != "changed"
    assert {path.name for path in tmp_path.iterdir()} == {"ds", "b", "c", "plain"}


def test_the_command_refuses_the_folder_before_it_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    write_deepstream(write_placeholder_bundle(tmp_path / "b"), root)
    words = ["export", str(tmp_path / "absent.pt"), "-o", str(tmp_path / "out")]
    assert main([*words, "--deepstream", str(root)]) == 2
    assert "Add --overwrite" in capsys.readouterr().err
    assert main([*words, "--deepstream", str(root), "--overwrite"]) == 2
    assert "cannot read" in capsys.readouterr().err  # the checkpoint is the next thing
    assert (root / PARSER).is_file()


def test_overwrite_replaces_no_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no folder for DeepStream"):
        write_deepstream(write_placeholder_bundle(tmp_path / "b"), tmp_path / "ds", overwrite=True)
    assert (tmp_path / "ds" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("spec", [SPEC, DYNAMIC])
def test_the_configurations_name_what_is_there(tmp_path: Path, spec: ModelSpec) -> None:
    root = tmp_path / "ds"
    names = write_deepstream(write_placeholder_bundle(tmp_path / "b", spec), root)
    assert sorted(path.name for path in root.iterdir()) == names
    modes = {}
    for path in root.glob("config_infer_*.txt"):
        config = configparser.ConfigParser()
        config.read(path, encoding="utf-8")
        own = config["property"]
        modes[path.name] = own["network-mode"]
        for key in ("onnx-file", "labelfile-path", "int8-calib-file"):
            assert key not in own or (root / own[key]).is_file()
        assert own["infer-dims"] == "3;64;96"
        assert float(own["net-scale-factor"]) * 255 == pytest.approx(1, abs=1e-12)
        assert own["batch-size"] == str(spec.input.batch[1])
        assert (own["maintain-aspect-ratio"], own["symmetric-padding"]) == ("1", "1")
        assert float(config["class-attrs-all"]["pre-cluster-threshold"]) == spec.thresholds.conf
    assert modes == {
        "config_infer_fp32.txt": "0",
        "config_infer_fp16.txt": "2",
        "config_infer_int8.txt": "1",
        "config_infer_int8_cache.txt": "1",
    }
    for name in modes:
        own = settings(root / name)
        assert ("layer-device-precision" in own) == (name == "config_infer_fp16.txt")
    assert (root / "labels.txt").read_text("utf-8").split() == [*spec.class_names]


def settings(path: Path) -> configparser.SectionProxy:
    config = configparser.ConfigParser()
    config.read(path, encoding="utf-8")
    return config["property"]


def test_nvinfer_builds_int8_only_where_a_calibration_file_is_named(tmp_path: Path) -> None:
    """Without one it logs "Trying FP16 mode", whatever the graph holds."""
    root = tmp_path / "ds"
    write_deepstream(write_placeholder_bundle(tmp_path / "b"), root)
    for name in ("config_infer_int8.txt", "config_infer_int8_cache.txt"):
        own = settings(root / name)
        assert (
            read_calibration_cache(root / own["int8-calib-file"]).to_bytes("8.5.2") == CACHE_BYTES
        )
    assert settings(root / "config_infer_int8.txt")["onnx-file"] == "model-int8-tensorrt.onnx"


def test_without_a_calibration_file_there_is_no_int8(tmp_path: Path) -> None:
    kinds = (("onnx", "fp32", ""), ("onnx", "int8", "ort-x86"))
    names = write_deepstream(write_placeholder_bundle(tmp_path / "b", kinds=kinds), tmp_path / "ds")
    assert [name for name in names if "int8" in name] == []


def test_a_cache_for_each_version_or_for_the_one_that_is_named(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b")
    write_deepstream(bundle, tmp_path / "all")
    headers = {
        path.read_text().partition("\n")[0] for path in (tmp_path / "all").glob("*.trtcache")
    }
    assert headers == {cache_header(each) for each in FOREIGN_BUILDS}
    text = (tmp_path / "all" / "config_infer_int8_cache.txt").read_text()
    assert text.count("int8-calib-file=") == len(FOREIGN_BUILDS)
    write_deepstream(bundle, tmp_path / "one", "10.9.0")
    (own,) = (tmp_path / "one").glob("*.trtcache")
    assert own.read_text().startswith("TRT-100900-EntropyCalibration2\n")
    with pytest.raises(UsageError, match="Q/DQ"):
        write_deepstream(bundle, tmp_path / "none", "11.4.0")
    assert not (tmp_path / "none").exists()


def test_boxes_are_decoded_in_float32(tmp_path: Path) -> None:
    write_deepstream(write_placeholder_bundle(tmp_path / "b"), tmp_path / "ds")
    pinned = settings(tmp_path / "ds" / "config_infer_fp16.txt")["layer-device-precision"]
    assert pinned == "/tail/Exp:fp32:gpu;/tail/Reshape:fp32:gpu"


def with_limits(**changes: object) -> ModelSpec:
    thresholds = msgspec.structs.replace(SPEC.thresholds, **changes)
    return msgspec.structs.replace(SPEC, thresholds=thresholds)


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The shipped source, compiled."""
    return compiled(tmp_path_factory.mktemp("parser"), SPEC)


def compiled(folder: Path, spec: ModelSpec) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    write_deepstream(write_placeholder_bundle(folder / "b", spec), folder / "ds")
    shutil.copy(HEADERS, folder / "nvdsinfer_custom_impl.h")
    library = folder / "parser.so"
    subprocess.run(
        [compiler, *FLAGS, "-I", folder, folder / "ds" / PARSER, CALLER, "-o", library],
        check=True,
    )
    return ctypes.CDLL(str(library))


def parse(
    library: ctypes.CDLL, output: np.ndarray, classes: int, conf: float, rows: bool = False
) -> np.ndarray:
    """(N, 6) x1 y1 x2 y2 score class in network pixels; with `rows` an anchor is a row."""
    data = np.ascontiguousarray(output, np.float32)
    found = np.zeros((max(data.shape), 6), np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    count = library.call_parser(
        rows, data.ctypes.data_as(pointer), data.shape[0], data.shape[1], classes,
        ctypes.c_float(conf), 96, 64, found.ctypes.data_as(pointer),
    )  # fmt: skip
    assert count >= 0, "the parser refused the output"
    return found[:count]


@pytest.mark.parametrize("seed", range(3))
def test_the_parser_finds_what_our_decoder_finds(parser: ctypes.CDLL, seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = SPEC.head.anchors((64, 96))
    boxes = rng.uniform((0, 0, 1, 1), (96, 64, 80, 60), (anchors, 4)).T
    output = np.concatenate([boxes, rng.uniform(0, 0.5, (3, anchors))]).astype(np.float32)
    wanted = decode_dfl(output, SPEC, (64, 96), 0.25, False)
    found = parse(parser, output, 3, 0.25)
    limits = np.array([96, 64, 96, 64], np.float32)
    np.testing.assert_allclose(found[:, :4], np.clip(wanted.xyxy, 0, limits), atol=1e-4)
    np.testing.assert_array_equal(found[:, 4], wanted.score)
    np.testing.assert_array_equal(found[:, 5], wanted.class_id)


@pytest.mark.parametrize(("iou", "max_det"), [(0.7, 300), (0.3, 300), (0.0, 300), (0.5, 7)])
def test_nms_over_all_classes_is_the_parsers(tmp_path: Path, iou: float, max_det: int) -> None:
    spec = with_limits(agnostic=True, iou=iou, max_det=max_det)
    library = compiled(tmp_path, spec)
    assert settings(tmp_path / "ds" / "config_infer_fp16.txt")["cluster-mode"] == "4"
    anchors = SPEC.head.anchors((64, 96))
    rng = np.random.default_rng(5)
    boxes = rng.uniform((20, 20, 1, 1), (70, 40, 40, 40), (anchors, 4)).T
    output = np.concatenate([boxes, rng.uniform(0, 0.5, (3, anchors))]).astype(np.float32)
    wanted = decode_dfl(output, SPEC, (64, 96), 0.25, False)
    limits = np.array([96, 64, 96, 64], np.float32)
    clipped = np.clip(wanted.xyxy, 0, limits)
    kept = nms(clipped, wanted.score, wanted.class_id, iou, max_det, agnostic=True)
    by_class = nms(clipped, wanted.score, wanted.class_id, iou, max_det)
    found = parse(library, output, 3, 0.25)
    np.testing.assert_allclose(found[:, :4], clipped[kept], atol=1e-4)
    np.testing.assert_array_equal(found[:, 5], wanted.class_id[kept])
    assert len(kept) == max_det or len(by_class) > len(kept) > 1


def test_nms_by_class_is_nvinfers(tmp_path: Path) -> None:
    write_deepstream(write_placeholder_bundle(tmp_path / "b"), tmp_path / "ds")
    assert settings(tmp_path / "ds" / "config_infer_fp16.txt")["cluster-mode"] == "2"
    assert not (tmp_path / "ds" / PARSER).read_bytes().startswith(b"#define")


@pytest.mark.parametrize("seed", range(3))
def test_the_parser_takes_the_product_of_objectness_and_class(
    parser: ctypes.CDLL, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform((0, 0, 1, 1), (96, 64, 80, 60), (ANCHORS.head.anchors((64, 96)), 4))
    output = np.concatenate([boxes, rng.uniform(0, 0.8, (len(boxes), 4))], 1).astype(np.float32)
    wanted = decode_anchors(output, ANCHORS, (64, 96), 0.25, False)
    found = parse(parser, output, 3, 0.25, rows=True)
    assert len(found) == len(wanted.score) > 50
    limits = np.array([96, 64, 96, 64], np.float32)
    np.testing.assert_allclose(found[:, :4], np.clip(wanted.xyxy, 0, limits), atol=1e-4)
    np.testing.assert_array_equal(found[:, 4], wanted.score)
    np.testing.assert_array_equal(found[:, 5], wanted.class_id)


def test_anchors_have_a_function_of_their_own(tmp_path: Path) -> None:
    write_deepstream(write_placeholder_bundle(tmp_path / "b", ANCHORS), tmp_path / "ds")
    own = settings(tmp_path / "ds" / "config_infer_fp32.txt")
    assert own["parse-bbox-func-name"] == "NvDsInferParseGhostDeployAnchors"
    assert "parse-bbox-func-name=NvDsInferParseGhostDeployAnchors" not in [
        *deepstream_lines(tmp_path, SPEC)
    ]


def deepstream_lines(tmp_path: Path, spec: ModelSpec) -> list[str]:
    write_deepstream(write_placeholder_bundle(tmp_path / "b2", spec), tmp_path / "ds2")
    return (tmp_path / "ds2" / "config_infer_fp32.txt").read_text().splitlines()


@pytest.mark.parametrize(("rows", "shape"), [(False, (8, 10)), (True, (10, 9)), (True, (8, 10))])
def test_the_parser_refuses_another_layout(
    parser: ctypes.CDLL, rows: bool, shape: tuple[int, int]
) -> None:
    data = np.zeros(shape, np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    count = parser.call_parser(
        rows, data.ctypes.data_as(pointer), *shape, 3, ctypes.c_float(0.25), 96, 64,
        data.ctypes.data_as(pointer),
    )  # fmt: skip
    assert count == -1
