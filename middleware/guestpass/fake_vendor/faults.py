"""The rules in force, and which of them acts on a call."""

from dataclasses import asdict
from typing import Any

from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.rules import Rule, read_rule


class Faults:
    """The rules in force. Every rule counts each call it covers; of those that fire the oldest acts."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._rules: list[Rule] = []
        self._counts: list[int] = []

    def add(self, action: str, **parameters: Any) -> Rule:
        """Add a rule: `add("server_error", route="mint", first=2)`; the parameters are those of `Rule`.

        Raises:
            ConfigError: Naming the parameter and its rule.
        """
        rule = read_rule({"action": action, **parameters})
        self.install([rule])
        return rule

    def install(self, rules: list[Rule]) -> None:
        """Add rules that were made before."""
        self._counts += [0] * len(rules)
        self._rules += rules

    def clear(self) -> None:
        """Behave from now on."""
        self._rules, self._counts = [], []

    def next(self, route: str) -> Rule | None:
        """Count a call of `route`; the rule that acts on it, or None."""
        acting: Rule | None = None
        for index, rule in enumerate(self._rules):
            if rule.covers(route):
                self._counts[index] += 1
                # Every rule draws, whether another one acts or not, so that rules do not sway each other.
                if rule.fires(self._counts[index], self._ids, f"fault {index}"):
                    acting = acting or rule
        return acting

    def state(self) -> list[dict[str, object]]:
        """The rules and how many calls each has seen."""
        return [{**asdict(rule), "seen": seen} for rule, seen in zip(self._rules, self._counts, strict=True)]
