from __future__ import annotations

from collections import Counter

import pytest

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import Structure, find_structure
from tests.support.small_graphs import Net, ghost_net
from tests.support.zoo_networks import zoo_graph


def structure_of(name: str, decoder: str = "dfl") -> Structure:
    return find_structure(index_float(zoo_graph(name, decoder)))


def test_the_parts_of_a_small_ghost_network() -> None:
    found = find_structure(index_float(ghost_net()))
    kinds = {name: conv.kind for name, conv in found.convs.items()}
    assert kinds == {
        "first": "first",
        "one.primary": "pointwise",
        "one.cheap": "depthwise",
        "two.primary": "pointwise",
        "two.cheap": "depthwise",
        "dense": "dense",
        "last": "pointwise",
    }
    assert found.convs["dense"].activation == "silu"
    assert found.convs["dense"].activated == "dense.mul:out"
    assert found.convs["two.primary"].activation == ""
    assert found.head == {"last", "scores", "identity"}
    assert found.residual_adds == {"residual"}
    assert found.attention == found.gates == frozenset()
    two = found.concats["two.concat"]
    assert (two.ghost, two.primary, two.cheap) == (True, "two.primary:out", "two.cheap:out")


def test_names_play_no_part() -> None:
    model = ghost_net()
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"
    found = find_structure(index_float(model))
    assert sum(concat.ghost for concat in found.concats.values()) == 2
    assert len(found.head) == 3


def test_two_convolutions_that_are_joined_are_no_ghost_module() -> None:
    net = Net()
    x = net.conv("images", 8, "first")
    joined = net.concat([net.conv(x, 8, "a"), net.conv(x, 8, "b", kernel=3, group=8)], "join")
    found = find_structure(index_float(net.model(net.conv(joined, 4, "last"))))
    assert not found.concats["join"].ghost


def test_a_relu_is_found_only_where_it_alone_reads() -> None:
    net = Net()
    y = net.conv("images", 8, "first")
    relu = net.node("Relu", [y], "relu", 8)
    alone = net.conv(relu, 8, "second")
    relu2 = net.node("Relu", [alone], "relu2", 8)
    found = find_structure(index_float(net.model(net.conv(net.add(relu2, y, "add"), 4, "last"))))
    assert found.convs["first"].activation == ""
    assert found.convs["second"].activation == "relu"


@pytest.mark.parametrize(
    ("name", "decoder", "ghosts", "attention", "gated"),
    [
        ("yolov10n-ghost", "one2one", 20, 13, 0),
        ("yolo11n-ghostnetv2", "dfl", 32, 13, 21),
    ],
)
def test_the_regions_of_exported_networks(
    name: str, decoder: str, ghosts: int, attention: int, gated: int
) -> None:
    found = structure_of(name, decoder)
    graph = found.graph
    assert sum(concat.ghost for concat in found.concats.values()) == ghosts
    assert len(found.attention) == attention
    assert sum(graph.node[node].op_type == "Mul" for node in found.gates) == gated
    last = Counter(conv.kind for conv in found.convs.values() if conv.name in found.head)
    assert last == {"pointwise": 6}
    assert not found.head & found.attention | found.head & found.gates
    assert [conv.kind for conv in found.convs.values()].count("first") == 1
    # Nothing before the head depends on it, and it makes every output.
    for node in graph.nodes:
        if node.name in found.head and node.op_type != "Conv":
            makers = {graph.producer[x].name for x in node.input if x in graph.producer}
            assert makers <= found.head
    assert {graph.producer[name].name for name in graph.outputs} <= found.head


def test_all_of_a_gate_is_in_it_and_nothing_of_the_trunk() -> None:
    found = structure_of("yolo11n-ghostnetv2")
    kinds = Counter(found.graph.node[name].op_type for name in found.gates)
    # Per DFC gate a pool, three convolutions, a sigmoid, an upsampling and the product; per
    # squeeze-and-excitation gate a pool, two convolutions with a ReLU, a sigmoid and the product.
    assert kinds == {
        "AveragePool": 14, "Conv": 3 * 14 + 2 * 7, "Sigmoid": 14, "Resize": 14, "Mul": 21,
        "GlobalAveragePool": 7, "Relu": 7, "HardSigmoid": 7,
    }  # fmt: skip
