"""Our own form: a round trip, and refusal of other files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import torch
from safetensors.torch import save

from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.checkpoints.native import save_native
from ghost_deploy.core.errors import (
    CheckpointError,
    CorruptCheckpointError,
    ExportError,
    StructureError,
)
from tests.support.assets import GHOSTNET, needs_assets
from tests.support.forged_checkpoints import written

pytestmark = needs_assets


@pytest.fixture(scope="module")
def loaded() -> LoadedCheckpoint:
    return load_checkpoint(GHOSTNET)


@pytest.fixture(scope="module")
def native(loaded: LoadedCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "n.safetensors"
    save_native(path, loaded.net, loaded.spec, loaded.source, "float16")
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(
    loaded: LoadedCheckpoint, dtype: Literal["float16", "float32"], tmp_path: Path
) -> None:
    path = tmp_path / "n.safetensors"
    save_native(path, loaded.net, loaded.spec, loaded.source, dtype)
    again = load_checkpoint(path)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        # The weights came from a float16 file: neither form loses anything.
        assert torch.equal(again.net(image), loaded.net(image))
    assert again.source.file == path.name
    assert again.source.sha256 == again.spec.source_sha256 != loaded.source.sha256
    assert loaded.source.sha256[:16] in again.source.warnings[-1]
    assert msgspec.structs.replace(again.spec, source_sha256="") == msgspec.structs.replace(
        loaded.spec, source_sha256=""
    )
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_equal_networks_give_equal_files(
    loaded: LoadedCheckpoint, native: Path, tmp_path: Path
) -> None:
    save_native(tmp_path / "2", loaded.net, loaded.spec, loaded.source, "float16")
    assert (tmp_path / "2").read_bytes() == native.read_bytes()


def test_inspect(native: Path) -> None:
    seen = inspect_checkpoint(native)
    assert seen.exportable
    assert seen.format == "ghost-deploy"
    assert {use.path: use.count for use in seen.classes}["ghost_deploy.C2fGhost"] == 4


def test_a_weight_beyond_float16_is_not_written(loaded: LoadedCheckpoint, tmp_path: Path) -> None:
    net = load_checkpoint(GHOSTNET).net
    next(net.parameters()).data[0] = 1e6
    with pytest.raises(CheckpointError, match=r"model\.0.* does not fit float16"):
        save_native(tmp_path / "n", net, loaded.spec, loaded.source, "float16")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(loaded: LoadedCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "no").write_bytes(b"a file")
    with pytest.raises(ExportError, match="cannot write"):
        save_native(tmp_path / "no" / "n", loaded.net, loaded.spec, loaded.source)


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_document(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        header, body = split(data)
        document = json.loads(header["__metadata__"]["ghost_deploy.checkpoint"])
        change(document)
        header["__metadata__"]["ghost_deploy.checkpoint"] = json.dumps(document)
        return joined(header, body)

    return apply


def another_schema(document: dict[str, Any]) -> None:
    document["schema"] = 2


def unknown_key(document: dict[str, Any]) -> None:
    document["tree"]["code"] = "print()"


def too_few_names(document: dict[str, Any]) -> None:
    document["spec"]["class_names"] = ["a"]


def bad_name(document: dict[str, Any]) -> None:
    document["spec"]["class_names"][1] = "\x1b[2J"


def other_head(document: dict[str, Any]) -> None:
    document["spec"]["head"]["strides"] = [8, 16]


def missing_tensor(document: dict[str, Any]) -> None:
    document["tree"]["children"]["model"]["parameters"] = {"w": "absent"}


def forgotten_layer(document: dict[str, Any]) -> None:
    del document["tree"]["children"]["model"]["children"]["3"]


def deep(document: dict[str, Any]) -> None:
    node = document["tree"]["children"]["model"]["children"]["0"]
    for _ in range(200):
        node = {"class_path": "torch.nn.modules.container.Sequential", "children": {"0": node}}
    document["tree"]["children"]["model"]["children"]["0"] = node


def deeper_than_any_stack(data: bytes) -> bytes:
    header, body = split(data)
    header["__metadata__"]["ghost_deploy.checkpoint"] = '{"tree":' + "[" * 100_000
    return joined(header, body)


def not_json(data: bytes) -> bytes:
    return struct.pack("<Q", 20) + b"{" * 20 + data[28:]


REFUSED: dict[str, tuple[Callable[[bytes], bytes], type[CheckpointError], str]] = {
    "another schema": (with_document(another_schema), CorruptCheckpointError, "schema"),
    "an unknown key": (with_document(unknown_key), CorruptCheckpointError, "code"),
    "too few names": (with_document(too_few_names), StructureError, "1 class names"),
    "a bad name": (with_document(bad_name), StructureError, "printable"),
    "another head": (with_document(other_head), StructureError, "another head"),
    "a missing tensor": (with_document(missing_tensor), CorruptCheckpointError, "absent"),
    "a forgotten layer": (with_document(forgotten_layer), CorruptCheckpointError, "no module"),
    "deep": (with_document(deep), CorruptCheckpointError, "deeply"),
    "deeper than any stack": (deeper_than_any_stack, CorruptCheckpointError, "damaged"),
    "weights alone": (lambda _: save({"a": torch.zeros(2)}), CorruptCheckpointError, "weights but"),
    "no UTF-8": (
        lambda data: data.replace(b"RBC", b"R\xffC", 1),
        CorruptCheckpointError,
        "weights but|damaged",
    ),
    "no JSON": (not_json, CorruptCheckpointError, "damaged"),
    "truncated": (lambda data: data[: len(data) // 2], CorruptCheckpointError, "damaged"),
    "a header of nothing": (lambda data: data[:9], CorruptCheckpointError, "not a checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_not_ours_is_refused(
    case: tuple[Callable[[bytes], bytes], type[CheckpointError], str], native: Path, tmp_path: Path
) -> None:
    change, kind, message = case
    path = written(tmp_path, change(native.read_bytes()))
    with pytest.raises(kind, match=message) as caught:
        load_checkpoint(path)
    assert caught.value.fix
