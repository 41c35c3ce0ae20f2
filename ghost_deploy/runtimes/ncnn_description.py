"""What an NCNN network does not say of itself: shapes and metadata, in a `.json` beside `.param`.

The names of its tensors are those inside the `.param` file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ghost_deploy.core.errors import BackendError, GhostDeployError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.core.spec import ModelSpec, decode_json, encode_json

SCHEMA = 1


class NcnnTensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input or output: its name, and its float32 shape with the batch; -1 for any size."""

    name: str
    shape: tuple[int, ...]


class NcnnDescription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the `.json` file.

    Attributes:
        inputs, outputs: of the network; images of a batch are run one by one.
        metadata: texts by key, the model's description among them.
        schema: of this document.
    """

    inputs: tuple[NcnnTensor, ...]
    outputs: tuple[NcnnTensor, ...]
    metadata: dict[str, str] = {}
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads schema {SCHEMA}, got {self.schema}")
        if not self.inputs or not self.outputs:
            raise ValueError("it has no input or no output")

    @classmethod
    def of(cls, spec: ModelSpec, more: Mapping[str, str] | None = None) -> NcnnDescription:
        """That of a model.

        Args:
            spec: of its graph.
            more: further metadata.
        """
        outputs = spec.output_shapes().items()
        return cls(
            inputs=(NcnnTensor(name=spec.input.name, shape=spec.input.graph_shape()),),
            outputs=tuple(NcnnTensor(name=name, shape=shape) for name, shape in outputs),
            metadata={ModelSpec.Json: spec.to_json().decode(), **(more or {})},
        )

    @staticmethod
    def path(param: Path) -> Path:
        """Of the file beside a `.param` file."""
        return param.with_suffix(".json")

    def write(self, param: Path) -> Path:
        """Write it beside a `.param` file."""
        path = self.path(param)
        path.write_bytes(encode_json(self) + b"\n")
        return path

    @classmethod
    def read(cls, param: Path) -> NcnnDescription:
        """Read it from beside a `.param` file.

        Raises:
            BackendError: it is not there, or damaged.
        """
        path = cls.path(param)
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
        except OSError as error:
            raise BackendError(
                f"{param} says nothing of its input size and of what its outputs mean",
                got=f"{error.strerror} for {path.name}",
                expected=f"{path.name}, which ghost-deploy writes beside it",
                fix="Copy the whole folder, or make it: ghost-deploy export CHECKPOINT -o BUNDLE "
                "--ncnn",
            ) from error
        try:
            return decode_json(data, cls, where=str(path))
        except GhostDeployError as error:
            raise BackendError(
                f"{path} cannot be used", got=error.got, fix="Export the model again"
            ) from error
