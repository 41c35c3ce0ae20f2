"""What stores, and the libraries that reach them, say where they do not give what is asked for."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from ghost_deploy.core.errors import GhostDeployError, UsageError

SIGNING = re.compile(
    r"(?:x-(?:amz|goog)-[\w-]+|sig|signature|(?:\w+[-_])?token|expires|policy|key-pair-id|"
    r"awsaccesskeyid|googleaccessid|api[-_]?key|access[-_]?key|secret|password|passwd|pwd|auth)",
    re.IGNORECASE,
)
"""Names in the query of a web address that sign it or are secret."""

_SIGNING_IN_TEXT = re.compile(rf"([?&]{SIGNING.pattern}=)[^&\s'\")>]*", re.IGNORECASE)
_MISSING = ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "status 404", "does not exist", "Not Found")
_REFUSED = (
    *("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN"),
    *("Expired", "EXPIRED", "InvalidToken", "status 401", "status 403", "Forbidden", "Permission"),
    *("permission", "credentials", "AccessDenied", "UNRECOGNIZED_CLIENT"),
)
_OF_THE_ADDRESS = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
"""What pyarrow, fsspec and what they call raise for an address of a form that they do not take."""


def is_missing(error: BaseException) -> bool:
    """Whether the error of a store says that there is no such object."""
    return isinstance(error, FileNotFoundError) or any(text in str(error) for text in _MISSING)


def is_refused(error: BaseException) -> bool:
    """Whether the error of a store says that access is denied."""
    return isinstance(error, PermissionError) or any(text in str(error) for text in _REFUSED)


def reason_of(error: BaseException) -> str:
    """What the error of a store or a file system says, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(_SIGNING_IN_TEXT.sub(r"\1***", str(text)).split())[:500]


@contextlib.contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn what the libraries of stores raise of their own into what callers expect of a store.

    Args:
        place: the address, without secrets.

    Raises:
        UsageError: the address is none that they take, which says nothing about others.
        OSError: anything else, e.g. a connection that broke.
    """
    try:
        yield
    except (OSError, GhostDeployError):
        raise
    except _OF_THE_ADDRESS as error:
        raise UsageError(
            f"{place} is no address that can be read",
            got=reason_of(error),
            expected="a path, s3://, gs://, abfs:// or an address that fsspec knows",
            fix="Correct it",
        ) from error
    # Some are plain exceptions, as those of aiohttp.
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", place) from error
