from __future__ import annotations

from dataclasses import replace

import pytest

from ghost_deploy.calib.forms import FORMS, int8_form
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import Structure, find_structure
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.quantize.placement import Placement
from ghost_deploy.core.errors import UsageError
from tests.support.int8_forms import place
from tests.support.small_graphs import Net, ghost_net
from tests.support.zoo_networks import zoo_graph

ALL_INT8 = PlacementOptions()
FORMS_THAT_MOVE_INT8 = [name for name, row in FORMS.items() if not row.convention.convolutions_only]


@pytest.fixture(scope="module")
def small() -> Structure:
    return find_structure(index_float(ghost_net()))


def behind(net: Net, x: str) -> str:
    """Two more convolutions, of which the last one is the head."""
    return net.conv(net.conv(x, 8, "next"), 4, "last")


def changed(placement: Placement) -> set[str]:
    return {name for names in placement.reads.values() for name in names}


def test_an_unknown_form_is_refused(small: Structure) -> None:
    with pytest.raises(UsageError, match="tflite"):
        place(small, "tflite")  # type: ignore[arg-type]


def test_an_unknown_node_is_refused(small: Structure) -> None:
    with pytest.raises(UsageError, match="no-such"):
        place(small, "tensorrt", PlacementOptions(float_nodes=frozenset({"no-such"})))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [None, ALL_INT8, NAIVE])
def test_every_node_is_int8_or_has_a_reason(
    small: Structure, form: str, options: PlacementOptions | None
) -> None:
    found = place(small, form, options)
    names = [node.name for node in small.graph.nodes]
    assert sorted((*found.int8_nodes, *found.float_nodes)) == sorted(names)
    assert all(found.float_nodes.values())
    assert set(found.weights) <= set(found.int8_nodes)
    assert changed(found) <= set(names)
    assert found.reads.keys() <= found.groups.keys()


@pytest.mark.parametrize("form", FORMS)
def test_the_head_stays_float_and_is_no_output_of_a_rounding(small: Structure, form: str) -> None:
    found = place(small, form)
    assert {"last", "scores"} <= found.float_nodes.keys()
    assert "behind it" in found.float_nodes["scores"]
    assert not {"last:out", "scores:out", "output0"} & found.reads.keys()


def test_inputs_of_convolutions_are_rounded_behind_the_activation(small: Structure) -> None:
    found = place(small, "tensorrt", ALL_INT8)
    assert found.reads["images"] == {"first"}
    assert found.reads["one.primary.mul:out"] == {"one.cheap"}
    assert found.reads["one.concat:out"] == {"two.primary"}
    assert "first:out" not in found.reads
    assert "dense.mul:out" not in found.reads, "only the head reads it"
    assert {"first.sigmoid", "first.mul"} <= found.float_nodes.keys()


def test_the_openvino_form_rounds_before_what_joins_and_only_once(small: Structure) -> None:
    found = place(small, "openvino", ALL_INT8)
    assert found.reads["one.primary.mul:out"] == {"one.cheap", "one.concat"}
    assert found.reads["one.cheap.mul:out"] == {"one.concat"}
    assert "one.concat:out" not in found.reads
    apart = place(small, "openvino", replace(ALL_INT8, ghost_concat="apart"))
    assert apart.reads["one.primary.mul:out"] == {"one.cheap"}
    assert apart.reads["one.concat:out"] == {"two.primary"}


def test_a_ghost_concatenation_has_one_scale_unless_it_is_apart(small: Structure) -> None:
    shared = place(small, "tensorrt", ALL_INT8)
    primary, joined = "one.primary.mul:out", "one.concat:out"
    assert shared.groups[primary] == shared.groups[joined] == shared.groups["one.cheap.mul:out"]
    assert shared.requantized == 0
    apart = place(small, "tensorrt", replace(ALL_INT8, ghost_concat="apart"))
    assert apart.groups[primary] != apart.groups[joined]
    assert apart.groups["one.cheap.mul:out"] == apart.groups[joined]
    assert apart.requantized == 2


def test_a_residual_sum_reads_the_other_branch_rounded() -> None:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    y = net.silu(net.conv(x, 8, "second", kernel=3), "second")
    joined = net.conv(net.add(y, x, "add"), 8, "third")
    structure = find_structure(index_float(net.model(net.conv(joined, 4, "last"))))
    found = place(structure, "tensorrt", ALL_INT8)
    assert found.reads["first.mul:out"] == {"second", "add"}
    assert "second.mul:out" not in found.reads


def test_where_convolutions_alone_are_int8_each_input_has_a_scale_of_its_own(
    small: Structure,
) -> None:
    found = place(small, "ncnn", ALL_INT8)
    assert set(found.int8_nodes) == set(found.weights)
    assert found.groups == {name: name for name in found.reads}
    inputs = {small.graph.node[name].input[0] for name in found.weights}
    assert found.reads.keys() == inputs


def test_a_scale_passes_through_what_only_moves() -> None:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4}
    once = net.node("MaxPool", [x], "pool", 8, **pool)
    joined = net.concat([x, once, net.node("MaxPool", [once], "pool2", 8, **pool)], "spp")
    outer = net.concat([joined, x], "outer")
    structure = find_structure(index_float(net.model(behind(net, outer))))
    for form in FORMS_THAT_MOVE_INT8:
        found = place(structure, form, ALL_INT8)
        assert found.requantized == 0
        groups = {found.groups[name] for name in (x, once, "pool2:out", joined, outer)}
        assert len(groups) == 1


def test_the_inputs_of_a_concatenation_share_a_scale_unless_they_are_apart() -> None:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    y = net.silu(net.conv(x, 8, "second", kernel=3), "second")
    joined = net.concat([x, y], "join")
    structure = find_structure(index_float(net.model(behind(net, joined))))
    shared = place(structure, "tensorrt", ALL_INT8)
    assert shared.groups[x] == shared.groups[y] == shared.groups[joined]
    apart = place(structure, "tensorrt", replace(ALL_INT8, concat="apart"))
    assert apart.groups[x] != apart.groups[y] == apart.groups[joined], "only x is read elsewhere"
    assert (shared.requantized, apart.requantized) == (0, 1)


@pytest.mark.parametrize("form", ["ort-x86", "ort-arm"])
def test_outputs_of_convolutions_are_rounded(small: Structure, form: str) -> None:
    found = place(small, form, ALL_INT8)
    assert found.reads["first:out"] == {"first.sigmoid", "first.mul"}
    assert found.reads["dense:out"] == {"dense.sigmoid", "dense.mul"}
    assert found.reads["one.primary.mul:out"] == {"one.cheap", "one.concat"}
    assert {"first.sigmoid", "first.mul", "residual"} <= set(found.int8_nodes)
    without = place(small, form, replace(ALL_INT8, first_conv="float"))
    assert "activation" in without.float_nodes["first.sigmoid"]


def test_float_convolutions_of_a_graph_that_rounds_outputs(small: Structure) -> None:
    options = replace(ALL_INT8, first_conv="float", depthwise="float")
    found = place(small, "ort-x86", options)
    assert found.float_nodes["first"] == "first convolution"
    assert found.float_nodes["one.cheap"] == "depthwise convolution"
    assert not {"images", "first:out", "one.cheap:out"} & found.reads.keys()
    assert "one.cheap" in found.reads["one.primary.mul:out"], "its maker is int8"
    assert set(found.weights) == {"one.primary", "two.primary", "dense"}


def test_a_relu_is_part_of_the_rounding_behind_it() -> None:
    net = Net()
    y = net.node("Relu", [net.conv("images", 8, "first")], "relu", 8)
    structure = find_structure(index_float(net.model(net.conv(net.conv(y, 8, "next"), 4, "last"))))
    found = place(structure, "ort-x86", ALL_INT8)
    assert "first:out" not in found.reads
    assert found.reads["relu:out"] == {"next"}
    assert "relu" in found.int8_nodes


def test_nodes_asked_for_by_name_stay_float(small: Structure) -> None:
    for form in FORMS:
        options = replace(ALL_INT8, float_nodes=frozenset({"dense", "one.concat"}))
        found = place(small, form, options)
        assert found.float_nodes["dense"] == "named in float_nodes"
        assert "dense" not in found.weights


def test_everything_is_rounded_in_the_naive_setting(small: Structure) -> None:
    for form, row in FORMS.items():
        found = place(small, form, NAIVE)
        convolutions = row.convention.convolutions_only
        assert {"last", *["scores"] * (not convolutions)} <= set(found.int8_nodes)
        assert "output0" not in found.reads
    assert not NAIVE.per_channel


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["yolov10n-ghost", "yolo11n-ghostnetv2"])
def test_attention_and_gates_of_exported_networks_stay_float(name: str, form: str) -> None:
    decoder = "one2one" if name.startswith("yolov10") else "dfl"
    structure = find_structure(index_float(zoo_graph(name, decoder)))
    found = place(structure, form)
    for kept, reason in ((structure.attention, "attention"), (structure.gates, "gate")):
        assert all(reason in found.float_nodes[node] for node in kept)
    kinds = {node.op_type for node in structure.graph.nodes if node.name in found.int8_nodes}
    assert not kinds & {"Softmax", "MatMul", "TopK", "GatherElements"}
    if int8_form(form).convention.rounds != "sources":
        for conv in found.weights:
            assert conv in found.reads[structure.convs[conv].input]


def test_each_form_has_defaults() -> None:
    for form in FORMS:
        assert int8_form(form).options.head == "float"
