"""The imported package, and what its version can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import BackendError, DeviceError, MissingExtraError, UnavailableError
from ghost_deploy.runtimes.tensorrt.releases import refuse, release_of

_LOGGER = "_ghost_deploy_logger"

_INSTALL = (
    "Install it: on a Jetson it comes with JetPack (apt install python3-libnvinfer; use the "
    "system's Python or a venv with --system-site-packages), elsewhere with: pip install tensorrt"
)


@dataclass(frozen=True)
class Api:
    """The imported package.

    Attributes:
        module: `tensorrt`.
        text: its version as it says, e.g. `10.13.3.9`.
        release: the first three numbers of that.
    """

    module: Any
    text: str
    release: tuple[int, int, int]

    @property
    def weak_typing(self) -> bool:
        """Whether builder flags may choose precisions: up to 10."""
        return hasattr(self.module.BuilderFlag, "FP16")

    @property
    def strong_typing(self) -> bool:
        """Whether the types in the graph can decide: from 10; on 11 there is nothing else."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def progress_monitor(self) -> bool:
        """Whether the builder reports how far it is: from 10."""
        return hasattr(self.module, "IProgressMonitor")

    @property
    def shared_profiles(self) -> bool:
        """Whether several contexts may use one optimization profile at a time: from 10."""
        return self.release[0] >= 10


def load() -> Api:
    """Import TensorRT.

    Raises:
        MissingExtraError: it is not installed.
        BackendError: it is installed and cannot be loaded, e.g. because a CUDA library is missing.
        UnavailableError: a version that is older than 8.5 or known not to work.
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
    api = Api(tensorrt, text, release_of(text))
    refuse(api.release)
    return api


def derive(base: Any, **methods: Callable[..., Any]) -> Any:
    """An instance of a class that derives from one of TensorRT's interfaces.

    pybind11 wants the base's constructor called, and mypy cannot derive from what it cannot see.
    """

    def construct(self: Any) -> None:
        base.__init__(self)

    return type(f"Our{base.__name__}", (base,), {"__init__": construct, **methods})()


def process_logger(api: Api, take: Callable[[str, str], None]) -> Any:
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


def lacks(api: Api, what: str) -> UnavailableError:
    """The error for what a version does not have."""
    return UnavailableError(
        f"TensorRT {api.text} has no {what.removeprefix('the ')}", fix="Leave that option out"
    )
