"""A detector that threads share, on every runtime: each call returns what it would alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.runtime_cases import RUNTIME_CASES, STATIC, RuntimeCase, case_or_skip

THREADS, ROUNDS = 8, 25
IMAGES = [
    np.random.default_rng(k).integers(0, 256, (9 + k, 40 - k, 3), np.uint8) for k in range(THREADS)
]
# The model of the suite gives 4 + 3 numbers for every pixel: a head with one stride of 1.
SPEC = ModelSpec(
    name="suite",
    family="",
    class_names=("a", "b", "c"),
    input=InputSpec(size_hw=(STATIC[2], STATIC[3]), stride=8),
    head=HeadSpec(decoder="dfl", strides=(1,)),
    thresholds=Thresholds(conf=0.05, iou=0.9),
)


@pytest.fixture(scope="module", params=sorted(RUNTIME_CASES))
def case(request: pytest.FixtureRequest) -> Iterator[RuntimeCase]:
    case = case_or_skip(request.param)
    with case.environment():
        yield case


@pytest.fixture
def detector(case: RuntimeCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    runtime = case.open(tmp_path_factory.mktemp("model"), False, RuntimeOptions(threads=1))
    with Detector(runtime, SPEC) as detector:
        yield detector


def in_threads(work: Callable[[int], None]) -> None:
    """Run `work` in eight threads that start together; their errors are raised here."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            barrier.wait(30)
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def same(found: Detections, expected: Detections) -> bool:
    return all(
        np.array_equal(getattr(found, name), getattr(expected, name))
        for name in ("xyxy", "score", "class_id")
    )


def test_results_are_those_of_one_thread_to_the_bit(detector: Detector) -> None:
    expected = [detector(image) for image in IMAGES]
    assert min(map(len, expected)) > 0
    assert not same(expected[0], expected[1])
    verdicts: Counter[bool] = Counter()

    def work(number: int) -> None:
        for turn in range(ROUNDS):
            index = (number + turn) % THREADS
            verdicts[same(detector(IMAGES[index]), expected[index])] += 1

    in_threads(work)
    assert verdicts == {True: THREADS * ROUNDS}


def test_lists_of_images_keep_their_order(detector: Detector) -> None:
    expected = detector.detect(IMAGES)

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(THREADS)
        found = detector.detect([IMAGES[index] for index in order])
        assert all(same(each, expected[index]) for each, index in zip(found, order, strict=True))

    in_threads(work)


def test_closing_while_other_threads_run(detector: Detector) -> None:
    """A call either finishes with its own result or says that the detector is closed."""
    expected = [detector(image) for image in IMAGES]
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + 30

    def work(number: int) -> None:
        for turn in itertools.count():
            if number == 0 and turn == 2:
                detector.close()
            if time.monotonic() > end:
                return
            try:
                right = same(detector(IMAGES[number]), expected[number])
            except BackendError as error:
                outcomes["closed" if "is closed" in str(error) else str(error)] += 1
                return
            outcomes["right" if right else "wrong"] += 1

    in_threads(work)
    assert set(outcomes) == {"closed", "right"}
    assert outcomes["closed"] == THREADS


def test_an_image_that_cannot_be_used_harms_no_other_thread(detector: Detector) -> None:
    expected = detector(IMAGES[0])

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            if number % 2:
                with pytest.raises(Exception, match="cannot be used as an image"):
                    detector(np.zeros(3, np.uint8))
            else:
                assert same(detector(IMAGES[0]), expected)

    in_threads(work)
