"""One request and one reply, as the handlers see them; no ASGI here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from guestpass.fake_vendor.clock import Skew


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: The request's method.
        path: The path, percent-decoded, without a query.
        fields: Header fields by lower-case name; of several lines of one name, the first.
        body: The whole body.
        correlation: The ININ-Correlation-Id of the reply to come.
        fault: The action of the rule that applies to this call, or None.
        skew: By how much the stamps of this reply are wrong.
    """

    method: str
    path: str
    fields: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    correlation: str
    fault: str | None = None
    skew: Skew = Skew()  # noqa: RUF009  frozen, so it may be shared

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, lower-case; "" if there is none."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()

    def credentials(self, scheme: str) -> str | None:
        """What follows `scheme` in the Authorization field (RFC 9110 §11.4), or None."""
        given, _, rest = self.fields.get("authorization", "").partition(" ")
        return rest.strip() if given.lower() == scheme and rest.strip() else None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; the app adds the fields that every reply has.

    Attributes:
        status: The status code.
        body: The whole body.
        media_type: Content-Type, or None for none.
        fields: Further header fields.
        outcome: `ok`, or the code of the error, for the journal.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    media_type: str | None = "application/json"
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    outcome: str = "ok"

    def with_fields(self, *fields: tuple[str, str]) -> Self:
        """The same reply with more header fields."""
        return replace(self, fields=(*self.fields, *fields))


def as_json(document: Any, *, status: int = 200, outcome: str = "ok") -> Reply:
    """Answer with a JSON document."""
    return Reply(status, json.dumps(document, separators=(",", ":")).encode(), outcome=outcome)


def envelope(
    call: Call,
    status: int,
    code: str,
    message: str,
    *,
    params: Mapping[str, str] | None = None,
    limit: Mapping[str, Any] | None = None,
) -> Reply:
    """Answer with the platform's error envelope, every field of it.

    Args:
        call: Whose `correlation` becomes `contextId`.
        status: The status code.
        code: The vendor's own code.
        message: For people; `{name}` stands for the parameter of that name.
        params: The parameters of `message`.
        limit: `key`, `namespace` and `value` of the limit that was reached.
    """
    members = {
        "message": message.format_map(params or {}),
        "code": code,
        "status": status,
        "contextId": call.correlation,
        "details": [],
        "errors": [],
        "messageWithParams": message,
        "messageParams": dict(params or {}),
        "entityId": None,
        "entityName": None,
        "limit": limit,
    }
    return as_json(members, status=status, outcome=code)


def login_error(status: int, error: str, description: str) -> Reply:
    """Answer with the login host's own envelope, which is not the platform's."""
    return as_json({"error": error, "description": description}, status=status, outcome=error)
