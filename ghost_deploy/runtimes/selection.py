"""From a bundle or a model file to an open runtime."""

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
from ghost_deploy.runtimes import RUNTIMES, Row, open_file, runtime_row
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions

__all__ = ["Choice", "check_description", "choose", "open_artifact", "open_path"]

_PREFERENCE = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Choice:
    """An artifact, the backend to open it with and the precision to run it in."""

    row: Row
    artifact: Artifact
    precision: str


def choose(
    bundle: Bundle,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    options: RuntimeOptions | None = None,
) -> Choice:
    """The artifact of `bundle` that fulfils a wish, and what opens it.

    Args:
        runtime: a key of `RUNTIMES`, or `auto`: the first one there that is installed, knows
            the device and has an artifact in the precision.
        precision: precision of the run; None means `options.precision`. When neither names one,
            fp32 is taken, the checkpoint's own numbers, before fp16 and int8: a faster one is
            asked for by name, and on most CPUs fp16 is not faster.
        options: the device, and whether another one will do.

    Raises:
        UsageError: no such runtime.
        BundleError: the bundle has no artifact for that wish; the message lists what it has.
        DeviceError: no backend for its artifacts knows the device.
        MissingExtraError: what would open the artifact is not installed.
    """
    options = options or RuntimeOptions()
    precision = precision or options.precision
    rows = tuple(RUNTIMES.values()) if runtime == "auto" else (runtime_row(runtime),)
    found = [choice for row in rows for choice in _choices(bundle, row, precision, options)]
    if not found:
        wish = " ".join(filter(None, (precision, "" if runtime == "auto" else runtime)))
        raise BundleError(
            f"{bundle.path} has nothing to run{f' as {wish}' if wish else ''}",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            fix="Choose another --runtime or --precision, or export what is missing",
        )
    # A backend that was named answers for its devices itself, with the command that helps.
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
    """Open an artifact of `bundle` after checking its hashes.

    Args:
        runtime, precision: as `choose` takes them.
        options: device, threads, hint, fallback and cache.

    Raises:
        UsageError, DeviceError, MissingExtraError: as `choose`.
        BundleError: as `choose`, or a file of the artifact is missing or was changed.
        SpecError: the bundle describes another model than the file itself.
        BackendError: the backend refused the file.
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
    """See that the description inside a model file, if there is one, is `spec`.

    The hashes of a bundle cover its model files, and `bundle.json` itself is covered by this: an
    edited pad value or class order would give wrong detections without a word.

    Raises:
        SpecError: they differ.
    """
    inside = runtime.metadata().get(ModelSpec.Json)
    if inside is not None and ModelSpec.from_json(inside, where=where) != spec:
        raise SpecError(
            f"the description inside {where} is not that of the bundle",
            fix="They were edited or mixed up: export the model again",
        )


def open_path(
    path: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    options: RuntimeOptions | None = None,
) -> tuple[Runtime, ModelSpec]:
    """Open a single model file with the description that travels inside it.

    Args:
        path: `.onnx`, `.xml`, or a checkpoint, which runs in PyTorch.
        runtime: a key of `RUNTIMES` that reads such files, or `auto`.

    Raises:
        UsageError: no such runtime, or none that reads such a file.
        SpecError: the file carries no description, or a damaged one.
        UnavailableError, BackendError, CheckpointError: as the backend's `open_model`.
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


def _choices(bundle: Bundle, row: Row, precision: str, options: RuntimeOptions) -> list[Choice]:
    """What `row` can run of `bundle`; without a precision, each artifact in its default one."""
    found = []
    for artifact in bundle.artifacts:
        fits = artifact.format == row.format and (
            artifact.form in ("", *row.forms) or (options.any_form and artifact.form != NMS_FORM)
        )
        runs = row.precisions.get(artifact.precision, ()) if fits else ()
        wanted = [run for run in runs if run == precision] if precision else runs[:1]
        found += [Choice(row, artifact, run) for run in wanted]
    return found
