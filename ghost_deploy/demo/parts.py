"""Outlines of mechanical parts, the objects of the demo scenes, as polygons.

A part is a list of steps: fill a polygon or cut one out, in order. Points are (K, 2) float64, x and
y, relative to the centre of the part, in units of about half its longest extent. Color does not
depend on the class: washer, nut and gear differ in their outline, bolt, wrench and bracket in their
proportions and cutouts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]


class Step(NamedTuple):
    """A polygon to fill, or to cut out of the filled area; `points` is (K, 2) float64."""

    points: Points
    fill: bool = True


def part_steps(class_id: int, rng: np.random.Generator) -> list[Step]:
    """Return the steps of a part of class `class_id`, with random proportions."""
    return list(_DRAW.values())[class_id](rng)


def clutter_steps(rng: np.random.Generator) -> list[Step]:
    """Return the steps of an object of no class: a disc, plate, wedge, blob or cable."""
    kind = rng.integers(5)
    if kind == 0:
        return [Step(_circle(1.0))]
    if kind == 1:
        return [Step(_box(1.0, rng.uniform(0.3, 0.9)))]
    if kind == 2:
        return [Step(_regular(3, 1.0) * [1.0, rng.uniform(0.5, 1.0)])]
    if kind == 3:
        return [Step(_blob(rng))]
    return [Step(_cable(rng))]


def _nut(rng: np.random.Generator) -> list[Step]:
    return [Step(_regular(6, 1.0)), Step(_circle(rng.uniform(0.42, 0.6)), fill=False)]


def _washer(rng: np.random.Generator) -> list[Step]:
    return [Step(_circle(1.0)), Step(_circle(rng.uniform(0.4, 0.68)), fill=False)]


def _gear(rng: np.random.Generator) -> list[Step]:
    teeth, root = int(rng.integers(8, 15)), rng.uniform(0.74, 0.84)
    pitch = 2 * np.pi / teeth
    edges = np.array([-0.30, -0.17, 0.17, 0.30]) * pitch
    angle = (np.arange(teeth)[:, None] * pitch + edges).ravel()
    outline = _polar(angle, np.tile([root, 1.0, 1.0, root], teeth))
    steps = [Step(outline), Step(_circle(rng.uniform(0.15, 0.3)), fill=False)]
    if rng.random() < 0.5:
        spokes = int(rng.integers(4, 7))
        for turn in range(spokes):
            centre = _polar(np.array([2 * np.pi * turn / spokes]), np.array([0.53]))
            steps.append(Step(_circle(0.13) + centre, fill=False))
    return steps


def _bolt(rng: np.random.Generator) -> list[Step]:
    thick, head = rng.uniform(0.15, 0.22), rng.uniform(0.34, 0.44)
    head_end = -1 + rng.uniform(0.3, 0.42)
    thread = np.linspace(rng.uniform(-0.4, 0.0), 0.94, int(rng.integers(15, 25)))
    wave = thick * np.where(np.arange(len(thread)) % 2, 0.78, 1.0)
    upper = np.stack([thread, -wave], axis=1)
    tip = [[1.0, -0.6 * thick], [1.0, 0.6 * thick]]
    shaft = np.concatenate([[[head_end, -thick]], upper, tip, upper[::-1] * [1, -1]])
    shaft = np.concatenate([shaft, [[head_end, thick]]])
    cap = np.array([[-0.93, -head], [head_end, -head], [head_end, head], [-0.93, head]])
    dome = np.concatenate([cap, [[-1.0, 0.6 * head], [-1.0, -0.6 * head]]])
    return [Step(shaft), Step(dome)]


def _wrench(rng: np.random.Generator) -> list[Step]:
    width, jaw, ring = rng.uniform(0.1, 0.16), rng.uniform(0.3, 0.38), rng.uniform(0.22, 0.28)
    left, right = [-1 + jaw, 0.0], [1 - ring, 0.0]
    turn = rotation(rng.uniform(-0.3, 0.3))
    slot = (_box(jaw, 0.42 * jaw) - [0.75 * jaw, 0.0]) @ turn.T + left
    return [
        Step(_box(0.75, width)),
        Step(_circle(jaw) + left),
        Step(_circle(ring) + right),
        Step(slot, fill=False),
        Step(_regular(6, 0.6 * ring) + right, fill=False),
    ]


def _bracket(rng: np.random.Generator) -> list[Step]:
    width = rng.uniform(0.4, 0.55)
    short = rng.uniform(0.55, 0.95)
    across, up = -0.7 + 1.4 * short, 0.7
    corner = np.array([[-0.7, -up], [-0.7 + width, -up], [-0.7 + width, up - width]])
    foot = np.array([[across, up - width], [across, up], [-0.7, up]])
    hole = _circle(rng.uniform(0.2, 0.3) * width)
    middle = -0.7 + width / 2
    places = [[middle, -0.7 + width / 2], [across - width / 2, up - width / 2]]
    return [Step(np.concatenate([corner, foot]))] + [Step(hole + p, fill=False) for p in places]


_DRAW: dict[str, Callable[[np.random.Generator], list[Step]]] = {
    "nut": _nut,
    "washer": _washer,
    "gear": _gear,
    "bolt": _bolt,
    "wrench": _wrench,
    "bracket": _bracket,
}

CLASS_NAMES = tuple(_DRAW)
"""Names by class id."""


def rotation(angle: float) -> Points:
    """Return the (2, 2) matrix of a rotation by `angle` radians."""
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _polar(angle: Points, radius: Points) -> Points:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _regular(corners: int, radius: float) -> Points:
    angle = 2 * np.pi * np.arange(corners) / corners
    return _polar(angle, np.full(corners, radius))


def _circle(radius: float) -> Points:
    return _regular(64, radius)


def _box(half_width: float, half_height: float) -> Points:
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return corners * [half_width, half_height]


def _blob(rng: np.random.Generator) -> Points:
    angle = 2 * np.pi * np.arange(48) / 48
    radius = np.full(48, 0.75)
    for wave in range(2, 5):
        radius += rng.uniform(0.0, 0.12) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return _polar(angle, radius)


def _cable(rng: np.random.Generator) -> Points:
    along = np.linspace(-1, 1, 24)
    middle = rng.uniform(0.1, 0.4) * np.sin(rng.uniform(1.5, 4.5) * along + rng.uniform(0, 6.28))
    half = rng.uniform(0.03, 0.07)
    upper = np.stack([along, middle - half], axis=1)
    lower = np.stack([along, middle + half], axis=1)
    return np.concatenate([upper, lower[::-1]])
