from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy.calib.quantize.lint import RULES, lint, require_clean
from ghost_deploy.core.errors import ExportError


def graph() -> ModelProto:
    """A convolution of rounded values with weights rounded by channel, and a sigmoid behind it."""
    constants = {
        "x/scale": np.array(0.02, np.float32),
        "x/zero": np.array(0, np.int8),
        "w": np.linspace(-1, 1, 4 * 3, dtype=np.float32).reshape(4, 3, 1, 1),
        "w/scale": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        "w/zero": np.zeros(4, np.int8),
    }
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["images", "x/scale", "x/zero"], ["x/q"], name="x.Q"),
        make("DequantizeLinear", ["x/q", "x/scale", "x/zero"], ["x/dq"], name="x.DQ"),
        make("QuantizeLinear", ["w", "w/scale", "w/zero"], ["w/q"], name="w.Q", axis=0),
        make("DequantizeLinear", ["w/q", "w/scale", "w/zero"], ["w/dq"], name="w.DQ", axis=0),
        make("Conv", ["x/dq", "w/dq"], ["y"], name="conv"),
        make("Sigmoid", ["y"], ["output0"], name="sigmoid"),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "crafted",
        [value("images", TensorProto.FLOAT, [1, 3, 4, 4])],
        [value("output0", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])


def node(model: ModelProto, name: str) -> NodeProto:
    return next(each for each in model.graph.node if each.name == name)


def put(model: ModelProto, name: str, value: np.ndarray) -> None:
    """Replace a constant."""
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def newer_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 18


def unknown_operator(model: ModelProto) -> None:
    node(model, "sigmoid").op_type = "Mish"


def other_domain(model: ModelProto) -> None:
    node(model, "sigmoid").domain = "com.microsoft"


def two_inputs(model: ModelProto) -> None:
    del node(model, "x.Q").input[2]


def an_empty_input(model: ModelProto) -> None:
    node(model, "x.DQ").input[2] = ""


def unsigned(model: ModelProto) -> None:
    put(model, "x/zero", np.array(0, np.uint8))


def asymmetric(model: ModelProto) -> None:
    put(model, "x/zero", np.array(3, np.int8))


def one_asymmetric_channel(model: ModelProto) -> None:
    put(model, "w/zero", np.array([0, 0, 1, 0], np.int8))


def a_computed_scale(model: ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Exp", ["x/scale"], ["x/computed"], name="exp"))
    for name in ("x.Q", "x.DQ"):
        node(model, name).input[1] = "x/computed"


def a_half_scale(model: ModelProto) -> None:
    put(model, "x/scale", np.array(0.02, np.float16))


def a_scale_of_zero(model: ModelProto) -> None:
    put(model, "w/scale", np.array([0.01, 0.0, 0.03, 0.04], np.float32))


def an_infinite_scale(model: ModelProto) -> None:
    put(model, "x/scale", np.array(np.inf, np.float32))


def channels_of_an_activation(model: ModelProto) -> None:
    put(model, "x/scale", np.full(3, 0.02, np.float32))
    put(model, "x/zero", np.zeros(3, np.int8))


def another_axis(model: ModelProto) -> None:
    for name in ("w.Q", "w.DQ"):
        node(model, name).attribute[0].i = 1


def an_axis_that_is_not_there(model: ModelProto) -> None:
    for name in ("w.Q", "w.DQ"):
        node(model, name).attribute[0].i = 4


def too_few_zero_points(model: ModelProto) -> None:
    put(model, "w/zero", np.array(0, np.int8))


def stored_weights(model: ModelProto) -> None:
    put(model, "w", np.zeros((4, 3, 1, 1), np.int8))
    node(model, "w.DQ").input[0] = "w"
    model.graph.node.remove(node(model, "w.Q"))


def half_weights(model: ModelProto) -> None:
    put(model, "w", np.zeros((4, 3, 1, 1), np.float16))


def a_q_alone(model: ModelProto) -> None:
    node(model, "conv").input[0] = "x/q"
    model.graph.node.remove(node(model, "x.DQ"))


def an_unread_q(model: ModelProto) -> None:
    node(model, "conv").input[0] = "images"
    model.graph.node.remove(node(model, "x.DQ"))


def a_dq_alone(model: ModelProto) -> None:
    node(model, "x.DQ").input[0] = "images"
    model.graph.node.remove(node(model, "x.Q"))


def another_scale_behind(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other"))
    node(model, "x.DQ").input[1] = "other"


def int8_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("x/q", TensorProto.INT8, [1, 3, 4, 4]))


def rounded_output(model: ModelProto) -> None:
    node(model, "sigmoid").output[0] = "scores"
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["scores", "x/scale", "x/zero"], ["s/q"], name="Q"),
            helper.make_node(
                "DequantizeLinear", ["s/q", "x/scale", "x/zero"], ["output0"], name="DQ"
            ),
        ]
    )


def an_output_of_rounded_values(model: ModelProto) -> None:
    last = node(model, "sigmoid")
    last.input[0] = "y/dq"
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["y", "x/scale", "x/zero"], ["y/q"], name="Q"),
            helper.make_node("DequantizeLinear", ["y/q", "x/scale", "x/zero"], ["y/dq"], name="DQ"),
        ]
    )


def an_output_that_is_read_by_a_q(model: ModelProto) -> None:
    node(model, "x.Q").input[0] = "output0"


BROKEN: list[tuple[str, Callable[[ModelProto], None]]] = [
    ("opset", newer_opset),
    ("operators", unknown_operator),
    ("operators", other_domain),
    ("three-inputs", two_inputs),
    ("three-inputs", an_empty_input),
    ("zero-point", unsigned),
    ("zero-point", asymmetric),
    ("zero-point", one_asymmetric_channel),
    ("scale-constant", a_computed_scale),
    ("scale-type", a_half_scale),
    ("scale-positive", a_scale_of_zero),
    ("scale-positive", an_infinite_scale),
    ("per-channel", channels_of_an_activation),
    ("per-channel", another_axis),
    ("per-channel", an_axis_that_is_not_there),
    ("per-channel", too_few_zero_points),
    ("weights", stored_weights),
    ("weights", half_weights),
    ("pair", a_q_alone),
    ("pair", an_unread_q),
    ("pair", a_dq_alone),
    ("pair", another_scale_behind),
    ("pair", int8_output),
    ("mixed-output", rounded_output),
    ("mixed-output", an_output_of_rounded_values),
    ("mixed-output", an_output_that_is_read_by_a_q),
]


def test_an_empty_model_breaks_nothing() -> None:
    assert lint(ModelProto()) == []


def test_the_graph_that_the_others_are_made_from_is_clean() -> None:
    assert lint(graph()) == []
    require_clean(graph())


def test_every_rule_is_broken_by_a_crafted_graph() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(("rule", "damage"), BROKEN, ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_rule_is_found(rule: str, damage: Callable[[ModelProto], None]) -> None:
    model = graph()
    damage(model)
    findings = lint(model)
    assert rule in {finding.rule for finding in findings}
    assert all(str(finding).startswith(finding.rule) for finding in findings)
    with pytest.raises(ExportError, match="TensorRT would refuse"):
        require_clean(model)


def test_a_scale_from_a_constant_node_is_constant() -> None:
    model = graph()
    value = numpy_helper.from_array(np.array(0.02, np.float32))
    model.graph.node.insert(
        0, helper.make_node("Constant", [], ["x/constant"], name="constant", value=value)
    )
    for name in ("x.Q", "x.DQ"):
        node(model, name).input[1] = "x/constant"
    assert lint(model) == []


def test_the_strongly_typed_form_has_another_opset_and_may_have_half_scales() -> None:
    model = graph()
    assert [finding.rule for finding in lint(model, strongly_typed=True)] == ["opset"]
    model.opset_import[0].version = 19
    a_half_scale(model)
    assert lint(model, strongly_typed=True) == []
    assert {finding.rule for finding in lint(model)} == {"opset", "scale-type"}
