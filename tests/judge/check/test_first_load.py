"""What happens before the first detection on a machine: a backend that dies, hangs or is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError, UnavailableError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.check import ask_child
from ghost_deploy.runtimes.int8_forms import ort_form
from ghost_deploy.runtimes.wheels import distributions_of, illegal_instruction
from tests.support import fake_backends

INT8 = f"onnx-int8-{ort_form()}"


def test_a_backend_with_instructions_that_the_processor_lacks_is_named(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_backends.install(fake_backends.DIES, tmp_path / "fake", monkeypatch)
    for model in (bundle, bundle.path / "model.fp32.onnx"):
        for _ in range(2):  # the second load says it too
            with pytest.raises(UnavailableError, match="illegal instruction") as caught:
                gd.load(model, "ort")
            assert "onnxruntime" in caught.value.what
            assert "--runtime" in caught.value.fix
    gd.load(bundle, "ort", check=False).close()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (fake_backends.NEVER_ANSWERS, "no answer within 3 s"),
        (fake_backends.CRASHES, "SIGSEGV"),
        (fake_backends.EXCHANGES_CHANNELS, "raw score difference"),
    ],
)
def test_a_backend_that_hangs_crashes_or_is_wrong_is_refused_from_then_on(
    program: str, reason: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 3.0 if "no answer" in reason else 60.0
    ask = ask_child.ask_child
    monkeypatch.setattr(ask_child, "ask_child", lambda *a, **k: ask(*a, **k, timeout_s=limit))
    with monkeypatch.context() as patch:
        fake_backends.install(program, tmp_path / "fake", patch)
        for _ in range(2):
            with pytest.raises(GateError, match="wrong on this machine") as caught:
                gd.load(bundle, "ort", "fp32")
            assert reason in str(caught.value)
            monkeypatch.setattr(ask_child, "ask_child", lambda *_, **__: pytest.fail("again"))


def test_a_single_file_asks_once_for_its_backend(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bundle.path / "model.fp32.onnx"
    gd.load(file).close()
    monkeypatch.setattr(ask_child, "ask_child", lambda *_, **__: pytest.fail("asked again"))
    gd.load(shutil.copy(file, tmp_path / "other.onnx")).close()


def test_an_artifact_without_outputs_is_run_once_and_says_so_at_every_load(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    documents = {k: v for k, v in bundle.document.evidence.items() if k != "reference"}
    bare = Bundle(bundle.path, _with(bundle, documents))
    bare.save()
    gd.load(bundle.path, "ort", "int8").close()
    assert f"{INT8} on ort run on this machine, once" in caplog.text
    monkeypatch.setattr(ask_child, "ask_child", lambda *_, **__: pytest.fail("asked again"))
    caplog.clear()
    gd.load(bundle.path, "ort", "int8").close()
    assert "was not checked on this machine" in caplog.text
    assert "--calib" in caplog.text


def test_an_artifact_that_cannot_be_opened_is_its_own_error(bundle: Bundle) -> None:
    (bundle.path / "model.fp32.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="changed"):
        gd.load(bundle.path, "ort", "fp32")


def test_an_interpreter_that_cannot_start_another_checks_by_itself(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "")
    gd.load(bundle, "ort", "int8").close()
    assert "checked on this machine" in caplog.text
    gd.load(bundle.path / "model.fp32.onnx").close()


def test_the_message_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("Features\t: fp asimd crc32 cpuid\n")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    error = illegal_instruction("onnxruntime", tmp_path)
    assert error.got == "a processor without atomics, asimdhp, asimddp, sve"
    monkeypatch.setattr(
        "ghost_deploy.runtimes.wheels.distributions_of", lambda _: ("onnxruntime-1.21.0",)
    )
    error = illegal_instruction("onnxruntime", tmp_path)
    assert "onnxruntime-1.21.0 uses instructions" in error.what
    assert "runs on Cortex-A72" in error.fix
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert illegal_instruction("onnxruntime", tmp_path).got is None


def test_distributions_are_found_by_their_package() -> None:
    (found,) = distributions_of("onnxruntime")
    assert found.startswith("onnxruntime-1.")
    assert distributions_of("no_such_package") == ()


def _with(bundle: Bundle, documents: dict[str, object]) -> object:
    import msgspec

    return msgspec.structs.replace(bundle.document, evidence=documents)
