"""The imported package and the features of its version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import BackendError, DeviceError, MissingExtraError, UnavailableError
from ghost_deploy.runtimes.tensorrt.releases import check_release, release_of

_LOGGER = "_ghost_deploy_logger"

_INSTALL = (
    "Install it: on a Jetson it comes with JetPack (apt install python3-libnvinfer; use the "
    "system's Python or a venv with --system-site-packages), elsewhere with: pip install tensorrt"
)


@dataclass(frozen=True)
class TensorrtApi:
    """The imported package.

    Attributes:
        module: `tensorrt`.
        text: its version, e.g. `10.13.3.9`.
        release: the first three numbers of the version.
    """

    module: Any
    text: str
    release: tuple[int, int, int]

    @property
    def weak_typing(self) -> bool:
        """Whether builder flags select precisions: up to 10."""
        return hasattr(self.module.BuilderFlag, "FP16")

    @property
    def strong_typing(self) -> bool:
        """Whether networks can be strongly typed: from 10, always on 11."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def calibrators(self) -> bool:
        """Whether INT8 ranges can be read from a calibration cache: up to 10."""
        return hasattr(self.module, "IInt8EntropyCalibrator2")

    @property
    def progress_monitor(self) -> bool:
        """Whether the builder reports its progress: from 10."""
        return hasattr(self.module, "IProgressMonitor")

    @property
    def shared_profiles(self) -> bool:
        """Whether several contexts can use one optimization profile at a time: from 10."""
        return self.release[0] >= 10


def load() -> TensorrtApi:
    """Import TensorRT.

    Raises:
        MissingExtraError: it is not installed.
        BackendError: it is installed and cannot be loaded, usually because a CUDA library is
            missing.
        UnavailableError: the version is older than 8.5 or known not to work.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the Python package 'tensorrt' is not installed", got=str(error), fix=_INSTALL
        ) from error
    except (ImportError, OSError) as error:
        raise BackendError(
            "the Python package 'tensorrt' is installed but cannot be loaded",
            got=str(error),
            fix="Install the CUDA libraries that this version was made for",
        ) from error
    text = str(tensorrt.__version__)
    api = TensorrtApi(tensorrt, text, release_of(text))
    check_release(api.release)
    return api


def derive(base: Any, **methods: Callable[..., Any]) -> Any:
    """An instance of a subclass of one of TensorRT's interfaces.

    pybind11 requires that the base's constructor is called, and mypy cannot check such a subclass.
    """

    def construct(self: Any) -> None:
        base.__init__(self)

    return type(f"Our{base.__name__}", (base,), {"__init__": construct, **methods})()


def process_logger(api: TensorrtApi, take: Callable[[str, str], None]) -> Any:
    """The one `tensorrt.ILogger` of this process.

    TensorRT keeps a pointer to the first logger that it is given and uses it for all builders and
    runtimes until the process ends, so that this one lives as long as the imported package.

    Args:
        take: called with a severity in lower case, e.g. `warning`, and a line; only the one of the
            first call counts.
    """
    found = vars(api.module).get(_LOGGER)
    if found is None:
        found = derive(
            api.module.ILogger, log=lambda _, severity, line: take(severity.name.lower(), line)
        )
        setattr(api.module, _LOGGER, found)
    return found


def construct(kind: Any, logger: Any, explain: Callable[[], str]) -> Any:
    """A Builder or a Runtime; DeviceError, with what TensorRT logged, when CUDA does not start."""
    try:
        return kind(logger)
    except TypeError as error:  # "factory function returned nullptr": CUDA did not start
        raise DeviceError(
            "TensorRT cannot start: CUDA has no usable GPU here",
            got=explain() or str(error),
            fix="See whether nvidia-smi (on a Jetson: tegrastats) shows the GPU, and whether the "
            "driver is new enough for this CUDA; in a container pass --gpus all",
        ) from error


def missing_feature(api: TensorrtApi, what: str) -> UnavailableError:
    """The error for a feature that a version does not have."""
    return UnavailableError(
        f"TensorRT {api.text} has no {what.removeprefix('the ')}", fix="Leave that option out"
    )
