"""A real tritonserver on loopback, from `nvidia-pytriton` in an environment of its own.

`make test-triton` makes the environment. Its Python runs the models, with NumPy 1.26, because the
stub of this Triton returns empty tensors with NumPy 2.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ.get("GHOST_DEPLOY_TRITON", ROOT / ".venv-triton"))
_PACKAGES = next(iter(ENVIRONMENT.glob("lib/python3*/site-packages")), ENVIRONMENT)
_TRITON = _PACKAGES / "pytriton" / "tritonserver"

needs_triton = pytest.mark.skipif(
    not (_TRITON / "bin" / "tritonserver").is_file(),
    reason=f"no tritonserver in {ENVIRONMENT}: make test-triton",
)

RAW_MODEL = '''
import json, os
import onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    """The network alone: what Triton's ONNX backend does, which this build of Triton lacks."""

    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options)
        config = json.loads(args["model_config"])
        self.inputs = [each["name"] for each in config["input"]]
        self.outputs = [each["name"] for each in config["output"]]

    def execute(self, requests):
        responses = []
        for request in requests:
            feeds = {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in self.inputs
            }
            found = zip(self.outputs, self.session.run(self.outputs, feeds))
            tensors = [pb_utils.Tensor(name, array) for name, array in found]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
'''
"""A model of Triton's Python backend that runs `model.onnx` on one thread."""


def run_onnx_in_python(folder: Path) -> None:
    """Let the Python backend run what `export --triton` wrote for the ONNX backend."""
    config = folder / "config.pbtxt"
    text = config.read_text().replace('"onnxruntime"', '"python"').replace("KIND_AUTO", "KIND_CPU")
    config.write_text(text)
    (folder / "1" / "model.py").write_text(RAW_MODEL)


def set_parameters(folder: Path, **values: str) -> None:
    """Change parameters of a configuration."""
    config = folder / "config.pbtxt"
    text = config.read_text()
    for key, value in values.items():
        found = rf'(key: "{re.escape(key)}"\s+value \{{\s+string_value: )"[^"]*"'
        text, count = re.subn(found, rf'\g<1>"{value}"', text)
        assert count == 1, key
    config.write_text(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TritonServer:
    """Starts with the `with` block and ends with it.

    Attributes:
        log: the file that the server writes.
    """

    def __init__(self, repository: Path, work: Path) -> None:
        self._repository = repository
        self._ports = {"http": _free_port(), "grpc": _free_port()}
        self.log = work / "triton.log"
        self._backends = work / "backends"
        stub = "triton_python_backend_stub"
        shutil.copytree(_TRITON / "backends" / "python", self._backends / "python")
        version = _PACKAGES.parent.name.removeprefix("python")
        # The backend takes the stub that lies beside its library.
        shutil.copy(_TRITON / "python_backend_stubs" / version / stub, self._backends / "python")
        (self._backends / "python" / stub).chmod(0o755)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def url(self, transport: str, model: str) -> str:
        return f"{transport}://127.0.0.1:{self._ports[transport]}/{model}"

    @property
    def target(self) -> str:
        """The address of gRPC without a scheme."""
        return f"127.0.0.1:{self._ports['grpc']}"

    def start(self, wait_s: float = 60) -> None:
        """Start the server and wait until it answers."""
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(_PACKAGES / "nvidia_pytriton.libs"),
            "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        environment.pop("PYTHONPATH", None)
        ports = {f"--{name}-port": port for name, port in self._ports.items()}
        settings: Mapping[str, object] = {
            "--model-repository": self._repository,
            "--backend-directory": self._backends,
            "--http-address": "127.0.0.1",
            "--grpc-address": "127.0.0.1",
            **ports,
            "--allow-metrics": "false",
            "--model-control-mode": "explicit",
            "--load-model": "*",
            "--exit-timeout-secs": 5,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(_TRITON / "bin" / "tritonserver"), *(f"{k}={v}" for k, v in settings.items())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, wait_s)

    def kill(self) -> None:
        """End the server and the processes of its models at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def load(self, model: str) -> None:
        """Load a model, or load it again."""
        path = f"/v2/repository/models/{model}/load"
        request = urllib.request.Request(f"{self._http}{path}", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    @property
    def _http(self) -> str:
        return f"http://127.0.0.1:{self._ports['http']}"

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self._http}/v2/health/live", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
