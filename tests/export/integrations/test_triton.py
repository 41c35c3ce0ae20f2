"""A Triton model repository, read with Triton's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.export.integrations.prototext import EnumValue, to_text
from ghost_deploy.export.integrations.triton import refuse_models_of, write_triton
from ghost_deploy.runtimes.inference_server import HASH_KEY, PRECISION_KEY
from tests.support.bundles import DYNAMIC, SPEC, write_placeholder_bundle

text_format = pytest.importorskip("google.protobuf.text_format")
schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient")


def parse(text: str) -> Any:
    return text_format.Parse(text, schema.ModelConfig())


def configs(root: Path) -> dict[str, Any]:
    """Of the models that are artifacts; `test_triton_pipeline` has the other one."""
    found = {path.parent.name: parse(path.read_text()) for path in root.glob("*/config.pbtxt")}
    return {name: config for name, config in found.items() if config.backend != "python"}


def test_nothing_to_serve_is_an_error(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b", kinds=(("onnx", "int8", "tensorrt"),))
    with pytest.raises(BundleError, match="nothing that a Triton backend runs"):
        write_triton(bundle, tmp_path / "models")


def test_a_model_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b")
    write_triton(bundle, tmp_path / "models")
    with pytest.raises(UsageError, match="exists already"):
        write_triton(bundle, tmp_path / "models")


def test_models_of_the_same_names_are_replaced_when_asked_for(tmp_path: Path) -> None:
    bundle, root = write_placeholder_bundle(tmp_path / "b"), tmp_path / "models"
    names = write_triton(bundle, root)
    (root / names[0] / "1" / "stale").touch()
    (root / "other").mkdir()
    assert write_triton(bundle, root, overwrite=True) == names
    assert not (root / names[0] / "1" / "stale").exists()
    assert sorted(path.name for path in root.iterdir()) == sorted([*names, "other"])
    assert (root / names[-1] / "1" / "model.py").is_file()


def test_every_backend_gets_its_files(tmp_path: Path) -> None:
    root = tmp_path / "models"
    names = write_triton(write_placeholder_bundle(tmp_path / "b"), root)
    assert sorted(path.name for path in root.iterdir()) == sorted(names)
    # Five artifacts and the whole detector: the graph in TensorRT's int8 form is for engines alone.
    assert len(names) == 6
    found = configs(root)
    files = {name: sorted(path.name for path in (root / name / "1").iterdir()) for name in found}
    assert {config.backend: files[name] for name, config in found.items()} == {
        "onnxruntime": ["model.onnx"],
        "openvino": ["model.bin", "model.xml"],
        "tensorrt": ["model.plan"],
    }
    for name, config in found.items():
        assert config.name == name
        assert (root / name / "labels.txt").read_text("utf-8").split() == [*SPEC.class_names]


def test_a_static_graph_keeps_its_whole_shape(tmp_path: Path) -> None:
    write_triton(write_placeholder_bundle(tmp_path / "b"), tmp_path / "models")
    for config in configs(tmp_path / "models").values():
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
        assert config.model_warmup[0].batch_size == 1  # the schema wants 1 without batching
        assert [*config.input[0].dims] == [1, 3, 64, 96]
        assert [*config.output[0].dims] == [1, 7, SPEC.head.anchors((64, 96))]


def test_a_dynamic_graph_is_batched(tmp_path: Path) -> None:
    write_triton(write_placeholder_bundle(tmp_path / "b", DYNAMIC), tmp_path / "models")
    for config in configs(tmp_path / "models").values():
        assert config.max_batch_size == 16
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        assert [*config.input[0].dims] == [3, -1, -1]
        assert [*config.output[0].dims] == [7, -1]
        warm = config.model_warmup[0]
        assert (warm.batch_size, [*warm.inputs["images"].dims]) == (1, [3, 64, 96])


def test_the_description_travels_along(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "b")
    write_triton(bundle, tmp_path / "models")
    for config in configs(tmp_path / "models").values():
        text = config.parameters[ModelSpec.Json].string_value
        assert ModelSpec.from_json(text, where="config.pbtxt") == SPEC
        artifact = next(a for a in bundle.artifacts if config.name.endswith(a.id))
        said = {key: config.parameters[key].string_value for key in (PRECISION_KEY, HASH_KEY)}
        assert said == {
            PRECISION_KEY: artifact.precision,
            HASH_KEY: artifact.files[artifact.path],
        }


@pytest.mark.parametrize(
    ("decoder", "branch", "rows"),
    [("one2one", "one2one", 126), ("efficient-nms", "one2many", 300)],
)
def test_final_detections_have_rows(tmp_path: Path, decoder: Any, branch: Any, rows: int) -> None:
    head = HeadSpec(decoder=decoder, branch=branch, strides=(8, 16, 32))
    spec = msgspec.structs.replace(SPEC, head=head)
    write_triton(write_placeholder_bundle(tmp_path / "b", spec), tmp_path / "models")
    shapes = {tuple(each.output[0].dims) for each in configs(tmp_path / "models").values()}
    assert shapes == {(1, rows, 6)}


@pytest.mark.parametrize(
    "name", ["plain", 'quo"ted', "back\\slash", "zwölf", "line\nbreak", "日本"]
)
def test_any_text_survives(name: str) -> None:
    assert parse(to_text({"name": name})).name == name


def test_numbers_flags_and_lists() -> None:
    config = parse(
        to_text(
            {
                "max_batch_size": 4,
                "input": [{"name": "a", "dims": [3, -1]}, {"name": "b", "dims": []}],
                "instance_group": {"kind": EnumValue("KIND_CPU")},
                "model_warmup": {"inputs": {"key": "a", "value": {"zero_data": True}}},
            }
        )
    )
    assert [(each.name, [*each.dims]) for each in config.input] == [("a", [3, -1]), ("b", [])]
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_CPU
    assert config.model_warmup[0].inputs["a"].zero_data


REPOSITORIES = {
    "none": ([], None),
    "another model": (["other_onnx-fp32", "best_v2", "best2_detector"], None),
    "its detector": (["best_detector"], "best_detector exists already"),
    "an artifact": (["x", "best_openvino-int8"], "best_openvino-int8 exists already"),
}


@pytest.mark.parametrize("case", REPOSITORIES)
def test_a_conflict_is_seen_before_the_export(tmp_path: Path, case: str) -> None:
    names, problem = REPOSITORIES[case]
    target = tmp_path / "models"
    for name in names:
        (target / name).mkdir(parents=True)
    words = ["export", str(tmp_path / "best.pt"), "-o", str(tmp_path / "out")]
    if problem is None:
        refuse_models_of(tmp_path / "best.pt", target)
        return
    with pytest.raises(UsageError, match=problem):
        refuse_models_of(tmp_path / "best.pt", target)
    # The checkpoint is not there: the command has not looked for it.
    assert main([*words, "--triton", str(target)]) == 2
    assert not (tmp_path / "out").exists()


def test_a_repository_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        refuse_models_of("best.pt", tmp_path / "models")
