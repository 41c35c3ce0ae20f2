"""Saved results, read back with the libraries that people read them with."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.stream.saved.crop_files import class_folders
from ghost_deploy.stream.saved.result_writer import ResultWriter, save_results
from ghost_deploy.stream.saved.save_forms import FORMS
from ghost_deploy.stream.saved.yolo_files import YoloFiles, data_yaml
from tests.support.assets import needs_assets, val_images
from tests.support.exports import shared_proved_bundle
from tests.support.image_files import jpeg_with_exif
from tests.support.images import noisy_image, write_image
from tests.support.stream_results import make_result

NAMES = ("cat", 'dög "b": #1', "a/b")
FOUND = Detections([[2, 4, 20, 30], [10.25, 8, 40, 44]], [0.9, 0.5], [1, 0], NAMES)
NOTHING = Detections.empty(NAMES)
ALL = "yolo,coco,labelme,csv,crops"


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def box_of(path: Path, line: int = 0) -> list[float]:
    return [float(word) for word in path.read_text().splitlines()[line].split()]


@pytest.mark.parametrize(
    ("sources", "allowed"),
    [
        ([], True),
        (["in/a.jpg", "in/b.jpg"], True),
        (["out/a.jpg"], True),
        (["out/images/a.jpg", "out/images/b.jpg"], True),  # onto themselves
        (["out/images/a.jpg", "in/a.jpg"], False),
        (["in/b.jpg", "out/images/a.jpg"], False),
        (["out/images/a.jpg", "out/images/A.png"], False),
        (["out/images/more/a.jpg"], False),
        (["out/crops/cat/a.jpg"], False),
        (["in/../out/images/a.jpg", "in/a.jpg"], False),
    ],
)
def test_no_input_is_replaced_before_it_is_read(
    sources: list[str], allowed: bool, tmp_path: Path
) -> None:
    writer = ResultWriter(tmp_path / "out", "yolo,crops", NAMES)
    paths = [tmp_path / source for source in sources]
    if allowed:
        writer.require_apart(paths)
    else:
        with pytest.raises(UsageError, match="is an input"):
            writer.require_apart(paths)
    writer.close()


@pytest.mark.parametrize("forms", ["", " , ", "voc", "yolo,voc", "yolo,yolo-conf"])
def test_forms_that_are_not_there(forms: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ResultWriter(tmp_path, forms)
    assert everything(tmp_path) == set()


def test_a_run_without_images_writes_nothing(tmp_path: Path) -> None:
    assert save_results([], tmp_path / "out", ALL) == 0
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("form", FORMS)
def test_results_of_another_run_are_not_replaced(form: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", noisy_image())
    for _ in range(2):  # a run may be repeated with `overwrite`
        with ResultWriter(tmp_path / "out", form, overwrite=True) as writer:
            writer.write(image, FOUND)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in everything(tmp_path / "out")}
    with pytest.raises(UsageError, match="has results of an earlier run"):
        ResultWriter(tmp_path / "out", form)
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in before}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        ResultWriter(tmp_path / "file" / "out", "csv")


def test_yolo_labels_are_a_data_set(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{n}.png", noisy_image((48, 64), n)) for n in (1, 2)]
    with ResultWriter(tmp_path / "out", "yolo") as writer:
        writer.write(paths[0], FOUND)
        writer.write(paths[1], NOTHING)
    assert (tmp_path / "out/labels/2.txt").read_text() == ""
    shutil.move(tmp_path / "out", tmp_path / "moved")
    data = open_dataset(tmp_path / "moved" / "data.yaml")
    assert data.class_names == NAMES
    assert [len(image.labels) for image in data.images] == [2, 0]
    boxes = data.images[0].boxes_px((48, 64))
    assert boxes == pytest.approx(FOUND.xyxy, abs=1e-4)
    assert data.images[0].labels.class_id.tolist() == [1, 0]
    assert (tmp_path / "moved/images/1.png").read_bytes() == paths[0].read_bytes()
    assert (tmp_path / "moved/classes.txt").read_text() == "".join(f"{n}\n" for n in NAMES)


def test_scores_are_a_sixth_column(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, "yolo-conf") as writer:
        writer.write(noisy_image((48, 64)), FOUND)
    assert box_of(tmp_path / "labels/frame-000000.txt") == pytest.approx(
        [1, 11 / 64, 17 / 48, 18 / 64, 26 / 48, 0.9], abs=1e-6
    )


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_sizes_are_those_of_the_upright_image(orientation: int, tmp_path: Path) -> None:
    """A camera's JPEG lies on its side in the file; labelling tools show it upright."""
    plain = cv2.imencode(".jpg", noisy_image((48, 64)))[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with_exif(plain, orientation))
    size_hw = (48, 64) if orientation == 1 else (64, 48)
    with ResultWriter(tmp_path / "out", ALL) as writer:
        writer.write(path, FOUND)
    assert box_of(tmp_path / "out/labels/a.txt")[1:3] == pytest.approx(
        [11 / size_hw[1], 17 / size_hw[0]], abs=1e-6
    )
    (image,) = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert (image["height"], image["width"]) == size_hw
    shown = json.loads((tmp_path / "out/images/a.json").read_text())
    assert (shown["imageHeight"], shown["imageWidth"]) == size_hw
    assert (tmp_path / "out/images/a.jpg").read_bytes() == path.read_bytes()


def test_pycocotools_loads_the_coco_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    with ResultWriter(tmp_path, "coco") as writer:
        writer.write(
            Frame(noisy_image((48, 64)), index=7, source="clip.mp4", position_s=0.3), FOUND
        )
        writer.write(noisy_image((40, 40)), NOTHING)
    data = coco.COCO(str(tmp_path / "coco.json"))
    assert [data.cats[i]["name"] for i in sorted(data.cats)] == list(NAMES)
    assert data.imgs[1] == {"id": 1, "file_name": "clip-000007.jpg", "width": 64, "height": 48}
    assert data.getAnnIds(imgIds=[2]) == []
    rows = data.loadAnns(data.getAnnIds(imgIds=[1]))
    assert [row["bbox"] for row in rows] == [[2, 4, 18, 26], [10.25, 8, 29.75, 36]]
    assert [row["category_id"] for row in rows] == [2, 1]
    results = data.loadRes(data.dataset["annotations"])
    assert [row["score"] for row in results.anns.values()] == pytest.approx([0.9, 0.5])
    assert len(open_dataset(tmp_path / "coco.json").images) == 2
    capsys.readouterr()


def test_the_table_has_a_row_for_each_detection(tmp_path: Path) -> None:
    tracked = Detections(FOUND.xyxy, FOUND.score, FOUND.class_id, NAMES, np.array([3, 0]))
    frame = Frame(noisy_image(), index=5, source='a,"b".mp4', position_s=0.25)
    with ResultWriter(tmp_path, "csv") as writer:
        writer.write(frame, tracked)
        writer.write(noisy_image(), NOTHING)
    with (tmp_path / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == [NAMES[1], NAMES[0]]
    first = rows[0]
    assert (first["source"], first["index"], first["position_s"]) == ('a,"b".mp4', "5", "0.25")
    assert [float(first[name]) for name in ("x1", "y1", "x2", "y2")] == [2, 4, 20, 30]
    assert [row["track_id"] for row in rows] == ["3", "0"]


@pytest.mark.parametrize("name", ["a\rb.jpg", "a\nb.jpg", "a\r\nb.jpg", "\r", 'a"\r"', "a b.jpg"])
def test_a_name_with_the_end_of_a_line_in_it(tmp_path: Path, name: str) -> None:
    with ResultWriter(tmp_path, "csv") as writer:
        writer.write(Frame(noisy_image(), source=name), FOUND)
    data = (tmp_path / "detections.csv").read_bytes()
    assert not data.endswith(b"\r\n")
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert [row["source"] for row in rows] == [name] * len(FOUND)


def test_labelme_finds_the_image_beside_its_file(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, "labelme") as writer:
        writer.write(noisy_image((48, 64)), FOUND)
    file = tmp_path / "images" / "frame-000000.json"
    document = json.loads(file.read_text())
    assert cv2.imread(str(file.parent / document["imagePath"])).shape == (48, 64, 3)
    assert [shape["label"] for shape in document["shapes"]] == [NAMES[1], NAMES[0]]
    assert document["shapes"][0]["points"] == [[2, 4], [20, 30]]
    assert {shape["shape_type"] for shape in document["shapes"]} == {"rectangle"}


def test_crops_are_the_pixels_of_the_boxes(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[4:30, 2:20] = (0, 0, 255)
    for color in ("bgr", "rgb"):
        frame = Frame(image if color == "bgr" else image[..., ::-1].copy(), color, source="")
        with ResultWriter(tmp_path / color, "crops") as writer:
            writer.write(frame, FOUND[:1])
        (path,) = (tmp_path / color / "crops").rglob("*.jpg")
        crop = cv2.imread(str(path))
        assert crop.shape == (26, 18, 3)
        assert np.abs(crop.astype(int) - (0, 0, 255)).max() < 8


def test_a_box_without_area_is_left_out(tmp_path: Path) -> None:
    flat = Detections([[5, 5, 5, 9], [64, 2, 64, 9]], [0.9, 0.8], [0, 0], NAMES)
    with ResultWriter(tmp_path, ALL) as writer:
        writer.write(noisy_image((48, 64)), flat)
    assert (tmp_path / "labels/frame-000000.txt").read_text() == ""
    assert json.loads((tmp_path / "coco.json").read_text())["annotations"] == []
    assert not (tmp_path / "crops").exists()


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("a", "A", "a"), {0: "a", 1: "A-1", 2: "a-2"}),
        (("..", "a/b", "a b"), {0: "source", 1: "a_b", 2: "a_b-2"}),
        (("dög", "x" * 300), {0: "dög", 1: "x" * 60}),
    ],
)
def test_folders_of_classes(names: tuple[str, ...], folders: dict[int, str]) -> None:
    assert class_folders(names) == folders


def test_images_of_one_name_stay_apart(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / n / "a.png", noisy_image(seed=ord(n))) for n in "xy"]
    paths.append(write_image(tmp_path / "x" / "A.jpg", noisy_image(seed=3)))
    with ResultWriter(tmp_path / "out", "yolo") as writer:
        for number, path in enumerate(paths):
            writer.write(path, FOUND[:number])
    copies = {"a.png": paths[0], "a-2.png": paths[1], "A-3.jpg": paths[2]}
    assert {p.name for p in (tmp_path / "out/images").iterdir()} == set(copies)
    for number, (name, path) in enumerate(copies.items()):
        assert (tmp_path / "out/images" / name).read_bytes() == path.read_bytes()
        label = tmp_path / "out/labels" / f"{Path(name).stem}.txt"
        assert len(label.read_text().splitlines()) == number


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_names_as_long_as_file_systems_take(letter: str, tmp_path: Path) -> None:
    """With a longer suffix, or a number behind it, they would be too long."""
    name = letter * (251 // len(letter.encode())) + ".jpg"
    paths = [write_image(tmp_path / n / name, noisy_image(seed=ord(n))) for n in "xy"]
    with ResultWriter(tmp_path / "out", ALL) as writer:
        for path in paths:
            writer.write(path, FOUND)
    copies = sorted((tmp_path / "out/images").glob("*.jpg"))
    assert [path.stem[:50] for path in copies] == [letter * 50] * 2
    assert len(everything(tmp_path / "out")) == 2 * (1 + 1 + 1 + len(FOUND)) + 4
    (named, _) = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert tmp_path / "out/images" / named["file_name"] in copies


NOT_ASCII = ("\U0001f600", "\x7f", "a\u2028b", "\ufeffb", '"\\', "\t", "", "null", "# c", "é\u0085")


def test_class_names_survive_yaml() -> None:
    """Every one is what it was: YAML does not join the surrogate pairs of JSON."""
    assert tuple(yaml.safe_load(data_yaml(NOT_ASCII))["names"].values()) == NOT_ASCII


def test_results_of_a_stream_are_saved_too(tmp_path: Path) -> None:
    results = [make_result("cam", index=n) for n in range(3)]
    assert save_results(iter(results), tmp_path, ["yolo", "csv"]) == 3
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        f"cam-00000{n}.txt" for n in range(3)
    ]


def test_an_error_leaves_no_table(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, ALL)
    writer.write(noisy_image(), FOUND)
    writer.__exit__(ValueError, ValueError(), None)
    assert not {"coco.json", "detections.csv"} & everything(tmp_path)
    assert "labels/frame-000000.txt" in everything(tmp_path)


def test_no_image_is_without_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken for one that shows nothing: the image is written last."""

    def full(self: object, saved: object) -> None:
        raise InputError("cannot write", fix="Free some space")

    monkeypatch.setattr(YoloFiles, "write", full)
    with pytest.raises(InputError), ResultWriter(tmp_path, "yolo") as writer:
        writer.write(noisy_image(), FOUND)
    assert not (tmp_path / "images").exists()


def test_a_killed_run_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "import os, signal, numpy as np\n"
        "from ghost_deploy import Detections, ResultWriter\n"
        f"writer = ResultWriter({str(tmp_path)!r}, {ALL!r}, ('cat',))\n"
        "for _ in range(3):\n"
        "    found = Detections([[1, 1, 9, 9]], [0.5], [0])\n"
        "    writer.write(np.zeros((40, 40, 3), np.uint8), found)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False)
    assert run.returncode == -signal.SIGKILL
    left = everything(tmp_path)
    assert not [name for name in left if "coco" in name or "csv" in name or name[0] == "."]
    assert len(open_dataset(tmp_path / "data.yaml").images) == 3


@needs_assets
def test_a_model_agrees_with_its_own_labels(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = shared_proved_bundle(tmp_path_factory)
    words = [str(path) for path in val_images()[:6]]
    options = ["-o", str(tmp_path / "out"), "--save", "yolo", "--save", "coco,csv"]
    assert main(["infer", str(bundle), *words, *options]) == 0
    for data in ("data.yaml", "coco.json"):
        report = gd.validate(
            bundle, tmp_path / "out" / data, runtimes=["openvino"], precisions=["fp32"], store=False
        )
        assert report.rows[0].accuracy
        assert report.rows[0].accuracy.map50_95 > 0.99
        assert report.rows[0].accuracy.images == 6
