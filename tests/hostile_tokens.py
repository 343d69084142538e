"""The token attacks J1 to J26 and the legal oddities J27, as octets to replay in any test.

No token holds a line break or an outer blank, so that each can be a field value as it stands.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from forge import Part, compact, ec_key, ed_key, mac, octets, public_forms, published, rsa_key, sign
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from guestpass.core.base64url import encode

# The order of P-256 (FIPS 186-5): r and s must lie strictly between 0 and it.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_STRANGER = "stranger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the verifier under attack trusts.

    Attributes:
        rsa: A private RSA key with a kid, whose public half is published for RS256.
        issuer: The "iss" that is accepted.
        audience: An "aud" that is accepted.
        now: The verifier's wall clock; good tokens live from 10 s before to `lifetime` after.
        ec: A private P-256 key with a kid, if one is published (and ES256 allowed) as well.
        lifetime: Seconds past `now` that good tokens live: long where others read the real clock.
        canary: An address that must never be asked; J6 puts it into headers.
    """

    rsa: JWK
    issuer: str
    audience: str
    now: int
    ec: JWK | None = None
    lifetime: int = 600
    canary: str = "http://127.0.0.1:9/canary"

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": "RS256", "kid": self.rsa["kid"], "typ": "JWT"}

    @property
    def claims(self) -> dict[str, Any]:
        return {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "guest-1",
            "name": "Ada",
            "email": "ada@example.com",
            "iat": self.now - 10,
            "nbf": self.now - 10,
            "exp": self.now + self.lifetime,
        }

    def good(self) -> bytes:
        """A token that passes, from which each attack departs in one way."""
        return sign(self.rsa, self.header, self.claims)


@dataclass(frozen=True, slots=True)
class Case:
    """One token: the row of the table of cases it belongs to, and what is odd about it."""

    id: str
    name: str
    token: bytes

    def __str__(self) -> str:
        return f"{self.id} {self.name}"


def hostile(keys: Keys) -> list[Case]:
    """Tokens that must be refused, each with 401, and without a call to anyone."""
    families = (
        _without_algorithm,
        _hmac_by_public_key,
        _own_key,
        _foreign_addresses,
        _kids,
        _signatures,
        _psychic,
        _not_json,
        _expiry,
        _issuers,
        _audiences,
        _duplicates,
        _spellings,
        _encrypted,
        _critical,
        _types,
        _sizes,
    )
    return [case for family in families for case in family(keys)]


def legal(keys: Keys) -> list[Case]:
    """Twelve oddities that RFC 7515 and RFC 7519 allow; refusing one is a fault of ours."""
    header, claims = keys.header, keys.claims
    spaced = json.dumps(header, indent=1).encode() + b"\r\n\t "
    escaped = octets(header).replace(b'"alg"', rb'"\u0061l\u0067"').replace(b"RS256", rb"\u0052S256")
    odd: dict[str, tuple[Part, Part]] = {
        "white space in and around the JSON": (spaced, b" \n" + json.dumps(claims, indent=4).encode()),
        "escapes in names and values": (escaped, octets(claims).replace(b'"exp"', rb'"\u0065\u0078p"')),
        "no typ": ({"alg": "RS256", "kid": keys.rsa["kid"]}, claims),
        "typ in lower case as a media type": ({**header, "typ": "application/jwt"}, claims),
        "unknown header members, nested": ({**header, "x": {"y": [None, {"z": 1.5}]}, "nonce": "n"}, claims),
        "a key address beside a true signature": ({**header, "jku": keys.canary, "x5t": "AA"}, claims),
        "cty that names no JWT": ({**header, "cty": "json"}, claims),
        "raw UTF-8": (header, json.dumps({**claims, "name": "Zoë 名前 🦉"}, ensure_ascii=False).encode()),
        "escaped UTF-16 pairs": (header, {**claims, "name": "Zoë 名前 🦉"}),
        "aud as a list with us in it": (header, {**claims, "aud": ["https://other.example", keys.audience]}),
        "fractions and exponents": (
            header,
            {
                **claims,
                "exp": keys.now + keys.lifetime + 0.5,
                "iat": keys.now - 9.5,
                "n": 1e300,
                "big": 10**40,
            },
        ),
        "4 kB, members unknown and null": (header, {"z": None, **claims, "padding": "x" * 2300}),
    }
    return [Case("J27", name, sign(keys.rsa, *parts)) for name, parts in odd.items()]


def _without_algorithm(keys: Keys) -> Iterator[Case]:
    signature = encode(b"\x01" * 256)
    for name in ("none", "None", "NONE", "nOnE"):
        unsigned = compact({**keys.header, "alg": name}, keys.claims, b"")
        yield Case("J1", f"{name}, empty signature", unsigned)
        yield Case("J1", f"{name}, some signature", unsigned + signature)
        yield Case("J1", f"{name}, two parts", unsigned.rstrip(b"."))
        yield Case("J1", f"{name}, truly signed", sign(keys.rsa, {**keys.header, "alg": name}, keys.claims))
    for alg in (None, 256, ["RS256"], {"RS256": 1}, "", "rs256", "RS256 ", "RSA-OAEP", "ES256K", "RS1"):
        yield Case("J1", f"alg {alg!r}", sign(keys.rsa, {**keys.header, "alg": alg}, keys.claims))
    yield Case("J1", "alg absent", sign(keys.rsa, {"kid": keys.rsa["kid"]}, keys.claims))


def _hmac_by_public_key(keys: Keys) -> Iterator[Case]:
    for bits in (256, 384, 512):
        header = {**keys.header, "alg": f"HS{bits}"}
        for form, secret in public_forms(keys.rsa).items():
            token = mac(secret, header, keys.claims, digest=f"sha{bits}")
            yield Case("J2", f"HS{bits} keyed with {form}", token)


def _own_key(keys: Keys) -> Iterator[Case]:
    stranger = rsa_key(_STRANGER)
    for name, kid in (("equal", keys.rsa["kid"]), ("own", _STRANGER), ("absent", None)):
        jwk = published(stranger, kid=kid)
        header = {**keys.header, "kid": kid, "jwk": jwk}
        if kid is None:
            del header["kid"], jwk["kid"]
        yield Case("J5", f"embedded key, kid {name}", sign(stranger, header, keys.claims))


def _foreign_addresses(keys: Keys) -> Iterator[Case]:
    stranger = rsa_key(_STRANGER)
    for kid in (keys.rsa["kid"], _STRANGER):
        for name in ("jku", "x5u"):
            for address in (keys.canary, "file:///etc/passwd"):
                token = sign(stranger, {**keys.header, "kid": kid, name: address}, keys.claims)
                yield Case("J6", f"{name} {address} under kid {kid}", token)
        chain = [public_forms(stranger)["SPKI DER"].hex()]
        yield Case(
            "J6",
            f"x5c under kid {kid}",
            sign(stranger, {**keys.header, "kid": kid, "x5c": chain}, keys.claims),
        )


def _kids(keys: Keys) -> Iterator[Case]:
    kid = keys.rsa["kid"]
    kids = (
        "../../../../dev/null",
        "..\\..\\x",
        "/etc/passwd\0.pem",
        f"' UNION SELECT '{kid}' --",
        f"{kid}; cat /etc/passwd",
        f"|{kid}",
        "$(id)",
        "http://127.0.0.1:9/key",
        f" {kid}",
        f"{kid}\0",
        f"{kid}\r\nX-Guest-Subject: root",
        kid.upper() if kid != kid.upper() else kid.lower(),
        "",
    )
    for name in kids:
        yield Case("J8", f"kid {name!r}", sign(keys.rsa, {**keys.header, "kid": name}, keys.claims))
    for other in (None, 1, True, [kid], {"kid": kid}):
        yield Case("J8", f"kid {other!r}", sign(keys.rsa, {**keys.header, "kid": other}, keys.claims))


def _signatures(keys: Keys) -> Iterator[Case]:
    def with_claims(**claims: object) -> bytes:
        return sign(keys.rsa, keys.header, {**keys.claims, **claims})

    good = keys.good()
    header, payload, signature = good.split(b".")
    other = with_claims(sub="guest-2").split(b".")
    yield Case("J10", "empty", good.rpartition(b".")[0] + b".")
    yield Case("J10", "truncated", good[:-4])
    yield Case("J10", "extended", good + b"AAAA")
    yield Case("J10", "extended in front", b".".join((header, payload, b"AAAA" + signature)))
    flipped = b"B" if signature[:1] == b"A" else b"A"
    yield Case("J10", "flipped", b".".join((header, payload, flipped + signature[1:])))
    yield Case("J10", "from another token", b".".join((header, payload, other[2])))
    yield Case("J10", "payload swapped", b".".join((header, other[1], signature)))
    yield Case("J10", "of a stranger", sign(rsa_key(_STRANGER), keys.header, keys.claims))
    yield Case("J10", "zeros", compact(keys.header, keys.claims, bytes(256)))
    yield Case("J10", "RS512 under RS256", sign(keys.rsa, keys.header, keys.claims, alg="RS512"))
    yield Case("J10", "PS256 under RS256", sign(keys.rsa, keys.header, keys.claims, alg="PS256"))


def _psychic(keys: Keys) -> Iterator[Case]:
    numbers = {"zero": 0, "one": 1, "order": _ORDER, "order - 1": _ORDER - 1, "all ones": 2**256 - 1}
    kids = [keys.rsa["kid"]] + ([keys.ec["kid"]] if keys.ec else [])
    for kid in kids:
        header = {**keys.header, "alg": "ES256", "kid": kid}
        for r_name, r in numbers.items():
            for s_name, s in numbers.items():
                signature = r.to_bytes(32) + s.to_bytes(32)
                yield Case(
                    "J12", f"r {r_name}, s {s_name} under {kid}", compact(header, keys.claims, signature)
                )
        for size in (1, 2, 63, 65, 128):
            yield Case("J12", f"{size} zeros under {kid}", compact(header, keys.claims, bytes(size)))
        yield Case(
            "J12",
            f"ES256 of a stranger under {kid}",
            sign(ec_key(_STRANGER), header, keys.claims, alg="ES256"),
        )
        header["alg"] = "EdDSA"
        yield Case("J12", f"EdDSA zeros under {kid}", compact(header, keys.claims, bytes(64)))
        yield Case(
            "J12",
            f"EdDSA of a stranger under {kid}",
            sign(ed_key(_STRANGER), header, keys.claims, alg="EdDSA"),
        )
    if keys.ec:
        header = {**keys.header, "kid": keys.ec["kid"]}
        yield Case("J12", "RS256 under an EC kid", sign(keys.rsa, header, keys.claims))


_NOT_OBJECTS = (b"", b" ", b"null", b"true", b"7", b'"{}"', b"[]", b"[{}]", b"x", b"NaN")


def _not_json(keys: Keys) -> Iterator[Case]:
    header, claims = octets(keys.header), octets(keys.claims)
    for raw in _NOT_OBJECTS:
        yield Case("J13", f"header {raw!r}", sign(keys.rsa, raw, claims))
        yield Case("J13", f"payload {raw!r}", sign(keys.rsa, header, raw))
    mangled: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda raw: raw[:-1],
        "with trailing octets": lambda raw: raw + b"{}",
        "with a trailing NUL": lambda raw: raw + b"\0",
        "with bad UTF-8": lambda raw: raw[:-1] + b',"x":"\xff"}',
        "with an overlong encoding": lambda raw: raw[:-1] + b',"x":"\xc0\xae"}',
        "with an encoded surrogate": lambda raw: raw[:-1] + b',"x":"\xed\xa0\x80"}',
        "with a lone surrogate escape": lambda raw: raw[:-1] + rb',"x":"\ud800"}',
        "in UTF-16": lambda raw: raw.decode().encode("utf-16"),
        "with a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
        "with a comment": lambda raw: raw[:-1] + b"/**/}",
        "with a trailing comma": lambda raw: raw[:-1] + b",}",
        "with single quotes": lambda raw: raw.replace(b'"', b"'"),
        "with a raw control character": lambda raw: raw[:-1] + b',"x":"\x01"}',
        "with NaN": lambda raw: raw[:-1] + b',"x":NaN}',
        "with Infinity": lambda raw: raw[:-1] + b',"x":-Infinity}',
        "with 1e999": lambda raw: raw[:-1] + b',"x":1e999}',
        "with a 4,000 digit integer": lambda raw: raw[:-1] + b',"x":' + b"9" * 4000 + b"}",
        "nested 500 deep": lambda raw: raw[:-1] + b',"x":' + b"[" * 500 + b"]" * 500 + b"}",
        "nested 2,500 deep": lambda raw: raw[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}",
        "unclosed 5,000 deep": lambda raw: raw[:-1] + b',"x":' + b"[" * 5000,
    }
    for name, mangle in mangled.items():
        yield Case("J13", f"header {name}", sign(keys.rsa, mangle(header), claims))
        yield Case("J13", f"payload {name}", sign(keys.rsa, header, mangle(claims)))


def _expiry(keys: Keys) -> Iterator[Case]:
    values: tuple[object, ...] = (
        keys.now - 100_000,
        0,
        -1,
        str(keys.now + 600),
        None,
        True,
        False,
        [keys.now + 600],
        {},
        1e15,
        10**50,
    )
    for value in values:
        token = sign(keys.rsa, keys.header, {**keys.claims, "exp": value})
        yield Case("J16", f"exp {value!r}", token)
    claims = keys.claims
    del claims["exp"]
    yield Case("J16", "exp absent", sign(keys.rsa, keys.header, claims))
    for name in ("nbf", "iat"):
        for value in (keys.now + 3600, str(keys.now), None, True, [], -1, 1e15):
            token = sign(keys.rsa, keys.header, {**keys.claims, name: value})
            yield Case("J16", f"{name} {value!r}", token)


def _issuers(keys: Keys) -> Iterator[Case]:
    issuer = keys.issuer
    others: tuple[object, ...] = (
        "",
        "https://evil.example",
        issuer[:-1],
        issuer[1:],
        issuer[1:-1],
        f"{issuer}.evil.example",
        f"{issuer}/",
        f"{issuer} ",
        f"{issuer}\0",
        issuer.swapcase(),
        [issuer],
        {issuer: 1},
        None,
        True,
    )
    for other in others:
        token = sign(keys.rsa, keys.header, {**keys.claims, "iss": other})
        yield Case("J17", f"iss {other!r}", token)
    claims = keys.claims
    del claims["iss"]
    yield Case("J17", "iss absent", sign(keys.rsa, keys.header, claims))


def _audiences(keys: Keys) -> Iterator[Case]:
    audience = keys.audience
    others: tuple[object, ...] = (
        "",
        "x",
        audience[:-1],
        f"{audience}/",
        audience.swapcase(),
        [],
        ["x"],
        [audience[1:]],
        None,
        True,
        1,
    )
    for other in (*others, {audience: 1}, [audience, 1], [[audience]]):
        token = sign(keys.rsa, keys.header, {**keys.claims, "aud": other})
        yield Case("J18", f"aud {other!r}", token)
    claims = keys.claims
    del claims["aud"]
    yield Case("J18", "aud absent", sign(keys.rsa, keys.header, claims))


def _duplicates(keys: Keys) -> Iterator[Case]:
    header, claims = octets(keys.header), octets(keys.claims)
    for name, twice in {
        "alg, none first": b'{"alg":"none",' + header[1:],
        "alg, none last": header[:-1] + b',"alg":"none"}',
        "alg, the same": header[:-1] + b',"alg":"RS256"}',
        "alg, escaped": header[:-1] + rb',"\u0061lg":"none"}',
        "kid": header[:-1] + b',"kid":"other"}',
        "an unknown member": header[:-1] + b',"x":1,"x":1}',
    }.items():
        yield Case("J19", f"header: {name}", sign(keys.rsa, twice, claims))
    for name, twice in {
        "exp, the good one last": b'{"exp":0,' + claims[1:],
        "exp, the good one first": claims[:-1] + b',"exp":0}',
        "sub": claims[:-1] + b',"sub":"root"}',
        "sub, escaped": claims[:-1] + rb',"s\u0075b":"root"}',
        "iss": b'{"iss":"https://evil.example",' + claims[1:],
        "a nested member": claims[:-1] + b',"x":{"y":[{"z":1,"z":2}]}}',
    }.items():
        yield Case("J19", f"claims: {name}", sign(keys.rsa, header, twice))


def _spellings(keys: Keys) -> Iterator[Case]:
    good = keys.good()
    header, payload, signature = good.split(b".")
    middle = len(header) + 10
    for name, foreign in {
        "a blank": b" ",
        "a tab": b"\t",
        "an equals sign": b"=",
        "a plus": b"+",
        "a slash": b"/",
        "a quote": b'"',
        "a comma": b",",
        "a percent sign": b"%2E",
        "a star": b"*",
        "a non-ASCII octet": b"\xe9",
    }.items():
        yield Case("J20", f"{name} in the middle", good[:middle] + foreign + good[middle:])
    yield Case("J20", "padding after the signature", good + b"=" * (-len(signature) % 4))
    yield Case("J20", "needless padding", good + b"====")
    yield Case(
        "J20", "padding everywhere", b".".join(p + b"=" * (-len(p) % 4) for p in (header, payload, signature))
    )
    # 256 octets end in a character of which four bits are unused: any but zero is another spelling.
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1:])
    for stray in (1, 8, 15):
        yield Case("J20", f"trailing bits {stray}", good[:-1] + alphabet[last + stray : last + stray + 1])
    yield Case("J20", "one part", header)
    yield Case("J20", "two parts", header + b"." + payload)
    yield Case("J20", "four parts", good + b"." + signature)
    yield Case("J20", "four parts, the last empty", good + b".")
    yield Case("J20", "five parts", good + b".AA.AA")
    yield Case("J20", "an empty first part", b"." + payload + b"." + signature)
    yield Case("J20", "an empty payload", header + b".." + signature)
    yield Case("J20", "dots only", b"..")
    yield Case("J20", "thousands of dots", b"." * 4000)
    yield Case("J20", "in quotes", b'"' + good + b'"')
    yield Case("J20", "a percent-encoded dot", good.replace(b".", b"%2E", 1))
    yield Case("J20", "twice, with a comma", good + b"," + good)
    yield Case("J20", "JSON serialization", json.dumps({"payload": payload.decode()}).encode())


def _encrypted(keys: Keys) -> Iterator[Case]:
    secret = JWK(kty="oct", k=encode(b"k" * 32).decode())
    claims = json.dumps(keys.claims)
    to_us = JWE(
        claims, json.dumps({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": keys.rsa["kid"], "typ": "JWT"})
    )
    to_us.add_recipient(keys.rsa)
    yield Case("J22", "JWE to our public key", to_us.serialize(compact=True).encode())
    bomb = JWE(b"\0" * 200_000, json.dumps({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}))
    bomb.add_recipient(secret)
    yield Case("J22", "JWE deflate bomb", bomb.serialize(compact=True).encode())
    slow = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31, "p2s": "AAAAAAAAAAA"}
    yield Case("J22", "PBES2, 2^31 rounds", compact(slow, b"k" * 24, b"i" * 12) + b".Y3Q.dGFn")
    yield Case("J22", "PBES2 in three parts", sign(keys.rsa, {**keys.header, **slow}, claims.encode()))
    squeezed = zlib.compress(claims.encode())
    yield Case("J22", "zip on a JWS", sign(keys.rsa, {**keys.header, "zip": "DEF"}, claims.encode()))
    yield Case("J22", "zip on a JWS, deflated", sign(keys.rsa, {**keys.header, "zip": "DEF"}, squeezed))
    huge = zlib.compress(b" " * 4_000_000, level=9)[:3900]
    yield Case("J22", "deflate bomb in a JWS", sign(keys.rsa, {**keys.header, "zip": "DEF"}, huge))


def _critical(keys: Keys) -> Iterator[Case]:
    values: tuple[object, ...] = (
        ["unknown"],
        ["exp"],
        ["alg"],
        ["b64"],
        ["crit"],
        [],
        [""],
        [1],
        "exp",
        None,
        {},
        True,
        ["b64", "b64"],
    )
    for crit in values:
        header = {**keys.header, "crit": crit, "unknown": 1, "exp": 1}
        yield Case("J23", f"crit {crit!r}", sign(keys.rsa, header, keys.claims))
    for b64 in (False, True, None):
        for more in ({}, {"crit": ["b64"]}):
            header = {**keys.header, "b64": b64, **more}
            yield Case("J23", f"b64 {b64!r} with {more!r}", sign(keys.rsa, header, keys.claims))


def _types(keys: Keys) -> Iterator[Case]:
    for typ in (
        "at+jwt",
        "application/at+jwt",
        "dpop+jwt",
        "logout+jwt",
        "JOSE",
        "JWE",
        "",
        " JWT",
        None,
        1,
        ["JWT"],
    ):
        yield Case("J24", f"typ {typ!r}", sign(keys.rsa, {**keys.header, "typ": typ}, keys.claims))
    for cty in ("JWT", "jwt", "application/jwt", "Application/JWT", None, ["JWT"]):
        yield Case("J24", f"cty {cty!r}", sign(keys.rsa, {**keys.header, "cty": cty}, keys.claims))
    yield Case("J24", "a token inside a token", sign(keys.rsa, {**keys.header, "cty": "JWT"}, keys.good()))
    yield Case("J24", "a token inside, cty not set", sign(keys.rsa, keys.header, keys.good()))


def _sizes(keys: Keys) -> Iterator[Case]:
    yield Case("J26", "16 kB, genuine", sign(keys.rsa, keys.header, {**keys.claims, "padding": "x" * 11_500}))
    yield Case(
        "J26", "16 kB of header", sign(keys.rsa, {**keys.header, "padding": "x" * 11_500}, keys.claims)
    )
    yield Case("J26", "16 kB of signature", keys.good() + b"A" * 15_200)
