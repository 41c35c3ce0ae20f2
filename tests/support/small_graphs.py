"""Small float graphs with the parts of a Ghost network, and the statistics of any graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.ranges.histogram import TensorStatistics, merge
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.runtimes.ort_float16 import quantized_from_float32, truncates_float16

SIZE = 16


class Net:
    """Builds a graph node by node; every method returns the name of the tensor it made."""

    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[object] = []
        self.constants: list[TensorProto] = []
        self.channels = {"images": channels}

    def node(self, kind: str, inputs: Sequence[str], name: str, channels: int, **a: object) -> str:
        self.nodes.append(helper.make_node(kind, [*inputs], [f"{name}:out"], name=name, **a))
        self.channels[f"{name}:out"] = channels
        return f"{name}:out"

    def conv(self, x: str, out: int, name: str, *, kernel: int = 1, group: int = 1) -> str:
        shape = (out, self.channels[x] // group, kernel, kernel)
        scale = 1.5 / np.sqrt(np.prod(shape[1:]))
        self._constant(f"{name}.weight", self.random.normal(0, scale, shape))
        self._constant(f"{name}.bias", self.random.normal(0, 0.3, out))
        pads = [kernel // 2] * 4
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return self.node(
            "Conv", inputs, name, out, pads=pads, group=group, kernel_shape=[kernel] * 2
        )

    def silu(self, x: str, name: str) -> str:
        sigmoid = self.node("Sigmoid", [x], f"{name}.sigmoid", self.channels[x])
        return self.node("Mul", [x, sigmoid], f"{name}.mul", self.channels[x])

    def concat(self, inputs: Sequence[str], name: str) -> str:
        return self.node("Concat", inputs, name, sum(self.channels[x] for x in inputs), axis=1)

    def add(self, a: str, b: str, name: str) -> str:
        return self.node("Add", [a, b], name, self.channels[a])

    def ghost(self, x: str, out: int, name: str, *, act: bool = True) -> str:
        """A Ghost module: convolution, depthwise convolution of its result, both joined."""
        y = self.conv(x, out // 2, f"{name}.primary")
        y = self.silu(y, f"{name}.primary") if act else y
        z = self.conv(y, out // 2, f"{name}.cheap", kernel=5, group=out // 2)
        z = self.silu(z, f"{name}.cheap") if act else z
        return self.concat([y, z], f"{name}.concat")

    def model(self, output: str) -> ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["output0"], name="identity"))
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "small",
            [value("images", TensorProto.FLOAT, [1, self.channels["images"], SIZE, SIZE])],
            [value("output0", TensorProto.FLOAT, [1, None, SIZE, SIZE])],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _constant(self, name: str, value: NDArray[np.float64]) -> None:
        self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))


def ghost_net() -> ModelProto:
    """First convolution, two Ghost modules with a residual sum, a dense one, a head."""
    net = Net()
    x = net.silu(net.conv("images", 16, "first", kernel=3), "first")
    hidden = net.ghost(x, 16, "one")
    x = net.add(net.ghost(hidden, 16, "two", act=False), x, "residual")
    x = net.silu(net.conv(x, 16, "dense", kernel=3), "dense")
    return net.model(net.node("Sigmoid", [net.conv(x, 8, "last")], "scores", 8))


def random_inputs(count: int = 4, *, seed: int = 1) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [random.random((1, 3, SIZE, SIZE), np.float32) for _ in range(count)]


def run(
    model: ModelProto, image: NDArray[np.float32], names: Sequence[str] | None = None
) -> list[NDArray[np.float32]]:
    """Outputs of `model`, or the tensors `names`; it runs as it is, but for float16 that this ONNX
    Runtime does not round."""
    copy = ModelProto()
    copy.CopyFrom(quantized_from_float32(model) if truncates_float16(onnxruntime) else model)
    kept = {value.name for value in copy.graph.output}
    for name in names or ():
        if name not in kept:
            copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[NDArray[np.float32]] = session.run(
        list(names) if names else None, {copy.graph.input[0].name: image}
    )
    return found


def statistics_of(
    model: ModelProto, feeds: Sequence[NDArray[np.float32]]
) -> dict[str, TensorStatistics]:
    """Of every float tensor that depends on the input."""
    graph = index_float(model)
    names = [name for name in graph.activations() if name not in graph.inputs]
    found: dict[str, TensorStatistics] = {}
    for image in feeds:
        values = dict(zip(names, run(model, image, names), strict=True))
        values[graph.inputs[0]] = image
        for name, value in values.items():
            part = TensorStatistics.of(np.ascontiguousarray(value))
            found[name] = merge(found[name], part) if name in found else part
    return found


def weight_of(model: ModelProto, conv: str) -> NDArray[np.float32]:
    graph = OnnxIndex(model)
    return graph.weight(graph.node[conv])


def bias_of(model: ModelProto, conv: str) -> NDArray[np.float32]:
    """Zeros where the convolution has none."""
    graph = OnnxIndex(model)
    bias = graph.bias(graph.node[conv])
    return np.zeros(len(weight_of(model, conv)), np.float32) if bias is None else bias


def same_statistics(a: TensorStatistics, b: TensorStatistics) -> bool:
    mine, theirs = ((s.count, s.minimum, s.maximum, s.exponent, s.first) for s in (a, b))
    return mine == theirs and np.array_equal(a.counts, b.counts)
