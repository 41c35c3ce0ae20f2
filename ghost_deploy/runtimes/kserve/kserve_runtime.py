"""A model on an inference server as a runtime: what it is, and whether it stays that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, GhostDeployError, MissingExtraError, UsageError
from ghost_deploy.core.install_command import install_command
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
)
from ghost_deploy.runtimes.inference_server import PRECISION_KEY, InferenceServer
from ghost_deploy.runtimes.kserve.protocol import (
    WIRE_OF,
    InferAnswer,
    ServedModel,
    Transport,
    numpy_hint,
)
from ghost_deploy.runtimes.kserve.resending import answered
from ghost_deploy.runtimes.vendor import fallback, vendor_import

T = TypeVar("T")


class KServeRuntime(Runtime):
    """A model on a server that speaks the KServe protocol.

    What the server says of the model is read when it is opened. Each answer is checked: names,
    element types, shapes and numbers of bytes; and behind each answer, whether the server still
    says the same of the model, so that no detections of two models are mixed. A server without
    the configuration of models, an extension of Triton's, only tells versions apart.

    `run` returns new arrays. Requests with more images than the server takes are split.
    """

    def __init__(self, server: InferenceServer, options: RuntimeOptions) -> None:
        """Connect and read what the server says; see `open_model`."""
        device_notes = _device_notes(options)
        self._server, self._options = server, options
        self._where, self._hurried = str(server.address), threading.Event()
        self._transport = _transport(server)
        try:
            limit_s = min(server.connect_s, server.retry_s)
            name = answered(self._transport.server, self._where, limit_s)
            self._model = self._identity(answered(self._transport.model, self._where, limit_s))
            self._require_described()
        except BaseException:
            self._transport.close()
            raise
        self._version = server.address.version or _latest(self._model.versions)
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        self._names = tuple(spec.name for spec in self.outputs)
        version = f" version {self._version}" if self._version else ""
        self.info = RuntimeInfo(
            runtime="kserve",
            version=f"{name or 'server'}, {self._model.name}{version}",
            device="server",
            precision=self._model.parameters.get(PRECISION_KEY, options.precision),
            notes=(*device_notes, *_precision_notes(options, self._model)),
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        limit = self._model.max_batch
        count = min((len(array) for array in feeds.values()), default=0)
        if not limit or count <= limit:
            return self._run_once(feeds)
        parts = [
            self._run_once({name: array[start : start + limit] for name, array in feeds.items()})
            for start in range(0, count, limit)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_once(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        answer = self._answered(lambda: self._transport.infer(feeds, self._names))
        if self._model.configured:
            self._require_same(self._identity(self._answered(self._transport.model)))
        self._require_version(answer)
        return self._checked(answer.outputs, feeds)

    def _answered(self, ask: Callable[[], T]) -> T:
        return answered(
            ask,
            self._where,
            self._server.retry_s,
            self._transport.ready,
            hurried=self._hurried.is_set,
            sleep=self._hurried.wait,
        )

    def hurry(self) -> None:
        """Send nothing again from now on, and end a pause."""
        self._hurried.set()

    def _identity(self, model: ServedModel) -> ServedModel:
        """`model`, without what may change where a version is asked for."""
        return replace(model, versions=()) if self._server.address.version else model

    def _checked(
        self, outputs: dict[str, NDArray[Any]], feeds: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """The outputs in their order, if they are those that the server described."""
        if outputs.keys() != set(self._names):
            raise BackendError(
                f"{self._where} returned other outputs than it describes",
                got=", ".join(sorted(outputs)) or "none",
                expected=", ".join(self._names),
                fix="Look at the server: its model is another one than its description says",
            )
        batches = {len(array) for spec in self.inputs if (array := feeds[spec.name]).ndim}
        for spec in self.outputs:
            array = outputs[spec.name]
            follows = spec.shape[:1] != (-1,) or len(batches) != 1 or array.shape[:1] == (*batches,)
            if not spec.accepts(array) or not follows or 0 in array.shape:
                raise BackendError(
                    f"{self._where} returned an output {spec.name!r} that does not fit",
                    got=f"{array.dtype} {array.shape}",
                    expected=f"{spec.dtype} {spec.shape} for {max(batches, default=0)} images",
                    fix=numpy_hint(array.size),
                )
        return {name: outputs[name] for name in self._names}

    def _require_same(self, model: ServedModel) -> None:
        if model != self._model:
            self._refuse_other(_difference(self._model, model))

    def _require_version(self, answer: InferAnswer) -> None:
        if not self._version:
            self._version = answer.version
        elif answer.version not in ("", self._version):
            self._refuse_other(f"version {answer.version}, it was {self._version}")

    def _refuse_other(self, got: str) -> None:
        raise BackendError(
            f"the model at {self._where} is not the one that was opened: it was replaced",
            got=got,
            fix="Start again; results so far are those of the former model. To keep one model, "
            "ask for its version: /MODEL/versions/N",
        )

    def _require_described(self) -> None:
        if not self._model.inputs or not self._model.outputs:
            raise BackendError(
                f"{self._where} does not say what inputs and outputs the model has",
                got=f"{len(self._model.inputs)} inputs, {len(self._model.outputs)} outputs",
                fix="Let the server describe them, e.g. by get_input_types and get_output_types "
                "of a KServe model",
            )
        for spec in (*self._model.inputs, *self._model.outputs):
            if spec.dtype not in WIRE_OF:
                raise BackendError(
                    f"{self._where} is no model of tensors",
                    got=f"{spec.name} {spec.dtype} {spec.shape}",
                    fix="A pipeline that takes image files has a client of its own: "
                    "docs/serving.md. Name the model without pre- and post-processing here",
                )

    def _fork(self) -> Runtime:
        fork = KServeRuntime(self._server, self._options)
        try:
            fork._require_same(self._model)
        except BaseException:
            fork.close()
            raise
        return fork

    def _metadata(self) -> dict[str, str]:
        return dict(self._model.parameters)

    def _close(self) -> None:
        self._transport.close()


def open_model(path: Path, options: RuntimeOptions) -> KServeRuntime:
    """Open the model that `options.server` names; `path` is not read.

    Raises:
        UsageError: no server is named.
        MissingExtraError: the address is one of gRPC, and `tritonclient` is not installed.
        DeviceError: a device is asked for, without fallback: the server decides.
        BackendError: the server is away, refuses or does not describe the model.
    """
    if options.server is None:
        raise UsageError(
            "the runtime kserve runs a model on a server, and none is named",
            fix="Add --url http://HOST:8000/MODEL or grpc://HOST:8001/MODEL (url= in Python)",
        )
    return KServeRuntime(options.server, options)


def probe() -> Probe:
    """Report the version of `tritonclient`, which gRPC needs; HTTP needs no package."""
    device = Device("server", "what the server has")
    try:
        with vendor_import("tritonclient", "kserve"):
            import tritonclient  # noqa: F401
    except MissingExtraError:
        details = {"transports": f"http; for grpc: {install_command('kserve')}"}
        return Probe("kserve", True, "", (device,), details)
    except GhostDeployError as error:
        return Probe.failed("kserve", "tritonclient", error)
    details = {"transports": "grpc and http; http needs no package"}
    return Probe("kserve", True, metadata.version("tritonclient"), (device,), details)


def _transport(server: InferenceServer) -> Transport:
    if server.address.scheme.startswith("http"):
        from ghost_deploy.runtimes.kserve.http_transport import HttpTransport

        return HttpTransport(server)
    from ghost_deploy.runtimes.kserve.grpc_transport import GrpcTransport

    return GrpcTransport(server)


def _device_notes(options: RuntimeOptions) -> tuple[str, ...]:
    if options.device == "cpu":  # the default
        return ()
    what = "the server decides where its models run"
    return (fallback(options, what, "Leave out --device"),)


def _precision_notes(options: RuntimeOptions, model: ServedModel) -> tuple[str, ...]:
    if not options.precision or PRECISION_KEY in model.parameters:
        return ()
    return (f"the server does not say which file it runs: taken to be {options.precision}",)


def _latest(versions: tuple[str, ...]) -> str:
    """The version that a server takes if none is asked for: the highest; empty if unknown."""
    if len(versions) == 1:
        return versions[0]
    if not all(each.isascii() and each.isdigit() for each in versions):
        return ""
    # As numbers, of any length.
    return max(versions, key=lambda each: (len(each.lstrip("0")), each.lstrip("0")), default="")


def _difference(before: ServedModel, now: ServedModel) -> str:
    """What differs, in few words."""
    if before.versions != now.versions:
        return f"versions {', '.join(now.versions)}, they were {', '.join(before.versions)}"
    if before.parameters != now.parameters:
        keys = {*before.parameters, *now.parameters}
        changed = sorted(k for k in keys if before.parameters.get(k) != now.parameters.get(k))
        return f"another {', '.join(changed)}"
    return "other inputs, outputs or limits"
