"""A vendor's converter in a process of its own, of any interpreter that has it.

Converters pin old packages, bring gigabytes, print at will and change the files that they are
given. So they run in an environment of their own and get copies in a scratch folder; their exit
code says nothing: what they wrote is compared by the judge, as everything is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import ExportError, MissingExtraError, UsageError

_HERE = Path(__file__).parent / "converters"
_MAIN = _HERE / "converter_main.py"
_LOG_BYTES = 64 << 10
_SHOWN = 600
_ASK_LIMIT_S = 120.0  # seconds; a Python starts in 0.05, on an overloaded machine in several


@dataclass(frozen=True)
class Converter:
    """A vendor's converter.

    Attributes:
        name: for messages.
        package: its Python package.
        steps: file in `converters/` with its steps.
        variable: environment variable that names an interpreter that has it.
        option: of the command line, for the same.
        fix: how to get it.
        default: interpreter that is taken where none is named and it is there.
    """

    name: str
    package: str
    steps: str
    variable: str
    option: str
    fix: str
    default: Path | None = None

    def python(self, given: str | os.PathLike[str] | None = None) -> str:
        """The interpreter to use: the one given, that of `variable`, `default`, else this one.

        One that is another than this is asked whether it has the package, which is not imported.

        Raises:
            UsageError: the one named is no program.
            MissingExtraError: it lacks the package; or none is named, and this one lacks it.
        """
        for source, named in ((self.option, given), (self.variable, os.environ.get(self.variable))):
            if not named:
                continue
            found = shutil.which(os.path.expanduser(named))
            if found is None:
                raise UsageError(
                    f"{source} is no Python that can be started", got=str(named), fix=self.fix
                )
            return self._asked(os.path.abspath(found), source)
        if self.default is not None and self.default.exists():
            return self._asked(str(self.default), "the default place")
        if importlib.util.find_spec(self.package) is not None:
            return sys.executable
        own = [str(self.default)] if self.default else []
        searched = ", ".join([f"${self.variable}", *own, f"here ({sys.executable})"])
        raise MissingExtraError(
            f"{self.name} is not installed here", got=f"nothing in {searched}", fix=self.fix
        )

    def _asked(self, python: str, source: str) -> str:
        """`python`, if it has the package.

        Raises:
            UsageError: it is no Python.
            MissingExtraError: it lacks the package.
        """
        code = f"import importlib.util as u; print(bool(u.find_spec({self.package!r})))"
        try:
            done = subprocess.run(
                [python, "-I", "-c", code],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ASK_LIMIT_S,
                check=False,
            )
            answer = done.stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            answer = f"{type(error).__name__}: {error}"
        if answer == "False":
            raise MissingExtraError(
                f"the Python of {source} has no {self.name}", got=python, fix=self.fix
            )
        if answer != "True":
            raise UsageError(f"{source} is no Python that can be started", got=python, fix=self.fix)
        return python


class ConverterProcess(Closing):
    """A running converter; closing it ends it and all that it has started.

    Args:
        converter: which.
        python: interpreter that has it.
        folder: where it runs; it may write there.

    Raises:
        ExportError: it does not start.
    """

    def __init__(self, converter: Converter, python: str, folder: Path) -> None:
        self._converter = converter
        self._log = bytearray()
        self._replies: queue.Queue[str | None] = queue.Queue()
        # -I: neither PYTHONPATH nor the user's packages, which belong to another environment.
        command = [python, "-I", str(_MAIN), str(_HERE / converter.steps), str(os.getpid())]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the child
            )
        except OSError as error:
            raise self._failed("does not start", str(error)) from error
        self._threads = [threading.Thread(target=work, daemon=True) for work in self._readers()]
        for thread in self._threads:
            thread.start()

    def ask(
        self, step: str, limit_s: float, progress: Callable[[str], None], **arguments: object
    ) -> Any:
        """Have one step done.

        Args:
            step: in the table of the converter's steps.
            limit_s: seconds that it may take.
            progress: takes what is being done.
            arguments: of the step, as JSON knows them.

        Returns:
            What the step gives.

        Raises:
            ExportError: it fails, dies or takes longer; the process is ended then.
        """
        end = time.monotonic() + limit_s
        try:
            assert self._child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # its end is found below
                self._child.stdin.write(json.dumps({"step": step, "arguments": arguments}) + "\n")
                self._child.stdin.flush()
            while True:
                try:
                    line = self._replies.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    raise self._failed(f"did not finish {step!r} within {limit_s:g} s") from None
                reply = self._parse(step, line)
                if "progress" in reply:
                    progress(str(reply["progress"]))
                elif "failed" in reply:
                    raise self._failed(f"failed to {step}", str(reply["failed"]))
                else:
                    return reply["done"]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process; calling it again does nothing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()

    def _readers(self) -> tuple[Callable[[], None], Callable[[], None]]:
        out, err = self._child.stdout, self._child.stderr
        assert out is not None
        assert err is not None

        def read_replies() -> None:
            with contextlib.suppress(ValueError, OSError):
                for line in out:
                    self._replies.put(line)
            self._replies.put(None)

        def read_log() -> None:
            with contextlib.suppress(ValueError, OSError):
                for line in err:
                    self._log += line.encode()
                    del self._log[:-_LOG_BYTES]

        return read_replies, read_log

    def _parse(self, step: str, line: str | None) -> dict[str, Any]:
        if line is None:
            code = self._child.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise self._failed(f"ended during {step!r} ({how})")
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict) or not {"progress", "failed", "done"} & set(reply):
            raise self._failed(f"answered {step!r} with something else than a reply", line)
        return reply

    def _failed(self, what: str, got: str = "") -> ExportError:
        said = got or " ".join(self._log.decode(errors="replace").split()[-80:])
        return ExportError(
            f"{self._converter.name} {what}", got=said[-_SHOWN:] or None, fix=self._converter.fix
        )
