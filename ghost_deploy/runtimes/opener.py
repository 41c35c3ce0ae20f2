"""Opening a bundle's artifact or a single model file in a runtime."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.errors import (
    BundleError,
    DeviceError,
    MissingExtraError,
    SpecError,
    UsageError,
)
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes import RUNTIMES, RuntimeRow, open_file, runtime_row
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions

__all__ = ["ArtifactChoice", "check_description", "choose", "open_artifact", "open_path"]

_PREFERENCE = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ArtifactChoice:
    """An artifact, the runtime that opens it and the precision of the run."""

    row: RuntimeRow
    artifact: Artifact
    precision: str


def choose(
    bundle: Bundle,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    options: RuntimeOptions | None = None,
) -> ArtifactChoice:
    """Choose the artifact of `bundle` to run, and the runtime that opens it.

    Args:
        bundle: whose artifacts are considered.
        runtime: a key of `RUNTIMES`, or `auto`: the first one that is installed, supports the
            device and has an artifact in the precision.
        precision: precision of the run; default: `options.precision`. If neither names one, fp32
            is preferred to fp16 and int8: it computes what the checkpoint does, and fp16 is not
            faster on most CPUs.
        options: the device, and whether a fallback is allowed.

    Raises:
        UsageError: unknown runtime.
        BundleError: the bundle has no matching artifact; the message lists its artifacts.
        DeviceError: no runtime for its artifacts supports the device.
        MissingExtraError: the vendor package for the artifact is not installed.
    """
    options = options or RuntimeOptions()
    precision = precision or options.precision
    rows = tuple(RUNTIMES.values()) if runtime == "auto" else (runtime_row(runtime),)
    found = [choice for row in rows for choice in _choices(bundle, row, precision, options)]
    if not found:
        asked = " ".join(filter(None, (precision, "" if runtime == "auto" else runtime)))
        raise BundleError(
            f"{bundle.path} has nothing to run{f' as {asked}' if asked else ''}",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            fix="Choose another --runtime or --precision, or export what is missing",
        )
    # A runtime chosen by name checks the device itself; its error names the command that helps.
    any_device = runtime != "auto" or options.allow_fallback
    fitting = [c for c in found if any_device or options.device_kind in c.row.devices]
    if not fitting:
        raise DeviceError(
            f"nothing that runs the artifacts of {bundle.path} knows {options.device!r}",
            expected=", ".join(sorted({name for choice in found for name in choice.row.devices})),
            fix="Choose another --device, or export for it",
        )
    ranked = sorted(fitting, key=lambda choice: _PREFERENCE.index(choice.artifact.precision))
    for choice in ranked:
        if choice.row.installed:
            return choice
    raise MissingExtraError.for_extra(ranked[0].row.package, ranked[0].row.extra)


def open_artifact(
    bundle: Bundle,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    options: RuntimeOptions | None = None,
) -> Runtime:
    """Open an artifact of `bundle` after verifying its hashes.

    Args:
        bundle: whose artifact is opened.
        runtime, precision: see `choose`.
        options: device, threads, hint, fallback and cache.

    Raises:
        UsageError, DeviceError, MissingExtraError: see `choose`.
        BundleError: see `choose`, or a file of the artifact is missing or was changed.
        SpecError: the bundle and the file describe different models.
        BackendError: the backend cannot load the file.
    """
    options = options or RuntimeOptions()
    choice = choose(bundle, runtime=runtime, precision=precision, options=options)
    path = bundle.verified_path(choice.artifact)
    opened = open_file(choice.row.name, path, replace(options, precision=choice.precision))
    try:
        check_description(opened, bundle.spec, choice.artifact.path)
    except BaseException:
        opened.close()
        raise
    return opened


def check_description(runtime: Runtime, spec: ModelSpec, where: str) -> None:
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
    inside = runtime.metadata().get(ModelSpec.Json)
    if inside is not None and ModelSpec.from_json(inside, where=where) != spec:
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
        path: `.onnx`, `.xml`, an engine, or a checkpoint, which runs in PyTorch.
        runtime: a key of `RUNTIMES` that reads such files, or `auto`.
        options: device, precision, threads.

    Raises:
        UsageError: unknown runtime, or none that reads such a file.
        SpecError: the file has no description, or a damaged one.
        UnavailableError, BackendError, CheckpointError: see `open_model` of the backend.
    """
    path = Path(path)
    rows = tuple(RUNTIMES.values()) if runtime == "auto" else (runtime_row(runtime),)
    row = next((row for row in rows if path.suffix.lower() in row.suffixes), None)
    if row is None:
        raise UsageError(
            f"{path} is no file that {'a' if runtime == 'auto' else 'this'} runtime reads",
            got=path.suffix or "no suffix",
            expected=", ".join(suffix for row in rows for suffix in row.suffixes),
            fix="Give a bundle or such a file",
        )
    opened = open_file(row.name, path, options)
    try:
        text = opened.metadata().get(ModelSpec.Json)
        if text is None:
            raise SpecError(
                f"{path} carries no model description",
                expected=f"the metadata key {ModelSpec.Json}",
                fix="Export the checkpoint with: ghost-deploy export CHECKPOINT -o BUNDLE",
            )
        return opened, ModelSpec.from_json(text, where=f"{ModelSpec.Json} in {path}")
    except BaseException:
        opened.close()
        raise


def _choices(
    bundle: Bundle, row: RuntimeRow, precision: str, options: RuntimeOptions
) -> list[ArtifactChoice]:
    """The artifacts that `row` can run; without a precision, each one in its default precision."""
    found = []
    for artifact in bundle.artifacts:
        fits = artifact.format == row.format and (
            artifact.form in ("", *row.forms) or (options.any_form and artifact.form != NMS_FORM)
        )
        runs = row.precisions.get(artifact.precision, ()) if fits else ()
        wanted = [run for run in runs if run == precision] if precision else runs[:1]
        found += [ArtifactChoice(row, artifact, run) for run in wanted]
    return found
