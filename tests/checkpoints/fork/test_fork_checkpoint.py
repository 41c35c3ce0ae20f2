"""Checkpoints that only a fork's own code can build: layouts, imports, absent packages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints.fork.fork_checkpoint import open_fork_checkpoint
from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder
from ghost_deploy.core.errors import (
    CheckpointError,
    StructureError,
    UnsafeCheckpointError,
    UsageError,
)
from ghost_deploy.core.spec import HeadSpec
from tests.support.fork_folders import (
    FILES,
    NAMES,
    SIDE,
    V5_FILES,
    V5_MAKE,
    needs_confinement,
    pickle_checkpoint,
    write_fork,
)

pytestmark = needs_confinement

_BLOCK = "ultralytics/nn/modules/block.py"


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda folder: folder / "missing", "there is no"),
        (lambda folder: folder, "holds no Python file"),
        (lambda folder: _text(folder / "a.txt"), "is no Python file"),
    ],
)
def test_a_folder_without_code_is_refused(made: object, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        open_fork_folder(made(tmp_path))  # type: ignore[operator]


def _text(path: Path) -> Path:
    path.write_text("no code")
    return path


@pytest.mark.parametrize("given", ["", "ultralytics", _BLOCK])
def test_a_checkpoint_opens_with_the_code_of_its_fork(
    given: str, fork_folder: Path, fork_checkpoint: Path
) -> None:
    """The checkout, the package in it, or a file of the package, which imports relatively."""
    with open_fork_checkpoint(fork_checkpoint, open_fork_folder(fork_folder / given)) as opened:
        spec = opened.spec
        image = torch.rand(2, 3, SIDE, SIDE)
        output, exact = opened.net(image), opened.net(image.double())
    assert (spec.class_names, spec.input.size_hw) == (NAMES, (SIDE, SIDE))
    assert (spec.head.decoder, spec.head.strides) == ("dfl", (8, 16))
    assert (spec.trained_with, output.dtype, exact.dtype) == (
        "ultralytics 8.3.0",
        torch.float32,
        torch.float64,
    )
    assert output.shape == (2, *spec.output_shape()[1:])
    assert 0 < float((output - exact).abs().max()) < 1e-3
    assert opened.code.confined
    assert _inside(_BLOCK, given) in opened.code.files
    assert opened.code.versions["ultralytics"] == "8.3.0"


def _inside(file: str, given: str) -> str:
    return file if not given else file.removeprefix("ultralytics/")


PACKAGES = """
import absent_timm.layers as layers
from absent_timm.layers import DropPath, register
from absent_einops import rearrange
import absent_mmcv

@register
def helper(x: "DropPath | None") -> DropPath:
    return x

class Other(absent_mmcv.Module):
    pass

try:
    import absent_guarded
except ImportError:
    GUARDED = True
assert GUARDED and absent_mmcv.use(1) is not None
"""


def test_packages_that_are_imported_and_not_used_may_be_absent(
    fork_checkpoint: Path, tmp_path: Path
) -> None:
    folder = write_fork(tmp_path / "fork", block=PACKAGES)
    with open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder)) as opened:
        assert opened.code.absent == ("absent_einops", "absent_mmcv", "absent_timm")


def test_a_package_that_the_network_uses_is_named(fork_checkpoint: Path, tmp_path: Path) -> None:
    block = FILES[_BLOCK].replace("torch.tanh(self", "absent_timm.gate(self")
    files = {**FILES, _BLOCK: f"import absent_timm\n{block}"}
    folder = write_fork(tmp_path / "fork", files)
    with pytest.raises(CheckpointError, match="pip install absent_timm"):
        open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder))


def test_a_class_that_is_nowhere_is_named(fork_checkpoint: Path, tmp_path: Path) -> None:
    files = {name: text.replace("Whisper", "Renamed") for name, text in FILES.items()}
    folder = write_fork(tmp_path / "fork", files)
    with pytest.raises(CheckpointError, match=r"ultralytics\.nn\.modules\.block\.Whisper"):
        open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder))


def test_a_class_that_moved_is_found_in_a_plain_file(fork_checkpoint: Path, tmp_path: Path) -> None:
    files = {name: text.replace("Whisper", "Renamed") for name, text in FILES.items()}
    plain = FILES[_BLOCK].replace("from .conv", "from ultralytics.nn.modules.conv")
    folder = write_fork(tmp_path / "fork", {**files, "my_blocks.py": plain})
    with open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder)) as opened:
        assert "my_blocks.py" in opened.code.files


def test_an_error_of_the_forks_code_names_its_line(fork_checkpoint: Path, tmp_path: Path) -> None:
    folder = write_fork(tmp_path / "fork", block="\nraise KeyError('broken here')\n")
    with pytest.raises(CheckpointError, match=r"KeyError: 'broken here' \(.*block\.py, line \d+"):
        open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder))


def test_an_output_that_does_not_fit_the_class_names_is_refused(
    fork_checkpoint: Path, tmp_path: Path
) -> None:
    head = FILES["ultralytics/nn/modules/head.py"].replace(
        "return y if", "y = y[:, :5]; return y if"
    )
    folder = write_fork(tmp_path / "fork", {**FILES, "ultralytics/nn/modules/head.py": head})
    with pytest.raises((CheckpointError, StructureError), match="of no known form"):
        open_fork_checkpoint(fork_checkpoint, open_fork_folder(folder))


def test_what_only_a_confined_process_may_unpickle(fork_folder: Path, tmp_path: Path) -> None:
    """A file that asks for a call: the walls hold it; without walls it is refused unread."""
    planted = tmp_path / "planted"
    hostile = tmp_path / "hostile.pt"
    torch.save({"model": _Call(planted)}, hostile)
    fork = open_fork_folder(fork_folder)
    with pytest.raises(CheckpointError):
        open_fork_checkpoint(hostile, fork)
    with pytest.raises((UnsafeCheckpointError, StructureError)):
        open_fork_checkpoint(hostile, fork, confined=False)
    assert not planted.exists()


class _Call:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.target), "w"))


@pytest.mark.skipif(
    "anchor_sizes" not in HeadSpec.__struct_fields__,
    reason="this version has no decoder of anchors",
)
def test_the_layout_and_the_head_of_yolov5(tmp_path: Path) -> None:
    folder = write_fork(tmp_path / "fork", V5_FILES)
    checkpoint = pickle_checkpoint(folder, tmp_path / "v5.pt", V5_MAKE)
    with open_fork_checkpoint(checkpoint, open_fork_folder(folder)) as opened:
        spec = opened.spec
        output = opened.net(torch.rand(1, 3, SIDE, SIDE))
    assert (spec.head.decoder, spec.class_names, spec.input.size_hw[0]) == ("anchors", NAMES, SIDE)
    assert output.shape == (1, 3 * (8 * 8 + 4 * 4), 5 + len(NAMES)) == spec.output_shape()
    assert spec.thresholds.iou == 0.45
    assert {"models/yolo.py", "utils/general.py"} <= set(opened.code.files)
