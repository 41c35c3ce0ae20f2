"""The base of the documents of evidence: one JSON form, read strictly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

from ghost_deploy.core.spec import decode_json

_VERDICT = "passed"

D = TypeVar("D", bound="Document")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of a document."""


class Document(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document that a command prints and a bundle keeps.

    Attributes:
        KIND: its key among the evidence of a bundle.
        SCHEMA: version of the JSON form; a reader refuses any other.
        schema: the version that this document was written with.
    """

    KIND: ClassVar[str]
    SCHEMA: ClassVar[int] = 1

    schema: int = 1

    def __post_init__(self) -> None:
        if self.schema != self.SCHEMA:
            raise ValueError(
                f"this version reads {self.KIND} schema {self.SCHEMA}, got {self.schema}"
            )

    @property
    def outcome(self) -> bool | None:
        """Whether everything passed, `passed` in the JSON form; None where nothing was judged."""
        return None

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values; documents with a verdict start with `passed`."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        has_verdict = type(self).outcome is not Document.outcome
        return {_VERDICT: self.outcome, **plain} if has_verdict else plain

    @classmethod
    def from_document(cls: type[D], document: Mapping[str, Any], *, where: str = "the report") -> D:
        """Read the result of `to_document`.

        Args:
            document: plain values, or JSON texts (`msgspec.Raw`), by key.
            where: what is being read, for the error message.

        Raises:
            SpecError: unknown keys, another schema, or values of the wrong type.
        """
        plain = {key: value for key, value in document.items() if key != _VERDICT}
        return decode_json(msgspec.json.encode(plain), cls, where=where)


def something_ran(statuses: Iterable[str]) -> bool:
    """Whether a report, of which these are the status of each row, has more than skipped runs."""
    return any(status != "skipped" for status in statuses)


def verdict_sentence(what: str, statuses: Iterable[str]) -> str:
    """The verdict on the runs of a report in one sentence, from the status of each row.

    Args:
        what: was judged, capitalized.
        statuses: `passed`, `failed`, `skipped`, `unjudged` or `reference`.
    """
    counts = Counter(statuses)
    ran = counts["passed"] + counts["failed"]
    tail = f"; {counts['unjudged']} not judged by this gate" if counts["unjudged"] else ""
    tail += f"; {counts['skipped']} skipped" if counts["skipped"] else ""
    if ran:
        verdict = "failed" if counts["failed"] else "passed"
        return f"{what} {verdict}: {counts['passed']} of {ran} runs within their gates{tail}"
    if counts["reference"] or counts["unjudged"]:
        return f"{what} measured, not judged: nothing to compare with it{tail}"
    return f"{what} failed: nothing could be run on this machine{tail}"
