"""NNCF, held to what a library may do to the process that calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from ghost_deploy.calib.quantize.nncf import quantize_openvino, tail_operations
from ghost_deploy.core.errors import ExportError, MissingExtraError
from tests.support.int8_fakes import SPEC, FewImages
from tests.support.small_graphs import ghost_net, random_inputs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("openvino") / "float.onnx"
    path.write_bytes(ghost_net().SerializeToString())
    return openvino.Core().read_model(path)


def quantize(model: Any, **options: Any) -> Any:
    return quantize_openvino(model, FewImages(), SPEC.input, **options)  # type: ignore[arg-type]


def quantized_convolutions(model: Any) -> set[str]:
    """Friendly names of the convolutions whose weights NNCF rounded."""
    return {
        op.get_friendly_name().removesuffix("/WithoutBiases")
        for op in model.get_ops()
        if op.get_type_name() in ("Convolution", "GroupConvolution")
        and "FakeQuantize" in op.input(0).get_source_output().get_node().get_type_name()
    }


def test_without_nncf_it_says_what_to_install(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghost_deploy.calib.quantize.nncf.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"nncf"):
        quantize(model)


def test_what_nncf_refuses_is_our_error(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import nncf

    def refuse(*given: Any, **named: Any) -> None:
        raise nncf.InternalError("no way\nand more")

    monkeypatch.setattr(nncf, "quantize", refuse)
    with pytest.raises(ExportError, match="NNCF cannot quantize") as caught:
        quantize(model)
    assert "no way" in str(caught.value)


def test_the_tail_is_what_follows_the_last_convolutions(model: Any) -> None:
    names = tail_operations(model)
    assert "scores" in names
    assert "last/WithoutBiases" not in names
    assert not [name for name in names if "dense" in name]


def test_the_tail_and_what_is_named_stay_float(
    model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, int, int]] = []
    before = [op.get_type_name() for op in model.get_ops()]
    found = quantize(
        model, keep_float={"dense"}, progress=lambda *step: told.append(step), label="nncf"
    )
    names = quantized_convolutions(found)
    assert {"first", "one.primary", "one.cheap", "last"} <= names
    assert "dense" not in names
    assert [op.get_type_name() for op in model.get_ops()] == before, "the float model is the same"
    assert told[:4] == [("nncf", index, 4) for index in range(4)]
    assert capfd.readouterr().out == "", "it draws no bar and logs nothing on standard output"


def test_it_computes_nearly_the_same(model: Any) -> None:
    compiled = [openvino.compile_model(each, "CPU") for each in (model, quantize(model))]
    for image in random_inputs():
        exact, rounded = (each(image)[0] for each in compiled)
        assert 0 < np.abs(exact - rounded).max() < 0.1


def test_importing_nncf_sends_no_report_and_leaves_loggers_alone(tmp_path: Path) -> None:
    client = tmp_path / "openvino_telemetry"
    client.mkdir()
    (client / "__init__.py").write_text(
        "class Telemetry:\n"
        "    def __init__(self, *given, **named):\n"
        "        open('sent', 'w').close()\n"
        "    def __getattr__(self, name):\n"
        "        return self.__init__\n"
    )
    probe = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import openvino_telemetry\n"
        "import logging; before = logging.getLoggerClass()\n"
        "from ghost_deploy.calib.quantize.nncf import _import_nncf; _import_nncf()\n"
        "assert logging.getLoggerClass() is before\n"
        "assert sys.modules['openvino_telemetry'] is openvino_telemetry\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "sent").exists()
