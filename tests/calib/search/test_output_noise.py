from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.parameters import set_parameters
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.search.output_noise import OutputNoise, head_tensors
from ghost_deploy.core.errors import InputError
from tests.support.small_graphs import bias_of, ghost_net, random_inputs, run


@pytest.mark.parametrize(("tensors", "count"), [((), 1), (("last:out",), 0)])
def test_nothing_to_compare(tensors: tuple[str, ...], count: int) -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        OutputNoise(ghost_net(), tensors, random_inputs(count))


def test_the_float_model_has_no_noise(tmp_path: Path) -> None:
    onnx.save(ghost_net(), tmp_path / "float.onnx")
    assert OutputNoise(ghost_net(), ("last:out",), random_inputs(2))(tmp_path / "float.onnx") == 0


def test_the_largest_ratio_counts_in_per_cent(tmp_path: Path) -> None:
    model, feeds = ghost_net(), random_inputs(2)
    moved = set_parameters(model, {}, {"last": bias_of(model, "last") + np.float32(0.5)})
    onnx.save(moved, tmp_path / "moved.onnx")
    judge = OutputNoise(model, ("dense:out", "last:out"), feeds)
    power = np.mean([np.square(run(model, x, ["last:out"])[0]).mean() for x in feeds])
    expected = 100 * 0.25 / float(power)
    assert judge(tmp_path / "moved.onnx") == pytest.approx(expected, rel=1e-3)
    assert judge.ratios(moved)["dense:out"] == 0
    assert pickle.loads(pickle.dumps(judge))(tmp_path / "moved.onnx") == pytest.approx(expected)


def test_the_tensors_of_a_head_are_its_logits() -> None:
    assert head_tensors(find_structure(index_float(ghost_net()))) == ("last:out",)
