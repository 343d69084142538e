"""Mutants that answer as the original does, each with the reason: nothing can tell them apart."""

from collections.abc import Mapping
from typing import Final

_ONE = "the list has one member, so its first is its last"
_SPEED = "a shorter way to the same answer"
_CHARACTER_TWICE = "the class holds the character already, in a range"
_NOT_IN_A_HOST = "no host that `is_host` lets through holds the character"
_MEMORY = "how much is remembered changes no answer"
_READ_FIRST = "asked for by name before the set is looked at"
_DEFAULT = "any text will do that is no key, type or algorithm"

_TOKEN = '_TOKEN: b"[A-Za-z0-9!#$%&\'*+.^_`|~-]+" -> b"[A-Za-z0-9!{}~-]+"'

EQUIVALENT: Final[Mapping[str, Mapping[str, str]]] = {
    "hop_by_hop": {
        "_HOP_BY_HOP: b'connection' left out": _READ_FIRST,
        "_HOP_BY_HOP: b'transfer-encoding' left out": _READ_FIRST,
    },
    "paths": {
        "_plain: b'[' -> b'[x'": _CHARACTER_TWICE,
        "_plain: b']' -> b']x'": _SPEED,
        "_escaped: b'[' -> b'[x'": _CHARACTER_TWICE,
        "unambiguous: if _plain(raw_path) -> if False": _SPEED,
        "wire_path: raw_path.partition(b'?')[0] if b'?' in raw_path else raw_path"
        " -> raw_path.partition(b'?')[0]": _SPEED,
    },
    "forwarded": {
        _TOKEN.format("$%&'*+.^_`|"): _NOT_IN_A_HOST,
        _TOKEN.format("#$%&'*+._`|"): _NOT_IN_A_HOST,
        _TOKEN.format("#$%&'*+.^_|"): _NOT_IN_A_HOST,
        _TOKEN.format("#$%&'*+.^_`"): _NOT_IN_A_HOST,
        "Trust.believes: not self.networks left out": _SPEED,
        "Trust.chain.entries: b','.join(forwarded_for).decode('latin-1').split(',') if self.networks else []"
        " -> b','.join(forwarded_for).decode('latin-1').split(',')": _SPEED,
        "told: 0 -> -1": _ONE,
        "told: 0 -> -1 #2": _ONE,
        "told_scheme: 0 -> -1": _ONE,
        "told_scheme: 0 -> -1 #2": _ONE,
    },
    "bearer": {
        "_Kind.REQUEST_METHOD: 8 -> 9": "a number that nothing else has",
        "Sifted.token: if not elsewhere and len(found) == 1 -> if False": _SPEED,
        "Sifted.token: 0 -> -1": _ONE,
        "Sieve.sift_usual: if kind is None -> if True": _SPEED,
        "Sieve._special_field: b'' left out": "a cookie has this kind only if it has a name",
        "Sieve._special_field: b'' -> b'x'": "a cookie has this kind only if it has a name",
    },
    "inject": {
        "_FOR_CACHES: b'cache-control' left out": "our own line replaces the app's in any case",
    },
    "jwk": {
        "KeyUnusable.__init__: super().__init__(reason) -> pass": "`__new__` keeps the arguments",
        "MAX_RSA_EXPONENT: 1 -> 0": "the next exponent is even, and refused for that",
        "MIN_RSA_EXPONENT: 3 -> 2": "the next exponent is even, and refused for that",
    },
    "jws": {
        "_HEADERS: 64 -> 63": _MEMORY,
        "_HEADERS: 64 -> 65": _MEMORY,
        "_check_header: '' -> 'x'": _DEFAULT,
        "_check_header: '' -> 'x' #2": _DEFAULT,
    },
}
