"""The LiteRT artifact of an export, made by litert-torch."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ghost_deploy.core.bundle import Artifact
from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.install_command import install_command
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.converter_process import Converter, ConverterProcess
from ghost_deploy.export.metadata import ultralytics_metadata
from ghost_deploy.export.rewrite import ExportGraph
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.network import DetectionNet

if TYPE_CHECKING:
    from ghost_deploy.export.artifacts import ExportSession
    from ghost_deploy.export.targets import Target

LIMIT_S = 1800.0
"""Seconds that the conversion may take; a small network takes 15 to 70."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def litert_converter() -> Converter:
    """litert-torch."""
    return Converter(
        name="litert-torch",
        package="litert_torch",
        steps="litert_steps.py",
        variable="GHOST_DEPLOY_LITERT_PYTHON",
        option="--litert-python",
        fix=f"Install it here (2 GB): {install_command('litert-export')}; or name the Python of an "
        "environment that has it: --litert-python PATH or $GHOST_DEPLOY_LITERT_PYTHON",
    )


def make_artifact(session: ExportSession, target: Target) -> Artifact:
    """Write the LiteRT artifact of an export.

    Raises:
        UsageError: the sizes vary, or there is no network of ours to convert.
        MissingExtraError: there is no converter.
        ExportError: the conversion failed.
    """
    session.progress("LiteRT fp32", 0, 0)
    from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkCheckpoint

    loaded, spec = session.loaded, session.spec
    if isinstance(loaded, ForkCheckpoint):
        raise UsageError(
            "LiteRT files are made of networks of our own definitions",
            got="the fork's own code",
            fix="Export such a checkpoint without --litert",
        )
    program = session.scratch / "program.pt2"
    converted = session.scratch / "converted.tflite"
    _save_program(loaded.net, spec, program)
    converter = litert_converter()
    python = session.python_of(converter)
    with ConverterProcess(converter, python, session.scratch) as process:
        versions = process.ask(
            "convert",
            LIMIT_S,
            lambda text: session.progress(f"LiteRT fp32: {text}", 0, 0),
            program=str(program),
            out=str(converted),
            input_name=spec.input.name,
            output_name=spec.head.output,
        )
    path = session.writer.folder / "model.fp32.tflite"
    _describe(converted, path, spec)
    return session.add(target, path, session.loaded.source.sha256, tools=versions)


def _save_program(net: DetectionNet, spec: ModelSpec, path: Path) -> None:
    """Write the network as a program of torch.export."""
    dtype = torch.uint8 if spec.input.embedded else torch.float32
    image = torch.zeros(spec.input.shape(1, spec.input.size_hw), dtype=dtype)
    graph = ExportGraph(fuse(net), spec).eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(graph, (image,), strict=False), path)
    except Exception as error:  # torch raises what its tracer meets
        raise ExportError(
            "the network could not be traced by torch.export",
            got=f"{type(error).__name__}: {error}"[:600],
            fix="Export it without --litert",
        ) from error


def _describe(converted: Path, path: Path, spec: ModelSpec) -> None:
    """Write the converted file with its description.

    The description is a ZIP archive behind the model, where LiteRT's own metadata puts files and
    where Ultralytics' loader looks for `metadata.json`; interpreters do not read that far.
    """
    content = converted.read_bytes() if converted.is_file() else b""
    if content[4:8] != b"TFL3":
        raise ExportError(
            "litert-torch wrote no LiteRT file",
            got=f"{len(content)} bytes",
            fix="Export without --litert",
        )
    path.write_bytes(content)
    described = {
        ModelSpec.Json: spec.to_json().decode(),
        "metadata.json": json.dumps(ultralytics_metadata(spec), ensure_ascii=False),
    }
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in described.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text)
