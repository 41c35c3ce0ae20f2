from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, SpecError
from ghost_deploy.core.spec import HeadSpec
from ghost_deploy.processing.decode import (
    DECODERS,
    anchor_points,
    decode_dfl,
    decode_dfl_raw,
    decode_one2one,
)
from ghost_deploy.processing.decode_maps import MAP_DECODERS
from tests.support.model_specs import make_spec

SIZE = (64, 96)


def sigmoid(x):
    return (1 / (1 + np.exp(-np.float64(x)))).astype(np.float32)


def decoded(raw, spec, size_hw):
    """The `dfl` form of a `dfl-raw` output, anchor by anchor in float64."""
    reg_max, column, boxes = spec.head.reg_max, 0, []
    for stride in spec.head.strides:
        for row in range(size_hw[0] // stride):
            for col in range(size_hw[1] // stride):
                sides = np.float64(raw[: 4 * reg_max, column]).reshape(4, reg_max)
                if reg_max > 1:
                    weight = np.exp(sides - sides.max(axis=1, keepdims=True))
                    sides = weight / weight.sum(axis=1, keepdims=True) * np.arange(reg_max)
                left, top, right, bottom = sides.sum(axis=1)
                x1, y1, x2, y2 = (
                    col + 0.5 - left,
                    row + 0.5 - top,
                    col + 0.5 + right,
                    row + 0.5 + bottom,
                )
                boxes.append(np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) * stride)
                column += 1
    assert column == raw.shape[1] == spec.head.anchors(size_hw)
    return np.concatenate((np.float32(boxes).T, sigmoid(raw[4 * reg_max :])))


def raw_output(spec, size_hw, seed=0):
    rng = np.random.default_rng(seed)
    shape = (4 * spec.head.reg_max + spec.num_classes, spec.head.anchors(size_hw))
    raw = rng.normal(0, 3, shape).astype(np.float32)
    raw[: 4 * spec.head.reg_max] = np.abs(raw[: 4 * spec.head.reg_max])
    return raw


def dfl_output(scores):
    """A `dfl` output of one anchor for each column of `scores`, boxes numbered by it."""
    scores = np.array(scores, np.float32)
    x = np.arange(scores.shape[1]) * 10.0
    boxes = np.stack((x, x + 1, np.full_like(x, 4), np.full_like(x, 2)))
    return np.concatenate((boxes, scores)).astype(np.float32)


def test_every_decoder_of_the_spec_is_here():
    sizes = (((10.0, 13.0),), ((30.0, 61.0),), ((116.0, 90.0),))
    for decoder in DECODERS:
        anchors = sizes if decoder.startswith("anchors") else ()
        assert make_spec(decoder=decoder, anchor_sizes=anchors).head.decoder == decoder
    known = {*DECODERS, *MAP_DECODERS}
    assert sorted(known) == sorted(get_args(get_type_hints(HeadSpec)["decoder"]))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("decoder", "output"),
    [
        ("dfl", np.zeros((7, 84), np.float32)),
        ("dfl-raw", np.full((67, 84), -9, np.float32)),
        ("one2one", np.zeros((300, 6), np.float32)),
        ("one2one", np.zeros((0, 6), np.float32)),
    ],
)
def test_nothing_above_the_limit_gives_empty_columns(decoder, output, multi_label):
    found = DECODERS[decoder](output, make_spec(decoder=decoder), (64, 64), 0.25, multi_label)
    assert (found.xyxy.shape, found.score.shape, found.class_id.shape) == ((0, 4), (0,), (0,))
    kinds = (found.xyxy.dtype, found.score.dtype, found.class_id.dtype)
    assert kinds == (np.float32, np.float32, np.int32)


def test_dfl_takes_the_best_class_strictly_above_the_limit():
    output = dfl_output([[0.25, 0.9, 0.3, 0.5], [0.1, 0.2, 0.4, 0.5], [0.2, 0.1, 0.1, 0.1]])
    found = decode_dfl(output, make_spec(), SIZE, 0.25, False)
    np.testing.assert_array_equal(found.score, np.float32([0.9, 0.4, 0.5]))
    assert found.class_id.tolist() == [0, 1, 0]  # of equal classes the first
    assert found.xyxy.tolist() == [[8, 10, 12, 12], [18, 20, 22, 22], [28, 30, 32, 32]]


def test_multi_label_gives_every_class_above_the_limit_in_anchor_then_class_order():
    output = dfl_output([[0.25, 0.9, 0.3], [0.1, 0.2, 0.4], [0.2, 0.3, 0.1]])
    found = decode_dfl(output, make_spec(), SIZE, 0.25, True)
    np.testing.assert_array_equal(found.score, np.float32([0.9, 0.3, 0.3, 0.4]))
    assert found.class_id.tolist() == [0, 2, 0, 1]
    assert found.xyxy[:, 0].tolist() == [8, 8, 18, 18]


@pytest.mark.parametrize("size_hw", [(32, 32), SIZE])
def test_anchor_points_are_cell_centres_in_level_order(size_hw):
    points, stride = anchor_points(size_hw, (8, 16, 32))
    pixels = points * stride
    assert points.shape == (2, make_spec().head.anchors(size_hw))
    assert pixels[:, :2].tolist() == [[4, 12], [4, 4]]  # x runs first
    assert pixels[:, -1].tolist() == [size_hw[1] - 16, size_hw[0] - 16]
    assert (np.diff(stride) >= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        points[0, 0] = 1


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("conf", [0.0, 1e-6, 0.001, 0.25, 0.9, 0.999])
@pytest.mark.parametrize("reg_max", [1, 4, 16])
def test_raw_equals_decoded(reg_max, conf, multi_label):
    spec = make_spec(decoder="dfl-raw", reg_max=reg_max)
    raw = raw_output(spec, SIZE)
    found = decode_dfl_raw(raw, spec, SIZE, conf, multi_label)
    expected = decode_dfl(decoded(raw, spec, SIZE), spec, SIZE, conf, multi_label)
    assert len(expected.score) > 0
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_allclose(found.score, expected.score, rtol=5e-7)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=1e-5, atol=1e-4)


def test_raw_scores_are_compared_as_scores_not_as_logits():
    spec = make_spec(decoder="dfl-raw", names=("one",))
    raw = raw_output(spec, SIZE)
    for conf in (0.25, 0.5, 0.999999):
        near = np.float32(np.log(conf / (1 - conf)))
        logits = near + np.linspace(-1e-4, 1e-4, raw.shape[1], dtype=np.float32)
        raw[-1] = logits
        with np.errstate(over="ignore"):
            score = np.float32(1) / (np.float32(1) + np.exp(-logits))
        found = decode_dfl_raw(raw, spec, SIZE, conf, False)
        np.testing.assert_array_equal(found.score, score[score > np.float32(conf)])


def test_raw_with_limit_zero_drops_only_scores_that_are_zero_in_float32():
    spec = make_spec(decoder="dfl-raw", names=("one",))
    raw = raw_output(spec, SIZE)
    raw[-1] = -300
    raw[-1, :2] = (-80, 0)
    found = decode_dfl_raw(raw, spec, SIZE, 0.0, False)
    assert found.score.tolist() == pytest.approx([np.exp(-80), 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("decoder", "output"),
    [("dfl", np.zeros((7, 84))), ("dfl-raw", np.zeros((67, 84))), ("one2one", np.zeros((9, 6)))],
)
def test_scores_that_are_not_finite_are_an_error(decoder, output, bad):
    output = output.astype(np.float32)
    output[(5, 4) if decoder == "one2one" else (-1, 5)] = bad
    with pytest.raises(BackendError, match="scores that are not finite"):
        DECODERS[decoder](output, make_spec(decoder=decoder), (64, 64), 0.25, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("decoder", "rows"), [("dfl", 7), ("dfl-raw", 67)])
def test_boxes_that_are_not_finite_are_an_error_only_where_they_matter(decoder, rows, bad):
    output = np.full((rows, 84), 0.1 if decoder == "dfl" else -5, np.float32)
    output[0, 5] = bad
    decode, spec = DECODERS[decoder], make_spec(decoder=decoder)
    assert len(decode(output, spec, (64, 64), 0.25, False).score) == 0
    output[-1, 5] = 0.9 if decoder == "dfl" else 5
    with pytest.raises(BackendError, match="boxes that are not finite"):
        decode(output, spec, (64, 64), 0.25, False)


@pytest.mark.parametrize(
    "values", [(np.inf, np.inf), (-np.inf, np.inf), (3e38, 3e38), (3e38, -3e38)]
)
@pytest.mark.parametrize("decoder", ["dfl", "dfl-raw"])
def test_boxes_beyond_float32_are_the_same_error_without_a_warning(decoder, values):
    spec = make_spec(decoder=decoder, reg_max=1)
    output = np.zeros((7, 84), np.float32)
    output[(0, 2), 5] = values
    output[-1, 5] = 0.9 if decoder == "dfl" else 5
    with pytest.raises(BackendError, match="boxes that are not finite"):
        DECODERS[decoder](output, spec, (64, 64), 0.25, False)


def test_one2one_keeps_the_order_and_the_columns():
    output = np.array(
        [[1, 2, 3, 4, 0.5, 2], [1, 2, 3, 4, 0.25, 1], [5, 6, 7, 8, 0.7, 0]], np.float32
    )
    for multi_label in (False, True):
        spec = make_spec(decoder="one2one")
        found = decode_one2one(output, spec, SIZE, 0.25, multi_label)
        assert found.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
        np.testing.assert_array_equal(found.score, np.float32([0.5, 0.7]))
        assert found.class_id.tolist() == [2, 0]


@pytest.mark.parametrize("class_id", [-1, 3, 1e30, -1e30])
def test_one2one_with_an_unknown_class_is_an_error(class_id):
    output = np.array([[0, 0, 1, 1, 0.5, class_id]], np.float32)
    with pytest.raises(SpecError, match="expected 0 to 2"):
        decode_one2one(output, make_spec(decoder="one2one"), SIZE, 0.25, False)
