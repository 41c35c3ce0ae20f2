"""Options, tensor specs and the conversion of vendor errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, DeviceError, MissingExtraError, UsageError
from ghost_deploy.runtimes.base import RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

WRONG_OPTIONS = [
    ({"device": ""}, "device"),
    ({"device": "CPU"}, "device"),
    ({"device": "tpu"}, "device"),
    ({"device": "cuda:"}, "device"),
    ({"device": "cuda:-1"}, "device"),
    ({"device": "dla"}, "device"),
    ({"device": "cpu:0"}, "device"),
    ({"precision": "fp64"}, "precision"),
    ({"precision": "FP32"}, "precision"),
    ({"hint": "speed"}, "hint"),
    ({"threads": -1}, "threads"),
    ({"threads": 1_000_000}, "threads"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG_OPTIONS)
def test_wrong_options(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"no such .*{message}"):
        RuntimeOptions(**fields)


@pytest.mark.parametrize(
    ("device", "kind", "index"),
    [("cpu", "cpu", 0), ("cuda", "cuda", 0), ("cuda:12", "cuda", 12), ("dla:1", "dla", 1)],
)
def test_devices(device: str, kind: str, index: int) -> None:
    options = RuntimeOptions(device=device)
    assert (options.device_kind, options.device_index) == (kind, index)


@pytest.mark.parametrize(
    ("array", "accepted"),
    [
        (np.zeros((2, 3), np.float32), True),
        (np.zeros((0, 3), np.float32), True),
        (np.zeros((2, 4), np.float32), False),
        (np.zeros((2,), np.float32), False),
        (np.zeros((2, 3, 1), np.float32), False),
        (np.zeros((2, 3), np.float64), False),
        (np.zeros((2, 3), ">f4"), False),
    ],
)
def test_a_spec_accepts(array: Any, accepted: bool) -> None:
    assert TensorSpec("x", (-1, 3), "float32").accepts(array) is accepted


IMPORT_FAILURES = [
    (ModuleNotFoundError("no", name="vendor"), MissingExtraError, r"\[vendors\]"),
    (ModuleNotFoundError("no", name="helper.part"), MissingExtraError, "'helper' is not installed"),
    (ModuleNotFoundError("no", name="vendor.core"), BackendError, "--force-reinstall vendor"),
    (ImportError("libcuda.so.1: cannot open"), BackendError, "libcuda.so.1"),
    (OSError("libfoo.so: no"), BackendError, "libfoo.so"),
]


@pytest.mark.parametrize(("raised", "ours", "message"), IMPORT_FAILURES)
def test_a_failing_import(raised: Exception, ours: type[Exception], message: str) -> None:
    with pytest.raises(ours, match=message) as caught, vendor_import("vendor", "vendors"):
        raise raised
    assert caught.value.__cause__ is raised


def test_vendor_errors_become_ours_and_keep_the_cause() -> None:
    raised = RuntimeError("Exception from src/core.cpp:12:\n\nbad graph\n  at line 3\n")
    message = r"cannot load m: got bad graph at line 3\. Do this"
    with (
        pytest.raises(BackendError, match=message) as caught,
        vendor_errors("cannot load m", "Do this"),
    ):
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("message", "got"), [("", "RuntimeError"), ("x" * 5000, "x" * 297 + "..."), ("a\n\n", "a")]
)
def test_vendor_messages_are_short(message: str, got: str) -> None:
    with pytest.raises(BackendError) as caught, vendor_errors("what", "Do this"):
        raise RuntimeError(message)
    assert caught.value.got == got


def test_our_errors_and_interrupts_pass_the_border() -> None:
    for error in (UsageError("mine", fix="Do this"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, vendor_errors("what", "Do this"):
            raise error
        assert caught.value is error


def test_fallback_is_an_error_unless_allowed() -> None:
    with pytest.raises(DeviceError, match=r"asked for npu fp16: none\. Buy one, or pass --allow"):
        fallback(RuntimeOptions("npu", "fp16"), "none", "Buy one")
    note = fallback(RuntimeOptions("npu", allow_fallback=True), "none", "Buy one")
    assert note == "asked for npu, fell back: none"


def test_existing_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert existing_file(tmp_path / "a") == tmp_path / "a"
    for path, message in ((tmp_path, "a folder"), (tmp_path / "b", "no such file")):
        with pytest.raises(BackendError, match=message):
            existing_file(path)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"device": "gup"}, "Did you mean gpu?"),
        ({"device": "toaster"}, "Name one of those"),
        ({"precision": "fp61"}, "Did you mean fp16?"),
        ({"threads": -1}, "Name one of those"),
    ],
    ids=str,
)
def test_a_near_option_is_asked_for(options: dict[str, Any], fix: str) -> None:
    with pytest.raises(UsageError, match="there is no such") as caught:
        RuntimeOptions(**options)
    assert caught.value.fix == fix
