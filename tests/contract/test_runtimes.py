"""The contract of all runtimes, in one suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, CheckpointError, DeviceError, ShapeError
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.table import RUNTIMES, open_file
from tests.support.runtime_cases import (
    DYNAMIC,
    REQUIRED,
    RUNTIME_CASES,
    STATIC,
    TEXT,
    RuntimeCase,
    case_or_skip,
    expected,
    random_images,
)

ONE_THREAD = RuntimeOptions(threads=1)


@pytest.fixture(scope="module", params=sorted(RUNTIME_CASES))
def case(request: pytest.FixtureRequest) -> Iterator[RuntimeCase]:
    case = case_or_skip(request.param)
    with case.environment():
        yield case


@pytest.fixture(scope="module")
def static(case: RuntimeCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with case.open(tmp_path_factory.mktemp("static"), False, ONE_THREAD) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def dynamic(case: RuntimeCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    if case.always_static:
        pytest.skip(f"{case.id} runs files of one size alone")
    with case.open(tmp_path_factory.mktemp("dynamic"), True, ONE_THREAD) as runtime:
        yield runtime


def close_enough(got: NDArray[Any], images: NDArray[Any]) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected(images), rtol=1e-5, atol=1e-5)


def test_every_row_is_in_the_suite() -> None:
    assert RUNTIME_CASES.keys() >= RUNTIMES.keys()
    assert RUNTIME_CASES.keys() >= REQUIRED, (
        "GHOST_DEPLOY_REQUIRED_RUNTIMES names an unknown runtime"
    )


# Specs and info


def test_specs_of_a_static_model(case: RuntimeCase, static: Runtime) -> None:
    assert [spec.name for spec in static.inputs] == ["images"]
    assert [spec.name for spec in static.outputs] == ["output0"]
    assert {spec.dtype for spec in (*static.inputs, *static.outputs)} == {"float32"}
    if not case.always_dynamic:
        assert static.inputs[0].shape == STATIC
        assert static.outputs[0].shape == (1, 7, STATIC[2] * STATIC[3])


def test_specs_of_a_dynamic_model(case: RuntimeCase, dynamic: Runtime) -> None:
    assert dynamic.inputs[0].shape == DYNAMIC
    if not case.always_dynamic:
        assert dynamic.outputs[0].shape == (-1, 7, -1)


def test_info_says_what_was_obtained(case: RuntimeCase, static: Runtime) -> None:
    assert static.info.runtime == case.id
    assert static.info.version
    assert static.info.device == case.device
    assert static.info.notes == ()
    assert isinstance(static.info.threads, int)


def test_threads_are_taken(case: RuntimeCase, static: Runtime) -> None:
    if case.opens_files and case.takes_threads:
        assert static.info.threads == 1


def test_metadata(case: RuntimeCase, static: Runtime) -> None:
    assert static.metadata().get("text", "") == (TEXT if case.carries_text else "")


# Running


def test_the_result_is_the_model_s(static: Runtime) -> None:
    images = random_images()
    outputs = static.run({"images": images})
    assert list(outputs) == ["output0"]
    close_enough(outputs["output0"], images)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 16, 8), (3, 3, 8, 24)], ids=str)
def test_sizes_of_a_dynamic_model(dynamic: Runtime, shape: tuple[int, ...]) -> None:
    images = random_images(shape)
    close_enough(dynamic.run({"images": images})["output0"], images)


def reversed_channels() -> NDArray[np.float32]:
    return random_images()[:, ::-1]


def transposed() -> NDArray[np.float32]:
    return random_images((1, 8, 16, 3)).transpose(0, 3, 1, 2)


def read_only() -> NDArray[np.float32]:
    images = random_images()
    images.flags.writeable = False
    return images


def unaligned() -> NDArray[np.float32]:
    buffer = np.zeros(random_images().nbytes + 1, np.uint8)
    view = buffer[1:].view(np.float32).reshape(STATIC)
    view[:] = random_images()
    return view


@pytest.mark.parametrize(
    "make", [random_images, reversed_channels, transposed, read_only, unaligned]
)
def test_any_memory_layout_is_read_and_left_alone(static: Runtime, make: Any) -> None:
    images = make()
    before = images.copy()
    close_enough(static.run({"images": images})["output0"], before)
    np.testing.assert_array_equal(images, before)


def test_the_caller_may_reuse_its_buffer(static: Runtime) -> None:
    buffer = random_images(seed=1)
    static.run({"images": buffer})
    buffer[:] = random_images(seed=2)
    close_enough(static.run({"images": buffer})["output0"], random_images(seed=2))


def test_results_last_until_the_next_run(static: Runtime) -> None:
    first, second = random_images(seed=1), random_images(seed=2)
    outputs = static.run({"images": first})
    close_enough(outputs["output0"], first)
    kept = outputs["output0"].copy()
    static.run({"images": second})
    np.testing.assert_array_equal(static.run({"images": first})["output0"], kept)


def test_results_are_plain_arrays(static: Runtime) -> None:
    assert type(static.run({"images": random_images()})["output0"]) is np.ndarray


# Wrong feeds

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "names"),
    ({"image": random_images()}, "names"),
    ({"images": random_images(), "more": random_images()}, "names"),
    ({"images": random_images()[0]}, "images"),
    ({"images": random_images((1, 4, 8, 16))}, "images"),
    ({"images": random_images().astype(np.float64)}, "images"),
    ({"images": random_images().astype(np.float16)}, "images"),
    ({"images": random_images().astype(np.uint8)}, "images"),
]


@pytest.mark.parametrize(("feeds", "message"), WRONG)
def test_wrong_feeds_are_refused(static: Runtime, feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        static.run(feeds)
    close_enough(static.run({"images": random_images()})["output0"], random_images())


def test_a_static_model_refuses_other_sizes(case: RuntimeCase, static: Runtime) -> None:
    if not case.always_dynamic:
        with pytest.raises(ShapeError, match=r"got float32 \(1, 3, 8, 8\)"):
            static.run({"images": random_images((1, 3, 8, 8))})


# Closing


def test_closing(case: RuntimeCase, tmp_path: Path) -> None:
    with case.open(tmp_path, False, ONE_THREAD) as runtime:
        runtime.run({"images": random_images()})
    runtime.close()
    with pytest.raises(BackendError, match=f"the {case.id} runtime is closed"):
        runtime.run({"images": random_images()})
    with pytest.raises(BackendError, match="closed"):
        runtime.metadata()


def test_two_of_one_model_do_not_share_results(case: RuntimeCase, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with (
        case.open(tmp_path / "a", False, ONE_THREAD) as one,
        case.open(tmp_path / "b", False, ONE_THREAD) as two,
    ):
        first = one.run({"images": random_images(seed=1)})["output0"]
        two.run({"images": random_images(seed=2)})
        close_enough(first, random_images(seed=1))


# Opening what cannot be opened


@pytest.fixture(params=sorted(RUNTIMES))
def row(request: pytest.FixtureRequest) -> Iterator[str]:
    case = case_or_skip(request.param)
    with case.environment():
        yield case.id


FILES = [name for name, found in RUNTIMES.items() if not found.remote]


@pytest.fixture(params=sorted(FILES))
def file_row(request: pytest.FixtureRequest) -> Iterator[str]:
    case = case_or_skip(request.param)
    with case.environment():
        yield case.id


def test_a_missing_file(file_row: str, tmp_path: Path) -> None:
    missing = tmp_path / f"missing{RUNTIMES[file_row].suffixes[0]}"
    with pytest.raises(BackendError, match=missing.name):
        open_file(file_row, missing)


def test_a_folder_is_no_file(file_row: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="a folder"):
        open_file(file_row, tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"<?xml version='1.0'?><net/>"])
def test_a_corrupt_file(file_row: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"corrupt{RUNTIMES[file_row].suffixes[0]}"
    path.write_bytes(content)
    with pytest.raises((BackendError, CheckpointError), match=path.name):
        open_file(file_row, path, RuntimeOptions(device=RUNTIME_CASES[file_row].device))


# Asked is not got


def test_an_absent_device_is_an_error(row: str, tmp_path: Path) -> None:
    absent = RUNTIME_CASES[row].absent_device
    with pytest.raises(DeviceError, match=f"asked for {absent}.*--allow-fallback"):
        RUNTIME_CASES[row].open(tmp_path, False, RuntimeOptions(device=absent))


def test_an_allowed_fallback_is_noted(row: str, tmp_path: Path) -> None:
    absent = RUNTIME_CASES[row].absent_device
    options = RuntimeOptions(device=absent, allow_fallback=True, threads=1)
    with RUNTIME_CASES[row].open(tmp_path, False, options) as runtime:
        assert runtime.info.device == RUNTIME_CASES[row].device
        assert len(runtime.info.notes) == 1
        assert absent in runtime.info.notes[0]
        close_enough(runtime.run({"images": random_images()})["output0"], random_images())


# Forks


def test_forks_run_at_the_same_time_with_outputs_of_their_own(
    case: RuntimeCase, tmp_path: Path
) -> None:
    runtime = case.open(tmp_path, False, ONE_THREAD)
    fork = runtime.fork()
    if fork is None:
        assert runtime.info.streams == 1
        runtime.close()
        return
    images = [random_images(seed=seed) for seed in (1, 2)]
    wrong: list[str] = []

    def work(one: Runtime, images: NDArray[Any]) -> None:
        for _ in range(50):
            output = one.run({"images": images})["output0"]
            if not np.allclose(output, expected(images), rtol=1e-5, atol=1e-5):
                wrong.append("another thread's numbers")

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in zip((runtime, fork), images, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    runtime.close()
    close_enough(fork.run({"images": images[0]})["output0"], images[0])
    fork.close()
    with pytest.raises(BackendError, match="closed"):
        runtime.fork()
