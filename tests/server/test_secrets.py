"""A busy day of `guestpass serve` at level debug: no secret is in any line, body or metric (P32, P33)."""

import base64
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import pytest
from fleet import Fleet, fleet
from forge import rsa_key, sign
from hostile_tokens import Case, Keys, hostile
from running import VENDOR

NAME, EMAIL = "Zaphod Beeblebrox", "zaphod@heart-of-gold.example"
EVIL = '\r\n{"event":"forged"}\x1b[2J\u2028"'
FAULTS = [
    "server_error",
    "html",
    "rate_limited",
    "forbidden",
    "malformed",
    "token_with_line_break",
    "access_token_expired",
    "token_unsigned",
    "token_other_issuer",
    "reset_after",
]
ENV = {
    "GUESTPASS_SERVER__LOG_LEVEL": "debug",
    "GUESTPASS_SERVER__LOG_FORMAT": "json",
    "GUESTPASS_SERVER__ADMIN_PORT": "0",
    "GUESTPASS_SERVER__TRUSTED_PROXIES": "127.0.0.1",
    "GUESTPASS_LIMITS__FAILED_VERIFICATION": "off",
    "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off",
}


@dataclass
class Day:
    """What a day's work sent and got.

    Attributes:
        tokens: Every token that went in or came out.
        answers: Every body but those that carry a token.
        statuses: What was answered.
        lines: The log.
        metrics: What the admin port said at the end.
        access_tokens: What the vendor gave us to mint with.
    """

    tokens: set[bytes] = field(default_factory=set)
    answers: list[bytes] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    metrics: str = ""
    access_tokens: set[str] = field(default_factory=set)

    def ask(
        self, url: str, *lines: bytes, method: bytes = b"GET", target: bytes = b"/", body: bytes = b""
    ) -> bytes:
        """One request, octet by octet; the body of what comes back."""
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port or 0), timeout=20) as sock:
            length = b"Content-Length: %d" % len(body)
            start = method + b" " + target + b" HTTP/1.1"
            head = [start, b"Host: localhost", b"Connection: close", length, *lines]
            with suppress(ConnectionError):
                sock.sendall(b"\r\n".join([*head, b"", b""]) + body)
            response = http.client.HTTPResponse(sock)
            response.begin()
            answer = response.read()
        self.statuses.add(response.status)
        if token := response.headers.get("x-guest-token"):
            self.tokens.add(token.encode("latin-1"))
        if b'"token":' in answer:
            self.tokens.add(json.loads(answer)["token"].encode())
        else:
            self.answers.append(answer)
        return answer

    def carrying(self, url: str, token: bytes, *lines: bytes, target: bytes = b"/") -> None:
        self.tokens.add(token)
        self.ask(url, b"X-Guest-Token: " + token, *lines, target=target)


def hostile_cases() -> Iterator[Case]:
    keys = Keys(rsa=rsa_key(), issuer="genesys-cloud-webchat", audience="site", now=1_800_000_000)
    yield from (case for case in hostile(keys) if len(case.token) < 9000)
    for kid in (EVIL, "a\x00b", "\x1b]0;x\x07"):
        claims = {**keys.claims, "name": NAME, "email": EMAIL}
        yield Case("P33", kid, sign(keys.rsa, {**keys.header, "kid": kid}, claims))


def _refusals(day: Day, url: str) -> None:
    evil = quote(EVIL).encode()
    raw = EVIL.encode().replace(b"\r\n", b"").replace(b" ", b"")
    for number, case in enumerate(hostile_cases()):
        # A field with control characters is one of the parsers' business, so not every request has one.
        forged = raw if number % 3 == 0 else b'{"event":"forged"}'
        source = b"X-Forwarded-For: 1.2.3.4, " + forged + b", 10.0.0.%d" % (number % 250)
        day.carrying(url, case.token, source, target=b"/" + evil if number % 7 == 0 else b"/orders")
    genuine = min(day.tokens)
    for target in (b"/?guest_token=" + genuine, b"/" + genuine, b"//a/../" + evil, b"/x%00" + evil, b"*"):
        day.ask(url, b"X-Forwarded-For: " + raw, b"User-Agent: " + raw, target=target)


def _token_endpoint(day: Day, url: str) -> None:
    json_type = b"Content-Type: application/json"
    good = json.dumps({"name": NAME, "email": EMAIL}).encode()
    bodies = [
        good,
        good[:-1],
        json.dumps({"name": NAME + EVIL, "email": EMAIL}).encode(),
        json.dumps({"name": NAME, "email": NAME}).encode(),
        json.dumps({"name": NAME, "email": EMAIL, NAME: EMAIL}).encode(),
        json.dumps({"name": NAME * 50, "email": EMAIL}).encode(),
        json.dumps({"name": NAME, "email": EMAIL, "currentToken": "e30.e30.c2VjcmV0"}).encode(),
    ]
    for body in bodies:
        day.ask(url, json_type, method=b"POST", target=b"/guestpass/token", body=body)
    day.ask(url, b"Content-Type: text/plain", method=b"POST", target=b"/guestpass/token", body=good)
    day.ask(url, target=b"/guestpass/token?name=" + quote(NAME).encode())


def _issuer_faults(day: Day, running: Fleet) -> None:
    faults = running.vendor.faults
    for action in FAULTS:
        faults.add(action, route="mint", **({"seconds": 0.0} if action == "rate_limited" else {}))
        day.carrying(running.url, running.token(NAME.partition(" ")[0] + action).encode())
        faults.clear()


@pytest.fixture(scope="module", params=["h11", "httptools"])
def day(request: pytest.FixtureRequest) -> Day:
    day = Day()
    with fleet("memory://", env=ENV, arguments=("--http", str(request.param))) as running:
        process = running.processes[0]
        for number in range(5):  # rotations
            day.carrying(running.url, running.token(f"{NAME} {number}").encode())
        _token_endpoint(day, running.url)
        _refusals(day, running.url)
        _issuer_faults(day, running)
        admin = json.loads(process.said("server.listening"))["admin"]
        day.metrics = day.ask(admin, target=b"/metrics").decode()
        day.ask(admin, target=b"/status")
        day.access_tokens = set(running.vendor.access._live)
        process.stop()
        day.lines = list(process.lines)
    return day


def secrets_of(day: Day) -> dict[str, str]:
    """Each secret with what it is."""
    found = {VENDOR["GENESYS_CLIENT_SECRET"]: "the client's secret", EMAIL: "an e-mail", NAME: "a name"}
    found |= dict.fromkeys(day.access_tokens, "an access token")
    basic = base64.b64encode(":".join(VENDOR.values()).encode()).decode()
    found[basic] = "the client's secret, as Basic"
    for token in day.tokens:
        if len(signature := token.rpartition(b".")[2]) >= 40:
            found[signature.decode("latin-1")[:60]] = "a token's signature"
    return found | {quote(NAME): "a name, encoded", quote(EMAIL): "an e-mail, encoded"}


def test_the_day_was_busy(day: Day) -> None:
    """Else nothing below says anything."""
    assert {200, 400, 401, 405, 415} <= day.statuses
    assert len(day.tokens) > 300
    assert day.access_tokens
    events = {json.loads(line).get("event") for line in day.lines}
    assert {"token.refused", "token.rotated", "rotation.failed", "issuer.answered"} <= events
    assert "guestpass_" in day.metrics


def test_every_line_of_the_log_is_one_json_object(day: Day) -> None:
    for line in day.lines:
        record = json.loads(line)
        assert isinstance(record, dict)
        assert {"time", "level", "logger"} <= set(record)
        assert record.get("event") != "forged"
        assert line.isascii()
        assert line.isprintable()


def test_nothing_failed_that_nobody_foresaw(day: Day) -> None:
    assert [line for line in day.lines if '"traceback"' in line] == []
    assert 500 not in day.statuses


def test_no_secret_is_in_the_log_in_an_answer_or_in_a_metric(day: Day) -> None:
    text = {
        "the log": "\n".join(day.lines),
        "an answer": b"\n".join(day.answers).decode("latin-1"),
        "the metrics": day.metrics,
    }
    for place, written in text.items():
        for secret, what in secrets_of(day).items():
            assert secret not in written, f"{what} is in {place}"
