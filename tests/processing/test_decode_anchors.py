"""Decoders of heads with anchors, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, ShapeError, SpecError
from ghost_deploy.core.spec import HeadSpec, ModelSpec, Thresholds
from ghost_deploy.processing.decode import DECODERS
from ghost_deploy.processing.decode_anchors import decode_anchors, decode_anchors_raw
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor
from tests.support.model_specs import make_spec

SIZE = (64, 96)
SIZES = (((10.0, 13.0), (16.0, 30.0)), ((62.0, 45.0), (59.0, 119.0)))


def spec_of(decoder: str = "anchors", classes: int = 3) -> ModelSpec:
    names = tuple("abcdef"[:classes])
    return make_spec(SIZE, decoder=decoder, strides=(8, 16), anchor_sizes=SIZES, names=names)


def rows_of(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(len(rows), -1)


@pytest.mark.parametrize("decoder", ["anchors", "anchors-raw"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_no_anchor_above_the_threshold(decoder: str, multi_label: bool) -> None:
    spec = spec_of(decoder)
    output = np.full((spec.head.anchors(SIZE), 8), -9 if "raw" in decoder else 0, np.float32)
    found = DECODERS[decoder](output, spec, SIZE, 0.25, multi_label)
    assert found.xyxy.shape == (0, 4)
    assert len(found.score) == len(found.class_id) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 4, 6])
def test_numbers_that_are_not_finite_are_an_error(value: float, column: int) -> None:
    rows = rows_of((8, 8, 4, 4, 0.9, 0.8, 0.1, 0.1))
    rows[0, column] = value
    with pytest.raises(BackendError, match="not finite"):
        decode_anchors(rows, spec_of(), SIZE, 0.25, False)


def test_the_score_is_the_product_and_must_exceed_the_threshold() -> None:
    rows = rows_of(
        (8, 8, 4, 2, 0.5, 0.5, 0.9, 0.0),
        (8, 8, 4, 2, 0.5, 0.5, 0.25, 0.0),  # 0.25 is not above 0.25
        (8, 8, 4, 2, 0.2, 1.0, 1.0, 1.0),
        (30, 20, 4, 2, 1.0, 0.26, 0.3, 0.3),
    )
    found = decode_anchors(rows, spec_of(), SIZE, 0.25, False)
    np.testing.assert_array_equal(found.score, np.float32([0.5]) * np.float32([0.9, 0.6]))
    np.testing.assert_array_equal(found.class_id, [1, 1])
    np.testing.assert_array_equal(found.xyxy, [[6, 7, 10, 9], [28, 19, 32, 21]])
    every = decode_anchors(rows, spec_of(), SIZE, 0.25, True)
    np.testing.assert_array_equal(every.class_id, [1, 0, 1, 2])


@pytest.mark.parametrize("conf", [0.0, 0.001, 0.25, 0.9])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_raw_form_gives_what_float64_gives(
    conf: float, multi_label: bool, classes: int
) -> None:
    from tests.support.anchor_detectors import decode_in_float64

    spec = spec_of("anchors-raw", classes)
    rng = np.random.default_rng(classes)
    raw = rng.normal(0, 3, (spec.head.anchors(SIZE), 5 + classes)).astype(np.float32)
    decoded = decode_in_float64(raw, spec, SIZE).astype(np.float32)
    wanted = decode_anchors(decoded, spec, SIZE, conf, multi_label)
    found = decode_anchors_raw(raw, spec, SIZE, conf, multi_label)
    assert len(wanted.score) > 5
    np.testing.assert_array_equal(found.class_id, wanted.class_id)
    np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(found.score, wanted.score, rtol=1e-5)


def test_the_postprocessor_takes_anchors_as_rows() -> None:
    spec = spec_of()
    output = np.zeros((1, spec.head.anchors(SIZE), 8), np.float32)
    output[0, 5] = (32, 32, 16, 16, 0.9, 0.1, 0.8, 0.1)
    output[0, 77] = (33, 32, 16, 16, 0.8, 0.1, 0.8, 0.1)
    box = Letterbox.fit(SIZE, SIZE)
    (found,) = Postprocessor(spec)({"output0": output}, [box], Thresholds(iou=0.45))
    np.testing.assert_array_equal(found.xyxy, [[24, 24, 40, 40]])
    with pytest.raises(ShapeError, match="decoder anchors"):
        Postprocessor(spec)({"output0": output.transpose(0, 2, 1)}, [box], Thresholds())


@pytest.mark.parametrize(
    "fields",
    [
        {"decoder": "anchors"},
        {"decoder": "anchors-raw"},
        {"decoder": "dfl", "anchor_sizes": SIZES},
        {"decoder": "anchors", "anchor_sizes": SIZES[:1]},
        {"decoder": "anchors", "anchor_sizes": (SIZES[0], SIZES[1][:1])},
        {"decoder": "anchors", "anchor_sizes": ((), ())},
        {"decoder": "anchors", "anchor_sizes": (SIZES[0], ((0.0, 5.0), (5.0, 5.0)))},
        {"decoder": "anchors", "anchor_sizes": (SIZES[0], ((float("nan"), 5.0), (5.0, 5.0)))},
    ],
)
def test_anchors_that_do_not_fit_the_decoder_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="anchor"):
        HeadSpec(strides=(8, 16), **fields)


def test_the_number_of_anchors_counts_those_of_each_cell() -> None:
    assert spec_of().head.anchors(SIZE) == 2 * (8 * 12 + 4 * 6)
    assert spec_of().output_shape() == (1, 240, 8)
