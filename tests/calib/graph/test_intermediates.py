from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.graph.intermediates import Intermediates
from ghost_deploy.core.errors import BackendError, InputError
from ghost_deploy.export.onnx_index import live_nodes
from tests.support.small_graphs import ghost_net, random_inputs, run


def test_a_tensor_that_no_node_makes_is_refused() -> None:
    with pytest.raises(InputError, match="no such tensor") as caught:
        Intermediates(ghost_net(), ["dense:out", "nowhere"])
    assert caught.value.got == "nowhere"


def test_tensors_are_those_of_the_whole_model() -> None:
    model, (image,) = ghost_net(), random_inputs(1)
    names = ["one.concat:out", "dense.mul:out"]
    found = Intermediates(model, names, threads=1).of_batch(image)
    for name, expected in zip(names, run(model, image, names), strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_a_part_starts_at_what_is_known() -> None:
    model, (image,) = ghost_net(), random_inputs(1)
    before, after = run(model, image, ["one.concat:out", "dense:out"])
    with_image = Intermediates(model, ["dense:out"], known=["one.concat:out"], threads=1)
    assert set(with_image.inputs) == {"one.concat:out", "images"}  # the residual sum reads both
    values = {"one.concat:out": before, "images": image}
    np.testing.assert_allclose(with_image(values)["dense:out"], after, atol=1e-5)


def test_what_cannot_run_is_an_error_of_ours() -> None:
    part = Intermediates(ghost_net(), ["first:out"], threads=1)
    with pytest.raises(BackendError, match="cannot run"):
        part.of_batch(np.zeros((1, 5, 16, 16), np.float32))


def test_nodes_are_in_execution_order() -> None:
    nodes = live_nodes(ghost_net().graph.node, ["one.primary.mul:out"])
    names = [node.name for node in nodes]
    assert names == [
        "first", "first.sigmoid", "first.mul",
        "one.primary", "one.primary.sigmoid", "one.primary.mul",
    ]  # fmt: skip
