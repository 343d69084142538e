"""How is each family of hostile tokens answered, and how fast? `python tests/token_attacks.py`, over HTTP.

The tokens and the site are those of tests/server/test_hostile_tokens_http.py, which holds the answers to
their promise; this prints the table for both parsers, with the worst latency.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hostile_tokens import Case, legal
from server.test_hostile_tokens_http import GOOD, HOSTILE, KEYS, Site, ask, site_of

PARSERS = ("h11", "httptools")


@dataclass
class Row:
    """One family under one parser."""

    cases: int = 0
    wrong: int = 0
    worst: float = 0.0


def asked(site: Site, cases: list[Case]) -> Iterator[tuple[Case, bool, float]]:
    """Each case, whether it reached the app, and the seconds it took."""
    for case in cases:
        site.app.scopes.clear()
        connection = site.connection()
        ask(connection, GOOD)  # connected, and the keys are there: neither is the token's doing
        site.app.scopes.clear()
        answer = ask(connection, case.token)
        connection.close()
        yield case, answer.status == 200 or bool(site.app.scopes), answer.seconds


def main() -> None:
    rows: dict[str, dict[str, Row]] = {}
    for parser in PARSERS:
        with site_of(parser) as site:
            for case, passed, seconds in asked(site, [*HOSTILE, *legal(KEYS)]):
                row = rows.setdefault(case.id, {}).setdefault(parser, Row())
                row.cases += 1
                row.wrong += passed != (case.id == "J27")
                row.worst = max(row.worst, seconds)
    print("family  cases  wrongly accepted  wrongly refused  worst ms: h11  httptools")
    for family in sorted(rows, key=lambda name: int(name[1:])):
        h11, httptools = (rows[family][parser] for parser in PARSERS)
        wrong = f"{h11.wrong}/{httptools.wrong}"
        accepted, refused = ("-", wrong) if family == "J27" else (wrong, "-")
        worst = f"{1000 * h11.worst:>13.1f}  {1000 * httptools.worst:>9.1f}"
        print(f"{family:<6}  {h11.cases:>5}  {accepted:>16}  {refused:>15}  {worst}")


if __name__ == "__main__":
    main()
