"""Open a model for detection."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ghost_deploy.api.common import AnyPath, cache_dir, is_bundle, log_note, model_file, open_bundle
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.bundle.verdicts import failed_verdicts, replacing_command
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.trusted_signers import refuse_if_trust_is_asked, trusting
from ghost_deploy.runtimes.base import Hint, RuntimeOptions
from ghost_deploy.runtimes.opener import open_path, open_planned, row_for
from ghost_deploy.runtimes.run_plan import PlannedRun, choose, plan_runs
from ghost_deploy.runtimes.server_url import is_server_url

if TYPE_CHECKING:
    from ghost_deploy.core.spec import ModelSpec
    from ghost_deploy.detector import Detector
    from ghost_deploy.runtimes.base import Runtime
    from ghost_deploy.runtimes.inference_server import InferenceServer

FASTEST = "fastest"
"""The precision that stands for what is fastest here."""


def load(
    model: AnyPath | Bundle | InferenceServer,
    runtime: str = "auto",
    precision: str | None = None,
    *,
    url: str | InferenceServer | None = None,
    device: str = "cpu",
    threads: int = 0,
    hint: Hint = "latency",
    allow_fallback: bool = False,
    allow_failed_parity: bool = False,
    check: bool = True,
    trust: AnyPath | None = None,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    agnostic: bool | None = None,
    slices: int | None = None,
    overlap: float = 0.2,
) -> Detector:
    """Open a model for detection.

    Args:
        model: a bundle, whose files are checked against their hashes; or a checkpoint; or an
            `.onnx` file, `.xml` file or engine, written by us or by Ultralytics (the folder of an
            OpenVINO model too), about which nothing is known but what it says itself; or the
            address of a model on a server, as `url`, which must describe it.
        runtime: `openvino`, `ort` or `eager`; `auto` takes the first of these that is installed,
            knows the device and can open something of the bundle. `kserve` runs the model on a
            server, `url`.
        precision: `fp32`, `fp16`, `bf16` or `int8`; the most exact there is when None. `fastest`
            takes the fastest artifact that `check` has verified on this machine.
        url: of a server that runs a model of the bundle, e.g. `grpc://host:8001/MODEL`; an
            `InferenceServer` also has headers and time limits. See docs/serving.md.
        device: `cpu`, `cuda`, `cuda:N`, `gpu`, `npu`.
        threads: CPU threads; 0 lets the runtime choose.
        hint: `throughput` where several frames are run side by side, `once` for a single image, see
            `RuntimeOptions`.
        allow_fallback: accept another device or precision than the one asked for.
        allow_failed_parity: open an artifact although its comparison with the checkpoint failed.
        check: an artifact that was never loaded on this machine is run once on the images that
            the bundle carries, and refused where it does not reproduce their outputs.
        trust: a file of trusted signers, by default that of `$GHOST_DEPLOY_TRUST`, if any: a model
            that none of them signed, or that was changed since, is refused. See docs/signing.md.
        slices: also look into square slices of so many pixels of each image, for small objects in
            large images; the results are merged, see docs/streams.md.
        overlap: share of a slice, 0 to 0.9, that neighboring ones have in common.
        conf, iou, max_det, agnostic: thresholds instead of those of the model, see `Thresholds`;
            `conf` also instead of those that `validate` chose by class.

    Returns:
        The detector; `detector.runtime.info` says what was obtained. Close it, or use it as a
        context manager.

    Raises:
        UsageError: there is no such model or runtime, or the model has no NMS to change.
        BackendError: the server is away, or runs another model.
        BundleError: the bundle is damaged, or has nothing that fits.
        SignatureError: trust is asked for, and it is not signed by a trusted signer, or changed.
        GateError: the artifact failed its parity gate.
        UnavailableError: the runtime, device or precision is not on this machine; for `fastest`
            also that nothing was checked here.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.processing.slices import Slicing

    options = RuntimeOptions(
        device=device,
        precision="" if precision in (None, FASTEST) else precision,
        threads=threads,
        hint=hint,
        allow_fallback=allow_fallback,
        cache_dir=cache_dir(),
        server=_server(model, url, runtime),
    )
    if options.server is not None:
        opened, spec = _open_served(model, options, precision, trust)
    else:  # `server_of` takes an `InferenceServer`
        opened, spec = _open_here(
            cast("AnyPath | Bundle", model),
            runtime,
            options,
            precision,
            trust,
            allow_failed_parity=allow_failed_parity,
            check=check,
        )
    try:
        slicing = None if slices is None else Slicing(slices, overlap)
        own = spec.default_thresholds
        thresholds = own.changed(conf=conf, iou=iou, max_det=max_det, agnostic=agnostic)
        return Detector(opened, spec, thresholds, slicing)
    except BaseException:
        opened.close()
        raise


def _server(
    model: AnyPath | Bundle | InferenceServer, url: str | InferenceServer | None, runtime: str
) -> InferenceServer | None:
    """The server that is named; to open a model on this machine imports nothing of servers."""
    local = isinstance(model, str | os.PathLike | Bundle) and not is_server_url(model)
    if local and url is None and runtime != "kserve":
        return None
    from ghost_deploy.runtimes.served import server_of

    return server_of(model, url, runtime)


def _open_here(
    model: AnyPath | Bundle,
    runtime: str,
    options: RuntimeOptions,
    precision: str | None,
    trust: AnyPath | None,
    *,
    allow_failed_parity: bool,
    check: bool,
) -> tuple[Runtime, ModelSpec]:
    """Open a bundle's artifact or a single file on this machine."""
    found = model if isinstance(model, Bundle) else model_file(Path(model))
    if isinstance(found, Bundle) or is_bundle(found):
        bundle = open_bundle(found, trust)
        run = choose_run(bundle, runtime, options, fastest=precision == FASTEST)
        if not allow_failed_parity:
            _refuse_failed(bundle, run)
            _say_simulated(bundle, run)
            if check:
                _check_here(bundle, run, options)
        return open_planned(bundle, run, options), bundle.spec_of(run.artifact)
    if not os.path.exists(found):
        raise UsageError(f"there is no bundle or model {found}", fix="Check the path")
    with trusting(trust):
        refuse_if_trust_is_asked(str(found))
    return _open_file(found, runtime, options, precision, check=check)


def _open_served(
    model: AnyPath | Bundle | InferenceServer,
    options: RuntimeOptions,
    precision: str | None,
    trust: AnyPath | None,
) -> tuple[Runtime, ModelSpec]:
    """Open a model on a server, of a bundle or described by the server."""
    from ghost_deploy.runtimes.inference_server import InferenceServer
    from ghost_deploy.runtimes.served import open_served, served_view

    if precision == FASTEST:
        raise UsageError(
            "a server decides what it runs", got="precision fastest", fix="Leave it out"
        )
    with trusting(trust):
        if isinstance(model, InferenceServer) or is_server_url(model):
            return open_served(options)
        if not isinstance(model, Bundle) and not is_bundle(Path(model)):
            raise UsageError(
                "a model on a server is opened with its bundle, or by its address alone",
                got=str(model),
                fix="Give the bundle that it was made of, or the address in its place",
            )
        bundle = served_view(open_bundle(model), options, precision)
        (run,) = plan_runs(bundle, ["kserve"])
        return open_planned(bundle, run, options), bundle.spec_of(run.artifact)


def choose_run(
    bundle: Bundle, runtime: str, options: RuntimeOptions, *, fastest: bool
) -> PlannedRun:
    """What `load` runs: of several int8 placements the one that `check` decided for here.

    Args:
        bundle: whose artifacts.
        runtime, options: as in `load`.
        fastest: what is fastest here is asked for.
    """
    from ghost_deploy.judge.check.fastest import decided_here, fastest_verified
    from ghost_deploy.judge.check.verdict_store import VerdictStore

    store = VerdictStore.below(options.cache_dir)
    if fastest:
        return fastest_verified(bundle, runtime, options, store)
    chosen = choose(bundle, runtime=runtime, options=options, failed=partial(_refused, bundle))
    return decided_here(bundle, chosen, options, store)


def _refused(bundle: Bundle, run: PlannedRun) -> bool:
    """Whether `_refuse_failed` refuses a run."""
    failed = failed_verdicts(bundle, run.artifact, run.row.name, run.precision)
    return any(verdict.kind != "accuracy" for verdict in failed)


def _open_file(
    path: Path, runtime: str, options: RuntimeOptions, precision: str | None, *, check: bool
) -> tuple[Runtime, ModelSpec]:
    """Open a single file, on a backend that runs on this machine."""
    from ghost_deploy.judge.check.first_load import check_backend
    from ghost_deploy.judge.check.verdict_store import VerdictStore

    if precision == FASTEST:
        raise UsageError(
            "only a bundle has something to choose from",
            got=str(path),
            fix="Give a bundle, or leave out --precision fastest",
        )
    row = row_for(path, runtime)
    if check and row.installed:
        check_backend(path, row, options, VerdictStore.below(options.cache_dir))
    return open_path(path, runtime=runtime, options=options)


def _check_here(bundle: Bundle, run: PlannedRun, options: RuntimeOptions) -> None:
    """Raise if the artifact is wrong on this machine."""
    from ghost_deploy.judge.check.first_load import check_first_load
    from ghost_deploy.judge.check.verdict_store import VerdictStore

    store = VerdictStore.below(options.cache_dir)
    check_first_load(bundle, run, options, store, log_note)


def _say_simulated(bundle: Bundle, run: PlannedRun) -> None:
    """Note that the artifact was compared with the checkpoint on a simulator alone."""
    report = bundle.evidence.parity
    sha256 = run.artifact.files[run.artifact.path]
    rows = report.rows if report else ()
    if any(row.simulated and row.sha256 == sha256 for row in rows):
        log_note(
            f"{run.artifact.id} was compared with the checkpoint by the vendor's simulator; "
            "ghost-deploy check compares it on this device"
        )


def _refuse_failed(bundle: Bundle, run: PlannedRun) -> None:
    """Raise if the evidence of the bundle says that this artifact is not the trained model."""
    artifact, runtime = run.artifact, run.row.name
    for verdict in failed_verdicts(bundle, artifact, runtime, run.precision):
        if verdict.kind != "accuracy":
            raise GateError(
                f"{artifact.id} on {runtime} {verdict.sentence}",
                got=verdict.reason or None,
                fix=f"Replace it: {replacing_command(bundle, artifact)}; or use another precision "
                "or runtime, or pass --allow-failed-parity (allow_failed_parity=True in Python)",
            )
