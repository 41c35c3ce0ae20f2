"""Kernels between int8 and float that a placement leaves, counted by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ghost_deploy.calib.forms import FORMS
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.conventions import PlacementOptions
from ghost_deploy.calib.quantize.conversions import Conversions, count_conversions
from tests.support.int8_forms import place, quantize
from tests.support.qdq_rules import qdq_faults
from tests.support.small_graphs import ghost_net, random_inputs, run, statistics_of

STRUCTURE = find_structure(index_float(ghost_net()))
SAFE = FORMS["tensorrt"].options
OTHERS = {each.name: each.change(SAFE) for each in FORMS["tensorrt"].placements}


@pytest.mark.parametrize(
    ("options", "quantize_kernels", "dequantize_kernels"),
    [
        # The input of the first Ghost module, and both halves of each.
        (SAFE, 5, 0),
        # Neither half of a module is written in float.
        (OTHERS["depthwise"], 1, 0),
        # The cheap halves alone; each depthwise convolution reads its half from int8.
        (OTHERS["primary"], 3, 2),
        # The first convolution writes int8 for its Ghost module, and the image is quantized.
        (replace(OTHERS["depthwise"], first_conv="int8"), 1, 0),
    ],
)
def test_what_remains(
    options: PlacementOptions, quantize_kernels: int, dequantize_kernels: int
) -> None:
    found = count_conversions(STRUCTURE, place(STRUCTURE, "tensorrt", options))
    assert found == Conversions(quantize_kernels, dequantize_kernels)


@pytest.mark.parametrize("name", OTHERS)
def test_a_primary_half_is_quantized_once_for_all_its_readers(name: str) -> None:
    placement = place(STRUCTURE, "tensorrt", OTHERS[name])
    for concat in STRUCTURE.concats.values():
        readers = {node.name for node in STRUCTURE.graph.readers(concat.primary)}
        assert placement.reads[concat.primary] == readers
        assert placement.groups[concat.primary] == placement.groups[concat.output]
    assert placement.requantized == 0


@pytest.mark.parametrize("name", ["", *OTHERS])
def test_every_placement_obeys_the_rules_and_computes_the_model(name: str) -> None:
    model = ghost_net()
    graph = quantize(
        model, statistics_of(model, random_inputs()), "tensorrt", OTHERS.get(name, SAFE)
    )
    assert qdq_faults(graph.model, strongly_typed=False) == []
    for image in random_inputs(2, seed=5):
        (wanted,), (found,) = run(model, image), run(graph.model, image)
        assert np.abs(found - wanted).max() < 0.05
