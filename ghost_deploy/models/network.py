"""The network: a sequence of layers with inputs from earlier ones, ending in a detection head."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.copy_module import copy_module
from ghost_deploy.models.dry_run import DryRun
from ghost_deploy.models.head import top_k
from ghost_deploy.models.head_base import Branch, Head
from ghost_deploy.models.readings import OpenChoice

MAX_FEATURE_ELEMENTS = 1 << 28
"""Maximum output of a layer at the size of the dry run, 1 GiB; detectors are far below."""

BACKBONE_PLACES = 5
"""Places of a whole backbone as first layer: forks pad its list of maps to this length."""

Maps: TypeAlias = "Tensor | list[Tensor]"
LayerCall: TypeAlias = Callable[[int, Maps], Maps]


@dataclass(frozen=True)
class LayerInput:
    """The input of a layer.

    Attributes:
        sources: places of earlier outputs; -1 is the image.
        many: whether the layer takes a list, even of one map.
    """

    sources: tuple[int, ...]
    many: bool


class DetectionNet(nn.Module):
    """A detector with the state_dict names of the original (`model.0.conv.weight`).

    The place of an output is the index of its layer. If the first layer is a whole backbone, which
    returns several maps, its last map has place 4, the map before it place 3 and so on; the
    following layers have the places from 5.

    Attributes:
        model: all layers; the last one is the head.
        layer_inputs: the input of each layer.
        branch: the branch of the head that `forward` uses.
        origins: the definition of each class path of the checkpoint.
        notes: remarks for the user, found while building.
        open_choices: kinds of modules whose parts fit several definitions, and the one in use.
    """

    def __init__(self, layers: Sequence[nn.Module], layer_inputs: Sequence[LayerInput]) -> None:
        super().__init__()
        head = layers[-1] if layers else None
        if not isinstance(head, Head):
            raise StructureError(
                "the network does not end in a detection head",
                got=type(head).__name__,
                expected="a Detect as the last layer",
                fix="Only detectors can be deployed",
            )
        self.model = nn.Sequential(*layers)
        self.layer_inputs = tuple(layer_inputs)
        self.branch: Branch = self.branches[0]
        self.origins: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self.open_choices: tuple[OpenChoice, ...] = ()

    @property
    def head(self) -> Head:
        """The detection head."""
        head = self.model[-1]
        assert isinstance(head, Head)
        return head

    @property
    def offset(self) -> int:
        """Difference between the place of an output and the index of its layer."""
        return BACKBONE_PLACES - 1 if getattr(self.model[0], "backbone", False) is True else 0

    @property
    def nc(self) -> int:
        """Number of classes."""
        return self.head.nc

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level of the head."""
        return self.head.strides

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Branches of the head, the default first."""
        found: list[Branch] = ["one2many"] if self.head.has_one2many else []
        return (*found, "one2one") if self.head.has_one2one else tuple(found)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the input maps of the head, one per level, (B, C, h, w) each.

        Args:
            x: images, float32 (B, 3, H, W), RGB, 0 to 1; H and W multiples of the largest stride.
        """
        layers = list(self.model)
        return self._run_layers(x, lambda index, value: layers[index](value))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the decoded output of `branch`.

        Args:
            x: images, see `features`.

        Returns:
            float32; one2many: as `HeadSpec` describes the head's decoder, e.g. (B, 4 + nc, A),
            centre x, centre y, width, height in letterboxed pixels and class probabilities;
            one2one: (B, K, 6), corners, score and class id, best first.
        """
        features = self.features(x)
        sizes = [(level.shape[-2], level.shape[-1]) for level in features]
        raw = self.head.raw(features, self.branch)
        if self.branch == "one2many":
            return self.head.decode(raw, sizes)
        return top_k(self.head.decode(raw, sizes, xyxy=True))

    def check(self, size_hw: tuple[int, int] = (256, 256)) -> None:
        """Run once on the meta device, and measure the strides.

        Args:
            size_hw: (height, width) of the image, pixels.

        Raises:
            StructureError: a layer does not match its inputs, a map is too large, or the strides
                differ from those recorded in the head.
        """
        dry = meta_copy(self)
        layers = list(dry.model)

        def call(index: int, value: Maps) -> Maps:
            what = f"layer {index} ({type(layers[index]).__name__})"
            most = BACKBONE_PLACES if index == 0 and self.offset else 1
            return _checked_call(what, layers[index], value, most)

        image = torch.empty((1, 3, *size_hw), device="meta")
        with DryRun():
            features = dry._run_layers(image, call)
        measured = _strides(features, size_hw)
        if not self.strides:
            self.head.stride = measured
        if measured != self.strides:
            raise StructureError(
                "the strides recorded in the head are not those of the network",
                got=self.strides,
                expected=measured,
                fix="The checkpoint contradicts itself: export it again from where it was trained",
            )
        what = f"layer {len(layers) - 1} (the head)"
        with DryRun():
            for branch in dry.branches:
                raw = functools.partial(dry.head.raw, branch=branch)
                _checked_call(what, raw, features)

    def _run_layers(self, x: Tensor, call: LayerCall) -> list[Tensor]:
        """Run all layers except the head; an output is kept until its last use."""
        last_use = {
            s: index for index, route in enumerate(self.layer_inputs) for s in route.sources
        }
        outputs: dict[int, Tensor] = {-1: x}
        for index, route in enumerate(self.layer_inputs[:-1]):
            inputs = self._inputs(index, outputs)
            for source in set(route.sources):
                if last_use[source] == index:
                    del outputs[source]
            value = call(index, inputs if route.many else inputs[0])
            maps = value if isinstance(value, list) else [value]
            for back, each in enumerate(reversed(maps)):
                outputs[index + self.offset - back] = each
        return self._inputs(len(self.layer_inputs) - 1, outputs)

    def _inputs(self, index: int, outputs: Mapping[int, Tensor]) -> list[Tensor]:
        sources = self.layer_inputs[index].sources
        if missing := [source for source in sources if source not in outputs]:
            raise StructureError(
                f"layer {index} takes an output that no layer gives",
                got=f"place {missing[0]}",
                expected=f"one of {sorted(outputs)}",
                fix="The checkpoint contradicts itself, or its backbone gives other maps",
            )
        return [outputs[source] for source in sources]


class WidthCheck(nn.Module):
    """Replaces a batch norm where only shapes matter.

    torch's batch norm on the meta device is Python code, two thirds of the time of a dry run.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.num_features:
            raise ValueError(f"batch norm of {self.num_features} channels got {x.shape[1]}")
        return x


def meta_copy(net: DetectionNet) -> DetectionNet:
    """Return a copy on the meta device, with a `WidthCheck` in place of each batch norm."""
    memo: dict[int, object] = {}
    for parameter in net.parameters():
        data = parameter.detach().to("meta")
        memo[id(parameter)] = nn.Parameter(data, requires_grad=False)
    for buffer in net.buffers():
        memo[id(buffer)] = buffer.to("meta")
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            memo[id(module)] = WidthCheck(module.num_features)
    return copy_module(net, memo)


def _checked_call(what: str, call: Callable[..., Maps], value: Maps, most: int = 1) -> Maps:
    """The output, which must be one tensor or, if `most` is above 1, a list of up to `most`."""
    try:
        output = call(value)
    # A layer with unsuitable shapes raises any exception of its torch operator.
    except Exception as error:
        inputs = value if isinstance(value, list) else [value]
        raise StructureError(
            f"{what} does not fit the layers before it",
            got=f"inputs {[tuple(x.shape) for x in inputs]}: {error}",
            fix="The checkpoint contradicts itself, or a module definition is not the original's",
        ) from error
    maps = list(output) if isinstance(output, list) and most > 1 else [output]
    if len(maps) > most or not all(isinstance(x, Tensor) and x.ndim in (3, 4) for x in maps):
        raise StructureError(
            f"{what} does not return one tensor" + (f" or a list of {most}" if most > 1 else ""),
            got=type(output).__name__,
            fix="Only layers with one output are supported, and backbones as the first layer",
        )
    for each in maps:
        if isinstance(each, Tensor) and each.numel() > MAX_FEATURE_ELEMENTS:
            raise StructureError(
                f"{what} returns a map that is too large",
                got=tuple(each.shape),
                expected=f"at most {MAX_FEATURE_ELEMENTS} elements",
                fix="This file is not a usable detector",
            )
    return output


def _strides(features: Sequence[Tensor], size_hw: tuple[int, int]) -> tuple[int, ...]:
    strides = []
    for level in features:
        height, width = level.shape[-2:]
        stride = size_hw[0] // height
        if (height * stride, width * stride) != size_hw:
            raise StructureError(
                "a feature map does not divide the image evenly",
                got=f"{height} x {width} cells for {size_hw[0]} x {size_hw[1]} pixels",
                fix="The checkpoint contradicts itself, or its strides are not supported",
            )
        strides.append(stride)
    return tuple(strides)
