"""The cut form of forks' networks computes what the forks recorded, as their whole graphs do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.api.common import load_checkpoint
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.cut_comparison import run_graph
from ghost_deploy.export.cut_graph import cut_graph
from ghost_deploy.export.ncnn import converted, write_ncnn
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.processing.plain_output import plain_output
from ghost_deploy.runtimes.table import open_file
from tests.support.assets import needs_assets, val_images
from tests.support.fork_files import FORKS, fork_reference

pytestmark = [pytest.mark.slow, needs_assets]

FILES = sorted(path.stem for path in FORKS.glob("*.pt"))
BOX_PX, SCORE, SEEN = 0.05, 1e-4, 0.05
"""Equal outputs: boxes where a score is above `SEEN`, and all scores."""


REFUSED = {"slimneck": r"Tensor\.slice, for which pnnx has no layer of NCNN"}
"""What NCNN cannot compute: every other channel."""


@cache
def whole_graph(name: str) -> tuple[ModelProto, ModelSpec]:
    """The fp32 graph of a fork at the size of its record, read as its statistics decide."""
    loaded = load_checkpoint(FORKS / f"{name}.pt", (), images=val_images()[:8])
    size_hw = fork_reference(name)["x"].shape[2:]
    spec = plan_spec(loaded.spec, size_hw=(int(size_hw[0]), int(size_hw[1])))
    return onnx_from_net(loaded.net, spec, "fp32"), spec


def image_of(name: str) -> NDArray[np.float32]:
    return fork_reference(name)["x"].astype(np.float32) / np.float32(255)


def deviations(found: NDArray[np.float32], name: str, spec: ModelSpec) -> tuple[float, float]:
    """Of a decoded output from the record: boxes in pixels, scores."""
    wanted = fork_reference(name)["out"][0]
    if spec.head.per_row:  # (A, 5 + classes)
        wanted, found = wanted.reshape(found.shape).T, found.T
    assert found.shape == wanted.shape
    seen = wanted[4:].max(axis=0) > SEEN
    assert seen.any()
    difference = np.abs(found - wanted)
    return float(difference[:4, seen].max()), float(difference[4:].max())


def check(found: NDArray[Any], name: str, spec: ModelSpec) -> None:
    box_px, score = deviations(found, name, spec)
    assert box_px < BOX_PX
    assert score < SCORE


@pytest.mark.parametrize("layout", ["logits", "rockchip"])
@pytest.mark.parametrize("name", FILES)
def test_the_maps_decode_to_what_the_fork_recorded(name: str, layout: Any) -> None:
    whole, spec = whole_graph(name)
    image = image_of(name)
    check(run_graph(whole, image)[spec.head.output][0], name, spec)
    cut = cut_graph(whole, spec, layout)
    check(plain_output(run_graph(cut.model, image), cut.spec, spec.input.size_hw), name, spec)


@pytest.mark.parametrize("name", FILES)
def test_ncnn_computes_what_the_fork_recorded(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    whole, spec = whole_graph(name)
    onnx.save(whole, tmp_path / "whole.onnx")
    if name in REFUSED:
        with pytest.raises(ExportError, match=REFUSED[name]):
            converted(tmp_path / "whole.onnx", spec, tmp_path)
        return
    cut, net = converted(tmp_path / "whole.onnx", spec, tmp_path)
    path, *_ = write_ncnn(net, tmp_path / "net", cut.spec)
    with open_file("ncnn", path) as runtime:
        maps = runtime.run({cut.spec.input.name: image_of(name)})
        check(plain_output(maps, cut.spec, spec.input.size_hw), name, spec)
