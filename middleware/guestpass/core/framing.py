"""How a request's body is delimited: by nothing, a length, or chunks (RFC 9112 §6), never by two of them."""

from collections.abc import Sequence
from typing import Final

from guestpass.errors import RequestInvalid

NO_BODY: Final = -2
"""Neither field is there, so in HTTP/1 there is no body."""

UNKNOWN: Final = -1
"""There is a body and nobody knows its length yet."""

_DIGITS: Final = 18  # fits every signed 64-bit reader


def body_length(lengths: Sequence[bytes], codings: Sequence[bytes], http_version: str) -> int:
    """The length of a request's body in bytes, or `UNKNOWN`, or `NO_BODY`.

    Our server has delimited the body by its own reading. Anything that another reader could delimit in
    another way is refused and not repaired, as that difference is request smuggling (RFC 9112 §11.2).

    Args:
        lengths: Values of every `Content-Length` line.
        codings: Values of every `Transfer-Encoding` line.
        http_version: As ASGI has it: "1.0", "1.1", "2".

    Raises:
        RequestInvalid: Two lengths, a length that is no number, a length and a transfer coding, a coding
            other than `chunked`, or a coding in HTTP/1.0.
    """
    if codings:
        if lengths:
            raise RequestInvalid("Content-Length and Transfer-Encoding exclude each other")
        if len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked":
            raise RequestInvalid("the only transfer coding is chunked")
        if http_version == "1.0":
            raise RequestInvalid("HTTP/1.0 has no Transfer-Encoding")  # RFC 9112 §6.1: faulty framing
        return UNKNOWN
    if not lengths:
        return NO_BODY
    length = lengths[0]
    if len(lengths) > 1 or not length.isdigit() or len(length) > _DIGITS:
        raise RequestInvalid("Content-Length must be one number")
    return int(length)
