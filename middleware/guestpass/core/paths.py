"""One reading of a path, or none: what policy matches is what every backend will see.

A backend, a proxy and we each decode, normalise and split a path on our own. Where two of us could differ
(dot segments, empty segments, encoded delimiters, path parameters, double encoding) a guarded path could be
asked for under the name of an open one. Such paths are refused before any rule is asked, so nobody ever has
to guess how somebody else reads them.
"""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

# Every visible ASCII character that means itself, whoever reads it. Not among them: `%`, which starts an
# escape; `?` and `#`, which end a path; `;`, which starts a path parameter that servlet containers cut off;
# and `\`, which some readers take for `/`. `[ ] | ^ " < > { }` and the backtick are outside RFC 3986 §3.3,
# but browsers send some of them, and nobody reads them as anything else.
_PLAIN: Final = rb"!\"$&-.0-:<->@-\[\]-~"

# Segments are never empty (`//`) and never `.` or `..`; a trailing slash may stand. Possessive quantifiers,
# as a refusal must not cost more than an acceptance.
_SEGMENTS: Final = rb"(?=/)(?:/(?!\.{1,2}(?:/|\Z))(?:%s)++)*+/?"

_plain: Final = re.compile(_SEGMENTS % (rb"[" + _PLAIN + rb"]")).fullmatch

# With escapes: well-formed ones only. `%2e` and `%2f` are told from `.` and `/` here, before decoding; no
# client has a reason to write a dot as an escape (RFC 3986 §6.2.2.2), save to hide a dot segment.
_escaped: Final = re.compile(
    _SEGMENTS % (rb"[" + _PLAIN + rb"]|%(?!2[EFef])[0-9A-Fa-f]{2}"),
).fullmatch

# What no decoded path may hold: controls (C0, DEL and C1), delimiters that were hidden in an escape, and
# anything that a second decoding would change.
_hidden: Final = re.compile(r"[\x00-\x1f\x7f-\x9f;?#\\]|%[0-9A-Fa-f]{2}").search

# Besides the unreserved characters, what a path segment may hold as it is (RFC 3986 §3.3), less `;`.
_SAFE: Final = "/!$&'()*+,:=@"


def unambiguous(raw_path: bytes, path: str) -> bool:
    r"""Say whether every reader reads this path alike.

    True means: it starts with exactly one `/`; no segment is empty, `.` or `..`; no `?`, `#`, `;`, `\`,
    control or blank stands in it, raw or (blanks aside) as an escape; escapes are well-formed, decode to
    UTF-8, hide neither `.` nor `/`, and decoding twice gives what decoding once gives; and `path` is the
    percent-decoding of `raw_path`, so that whoever matches the one and whoever forwards the other agree.
    The asterisk-form (`OPTIONS *`) and the absolute-form are not paths.

    Args:
        raw_path: As on the wire, without a query: what `wire_path` gives.
        path: The server's decoding, ASGI's `scope["path"]`.
    """
    # A path without an escape is the usual one: a single pass, and nothing to decode.
    if _plain(raw_path):
        return raw_path.decode() == path
    if not _escaped(raw_path):
        return False
    try:
        decoded = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return False
    return decoded == path and not _hidden(decoded)


def wire_path(raw_path: bytes | None, path: str) -> bytes:
    """The path as it stands on the wire, from what an ASGI server gives.

    "raw_path" is optional in ASGI: without it `path` is encoded anew, and a path that the server could not
    decode comes out as one that is not unambiguous. Some servers leave the query in "raw_path"; as a literal
    `?` always starts the query (RFC 3986 §3.4), it is cut off there.

    Args:
        raw_path: ASGI's `scope.get("raw_path")`.
        path: ASGI's `scope["path"]`.
    """
    if raw_path is None:
        # A lone surrogate stands for a byte that was no UTF-8, and so becomes bytes that are none.
        return quote(path, safe=_SAFE, errors="surrogatepass").encode("ascii")
    return raw_path.partition(b"?")[0] if b"?" in raw_path else raw_path
