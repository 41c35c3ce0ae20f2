"""A command with `--on`: it runs on all boards at once, and what it found comes back."""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ghost_deploy.cli.board_outcome import BoardOutcome, clean_board, run_on
from ghost_deploy.cli.board_results import finish
from ghost_deploy.cli.board_sources import require_free
from ghost_deploy.cli.board_words import job_of
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.log_lines import Level
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.remote.address import BoardAddress, parse_boards
from ghost_deploy.remote.job import SentFiles
from ghost_deploy.remote.session import BoardSession

_POLL_S = 0.2


def run_on_boards(
    args: argparse.Namespace,
    parser: argparse.ArgumentParser,
    words: Sequence[str],
    console: Console,
) -> int:
    """Run a command on the boards that `--on` names; the largest exit code of them.

    Args:
        args: of the command.
        parser: of the command; its types are taken away.
        words: behind the name of the command.
        console: to print on.

    Raises:
        UsageError: an option that boards do not take, or a wrong address.
    """
    addresses = parse_boards(args.on)
    if args.clean:
        outcomes = _on_all(addresses, console, clean_board)
        return finish(args, outcomes, console)
    with scratch_folder() as folder:
        job = job_of(args, parser, words, folder)
        if args.command == "infer":
            sources = [value for value in job.values if isinstance(value, SentFiles)]
            require_free(args, [address.name for address in addresses], sources)

        def run(session: BoardSession) -> BoardOutcome:
            results = folder / session.name.replace(":", "_").replace("/", "_")
            return run_on(session, job, results)

        outcomes = _on_all(addresses, console, run)
        return finish(args, outcomes, console, job)


def _on_all(
    addresses: Sequence[BoardAddress],
    console: Console,
    action: Callable[[BoardSession], BoardOutcome],
) -> list[BoardOutcome]:
    """Do something on all boards at once; the outcomes in their order.

    Ctrl-C ends what runs on all of them, and is raised when nothing runs any more.
    """
    sessions: list[BoardSession] = []
    lock = threading.Lock()
    prefixed = len(addresses) > 1

    def say(name: str, text: str) -> None:
        with lock:
            shown = f"{name}: {text}" if prefixed else text
            console.note(shown, _level_of(text), {"board": name})

    def one(address: BoardAddress) -> BoardOutcome:
        return BoardOutcome.of(
            address, lambda text: say(address.name, text), action, sessions.append
        )

    with ThreadPoolExecutor(len(addresses)) as pool:
        running = [pool.submit(one, address) for address in addresses]
        try:
            _wait(running)
        except KeyboardInterrupt:
            console.note("ending what runs on the boards")
            _stop_all(sessions)
            raise
    return [each.result() for each in running]


def _level_of(text: str) -> Level:
    """Of a message that a command printed on a board, where it is text."""
    levels: dict[str, Level] = {"warning": "warning", "error": "error"}
    return levels.get(text.partition(": ")[0], "info")


def _stop_all(sessions: Sequence[BoardSession]) -> None:
    """End what runs on all boards at once. That takes seconds, and a second signal ends none of it:
    what ran on a board would go on there."""
    ended = {session: threading.Event() for session in sessions}

    def stop(session: BoardSession) -> None:
        try:
            session.stop()
        finally:
            ended[session].set()

    for session in ended:
        threading.Thread(target=stop, args=(session,), daemon=True).start()
    for event in ended.values():  # a `join` that a signal interrupts takes the thread for ended
        while not event.is_set():
            with contextlib.suppress(KeyboardInterrupt):
                event.wait(_POLL_S)


def _wait(running: Sequence[Future[BoardOutcome]]) -> None:
    """Wait in pieces: a signal is handled between them."""
    while wait(running, timeout=_POLL_S).not_done:
        pass
