"""Output of commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from ghost_deploy.cli.format import clock, plural
from ghost_deploy.cli.standard_streams import with_own_descriptor
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.printable import printable

if TYPE_CHECKING:
    from ghost_deploy.cli.log_lines import Level, LogLines, Value

_LEAST_WIDTH = 40  # of a table; a narrower terminal breaks its lines


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand on the right."""

    title: str
    right: bool = False


ShowStep: TypeAlias = Callable[[int], None]
"""Shows that so many steps of the total are done."""


def _show_nothing(step: int) -> None:
    """Where there is no progress bar."""


class Console:
    """The two streams of a command.

    Args:
        out: for results, which a program may read.
        err: for progress, notes and errors.
    """

    def __init__(self, out: IO[str], err: IO[str]) -> None:
        self.out = out
        self.err = err
        self.log: LogLines | None = None
        """Set by commands that run for long: from then on messages are lines of a log."""

    def result(self, text: str) -> None:
        """A line of the result."""
        print(printable(text), file=self.out)

    def note(
        self, text: str, level: Level = "info", facts: Mapping[str, Value] | None = None
    ) -> None:
        """A line that is not part of the result; `level` and `facts` are for the log."""
        if self.log:
            self.log.write(level, text, facts or {})
        else:
            from ghost_deploy.stream.sources.masking import mask

            print(printable(mask(text)), file=self.err, flush=True)

    def outcome(self, show: Callable[[IO[str]], None], *, is_result: bool) -> None:
        """What `show` prints to a stream: the result, or messages where results are lines."""
        if is_result or not self.log:
            show(self.out if is_result else self.err)
            return
        text = io.StringIO()
        show(text)
        for line in text.getvalue().splitlines():
            self.note(line)

    def document(self, value: Any) -> None:
        """`value` as one JSON document: the whole result."""
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(value), indent=2)
        print(text.decode(), file=self.out)

    def error(self, error: GhostDeployError) -> None:
        """An error and what to do next."""
        if self.log:
            self.log.error(error)
            return
        lines = [f"error: {error.what}"]
        lines += [
            f"  {label}: {value}"
            for label, value in (("got", error.got), ("expected", error.expected))
            if value is not None and str(value)
        ]
        self.note("\n".join([*lines, f"next: {error.fix}"]))

    def unexpected(self, error: Exception) -> None:
        """An unexpected error, which is a bug."""
        fix = "This is a bug: run it again with --debug and report what it prints"
        if self.log:
            self.log.error(GhostDeployError(f"unexpected {type(error).__name__}: {error}", fix=fix))
            return
        self.note(f"error: unexpected {type(error).__name__}: {error}")
        self.note(f"next: {fix}")

    def traceback(self) -> None:
        """The traceback of the exception that is being handled."""
        if self.log:
            self.log.traceback()
        else:
            import traceback

            self.err.write(printable(traceback.format_exc()))

    @property
    def is_terminal(self) -> bool:
        """Whether messages go to a terminal, where a line may be drawn anew."""
        return self.err.isatty() and not (self.log and self.log.as_json)

    def facts(self, rows: Sequence[tuple[str, object]], width: int = 0) -> None:
        """Names and values, one pair a line, as a result; names take at least `width`."""
        width = max((width, *(len(name) for name, _ in rows)))
        for name, value in rows:
            self.result(f"{name:<{width}}  {value}".rstrip())

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        to: IO[str] | None = None,
    ) -> None:
        """A table on `to`, the result by default: ruled on a terminal, plain in a pipe."""
        stream = self.out if to is None else to
        rows = [[printable(cell) for cell in row] for row in rows]
        if stream.isatty():
            _rich_table(stream, columns, rows)
        else:
            _plain_table(stream, columns, rows)

    @contextlib.contextmanager
    def progress(self, label: str, total: int, note: Callable[[], str] = str) -> Iterator[ShowStep]:
        """A bar on standard error while the block runs, if that is a terminal and `total` > 1.

        Args:
            label: in front of the bar.
            total: number of steps.
            note: gives what is shown behind it.
        """
        if total < 2 or not self.is_terminal:
            yield _show_nothing
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        ends = (MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        columns = (TextColumn(label), BarColumn(), *ends)
        with (
            with_own_descriptor(self.err) as err,
            RichProgress(*columns, console=RichConsole(file=err), transient=True) as bar,
        ):
            task = bar.add_task(label, total=total, note="")
            yield lambda step: bar.update(task, completed=step, note=note())

    @contextlib.contextmanager
    def steps(self, noun: str = "image") -> Iterator[StepProgress]:
        """Print steps and their durations on standard error while the block runs.

        Args:
            noun: the unit of counted steps.
        """
        steps = StepProgress(self, noun)
        try:
            yield steps
        finally:
            steps.finish()


class StepProgress:
    """A `core.progress.Progress` callback: a line for each step, a bar for counted ones."""

    def __init__(self, console: Console, noun: str = "image") -> None:
        self._console = console
        self._noun = noun
        self._name = ""
        self._left = ""
        self._start = 0.0
        self._show: ShowStep = _show_nothing
        self._stack = contextlib.ExitStack()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show progress of a step, see `core.progress.Progress`.

        `what` may be `name: noun`, with the unit of its counted steps.
        """
        verb, _, noun = what.partition(": ")
        counted = f"{verb.partition(' ')[0]} {plural(total, noun or self._noun)}"
        name = counted if total else what
        if name != self._name:
            self.finish()
            self._name, self._start = name, time.perf_counter()
            if total:
                self._show = self._stack.enter_context(
                    self._console.progress(name, total, lambda: self._left)
                )
        self._show(done)

    def show_left(self, seconds: float) -> None:
        """Show about how long all steps together still take; nothing in the last second."""
        self._left = f"about {clock(seconds)} left in all" if seconds >= 1 else ""

    def finish(self) -> None:
        """End the last step."""
        self._stack.close()
        self._show = _show_nothing
        if self._name:
            seconds = time.perf_counter() - self._start
            left = f"   {self._left}" if self._left else ""
            self._console.note(f"{self._name:<24}{seconds:6.1f} s{left}")
        self._name = ""


def _plain_table(stream: IO[str], columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    widths = [
        max([len(column.title), *(len(row[i]) for row in rows)]) for i, column in enumerate(columns)
    ]
    for cells in ([column.title for column in columns], *rows):
        line = "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        print(line.rstrip(), file=stream)


def _rich_table(stream: IO[str], columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    # Two blanks between columns and none outside, as in the plain form: 80 characters suffice.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        # Folded, not cut: `openvino-fp16` and `openvino-fp32` must stay apart.
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name may hold [brackets]
    console = RichConsole(file=stream)
    console.print(table, width=max(console.width, _LEAST_WIDTH))
