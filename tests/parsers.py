"""Every parser that strangers' octets reach, as a function of octets that holds it to what must always be.

A foreign exception or a broken law is an error; what is refused is fine. `tests/corpus/<name>/` keeps inputs
that were once of interest: `tests/unit/test_parsers.py` replays and mutates them.
"""

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import anyio
from kit import drive, http_scope, world
from kit import jwks as published

from guestpass.adapters.static_jwks import StaticJwks
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.core import base64url
from guestpass.core.bearer import Sieve, Sources
from guestpass.core.forwarded import Trust, parse_address, parse_networks
from guestpass.core.identity import fold
from guestpass.core.jwk import ALGORITHMS, read_set
from guestpass.core.jws import MAX_TOKEN, parse
from guestpass.core.model import RawToken
from guestpass.core.paths import unambiguous, wire_path
from guestpass.errors import TokenAmbiguous, TokenError

CORPUS: Final = Path(__file__).parent / "corpus"

_OWNED: Final = frozenset({fold(b"x-guest-subject"), fold(b"x-guest-name")})
_SIEVE: Final = Sieve(Sources(bearer=True, cookie="guest", query="t"), owned=_OWNED)
_TRUST: Final = Trust(parse_networks(["10.0.0.0/8", "::1/128"], field="trusted"))


def token(octets: bytes) -> None:
    """A token is refused with our error, or has this one spelling."""
    try:
        jws = parse(RawToken(octets), algorithms=ALGORITHMS)
    except TokenError:
        return
    assert len(octets) <= MAX_TOKEN
    assert jws.signing_input + b"." + base64url.encode(jws.signature) == octets
    assert jws.algorithm in ALGORITHMS
    assert jws.kid is None or jws.kid.encode() is not None


def path(octets: bytes) -> None:
    """A path that passes has the same segments whether split or decoded first, and none that is special."""
    decoded = unquote_to_bytes(octets).decode("utf-8", "surrogateescape")
    raw = wire_path(octets, decoded)
    assert b"?" not in raw
    if unambiguous(raw, decoded):
        assert raw == octets
        first = [unquote_to_bytes(segment).decode() for segment in raw.split(b"/")]
        assert first == decoded.split("/")
        assert not {"", ".", ".."}.intersection(first[1:-1])
        assert first[-1] not in (".", "..")
        assert decoded.isprintable() or not any(ord(character) < 32 for character in decoded)
    again = wire_path(None, decoded)
    assert not unambiguous(again, decoded) or unquote_to_bytes(again).decode() == decoded


def sieve(octets: bytes) -> None:
    """Fields, one a line: nothing of ours comes out, and nothing comes out that was not put in."""
    fields = [(name, value) for name, _, value in (line.partition(b":") for line in octets.split(b"\n"))]
    sifted = _SIEVE.sift(fields)
    names = [name for name, _ in fields]
    for name, value in sifted.headers:
        assert fold(name) not in _OWNED
        assert fold(name) != fold(b"x-guest-token")
        names.remove(name)
        named = (
            [fold(option.strip()) for option in value.split(b",")] if name.lower() == b"connection" else []
        )
        assert _OWNED.isdisjoint(named)
    try:
        found = sifted.token()
    except TokenAmbiguous:
        return
    assert found is None or any(found.compact in value for _, value in fields)
    usual = _SIEVE.sift_usual(fields)
    assert usual is None or (usual[0], usual[2]) == (sifted.headers, sifted.origin)


def forwarded_for(octets: bytes) -> None:
    """X-Forwarded-For, one value a line: a chain in which every hop but the first is trusted."""
    values = octets.split(b"\n")
    assert _TRUST.chain("192.0.2.1", values) == ["192.0.2.1"]
    chain = _TRUST.chain("10.0.0.1", values)
    assert chain[-1] == "10.0.0.1"
    addresses = [parse_address(address) for address in chain]
    for text, address in zip(chain, addresses, strict=True):
        assert address is not None
        assert str(address) == text
    assert all(address is not None and address in _TRUST for address in addresses[1:])
    assert _TRUST.client("10.0.0.1", values) == chain[0]


def jwks(octets: bytes) -> None:
    """A document is an outage, or has keys that are safe; each member is read or skipped."""
    try:
        found = read_set(octets, algorithms=ALGORITHMS)
    except ValueError:
        return
    assert 0 < len(found.keys) <= 64
    for key in found.keys:
        assert key.algorithms
        assert key.algorithms <= ALGORITHMS
        assert not key.key.has_private
        assert 64 <= key.signature_length <= 1024
    assert len({index for index, _ in found.skipped}) == len(found.skipped)


_keys = cache(lambda: StaticJwks(published("rsa"), algorithms=ALGORITHMS))


def token_endpoint(octets: bytes) -> None:
    """A body is a token or a refusal; what is refused mints nothing and is not repeated."""
    here = world(keys=_keys())
    body = {"type": "http.request", "body": octets, "more_body": False}
    scope = http_scope("POST", "/guestpass/token", [(b"content-type", b"application/json")])

    async def post() -> None:
        answer = await drive(TokenEndpoint(here.gate), scope, body)
        assert answer.values(b"cache-control") == [b"no-store"]
        if answer.status == 200:
            assert set(answer.json) == {"token", "expires_at", "expires_in", "rotated"}
            assert len(here.issuer.calls) == 1
        else:
            assert answer.status in (400, 413)
            assert not here.issuer.calls
            assert set(answer.json) <= {"type", "title", "status", "code", "detail"}

    anyio.run(post)


PARSERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    parser.__name__: parser for parser in (token, path, sieve, forwarded_for, jwks, token_endpoint)
}


def kept(name: str) -> list[bytes]:
    """What the corpus holds for a parser, in the order of the files' names."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]


def keep(name: str, octets: bytes) -> Path:
    """Write an input to the corpus, under its digest."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / sha256(octets).hexdigest()[:16]
    file.write_bytes(octets)
    return file
