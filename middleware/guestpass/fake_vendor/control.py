"""The control plane: what a test in another process does to the vendor, as JSON over HTTP.

It is only there when the vendor is made with `control=True`. Each answer is JSON; what changes something
answers with the new state.

| request | body | effect |
|---|---|---|
| `GET /__fake__/state` | | the state: clock, keys, faults, counts |
| `GET /__fake__/journal` | | `{"entries": [{method, path, time, outcome, status, fault, correlation}]}` |
| `POST /__fake__/reset` | | as at the start: clock, keys, faults, journal, counts, access tokens, ids |
| `POST /__fake__/clock` | `{"advance": s}` and/or `{"skew": s}` | let time pass; stamp wrongly: everything by s, or `{"iat": s, "nbf": s, "exp": s, "date": s}` |
| `POST /__fake__/keys` | `{"action": a}` | `rotate`, `publish_late`, `publish`, `retire`, `sign_unpublished` |
| `POST /__fake__/faults` | a rule, or a list of rules | add them; their members are in `guestpass.fake_vendor.rules` |
| `DELETE /__fake__/faults` | | drop them all |

Bad input is a 400 `{"field", "rule"}`, and then nothing has changed. What a web page sends is a 403: whoever runs
this has a browser too, and any page in it may post to loopback.
"""  # noqa: E501  a table's row is one line

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, Protocol

from guestpass.errors import ConfigError
from guestpass.fake_vendor.clock import VendorClock
from guestpass.fake_vendor.faults import Faults
from guestpass.fake_vendor.journal import Journal
from guestpass.fake_vendor.keys import Keys
from guestpass.fake_vendor.messages import Call, Reply, as_json
from guestpass.fake_vendor.rules import Rule, read_rule

PREFIX: Final = "/__fake__/"


class Controlled(Protocol):
    """What the control plane needs of the vendor."""

    clock: VendorClock
    keys: Keys
    faults: Faults
    journal: Journal

    def reset(self) -> None:
        """Put everything back to how it was at the start."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that the control plane may change, and the counts."""
        ...


class Control:
    """Answers everything under `/__fake__/`."""

    def __init__(self, vendor: Controlled) -> None:
        self._vendor = vendor
        self._routes: Mapping[str, Mapping[str, Callable[[Call], Reply]]] = {
            "state": {"GET": self._state},
            "journal": {"GET": self._journal},
            "reset": {"POST": self._reset},
            "clock": {"POST": self._clock},
            "keys": {"POST": self._keys},
            "faults": {"POST": self._add_faults, "DELETE": self._clear_faults},
        }

    def answer(self, call: Call) -> Reply:
        """Do what is asked, and show the state that it leaves."""
        if "origin" in call.fields:  # which a browser sends with all that changes something (Fetch §3.2)
            return _problem(403, "origin", "must not be there: a web page may not control the vendor")
        name = call.path.removeprefix(PREFIX)
        methods = self._routes.get(name)
        if methods is None:
            return _problem(
                404, "path", f"must be one of {', '.join(PREFIX + known for known in self._routes)}"
            )
        handler = methods.get(call.method)
        if handler is None:
            allowed = ", ".join(methods)
            return _problem(405, "method", f"must be {allowed}").with_fields(("Allow", allowed))
        try:
            return handler(call)
        except ConfigError as exc:
            return _problem(400, exc.field, exc.rule)

    def _state(self, _: Call) -> Reply:
        return as_json(self._vendor.state())

    def _journal(self, _: Call) -> Reply:
        return as_json({"entries": [asdict(entry) for entry in self._vendor.journal]})

    def _reset(self, call: Call) -> Reply:
        self._vendor.reset()
        return self._state(call)

    def _clock(self, call: Call) -> Reply:
        members = _members(call, {"advance", "skew"})
        if not members:
            raise ConfigError("body", "must have advance, skew, or both")
        clock = self._vendor.clock
        before = clock.skew
        if "skew" in members:
            clock.set_skew(_seconds_by_stamp(members["skew"]))
        if "advance" in members:
            try:
                clock.advance(_seconds("advance", members["advance"]))
            except ConfigError:
                clock.skew = before
                raise
        return self._state(call)

    def _keys(self, call: Call) -> Reply:
        action = _members(call, {"action"}).get("action")
        self._vendor.keys.apply(action if isinstance(action, str) else "")
        return self._state(call)

    def _add_faults(self, call: Call) -> Reply:
        document = _document(call)
        rules = document if isinstance(document, list) else [document]
        self._vendor.faults.install([_rule(index, members) for index, members in enumerate(rules)])
        return self._state(call)

    def _clear_faults(self, call: Call) -> Reply:
        self._vendor.faults.clear()
        return self._state(call)


def _document(call: Call) -> Any:
    try:
        return json.loads(call.body)
    except (ValueError, RecursionError) as exc:
        raise ConfigError("body", "must be JSON") from exc


def _members(call: Call, known: set[str]) -> dict[str, Any]:
    document = _document(call)
    if not isinstance(document, dict):
        raise ConfigError("body", "must be a JSON object")
    for name in document:
        if name not in known:
            raise ConfigError(name, f"must be one of {', '.join(sorted(known))}")
    return document


def _seconds(field: str, value: Any) -> float:
    # bool is an int to Python, but not to anyone who writes JSON.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(field, "must be a number of seconds")
    return value


def _seconds_by_stamp(value: Any) -> float | dict[str, float]:
    if not isinstance(value, dict):
        return _seconds("skew", value)
    return {stamp: _seconds(f"skew.{stamp}", seconds) for stamp, seconds in value.items()}


def _rule(index: int, members: Any) -> Rule:
    field = f"faults[{index}]"
    if not isinstance(members, dict):
        raise ConfigError(field, "must be a JSON object")
    try:
        return read_rule(members)
    except ConfigError as exc:
        raise ConfigError(f"{field}.{exc.field}", exc.rule) from exc


def _problem(status: int, field: str, rule: str) -> Reply:
    return as_json({"field": field, "rule": rule}, status=status)
