"""The options of a model on an inference server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ghost_deploy.cli import options
from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.server_url import is_server_url

if TYPE_CHECKING:
    from ghost_deploy.runtimes.inference_server import InferenceServer

_SECRET = ("authorization", "cookie", "proxy-authorization", "x-api-key", "api-key")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """`--url`, `--header` and the time limits."""
    group = parser.add_argument_group("a model on a server (docs/serving.md)")
    text = (
        "run the model there: http://HOST:8000/MODEL or grpc://HOST:8001/MODEL, also https and "
        "grpcs; /versions/N behind it asks for a version. A token is taken from "
        "$GHOST_DEPLOY_SERVER_TOKEN or the file $GHOST_DEPLOY_SERVER_TOKEN_FILE"
    )
    options.add_value(group, "--url", "URL", text)
    text = (
        "send it with each request, may be repeated; 'NAME: @FILE' reads the value from a file, as "
        "the list of processes would show a secret"
    )
    options.add_value(group, "--header", "'NAME: VALUE'", text, action="append", default=[])
    text = "seconds to wait for one answer (default: 30)"
    options.add_value(group, "--request-timeout", "S", text, options.above_zero)
    text = "seconds in which a server that is away is tried again (default: 60)"
    options.add_value(group, "--retry", "S", text, options.seconds)


def server_of_options(args: argparse.Namespace, model: Any) -> tuple[Any, InferenceServer | None]:
    """The model and the `url` of a verb: an address in the place of the model is taken too.

    Raises:
        UsageError: an option of servers without a server, or one that cannot be used.
        InputError: the file of a header cannot be read.
    """
    named = is_server_url(model)
    limits = {"request_s": args.request_timeout, "retry_s": args.retry}
    settings: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    if args.header:
        settings["headers"] = dict(map(_header, args.header))
    url = model if named and args.url is None else args.url
    if url is None:
        if settings:
            raise UsageError(
                "--header, --request-timeout and --retry are those of a server",
                fix="Add --url http://HOST:8000/MODEL, or leave them out",
            )
        return model, None
    # Imported here: most commands run the model on this machine.
    from ghost_deploy.runtimes.inference_server import InferenceServer

    server = InferenceServer(url, **settings)
    return (server, None) if named and args.url is None else (model, server)


def server_arguments(args: argparse.Namespace, *without: str) -> dict[str, Any]:
    """`options.arguments` of a verb that takes a bundle and `url`.

    Raises:
        UsageError, InputError: as `server_of_options`.
    """
    _, url = server_of_options(args, None)
    own = ("header", "request_timeout", "retry", "url")
    return {**options.arguments(args, *own, *without), "url": url}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not name or not value:
        raise UsageError(
            "a header is written NAME: VALUE", got=f"{name!r} without one", fix="Write both"
        )
    if value.startswith("@"):
        from ghost_deploy.runtimes.inference_server import read_secret

        return name, read_secret(value[1:])
    if name.lower() in _SECRET:
        raise UsageError(
            f"all users of this machine could read {name} in the list of processes",
            expected=f"--header '{name}: @FILE'",
            fix="Write it into a file, or set GHOST_DEPLOY_SERVER_TOKEN",
        )
    return name, value
