"""torch's own layers, built from the attributes in a checkpoint.

`TORCH_LAYERS` is the table: class, a check of each attribute that the constructor takes, and
defaults of attributes that old versions of torch did not write. All layers are built on the meta
device: their tensors have no memory until `build` loads the checkpoint's tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ghost_deploy.models.fields import (
    MAX_CHANNELS,
    Check,
    MisfitError,
    checked,
    either,
    flag,
    integer,
    none,
    number,
    one_of,
    pair,
)
from ghost_deploy.models.tree import ModuleNode

_CHANNELS = integer(1, MAX_CHANNELS)
_KERNEL = pair(integer(1, 63))
_STRIDE = pair(integer(1, 32))
_PADDING = pair(integer(0, 63))
_DILATION = pair(integer(1, 32))
_OUTPUT_SIZE = pair(either(integer(1, 64), none))
_SCALE = pair(number(1 / 32, 32))
_AXIS = integer(-4, 3)
_EPS = number(1e-12, 1.0)

# Attributes of all modules, or added by Ultralytics to the layers of a network.
BOOKKEEPING = frozenset({"training", "i", "f", "type", "np"})


@dataclass(frozen=True)
class TorchLayer:
    """How to build a torch layer.

    Attributes:
        kind: the torch class.
        fields: a check of each constructor argument; the attribute has the same name.
        defaults: values of attributes that may be missing in a checkpoint.
        derived: attributes that depend on the others or on torch.
        has_bias: whether the constructor takes `bias`; true if the parameter exists.
        on_meta: whether the constructor takes `device`.
    """

    kind: type[nn.Module]
    fields: Mapping[str, Check] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    derived: frozenset[str] = frozenset()
    has_bias: bool = False
    on_meta: bool = False

    @property
    def origin(self) -> str:
        """The original of this definition."""
        return f"torch {self.kind.__name__}"

    def assemble(self, node: ModuleNode, children: Mapping[str, nn.Module]) -> nn.Module:
        """Build the layer, with tensors on the meta device.

        Args:
            node: the attributes and tensor shapes.
            children: of a container, by name, already built.

        Raises:
            MisfitError: an attribute is missing or out of range, or a tensor has another name or
                shape.
        """
        if issubclass(self.kind, nn.Sequential | nn.ModuleList):
            if tensors := sorted({*node.parameters, *node.buffers}):
                raise MisfitError(f"a container has no tensors, got {tensors}")
            return self._container(children)
        if children:
            raise MisfitError(f"it has no children, got {sorted(children)}")
        arguments = {name: self._value(node, name) for name in self.fields}
        if self.has_bias:
            arguments["bias"] = "bias" in node.parameters
        if self.on_meta:
            arguments["device"] = "meta"
        try:
            layer = self.kind(**arguments)
        except (ValueError, RuntimeError) as error:
            raise MisfitError(f"torch refuses its attributes: {error}") from error
        _compare_tensors(layer, node)
        return layer

    def unknown(self, node: ModuleNode) -> set[str]:
        """Return the names of attributes that are not in this table."""
        return set(node.attributes) - set(self.fields) - self.derived - BOOKKEEPING

    def _value(self, node: ModuleNode, name: str) -> Any:
        if name not in node.attributes and name not in self.defaults:
            raise MisfitError(f"attribute {name!r} is missing")
        return checked(name, self.fields[name], node.attributes.get(name, self.defaults.get(name)))

    def _container(self, children: Mapping[str, nn.Module]) -> nn.Module:
        numbered = list(children) == [str(index) for index in range(len(children))]
        # Members of a Sequential may have names instead and run in the order of the file.
        named = self.kind is nn.Sequential and not any(name.isdigit() for name in children)
        if not numbered and not named:
            raise MisfitError(f"its members must be numbered from 0, got {list(children)}")
        if not issubclass(self.kind, nn.Sequential):
            return nn.ModuleList(children.values())
        try:
            return self.kind(OrderedDict(children))
        except KeyError as error:
            raise MisfitError(f"a member cannot have that name: {error}") from error


def _compare_tensors(layer: nn.Module, node: ModuleNode) -> None:
    """Require that the layer and the node have tensors of equal names and shapes."""
    wanted = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    found = {name: info.shape for name, info in {**node.parameters, **node.buffers}.items()}
    # A counter of training steps, unused in inference and missing in some checkpoints.
    wanted.pop("num_batches_tracked", None)
    found.pop("num_batches_tracked", None)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise MisfitError(
                f"tensor {name!r} has shape {found.get(name)}, its attributes say "
                f"{wanted.get(name)}"
            )


_CONV: dict[str, Check] = {
    "in_channels": _CHANNELS,
    "out_channels": _CHANNELS,
    "kernel_size": _KERNEL,
    "stride": _STRIDE,
    "padding": either(_PADDING, one_of("same", "valid")),
    "dilation": _DILATION,
    "groups": _CHANNELS,
    "padding_mode": one_of("zeros", "reflect", "replicate", "circular"),
}
_POOL: dict[str, Check] = {
    "kernel_size": _KERNEL,
    "stride": _STRIDE,
    "padding": _PADDING,
    "ceil_mode": flag,
}
_UPSAMPLE: dict[str, Check] = {
    "size": either(none, pair(integer(1, 4096))),
    "scale_factor": either(none, _SCALE),
    "mode": one_of("nearest", "bilinear", "bicubic", "nearest-exact"),
    "align_corners": either(none, flag),
    "recompute_scale_factor": either(none, flag),
}
_INPLACE: dict[str, Check] = {"inplace": flag}

_TABLE = (
    TorchLayer(
        nn.Conv2d,
        _CONV,
        derived=frozenset({"transposed", "output_padding"}),
        has_bias=True,
        on_meta=True,
    ),
    TorchLayer(
        nn.ConvTranspose2d,
        {**_CONV, "padding_mode": one_of("zeros"), "output_padding": _PADDING},
        derived=frozenset({"transposed"}),
        has_bias=True,
        on_meta=True,
    ),
    TorchLayer(
        nn.BatchNorm2d,
        {
            "num_features": _CHANNELS,
            "eps": _EPS,
            "momentum": either(none, number(0, 1)),
            "affine": flag,
            # Without running statistics the result depends on the other images of a batch.
            "track_running_stats": one_of(True),
        },
        on_meta=True,
    ),
    TorchLayer(
        nn.Linear,
        {"in_features": _CHANNELS, "out_features": _CHANNELS},
        has_bias=True,
        on_meta=True,
    ),
    TorchLayer(nn.SiLU, _INPLACE),
    TorchLayer(nn.ReLU, _INPLACE),
    TorchLayer(nn.ReLU6, _INPLACE, derived=frozenset({"min_val", "max_val"})),
    TorchLayer(nn.Hardswish, _INPLACE),
    TorchLayer(nn.Hardsigmoid, _INPLACE),
    TorchLayer(nn.Mish, _INPLACE),
    TorchLayer(nn.LeakyReLU, {"negative_slope": number(0, 10), "inplace": flag}),
    TorchLayer(nn.ELU, {"alpha": number(0, 10), "inplace": flag}),
    TorchLayer(nn.GELU, {"approximate": one_of("none", "tanh")}, defaults={"approximate": "none"}),
    TorchLayer(nn.Sigmoid),
    TorchLayer(nn.Tanh),
    TorchLayer(nn.Softmax, {"dim": _AXIS}),
    TorchLayer(nn.Identity),
    TorchLayer(nn.Dropout, {"p": number(0, 1), "inplace": flag}),
    TorchLayer(nn.Dropout2d, {"p": number(0, 1), "inplace": flag}),
    TorchLayer(nn.Flatten, {"start_dim": _AXIS, "end_dim": _AXIS}),
    TorchLayer(
        nn.MaxPool2d,
        {**_POOL, "dilation": _DILATION, "return_indices": one_of(False)},
        defaults={"dilation": 1, "return_indices": False, "ceil_mode": False},
    ),
    TorchLayer(
        nn.AvgPool2d,
        {
            **_POOL,
            "count_include_pad": flag,
            "divisor_override": either(none, integer(1, 1 << 16)),
        },
        defaults={"ceil_mode": False, "count_include_pad": True, "divisor_override": None},
    ),
    TorchLayer(nn.AdaptiveAvgPool2d, {"output_size": _OUTPUT_SIZE}),
    TorchLayer(
        nn.AdaptiveMaxPool2d, {"output_size": _OUTPUT_SIZE, "return_indices": one_of(False)}
    ),
    TorchLayer(
        nn.Upsample,
        _UPSAMPLE,
        defaults={"size": None, "align_corners": None, "recompute_scale_factor": None},
        derived=frozenset({"name"}),
    ),
    TorchLayer(nn.Sequential),
    TorchLayer(nn.ModuleList),
)

TORCH_LAYERS: Mapping[str, TorchLayer] = {leaf.kind.__name__: leaf for leaf in _TABLE}
"""By class name; applied only to classes of `torch.nn`."""
