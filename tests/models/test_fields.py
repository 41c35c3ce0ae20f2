from __future__ import annotations

from typing import Any

import pytest

from ghost_deploy.models.fields import (
    Check,
    MisfitError,
    either,
    flag,
    integer,
    none,
    number,
    one_of,
    pair,
)

KERNEL = pair(integer(1, 63))


@pytest.mark.parametrize(
    ("check", "value", "wanted"),
    [
        (integer(1, 4), 4, 4),
        (number(0, 1), 0.5, 0.5),
        (number(0, 1), 1, 1),
        (flag, False, False),
        (none, None, None),
        (one_of("zeros", "reflect"), "reflect", "reflect"),
        (KERNEL, 3, 3),
        (KERNEL, [1, 5], (1, 5)),
        (either(KERNEL, one_of("same")), "same", "same"),
    ],
)
def test_accepted(check: Check, value: Any, wanted: Any) -> None:
    assert check(value) == wanted


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (integer(1, 4), None),
        (integer(1, 4), 0),
        (integer(1, 4), 5),
        (integer(1, 4), 2.0),
        (integer(0, 4), True),
        (integer(1, 4), "3"),
        (number(0, 1), float("nan")),
        (number(0, 1), float("inf")),
        (number(0, 1), True),
        (number(0, 1), "0.5"),
        (number(0, 1), -1e-9),
        (flag, 1),
        (none, 0),
        (one_of(True), 1),
        (one_of("zeros"), ["zeros"]),
        (KERNEL, []),
        (KERNEL, [3]),
        (KERNEL, [3, 3, 3]),
        (KERNEL, [3, -1]),
        (KERNEL, {"a": 1}),
        (either(KERNEL, none), "x"),
        (integer(1, 4), "x" * 10_000),
    ],
)
def test_refused(check: Check, value: Any) -> None:
    with pytest.raises(MisfitError) as caught:
        check(value)
    assert len(str(caught.value)) < 300
