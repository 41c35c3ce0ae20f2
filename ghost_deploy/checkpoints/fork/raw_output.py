"""The raw output of a fork's network, and what the network says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

ONE2ONE_MOST_ROWS = 1000


class ForkError(Exception):
    """What is wrong with the fork or the checkpoint; `fix` is the next step for the user."""

    def __init__(self, what: str, fix: str = "") -> None:
        self.fix = fix
        super().__init__(what)


class RawOutput(nn.Module):
    """A network whose forward returns its raw output alone.

    The forms: `v8` is (B, 4 + classes, A), `v5` is (B, N, 5 + classes), `one2one` is (B, K, 6).

    Args:
        net: the network; what it returns may be nested in tuples, lists and dicts.
        classes: their number.
        anchors: number of anchor points at the size of the trial run.

    Attributes:
        form: of the output, after `find`.
    """

    def __init__(self, net: nn.Module, classes: int, anchors: int) -> None:
        super().__init__()
        self.net = net
        self._classes, self._anchors = classes, anchors
        self._place = 0
        self.form = ""

    def find(self, image: Tensor) -> Tensor:
        """Run on an image, (1, 3, H, W), and find the raw output among what the network returns.

        Heads that return something else outside an export are told that this is one.

        Raises:
            ForkError: nothing has a known form.
        """
        shapes: list[tuple[int, ...]] = []
        for export in (False, True):
            if export and not set_attributes(self.net, {"export": True}):
                break
            tensors = list(_tensors(self.net(image)))
            shapes = [tuple(tensor.shape) for tensor in tensors]
            for form in ("v8", "v5", "one2one"):
                for place, shape in enumerate(shapes):
                    if self._fits(form, shape):
                        self.form, self._place = form, place
                        return tensors[place]
        raise ForkError(
            f"the network's outputs are of no known form: {shapes[:8]!s:.200}",
            f"Known are (B, {4 + self._classes}, A), (B, N, {5 + self._classes}) and (B, K, 6)",
        )

    def forward(self, image: Tensor) -> Tensor:
        """The raw output of images (B, 3, H, W), RGB, 0 to 1."""
        for place, tensor in enumerate(_tensors(self.net(image))):
            if place == self._place:
                return tensor
        raise ForkError("the network returns less than on its first run")

    def _fits(self, form: str, shape: tuple[int, ...]) -> bool:
        if len(shape) != 3 or shape[0] != 1:
            return False
        if form == "v8":
            return shape[1] == 4 + self._classes and shape[2] == self._anchors
        if form == "v5":
            cells = self._anchors
            return shape[2] == 5 + self._classes and cells > 0 and shape[1] % cells == 0
        return shape[2] == 6 and shape[1] <= ONE2ONE_MOST_ROWS


def set_attributes(net: nn.Module, values: Mapping[str, Any]) -> int:
    """Set attributes of the modules that have them; returns how many were set."""
    found = [(m, k) for m in net.modules() for k in values if k in dir(m) and not _is_child(m, k)]
    for module, name in found:
        setattr(module, name, values[name])
    return len(found)


def _is_child(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), nn.Module | Tensor) or callable(
        getattr(module, name, None)
    )


def strides_of(net: nn.Module) -> tuple[int, ...]:
    """The strides that the network or its head records; empty if none is."""
    for module in (net, *reversed(list(net.modules()))):
        stride = getattr(module, "stride", None)
        if isinstance(stride, Tensor) and stride.ndim == 1 and stride.numel():
            return tuple(int(value) for value in stride.tolist())
    return ()


def anchor_sizes_of(net: nn.Module) -> tuple[tuple[tuple[float, float], ...], ...]:
    """(width, height) of each anchor of each level in pixels, as YOLOv5's head records it."""
    strides = strides_of(net)
    for module in reversed(list(net.modules())):
        anchors = getattr(module, "anchors", None)
        if isinstance(anchors, Tensor) and anchors.ndim == 3 and len(anchors) == len(strides):
            pixels = anchors.float() * torch.tensor(strides)[:, None, None]
            return tuple(tuple((w, h) for w, h in level) for level in pixels.tolist())
    return ()


def names_of(net: nn.Module) -> tuple[str, ...]:
    """Class names by their number; empty if the network has none."""
    names = getattr(net, "names", None)
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names)]
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _tensors(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """All tensors of nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif depth < 8 and isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item, depth + 1)
    elif depth < 8 and isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, depth + 1)
