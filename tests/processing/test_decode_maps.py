"""Decoders of the maps of a cut graph, against the decoder of the output of the whole graph."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, ShapeError, SpecError
from ghost_deploy.core.spec import ONE2ONE_ROWS, HeadSpec, ModelSpec, Thresholds
from ghost_deploy.processing.candidates import Candidates
from ghost_deploy.processing.decode import DECODERS
from ghost_deploy.processing.decode_maps import MAP_DECODERS
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.plain_output import plain_output
from ghost_deploy.processing.postprocess import Postprocessor
from tests.support.model_specs import make_spec

SIZE = (64, 96)
ANCHORS = (((10.0, 13.0), (16.0, 30.0)), ((62.0, 45.0), (59.0, 119.0)))
TWO_MAPS = (("box8", "class8"), ("box16", "class16"))
THREE_MAPS = (("box8", "score8", "sum8"), ("box16", "score16", "sum16"))


def spec_of(
    decoder: str, maps: Any = TWO_MAPS, *, classes: int = 3, reg_max: int = 16
) -> ModelSpec:
    """Of a small cut graph with strides 8 and 16."""
    names = tuple("abcdef"[:classes])
    one2one = decoder.startswith("one2one")
    anchors = ANCHORS if decoder.startswith("anchors") else ()
    spec = make_spec(SIZE, decoder="dfl", strides=(8, 16), reg_max=reg_max, names=names)
    head = HeadSpec(
        decoder=decoder,
        strides=(8, 16),
        reg_max=reg_max,
        branch="one2one" if one2one else "one2many",
        anchor_sizes=anchors,
        maps=(("map8",), ("map16",)) if anchors else maps,
    )
    return msgspec.structs.replace(spec, head=head)


def random_maps(spec: ModelSpec, seed: int = 0, batch: int = 1) -> dict[str, NDArray[np.float32]]:
    """Logits with few high scores; probabilities where the head has them."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}
    for name, shape in spec.head.map_shapes(spec.num_classes, SIZE).items():
        logits = rng.normal(-1 if name.startswith("class") else 0, 2.5, (batch, *shape))
        if name.startswith("score"):
            logits = 1 / (1 + np.exp(-logits))
        found[name] = logits.astype(np.float32)
    return found


def decoded(maps: dict[str, NDArray[np.float32]], spec: ModelSpec, *args: Any) -> Candidates:
    rows = [maps[name][0] for level in spec.head.maps for name in level]
    return MAP_DECODERS[spec.head.decoder](rows, spec, SIZE, *args)


CASES = [
    ("dfl-raw", TWO_MAPS, 3, 16),
    ("dfl-raw", TWO_MAPS, 1, 16),
    ("dfl-raw", TWO_MAPS, 3, 1),
    ("dfl-raw", THREE_MAPS, 3, 16),
    ("one2one-raw", TWO_MAPS, 3, 16),
    ("one2one-raw", THREE_MAPS, 6, 16),
    ("anchors-raw", (), 3, 16),
    ("anchors-raw", (), 1, 16),
]


@pytest.mark.parametrize(("decoder", "maps", "classes", "reg_max"), CASES)
@pytest.mark.parametrize("multi_label", [False, True])
def test_nothing_above_the_threshold(
    decoder: str, maps: Any, classes: int, reg_max: int, multi_label: bool
) -> None:
    spec = spec_of(decoder, maps, classes=classes, reg_max=reg_max)
    low = {
        name: np.full((1, *shape), 0 if name.startswith("score") else -9, np.float32)
        for name, shape in spec.head.map_shapes(classes, SIZE).items()
    }
    found = decoded(low, spec, 0.25, multi_label)
    assert found.xyxy.shape == (0, 4)
    assert len(found.score) == len(found.class_id) == 0


@pytest.mark.parametrize(("decoder", "maps", "classes", "reg_max"), CASES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["first", "last"])
def test_numbers_that_are_not_finite_are_an_error(
    decoder: str, maps: Any, classes: int, reg_max: int, value: float, name: str
) -> None:
    spec = spec_of(decoder, maps, classes=classes, reg_max=reg_max)
    outputs = random_maps(spec)
    levels = spec.head.maps[0]
    chosen = levels[0] if name == "first" else levels[min(1, len(levels) - 1)]
    at = 4 if decoder.startswith("anchors") else 0
    outputs[chosen][0, at] = value
    with pytest.raises(BackendError, match="not finite"):
        decoded(outputs, spec, 0.001, True)


@pytest.mark.parametrize("conf", [0.0, 0.001, 0.25, 0.9])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("decoder", "maps", "classes", "reg_max"), CASES)
def test_candidates_are_those_of_the_whole_output(
    conf: float, multi_label: bool, decoder: str, maps: Any, classes: int, reg_max: int
) -> None:
    spec = spec_of(decoder, maps, classes=classes, reg_max=reg_max)
    outputs = random_maps(spec, classes)
    whole = plain_output(outputs, spec, SIZE)
    plain = DECODERS[decoder.removesuffix("-raw")]
    wanted = plain(whole, spec, SIZE, conf, multi_label)
    found = decoded(outputs, spec, conf, multi_label)
    assert len(wanted.score) > 2
    np.testing.assert_array_equal(found.class_id, wanted.class_id)
    np.testing.assert_allclose(found.score, wanted.score, rtol=1e-6)
    np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=1e-4, rtol=1e-6)


def test_one2one_takes_the_best_pairs_as_the_original_does() -> None:
    torch = pytest.importorskip("torch")
    from ghost_deploy.models.head import top_k

    spec = spec_of("one2one-raw", classes=6)
    outputs = random_maps(spec, 5)
    for level in spec.head.maps:  # nearly all pairs are above the threshold
        outputs[level[1]] += 4
    dense = spec_of("dfl-raw", classes=6)
    whole = plain_output(outputs, dense, SIZE)
    corners = np.concatenate(
        (whole[:2] - whole[2:4] / 2, whole[:2] + whole[2:4] / 2, whole[4:])
    ).astype(np.float32)
    limit = min(ONE2ONE_ROWS, spec.head.anchors(SIZE))
    (wanted,) = top_k(torch.from_numpy(corners[None]), limit).numpy()
    found = decoded(outputs, spec, 0.0, False)
    assert len(found.score) == limit
    np.testing.assert_array_equal(found.class_id, wanted[:, 5])
    np.testing.assert_allclose(found.score, wanted[:, 4], rtol=1e-6)
    np.testing.assert_allclose(found.xyxy, wanted[:, :4], atol=1e-3)


def test_equal_scores_keep_the_order_of_anchors_and_classes() -> None:
    spec = spec_of("one2one-raw")
    outputs = random_maps(spec)
    for level in spec.head.maps:
        outputs[level[1]][:] = -9
    outputs["class16"][0, 2, 1, 3] = 2
    outputs["class8"][0, 1:, 2, 2] = 2
    found = decoded(outputs, spec, 0.25, False)
    np.testing.assert_array_equal(found.class_id, [1, 2, 2])
    assert (np.ptp(found.xyxy[:2], axis=0) == 0).all()


@pytest.mark.parametrize("decoder", ["dfl-raw", "one2one-raw", "anchors-raw"])
def test_the_postprocessor_takes_a_batch_of_maps(decoder: str) -> None:
    spec = spec_of(decoder)
    outputs = random_maps(spec, batch=3)
    box, limits = Letterbox.fit(SIZE, SIZE), Thresholds()
    found = Postprocessor(spec)(outputs, [box] * 2, limits)
    alone = [
        Postprocessor(spec)({k: v[i : i + 1] for k, v in outputs.items()}, [box], limits)[0]
        for i in range(2)
    ]
    assert len(found) == 2
    assert len(found[0]) > 0
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.xyxy, other.xyxy)
        np.testing.assert_array_equal(one.score, other.score)


@pytest.mark.parametrize("fault", ["missing", "shape", "dtype", "batch"])
def test_maps_that_do_not_fit_are_refused_by_name(fault: str) -> None:
    spec = spec_of("dfl-raw")
    outputs: dict[str, Any] = random_maps(spec)
    if fault == "missing":
        del outputs["class16"]
    elif fault == "shape":
        outputs["class16"] = outputs["class16"][:, :, :-1]
    elif fault == "dtype":
        outputs["class16"] = outputs["class16"].astype(np.float64)
    else:
        outputs["class16"] = outputs["class16"][:0]
    with pytest.raises(ShapeError, match="class16"):
        Postprocessor(spec)(outputs, [Letterbox.fit(SIZE, SIZE)], Thresholds())


@pytest.mark.parametrize(
    "fields",
    [
        {"decoder": "dfl", "maps": TWO_MAPS},
        {"decoder": "one2one-raw", "branch": "one2one"},
        {"decoder": "one2one-raw", "maps": TWO_MAPS},
        {"decoder": "dfl-raw", "maps": TWO_MAPS[:1]},
        {"decoder": "dfl-raw", "maps": (("a",), ("b",))},
        {"decoder": "dfl-raw", "maps": (("a", "b"), ("a", "c"))},
        {"decoder": "dfl-raw", "maps": (("a", "b"), ("c", "d", "e"))},
        {"decoder": "dfl-raw", "maps": (("a", ""), ("c", "d"))},
        {"decoder": "anchors-raw", "anchor_sizes": ANCHORS, "maps": TWO_MAPS},
    ],
)
def test_a_head_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        HeadSpec(strides=(8, 16), **fields)
