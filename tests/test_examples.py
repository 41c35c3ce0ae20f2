"""`examples/ten_tasks.py` does what it says, in no more lines than the tools beside it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import ghost_deploy as gd
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.exports import shared_float_bundle

PATH = Path(__file__).resolve().parents[1] / "examples" / "ten_tasks.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ten_tasks", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()


@pytest.mark.parametrize("name", ["batch_daft", "batch_ray", "batch_spark"])
def test_the_jobs_of_other_engines_compile(name: str) -> None:
    """`make test-ray` runs the one of Ray."""
    source = PATH.with_name(f"{name}.py").read_text()
    assert "gd.BatchDetector" in source
    compile(source, name, "exec")


TASKS = [
    node
    for node in ast.parse(PATH.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name != "main"
]


def test_there_are_ten() -> None:
    assert len(TASKS) == 10


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_more_lines_than_with_the_other_tools(task: ast.FunctionDef) -> None:
    text = inspect.cleandoc(ast.get_docstring(task) or "")
    assert re.search(r"^With Ultralytics( and supervision)?:$", text, re.MULTILINE), text
    theirs = [line for line in text.splitlines() if line.startswith("    ")]
    ast.parse("def their():\n" + "\n".join(theirs))
    ours = (task.end_lineno or 0) - task.body[0].end_lineno  # behind the docstring
    assert 0 < ours <= len(theirs)


# On a real model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> gd.Bundle:
    shared = shared_float_bundle(GHOST, tmp_path_factory).bundle.path
    return gd.Bundle.read(shutil.copytree(shared, tmp_path_factory.mktemp("bundle") / "best"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four images."""
    root = tmp_path_factory.mktemp("data")
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        (root / kind / "val").mkdir(parents=True)
        for path in val_images()[:4]:
            source = BCCD / kind / "val" / f"{path.stem}.{suffix}"
            shutil.copy(source, root / kind / "val")
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(("RBC", "WBC", "Platelets")))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/val\nval: images/val\nnames:\n{names}")
    return root


@needs_assets
def test_the_tasks_on_images(
    bundle: gd.Bundle, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted(map(str, (folder / "images" / "val").iterdir()))
    with gd.load(bundle) as detector:
        alone = [detector(cv2.imread(path)) for path in images]
        EXAMPLE.print_objects(detector, images[0])
        printed = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in printed] == alone[0].names
        chosen = EXAMPLE.choose_settings(detector, images[0])
        want = alone[0][(alone[0].class_id == 1) & (alone[0].score > 0.5)]
        np.testing.assert_array_equal(chosen.score, want.score)
        EXAMPLE.draw_boxes(detector, images[0], str(tmp_path / "drawn.png"))
        drawn = cv2.imread(str(tmp_path / "drawn.png"))
        np.testing.assert_array_equal(drawn, alone[0].draw(images[0]))
        counts = EXAMPLE.count_in_folder(detector, str(folder / "images" / "val"))
        assert counts == Counter(name for found in alone for name in found.names)
        assert counts["RBC"] > 10
        large = EXAMPLE.select_large(detector, images[0])
        assert 0 < len(large) < len(alone[0])
        sides = large.xyxy[:, 2:] - large.xyxy[:, :2]
        assert (sides.prod(axis=1) > 5000).all()
        EXAMPLE.write_json(detector, images[0], tmp_path / "found.json")
        assert json.loads((tmp_path / "found.json").read_text()) == alone[0].to_dicts()
        assert EXAMPLE.infer_batch(detector, images) == [len(found) for found in alone]


@needs_assets
def test_the_task_on_a_video(bundle: gd.Bundle, tmp_path: Path) -> None:
    """One image that stays: as many objects as it has of a score that starts a track."""
    image = cv2.imread(str(val_images()[0]))
    path = tmp_path / "video.avi"
    size = image.shape[1], image.shape[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for _ in range(4):
        writer.write(image)
    writer.release()
    with gd.load(bundle) as detector:
        count = EXAMPLE.count_tracked(detector, str(path))
        assert abs(count - int((detector(image).score > 0.6).sum())) <= 1


@needs_assets
def test_accuracy(bundle: gd.Bundle, folder: Path) -> None:
    measured = EXAMPLE.measure_accuracy(bundle, str(folder / "data.yaml"))
    assert 0.4 < measured < 1
    assert gd.Bundle.read(bundle.path).evidence.accuracy is not None


@pytest.mark.slow
@needs_assets
def test_all_of_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    image = cv2.imread(str(val_images()[0]))
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25, image.shape[1::-1])
    for _ in range(3):
        writer.write(image)
    writer.release()
    images = str(folder / "images" / "val")
    EXAMPLE.main(str(GHOST), images, str(folder / "data.yaml"), "clip.avi")
    assert re.search(r"mAP50-95 0\.\d+", capsys.readouterr().out)
    assert {each.format for each in gd.Bundle.read("out/best").artifacts} == {"onnx", "openvino"}
