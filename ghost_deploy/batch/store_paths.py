"""From addresses to the paths that the file systems of `pyarrow.fs` take, and back."""

from __future__ import annotations

import re

from ghost_deploy.stream.sources.source_labels import scheme_of

AZURE = frozenset({"abfs", "abfss"})
"""Before the `@` their addresses have a container or an account, which are no secrets."""

_PARTS = re.compile(r"[A-Za-z][\w+.-]*://(?:([^/@]*)@)?([^/]*)/?(.*)", re.DOTALL)


def path_in_store(plain: str) -> str:
    """The path of an address in its file system.

    As `pyarrow.fs.FileSystem.from_uri` takes addresses: `s3://bucket/x` is `bucket/x`; of Azure
    `abfs://container@account.dfs.core.windows.net/x` and `abfs://account@container/x` are
    `container/x`, and what stands behind a host with dots or a port is the path.

    Args:
        plain: the address, without credentials and options.
    """
    if scheme_of(plain) not in AZURE:
        return plain[len(scheme_of(plain)) + 3 :]
    match = _PARTS.fullmatch(plain)
    user, host, rest = match.groups() if match else ("", "", plain)
    if user and host.endswith(".dfs.core.windows.net"):
        return f"{user}/{rest}"
    return rest if "." in host or ":" in host else f"{host}/{rest}"


def address_in_store(root: str, path: str) -> str:
    """The address of a path in the file system of an address.

    Args:
        root: scheme and bucket or host, e.g. `s3://bucket`.
        path: as the file system gives it.
    """
    begin = path_in_store(root).rstrip("/")
    return f"{root}/{path.removeprefix(f'{begin}/') if begin else path}"
