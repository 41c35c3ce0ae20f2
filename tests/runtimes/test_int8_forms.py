"""An int8 file runs only in the runtime it was built for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.core.bundle import FORM_KEY, Artifact
from ghost_deploy.core.errors import BackendError, BundleError
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.int8_forms import ort_form, require_form
from ghost_deploy.runtimes.ort import open_model
from ghost_deploy.runtimes.run_plan import choose
from ghost_deploy.runtimes.table import RUNTIMES
from tests.support.in_memory_bundles import bundle_in_memory
from tests.support.runtime_cases import write_onnx

OWN = ort_form()


def artifact(format: str, form: str) -> Artifact:
    path = f"{format}.{form}"
    return Artifact(
        format=format, precision="int8", path=path, files={path: ""}, parent="", form=form
    )


@pytest.mark.parametrize(
    ("machine", "form"),
    [("x86_64", "ort-x86"), ("AMD64", "ort-x86"), ("aarch64", "ort-arm"), ("arm64", "ort-arm")],
)
def test_the_form_of_onnx_runtime_follows_the_processor(machine: str, form: str) -> None:
    assert ort_form(machine) == form


@pytest.mark.parametrize("form", ["tensorrt", "openvino", "nonsense"])
def test_a_foreign_form_is_refused(form: str) -> None:
    with pytest.raises(BackendError, match="another runtime"):
        require_form("ort", form, (OWN,), where="model.onnx")


@pytest.mark.parametrize("form", ["", OWN])
def test_an_own_form_and_a_file_without_one_pass(form: str) -> None:
    require_form("ort", form, (OWN,), where="model.onnx")


def test_a_file_that_names_a_foreign_form_is_not_opened(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", metadata={FORM_KEY: "tensorrt"})
    with pytest.raises(BackendError, match="tensorrt"):
        open_model(path, RuntimeOptions(precision="int8"))
    with open_model(path, RuntimeOptions(precision="int8", any_form=True)) as opened:
        assert opened.metadata()[FORM_KEY] == "tensorrt"


def test_artifacts_of_one_precision_differ_by_form() -> None:
    forms = (artifact("onnx", OWN), artifact("onnx", "tensorrt"), artifact("openvino", "openvino"))
    ids = [each.id for each in bundle_in_memory(*forms).document.artifacts]
    assert ids == [f"onnx-int8-{OWN}", "onnx-int8-tensorrt", "openvino-int8"]


def test_only_an_own_form_is_chosen() -> None:
    bundle = bundle_in_memory(artifact("onnx", "tensorrt"), artifact("onnx", OWN))
    assert choose(bundle, runtime="ort", precision="int8").artifact.form == OWN
    with pytest.raises(BundleError, match=r"nothing to run.*\(tensorrt\).*--for (x86|arm64)"):
        choose(bundle_in_memory(artifact("onnx", "tensorrt")), runtime="ort", precision="int8")


def test_every_int8_capable_runtime_names_its_forms() -> None:
    capable = [row.name for row in RUNTIMES.values() if "int8" in row.precisions]
    assert capable
    capable.remove("rknn")  # its forms are the boards whose files run here
    assert all(RUNTIMES[name].forms for name in capable)
