"""A bundle and a server: which artifact it runs, by verb and by command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.errors import BundleError, SignatureError, SpecError, UsageError
from ghost_deploy.core.trusted_signers import trusting
from ghost_deploy.judge.bench.selection import Selection, candidates, open_subjects
from ghost_deploy.judge.parity.candidate_run import ParityRun
from ghost_deploy.judge.parity.stages import ReferenceResult
from ghost_deploy.runtimes.base import RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.inference_server import HASH_KEY, PRECISION_KEY
from ghost_deploy.runtimes.run_plan import plan_runs
from ghost_deploy.runtimes.served import open_served, served_view
from tests.support.assets import needs_assets, val_images
from tests.support.constant_model import write_constant_bundle
from tests.support.exports import shared_proved_bundle
from tests.support.kserve_server import Hosted, KServeServer

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")


def said_of(bundle: gd.Bundle, artifact: gd.Artifact) -> dict[str, str]:
    """What `export --triton` lets a server say of an artifact."""
    return {
        gd.ModelSpec.Json: bundle.spec.to_json().decode(),
        PRECISION_KEY: artifact.precision,
        HASH_KEY: artifact.files[artifact.path],
    }


def constant(parameters: dict[str, str], **settings: Any) -> Hosted:
    return Hosted(
        lambda feeds: {"output0": np.zeros((len(feeds["images"]), 5, 84), np.float32)},
        (TensorSpec("images", (-1, 3, 64, 64), "float32"),),
        (TensorSpec("output0", (-1, 5, 84), "float32"),),
        parameters,
        **settings,
    )


@pytest.fixture
def small(tmp_path: Path) -> gd.Bundle:
    return write_constant_bundle(tmp_path / "small", ("fp32", "fp16"))


@pytest.fixture
def served(small: gd.Bundle) -> Iterator[KServeServer]:
    models = {a.precision: constant(said_of(small, a)) for a in small.artifacts}
    with KServeServer({**models, "silent": constant({}, configured=False)}) as server:
        yield server


IMAGE = np.zeros((64, 64, 3), np.uint8)


# What does not go together


def test_a_runtime_and_an_address_belong_together(small: gd.Bundle, served: KServeServer) -> None:
    url = served.url("http", "fp32")
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (small, {"runtime": "kserve"}),
        (small, {"runtime": "ort", "url": url}),
        (url, {"runtime": "ort"}),
        (url, {"url": url}),
        (small, {"url": url, "precision": "fastest"}),
        (small.path / "model.fp32.onnx", {"url": url}),
        (small, {"url": "host/fp32"}),
    ]
    for model, arguments in wrong:
        with pytest.raises(UsageError):
            gd.load(model, **arguments)


def test_another_model_than_that_of_the_bundle(small: gd.Bundle, served: KServeServer) -> None:
    said = {**said_of(small, small.artifacts[0]), HASH_KEY: "0" * 64}
    served.models["other"] = constant(said)
    with pytest.raises(BundleError, match="runs another model than"):
        gd.load(small, url=served.url("http", "other"))


def test_another_description_than_that_of_the_bundle(
    tmp_path: Path, small: gd.Bundle, served: KServeServer
) -> None:
    other = write_constant_bundle(tmp_path / "other", name="other")
    said = {**said_of(small, small.artifacts[0]), gd.ModelSpec.Json: other.spec.to_json().decode()}
    served.models["other"] = constant(said)
    with pytest.raises(SpecError, match="not that of the bundle"):
        gd.load(small, url=served.url("http", "other"))


def test_another_precision_than_the_server_runs(small: gd.Bundle, served: KServeServer) -> None:
    with pytest.raises(BundleError, match=r"in fp32.*got onnx-fp16"):
        gd.load(small, precision="fp32", url=served.url("http", "fp16"))


def test_a_server_without_a_description_needs_the_bundle(
    small: gd.Bundle, served: KServeServer
) -> None:
    url = served.url("grpc", "silent")
    with pytest.raises(SpecError, match=r"gives no description.*BUNDLE --runtime kserve"):
        gd.load(url)
    with gd.load(small, precision="fp16", url=url) as detector:
        assert detector.runtime.info.precision == "fp16"
        assert "taken to be fp16" in detector.runtime.info.notes[0]
        assert len(detector(IMAGE)) == 0


def test_signatures_are_asked_for(small: gd.Bundle, served: KServeServer, tmp_path: Path) -> None:
    """What a server runs cannot be verified, whatever it says."""
    url = served.url("http", "fp32")
    (tmp_path / "signers").write_text("")
    for model, arguments in ((small, {"url": url}), (url, {})):
        with pytest.raises(SignatureError):
            gd.load(model, trust=tmp_path / "signers", **arguments)
    options = RuntimeOptions(server=gd.InferenceServer(url))
    with trusting(tmp_path / "signers"):
        # Of a bundle that was read before, or is signed.
        with pytest.raises(SignatureError, match="cannot be verified"):
            served_view(small, options)
        with pytest.raises(SignatureError, match="cannot be verified"):
            open_served(options)


# What does


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_artifact_is_the_one_that_the_server_runs(
    small: gd.Bundle, served: KServeServer, transport: str
) -> None:
    with gd.load(small, url=served.url(transport, "fp16"), conf=0.1) as detector:
        assert detector.runtime.info.precision == "fp16"
        assert detector.runtime.info.notes == ()
        assert detector.spec == small.spec
        assert detector.thresholds.conf == 0.1
        detector(IMAGE)
    with gd.load(gd.InferenceServer(served.url(transport, "fp32"), request_s=5)) as detector:
        assert detector.spec == small.spec
        detector(IMAGE)


@needs_assets
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_detections_are_those_of_this_machine_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    transport: str,
) -> None:
    bundle = gd.Bundle.read(shared_proved_bundle(tmp_path_factory))
    images = [str(path) for path in val_images()[:3]]
    with gd.load(bundle, "ort", "fp32") as local:
        expected = local.detect(images)
        spec, runtime = local.spec, local.runtime
        hosted = Hosted(
            lambda feeds: {k: v.copy() for k, v in runtime.run(feeds).items()},
            runtime.inputs,
            runtime.outputs,
            said_of(bundle, bundle.artifact("onnx", "fp32")),
        )
        with KServeServer({"blood": hosted}) as server:
            url = server.url(transport, "blood")
            with gd.load(url) as remote:
                assert remote.spec == spec
                for found, wanted in zip(remote.detect(images), expected, strict=True):
                    np.testing.assert_array_equal(found.xyxy, wanted.xyxy)
                    np.testing.assert_array_equal(found.score, wanted.score)
            lines = tmp_path / "lines.jsonl"
            command = ["infer", str(bundle.path), *images, "--jsonl", str(lines)]
            assert main([*command, "--runtime", "kserve", "--url", url]) == 0
            assert "on kserve strict 1.2, blood version 1, server" in capsys.readouterr().err
            counts = [
                len(json.loads(line)["detections"]) for line in lines.read_text().splitlines()
            ]
            assert counts == [len(found) for found in expected]
            assert main(["infer", url, images[0]]) == 0


# The command


def test_secrets_stay_off_the_command_line(
    small: gd.Bundle, served: KServeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    (tmp_path / "key").write_text("secret-key\n")
    command = ["infer", str(small.path), str(tmp_path / "a.png"), "--url"]
    url = served.url("http", "fp32")
    assert main([*command, url, "--header", "Authorization: Bearer secret-key"]) == 2
    assert "secret-key" not in capsys.readouterr().err
    headers = ["--header", f"Authorization: @{tmp_path / 'key'}", "--header", "Host: edge.local"]
    assert main([*command, url, *headers, "--retry", "0", "--request-timeout", "9"]) == 0
    assert served.headers["authorization"] == "secret-key"
    assert served.headers["host"] == "edge.local"
    assert "secret-key" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--header", "A: b"],
        ["--retry", "3"],
        ["--url", "http://h/m", "--header", "no colon"],
        ["--url", "http://h/m", "--header", "A: @/no/such/file"],
        ["--url", "http://h/m", "--request-timeout", "0"],
        ["--runtime", "kserve"],
    ],
)
def test_options_that_cannot_be_used(small: gd.Bundle, options: list[str]) -> None:
    assert main(["infer", str(small.path), "image.png", *options]) == 2


# Measuring


@pytest.mark.parametrize(
    ("runtimes", "measured"),
    [
        (["ort"], {"ort", "kserve"}),
        (["ort", "kserve"], {"ort", "kserve"}),
        (["kserve"], {"kserve"}),
    ],
)
def test_bench_never_leaves_the_server_out(
    small: gd.Bundle, served: KServeServer, runtimes: list[str], measured: set[str]
) -> None:
    options = RuntimeOptions(server=gd.InferenceServer(served.url("http", "fp16")))
    (subject,) = open_subjects([small])
    found = candidates(subject, Selection(runtimes=runtimes, options=options))
    assert {each.config.runtime for each in found} == measured
    wrong = Selection(runtimes=runtimes, precisions=["fp32"], options=options)
    with pytest.raises(UsageError, match="left out by its precision, fp16"):
        candidates(subject, wrong)
    (file,) = open_subjects([small.path / "model.fp32.onnx"])
    with pytest.raises(UsageError, match="no bundle"):
        candidates(file, Selection(options=options))


def test_what_is_measured_needs_a_server(
    small: gd.Bundle, served: KServeServer, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="belong together"):
        gd.bench(small, runtimes=["ort", "kserve"])
    url = served.url("http", "fp32")
    for runtimes, address in ((["ort", "kserve"], url), (["ort"], url), (["kserve"], None)):
        with pytest.raises(UsageError, match="belong together"):
            gd.validate(small, tmp_path / "data.yaml", runtimes=runtimes, url=address)


def test_bench_has_the_server_beside_this_machine(
    small: gd.Bundle, served: KServeServer, tmp_path: Path
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    report = gd.bench(
        small,
        tmp_path / "a.png",
        precisions=["fp32"],
        url=gd.InferenceServer(served.url("http", "fp32"), headers={"X-Route": "edge"}),
        duration_s=0.1,
        rounds=2,
        store=False,
    )
    rows = {row.config.runtime: row for row in report.rows}
    assert rows.keys() == {"ort", "kserve"}
    assert {row.status for row in rows.values()} == {"measured"}
    assert any("include the network" in text for text in report.warnings)
    assert served.headers["x-route"] == "edge"


def labelled(folder: Path, small: gd.Bundle) -> Path:
    """A data set of one image with one object."""
    import cv2

    for name in ("images", "labels"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "images" / "a.png"), IMAGE)
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    file = folder / "data.yaml"
    file.write_text(json.dumps({"val": "images", "names": list(small.spec.class_names)}))
    return file


def test_a_server_is_not_compared_with_itself(
    small: gd.Bundle, served: KServeServer, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    data = labelled(tmp_path, small)
    report = gd.validate(small, data, url=served.url("http", "fp32"))
    assert report.reference is not None
    assert report.reference.name.startswith("onnx-fp32")
    assert "kserve" not in report.reference.name
    assert [row.runtime for row in report.rows if row.accuracy] == ["kserve"]
    assert any("no checkpoint was given" in text for text in report.warnings)


def test_a_runtime_without_a_file_is_not_left_out(small: gd.Bundle, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    data = labelled(tmp_path, small)
    for call in (gd.validate, gd.bench):
        with pytest.raises(UsageError, match="has no file for the runtime ncnn"):
            call(small, data, runtimes=["ort", "ncnn"])


@pytest.mark.parametrize("fault", ["away", "slow"])
def test_a_server_that_is_away_is_no_verdict_on_accuracy(
    small: gd.Bundle, served: KServeServer, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], fault: str,
) -> None:  # fmt: skip
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    data = labelled(tmp_path, small)
    served.faults.extend([fault] * 50)
    words = ["validate", str(small.path), "--data", str(data), "--url", served.url("http", "fp32")]
    assert main([*words, "--retry", "0", "--request-timeout", "0.3"]) == 2
    said = capsys.readouterr()
    assert "cannot be reached" in said.err or "does not answer" in said.err
    assert "within their gates" not in said.out


def test_a_server_that_is_away_is_no_verdict_of_parity(
    small: gd.Bundle, served: KServeServer
) -> None:
    server = gd.InferenceServer(served.url("http", "fp32"), retry_s=0)
    options = RuntimeOptions(server=server)
    view = served_view(small, options)
    (plan,) = plan_runs(view, ["kserve"])
    with gd.load(small, "ort", "fp32") as detector, ParityRun(view, plan, options) as run:
        expected = ReferenceResult.of(detector, IMAGE, (64, 64))
        served.faults.extend(["away"] * 50)
        with pytest.raises(gd.BackendError, match="cannot be reached"):
            run.compare("a.png", expected)
