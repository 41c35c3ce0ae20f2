"""Placements, Q/DQ graphs and recipes by the name of a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import ModelProto

from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.quantize import placement, qdq
from ghost_deploy.calib.quantize.conventions import PlacementOptions
from ghost_deploy.calib.quantize.placement import Placement
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.recipes import Recipe


def place(structure: Structure, form: str, options: PlacementOptions | None = None) -> Placement:
    row = int8_form(form)
    return placement.place(structure, row.convention, options or row.options)


def quantize(
    model: ModelProto,
    statistics: Mapping[str, TensorStatistics],
    form: str,
    options: PlacementOptions | None = None,
    **more: Any,
) -> QdqGraph:
    row = int8_form(form)
    return qdq.quantize(model, statistics, row.convention, options or row.options, **more)


def minmax(form: str, **more: Any) -> Recipe:
    """The first recipe of our own graph of a form."""
    return Recipe("minmax", form, int8_form(form).options, **more)
