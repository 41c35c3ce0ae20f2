from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.head import DFL, Detect, make_anchors, top_k
from ghost_deploy.models.head_base import strides_of
from tests.support.module_trees import randomize

SIZES = [(4, 6), (2, 3)]


def head(nc: int = 5, reg_max: int = 16, legacy: bool = True) -> Detect:
    detect = Detect(nc, [8, 16], reg_max, legacy)
    detect.stride = (8, 16)
    randomize(detect)
    return detect.double()


def features(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn((2, channels, *size), generator=generator).double()
        for channels, size in zip((8, 16), SIZES, strict=True)
    ]


def decode_slowly(raw: np.ndarray, reg_max: int, strides: tuple[int, ...]) -> np.ndarray:
    """The formula, one anchor at a time: (4 * reg_max + nc, A) -> (4 + nc, A)."""
    out, column = [], 0
    for (height, width), stride in zip(SIZES, strides, strict=True):
        for row in range(height):
            for col in range(width):
                z = raw[:, column]
                sides = []
                for side in range(4):
                    bins = np.exp(z[side * reg_max : (side + 1) * reg_max])
                    sides.append((bins / bins.sum() * np.arange(reg_max)).sum())
                left, top, right, bottom = sides if reg_max > 1 else z[:4]
                x1, y1 = col + 0.5 - left, row + 0.5 - top
                x2, y2 = col + 0.5 + right, row + 0.5 + bottom
                box = np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) * stride
                out.append(np.concatenate([box, 1 / (1 + np.exp(-z[4 * reg_max :]))]))
                column += 1
    return np.stack(out, 1)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("reg_max", [1, 16])
def test_decode_is_the_formula(reg_max: int, legacy: bool) -> None:
    detect = head(reg_max=reg_max, legacy=legacy)
    raw = detect.raw(features())
    assert raw.shape == (2, 4 * reg_max + 5, 30)
    got = detect.decode(raw, SIZES).numpy()
    for image in range(2):
        wanted = decode_slowly(raw[image].numpy(), reg_max, (8, 16))
        np.testing.assert_allclose(got[image], wanted, rtol=1e-12, atol=1e-12)


def test_corners_and_centres_say_the_same_boxes() -> None:
    detect = head()
    raw = detect.raw(features())
    centre = detect.decode(raw, SIZES)
    corners = detect.decode(raw, SIZES, xyxy=True)
    torch.testing.assert_close(corners[:, 2:4] - corners[:, :2], centre[:, 2:4])
    torch.testing.assert_close((corners[:, :2] + corners[:, 2:4]) / 2, centre[:, :2])
    assert torch.equal(corners[:, 4:], centre[:, 4:])


def test_raw_puts_levels_one_after_the_other() -> None:
    detect, maps = head(), features()
    raw = detect.raw(maps)
    assert detect.cv2 is not None
    assert detect.cv3 is not None
    small = torch.cat((detect.cv2[1](maps[1]), detect.cv3[1](maps[1])), 1)
    assert torch.equal(raw[:, :, 24 + 4], small[:, :, 1, 1])


def test_anchors() -> None:
    points, stride = make_anchors([(2, 3), (1, 1)], (8, 16))
    assert points.tolist() == [
        [0.5, 1.5, 2.5, 0.5, 1.5, 2.5, 0.5],
        [0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 0.5],
    ]
    assert stride.tolist() == [[8, 8, 8, 8, 8, 8, 16]]
    assert points.dtype == stride.dtype == torch.float32


def top_k_slowly(decoded: np.ndarray, limit: int) -> set[tuple[float, ...]]:
    """The two steps by sorting: (4 + nc, A) -> rows."""
    boxes, scores = decoded[:4].T, decoded[4:].T
    limit = min(limit, len(boxes))
    anchors = sorted(range(len(boxes)), key=lambda a: -scores[a].max())[:limit]
    pairs = [(scores[a, c], a, c) for a in anchors for c in range(scores.shape[1])]
    best = sorted(pairs, reverse=True)[:limit]
    return {(*boxes[a].round(9), round(float(s), 9), float(c)) for s, a, c in best}


@pytest.mark.parametrize("anchors", [1, 7, 400])
def test_top_k_is_two_sortings(anchors: int) -> None:
    decoded = torch.rand((2, 4 + 3, anchors), generator=torch.Generator().manual_seed(2)).double()
    got = top_k(decoded)
    assert got.shape == (2, min(300, anchors), 6)
    assert bool((got[:, :-1, 4] >= got[:, 1:, 4]).all())
    for image in range(2):
        rows = {tuple(round(float(v), 9) for v in row) for row in got[image]}
        assert rows == top_k_slowly(decoded[image].numpy(), 300)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [([8.0, 16.0, 32.0], (8, 16, 32)), ([8], (8,)), ([0.0, 0.0], ())],
)
def test_recorded_strides(value: object, wanted: tuple[int, ...]) -> None:
    assert strides_of(value) == wanted


@pytest.mark.parametrize(
    "value", [None, [], 8, [8.5], [-8], [0, 8], [4096], [8] * 9, ["8"], [True], [float("nan")]]
)
def test_wrong_strides(value: object) -> None:
    with pytest.raises(MisfitError):
        strides_of(value)


def test_a_missing_branch_is_named() -> None:
    with pytest.raises(ValueError, match="no one2one branch"):
        head().raw(features(), "one2one")


def test_dfl_with_other_weights_is_refused() -> None:
    dfl = DFL(4)
    dfl.verify()
    dfl.conv.weight.data[0, 2] = 2.5
    with pytest.raises(MisfitError, match=r"0, 1, \.\.\., 3"):
        dfl.verify()


@pytest.mark.parametrize("name", ["nc", "nl", "reg_max"])
def test_a_head_of_other_widths_is_refused(name: str) -> None:
    detect = head()
    detect.fit()
    setattr(detect, name, getattr(detect, name) + 1)
    with pytest.raises(MisfitError):
        detect.fit()


def test_a_head_may_have_only_one_branch_but_not_half_of_one() -> None:
    detect = head()
    detect.one2one_cv2, detect.one2one_cv3 = detect.cv2, detect.cv3
    detect.cv2 = None
    with pytest.raises(MisfitError, match="go together"):
        detect.fit()
    detect.cv3 = None
    detect.fit()
    assert (detect.has_one2many, detect.has_one2one) == (False, True)
    detect.one2one_cv2 = detect.one2one_cv3 = None
    with pytest.raises(MisfitError, match="no branch"):
        detect.fit()


def test_the_dfl_is_an_identity_without_bins() -> None:
    assert isinstance(head(reg_max=1).dfl, nn.Identity)
