from __future__ import annotations

import pytest
from onnx import ModelProto, helper

from ghost_deploy.calib.graph.index import index_float, index_qdq
from ghost_deploy.core.errors import InputError
from tests.support.small_graphs import SIZE, ghost_net


def test_an_empty_graph_is_refused() -> None:
    with pytest.raises(InputError, match="names"):
        index_float(ModelProto())


@pytest.mark.parametrize("name", ["", "dense"])
def test_nodes_that_cannot_be_told_apart_are_refused(name: str) -> None:
    model = ghost_net()
    model.graph.node[0].name = name
    with pytest.raises(InputError, match="names"):
        index_float(model)


def test_a_quantized_graph_is_refused_unless_it_is_asked_for() -> None:
    model = ghost_net()
    node = helper.make_node("DequantizeLinear", ["a", "b"], ["c"], name="dq")
    model.graph.node.append(node)
    with pytest.raises(InputError, match="already"):
        index_float(model)
    index_qdq(model)


def test_who_makes_and_who_reads_a_tensor() -> None:
    graph = index_float(ghost_net())
    assert graph.inputs == ("images",)
    assert graph.producer["one.concat:out"].name == "one.concat"
    readers = [node.name for node in graph.readers("one.primary.mul:out")]
    assert readers == ["one.cheap", "one.concat"]
    assert graph.readers("output0") == ()
    assert graph.bias(graph.node["last"]) is not None
    assert [node.name for node in graph.downstream("last:out")] == ["scores", "identity"]
    assert "dense" not in {node.name for node in graph.upstream("one.concat:out")}


def test_multiply_adds_are_counted() -> None:
    graph = index_float(ghost_net())
    assert graph.macs(graph.node["first"]) == 16 * 3 * 9 * SIZE * SIZE
    assert graph.macs(graph.node["one.cheap"]) == 8 * 25 * SIZE * SIZE
    assert graph.macs(graph.node["residual"]) == 0


def test_activations_are_all_float_tensors_in_order() -> None:
    graph = index_float(ghost_net())
    names = graph.activations()
    assert names[0] == "images"
    assert names[-1] == "output0"
    assert "first.weight" not in names
    assert len(names) == len(graph.nodes) + 1
