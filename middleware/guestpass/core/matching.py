"""Which rule covers a method and path: first match wins, and what no rule covers is protected."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guestpass.core.paths import unambiguous, wire_path
from guestpass.errors import ConfigError


class Protection(StrEnum):
    """What a route asks of a request."""

    REQUIRED = "required"
    """A genuine token."""
    OPTIONAL = "optional"
    """A genuine token or none: without one the guest is anonymous, and a bad one is refused."""
    OFF = "off"
    """Nothing: tokens are neither verified nor rotated."""


_is_method: Final = re.compile(r"[A-Z][A-Z0-9-]*").fullmatch


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the route policy.

    Attributes:
        methods: The methods it covers, upper case; None: all. `GET` covers HEAD too, as RFC 9110 §9.3.2
            makes HEAD a GET without the body.
        path: A pattern over the percent-decoded path, case-sensitive, written decoded itself:
            `/health` covers that path alone;
            `/users/*/avatar` covers exactly one segment, of any text, where the `*` stands;
            `/public/*` covers everything that starts with `/public/`, however deep, and `/public/` itself.
        protection: What it asks of the requests that it covers. A rule that asks for a token covers its
            paths with and without a trailing slash, and `/admin/*` covers `/admin` as well, as many
            backends serve both from one handler; a rule that lets more pass covers what it says and no more.
    """

    methods: frozenset[str] | None
    path: str
    protection: Protection

    def __post_init__(self) -> None:
        if self.methods is not None and not (self.methods and all(map(_is_method, self.methods))):
            raise ConfigError("rules.methods", "must name methods in upper case, or be left out for all")
        require_pattern("rules.path", self.path)


def require_pattern(field: str, path: str) -> None:
    """Check that `path` is a pattern as `Rule.path` describes them.

    Raises:
        ConfigError: It is none; the error names `field`.
    """
    if not unambiguous(wire_path(None, path), path):
        raise ConfigError(field, "must start with one /, hold no // . .. ; ? # or \\ and no percent escapes")
    if any("*" in segment and segment != "*" for segment in path.split("/")):
        raise ConfigError(field, "may hold * only as a whole segment: /public/* or /users/*/avatar")


def compile_pattern(field: str, path: str) -> re.Pattern[str]:
    """Compile a pattern that covers what it says and no more: match it against a percent-decoded path.

    Raises:
        ConfigError: It is none; the error names `field`.
    """
    require_pattern(field, path)
    return re.compile(_pattern(path, strict=False))


class Rules:
    """An ordered list of rules, compiled once."""

    __slots__ = ("_named", "_patterns", "by_path_alone", "default", "rules")

    def __init__(self, rules: Sequence[Rule] = (), default: Protection = Protection.REQUIRED) -> None:
        """Compile `rules`.

        Args:
            rules: In order; the first that covers a request decides.
            default: What a request that no rule covers is asked for.
        """
        self.rules = tuple(rules)
        self.default = default
        self.by_path_alone = all(rule.methods is None for rule in self.rules)
        """Whether no rule asks for a method, so that an answer holds for all of them."""
        compiled = [(rule, _compiled(rule)) for rule in self.rules]
        # Most rules name one path, so paths are looked up: for each that is named, the rules that cover it
        # are found ahead, in their order, patterns among them. Every other path meets the patterns alone.
        named = {path for rule in self.rules for path in _literals(rule)}
        self._named = {path: tuple(one for _, one in compiled if one.covers(path)) for path in named}
        self._patterns = tuple(one for rule, one in compiled if "*" in rule.path)

    def protection(self, method: str, path: str) -> Protection:
        """What a request is asked for.

        Args:
            method: As it came. Compared in upper case: a backend may read `post` as `POST`.
            path: Percent-decoded and unambiguous: ASGI's `scope["path"]`, never a URL rebuilt from Host.
        """
        for rule in self._named.get(path, self._patterns):
            if rule.covers(path) and (rule.methods is None or method.upper() in rule.methods):
                return rule.protection
        return self.default


@dataclass(frozen=True, slots=True)
class _Compiled:
    """One rule, ready to ask."""

    methods: frozenset[str] | None
    covers: Callable[[str], object]
    protection: Protection


def _compiled(rule: Rule) -> _Compiled:
    methods = rule.methods
    if methods is not None and "GET" in methods:
        methods |= {"HEAD"}
    strict = rule.protection is Protection.REQUIRED
    return _Compiled(methods, re.compile(_pattern(rule.path, strict=strict)).match, rule.protection)


def _pattern(path: str, *, strict: bool) -> str:
    head, star, tail = path.rpartition("/*")
    below = star and not tail
    if not below:
        head = path
    if strict:
        head = head.rstrip("/")
    source = "/".join("[^/]+" if segment == "*" else re.escape(segment) for segment in head.split("/"))
    if below:
        return source + (r"(?:/|\Z)" if strict else "/")
    return source + (r"/?\Z" if strict else r"\Z")


def _literals(rule: Rule) -> set[str]:
    """The paths that a rule without a `*` covers: one, or two where the trailing slash may stand or not."""
    if "*" in rule.path:
        return set()
    if rule.protection is not Protection.REQUIRED:
        return {rule.path}
    bare = rule.path.rstrip("/")
    return {bare, f"{bare}/"}


def is_preflight(method: str, has_origin: bool, has_request_method: bool) -> bool:
    """Say whether a request is a CORS preflight: it carries no credentials, so it is asked for none.

    Args:
        method: As it came.
        has_origin: It has an Origin field.
        has_request_method: It has an Access-Control-Request-Method field. An OPTIONS without both is an
            ordinary request, which an app may answer with content of its own.
    """
    return has_origin and has_request_method and method == "OPTIONS"
