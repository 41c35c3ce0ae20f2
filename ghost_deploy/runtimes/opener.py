"""Opening a bundle's artifact or a single model file in a runtime."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import SpecError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.core.trusted_signers import refuse_if_trust_is_asked
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.file_description import description_of
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import RUNTIMES, RuntimeRow, open_file, runtime_row


def open_planned(bundle: Bundle, run: PlannedRun, options: RuntimeOptions) -> Runtime:
    """Open an artifact as planned, after verifying its hashes and its description.

    Args:
        bundle: that holds the artifact.
        run: see `plan_runs`.
        options: device, threads, hint, fallback and cache; the precision is that of the run.

    Raises:
        BundleError: a file of the artifact is missing or was changed.
        SpecError: the bundle and the file describe different models.
        UnavailableError: this machine lacks the package, the device or the precision.
        BackendError: the backend cannot load the file.
    """
    path = bundle.verified_path(run.artifact)
    options = replace(
        options,
        precision=run.precision,
        any_form=options.any_form or run.foreign,
        pixel_input=True,
        sha256={(bundle.path / name).resolve(): each for name, each in run.artifact.files.items()},
    )
    opened = open_file(run.row.name, path, options)
    try:
        _check_description(opened, bundle.spec_of(run.artifact), run.artifact.path)
    except BaseException:
        opened.close()
        raise
    return opened


def _check_description(runtime: Runtime, spec: ModelSpec, where: str) -> None:
    """Require that the description inside a model file, if there is one, equals `spec`.

    The hashes of a bundle cover its model files; this check covers `bundle.json`, where an edited
    pad value or class order would silently give wrong detections.

    Args:
        runtime: of the opened file.
        spec: the description in the bundle.
        where: the file, for the error message.

    Raises:
        SpecError: they differ.
    """
    text = runtime.metadata().get(ModelSpec.Json)
    if text is None:
        return
    inside = ModelSpec.from_json(text, where=where)
    # Scores are chosen for a bundle, whose files stay as they are.
    if msgspec.structs.replace(inside, chosen=spec.chosen) != spec:
        raise SpecError(
            f"the description inside {where} is not that of the bundle",
            fix="One of them was changed: export the model again",
        )


def open_path(
    path: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    options: RuntimeOptions | None = None,
) -> tuple[Runtime, ModelSpec]:
    """Open a single model file with the model description in its metadata.

    Args:
        path: `.onnx`, `.xml`, an engine, or a checkpoint, which runs in PyTorch; files that
            Ultralytics' exporter wrote too.
        runtime: a key of `RUNTIMES` that reads such files, or `auto`.
        options: device, precision, threads.

    Raises:
        UsageError: unknown runtime, or none that reads such a file.
        SpecError: the file has no description, or a damaged one.
        SignatureError: signatures are asked for, which a single file does not have.
        UnavailableError, BackendError, CheckpointError: see `open_model` of the backend.
    """
    path = Path(path)
    refuse_if_trust_is_asked(str(path))
    row = row_for(path, runtime)
    options = replace(options or RuntimeOptions(), pixel_input=True)
    opened = open_file(row.name, path, options)
    try:
        return opened, description_of(opened, path)
    except BaseException:
        opened.close()
        raise


def row_for(path: Path, runtime: str = "auto") -> RuntimeRow:
    """The runtime that opens a single model file.

    Args:
        path: of the file; it need not be there.
        runtime: a key of `RUNTIMES` that reads such files, or `auto`.

    Raises:
        UsageError: unknown runtime, or none that reads such a file.
    """
    rows = tuple(RUNTIMES.values()) if runtime == "auto" else (runtime_row(runtime),)
    row = next((row for row in rows if path.suffix.lower() in row.suffixes), None)
    if row is None:
        raise UsageError(
            f"{path} is no file that {'a' if runtime == 'auto' else 'this'} runtime reads",
            got=path.suffix or "no suffix",
            expected=", ".join(suffix for row in rows for suffix in row.suffixes),
            fix="Give a bundle or such a file",
        )
    return row
