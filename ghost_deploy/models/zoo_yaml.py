"""New networks from the YAML files of the zoo, with the argument semantics of Ultralytics.

A file has `scales`, each [depth, width, max_channels], and `layers`: rows
`[from, repeats, module, arguments]`. `from` is -1 for the layer before, another index or a list.
The first argument of a module with output channels is their number before scaling; for a block with
members, the number of repeats is scaled by depth and passed as an argument. A layer that differs
between scales is a mapping of rows, each by the letters of its scales.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import torch
from torch import nn

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.lookup import near_name
from ghost_deploy.models.network import BACKBONE_PLACES, DetectionNet, LayerInput
from ghost_deploy.models.registry import BLOCKS

LayerRow: TypeAlias = Sequence[Any]

_ZOO = files("ghost_deploy.models") / "zoo"

_JOINTS = frozenset({"AnchorDetect", "Concat", "Detect", "Upsample"})
_BACKBONES = frozenset({"GhostNetV1", "GhostNetV2", "GhostNetV3"})
"""Whole backbones, allowed as first layer; their maps have the places up to 4."""


def zoo_names() -> tuple[str, ...]:
    """Return the names of all networks of the zoo, e.g. `yolov8n-ghost`, sorted."""
    names = []
    for file in _ZOO.iterdir():
        if file.name.endswith(".yaml"):
            version, rest = _split(file.name.removesuffix(".yaml"))
            names += [f"{version}{scale}{rest}" for scale in _read(file.name)["scales"]]
    return tuple(sorted(names))


def build_zoo(name: str, nc: int = 80, *, device: str = "cpu") -> DetectionNet:
    """Build an untrained network of the zoo, in eval mode, without gradients.

    Args:
        name: family and scale, e.g. `yolov8n-ghost-p2`.
        nc: number of classes.
        device: of the tensors; `meta` for a network without memory.

    Raises:
        UsageError: unknown name.
    """
    match = re.fullmatch(r"(yolo\w*?\d+)([a-z])(-[\w-]+)?", name)
    if name not in zoo_names() or match is None:
        raise _unknown_network(name)
    version, scale, rest = match.groups()
    document = _read(f"{version}{rest or ''}.yaml")
    rows = [_row(layer, scale) for layer in document["layers"]]
    net = parse(rows, document["scales"][scale], nc, device=device)
    net.check()
    return net.eval().requires_grad_(False)


def _unknown_network(name: str) -> UsageError:
    """The error for a name that the zoo does not have: families, and the name that was meant."""
    families: dict[str, str] = {}
    for file in _ZOO.iterdir():
        if file.name.endswith(".yaml"):
            version, rest = _split(file.name.removesuffix(".yaml"))
            families[f"{version}{rest}"] = f"{version}[{''.join(_read(file.name)['scales'])}]{rest}"
    meant = name.removesuffix(".yaml").removesuffix(".pt")
    without_size = re.sub(r"^(yolo\w*?\d+)[a-z](?=-|$)", r"\1", meant.casefold())
    known = zoo_names()
    if without_size in families and meant.casefold() not in known:
        fix = f"Name its size too, a letter in the brackets of {families[without_size]}"
    else:
        near = near_name(meant, known)
        fix = f"Did you mean {near}?" if near else "Name one of those, with one of the letters"
    return UsageError(
        f"no network named {name!r} in the zoo",
        expected=", ".join(sorted(families.values())),
        fix=fix,
    )


def parse(
    rows: Sequence[LayerRow], scale: tuple[float, float, int], nc: int, *, device: str = "cpu"
) -> DetectionNet:
    """Build the network of the given rows.

    Args:
        rows: [from, repeats, module, arguments] of each layer.
        scale: factor of repeats, factor of channels, and maximum of channels before scaling.
        nc: number of classes; the value of the argument `nc`.
        device: of the tensors.
    """
    layers: list[nn.Module] = []
    layer_inputs: list[LayerInput] = []
    widths: dict[int, int] = {-1: 3}
    offset = BACKBONE_PLACES - 1 if rows[0][2] in _BACKBONES else 0
    with torch.device(device):
        for source, repeats, module, arguments in rows:
            place = len(layers) + offset
            sources = source if isinstance(source, list) else [source]
            absolute = tuple(item + place if layers and item < 0 else item for item in sources)
            layer_inputs.append(LayerInput(absolute, isinstance(source, list)))
            if module in _BACKBONES:
                backbone: Any = BLOCKS[module][0](*arguments)
                layers.append(backbone)
                maps = backbone.width_list
                widths |= {place - back: width for back, width in enumerate(reversed(maps))}
                continue
            inputs = [widths[item] for item in absolute]
            values = [nc if value == "nc" else value for value in arguments]
            layer, widths[place] = _layer(module, inputs, repeats, values, scale)
            layers.append(layer)
    return DetectionNet(layers, layer_inputs)


def _row(layer: LayerRow | Mapping[str, LayerRow], scale: str) -> LayerRow:
    """The row of a layer for the given scale."""
    if not isinstance(layer, Mapping):
        return layer
    (row,) = (row for letters, row in layer.items() if scale in letters)
    return row


def _layer(
    module: str,
    inputs: list[int],
    repeats: int,
    arguments: list[Any],
    scale: tuple[float, float, int],
) -> tuple[nn.Module, int]:
    """A layer and its output width."""
    if module in _JOINTS:
        return _joint(module, inputs, arguments)
    depth, width, most = scale
    n = max(round(repeats * depth), 1) if repeats > 1 else repeats
    out = math.ceil(min(arguments[0], most) * width / 8) * 8
    values = [inputs[0], out, *arguments[1:]]
    block = BLOCKS[module][0]
    if _has_members(block):
        values.insert(2, n)
        return block(*values), out
    if n == 1:
        return block(*values), out
    # Repeats have equal arguments: the first must not change the width.
    return nn.Sequential(*(block(*values) for _ in range(n))), out


def _has_members(block: type[nn.Module]) -> bool:
    """Whether the third argument of a block is the number of its members."""
    return list(inspect.signature(block).parameters)[2:3] == ["n"]


def _joint(module: str, inputs: list[int], arguments: list[Any]) -> tuple[nn.Module, int]:
    """A layer without scaled channels, and its output width."""
    if module == "Upsample":
        factor, mode = arguments
        return nn.Upsample(None, factor, mode), inputs[0]
    block = BLOCKS[module][0]
    if module == "Concat":
        return block(*arguments), sum(inputs)
    return block(arguments[0], inputs, *arguments[1:]), 0


def _split(stem: str) -> tuple[str, str]:
    """Split `yolov8-ghost-p2` to (`yolov8`, `-ghost-p2`)."""
    version, dash, rest = stem.partition("-")
    return version, dash + rest


@cache
def _read(file: str) -> Mapping[str, Any]:
    """A file of the zoo; read once, and not to be changed. All of them take half a second."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError.for_extra("PyYAML", "export") from error
    text = (_ZOO / file).read_text(encoding="utf-8")
    document: Mapping[str, Any] = yaml.safe_load(text)
    return document
