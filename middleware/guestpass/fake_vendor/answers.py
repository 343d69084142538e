"""What a fault answers in the handler's place, and how it spoils the handler's own answer."""

from dataclasses import replace
from email.utils import formatdate
from math import ceil
from typing import Final

from guestpass.core.model import UnixTime
from guestpass.fake_vendor.messages import Call, Reply, envelope
from guestpass.fake_vendor.ratelimit import too_many
from guestpass.fake_vendor.rules import Rule

_DAY: Final = 86_400
_CODES: Final = {500: "internal.server.error", 503: "service.unavailable", 504: "request.timeout"}
_PAGE: Final = b"<!doctype html><html><head><title>Oops</title></head><body><h1>Oops</h1></body></html>\n"


def in_place(rule: Rule, call: Call, now: UnixTime) -> Reply | None:
    """The answer that `rule` gives instead of the handler's; None if the handler is to run.

    Args:
        rule: What is to happen.
        call: The request it happens to.
        now: The vendor's time, for Retry-After as a date.
    """
    match rule.action:
        case "rate_limited":
            return too_many(call, _retry_after(rule, now))
        case "server_error":
            return _server_error(rule, call)
        case "html":
            return Reply(200, _PAGE, "text/html; charset=utf-8", outcome="html")
        case "redirect":
            return Reply(302, media_type=None, fields=(("Location", rule.location),), outcome="redirect")
    return None


def spoilt(rule: Rule, reply: Reply) -> Reply:
    """The handler's answer, with what `rule` does to it; without a body there is nothing to spoil."""
    match rule.action:
        case "malformed":
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case "wrong_content_type":
            return replace(reply, media_type="text/plain; charset=utf-8")
        case "huge":
            return replace(reply, body=reply.body.ljust(rule.size))
    return reply


def _retry_after(rule: Rule, now: UnixTime) -> str | None:
    match rule.retry_after:
        case "http_date":
            return formatdate(ceil(now + rule.seconds), usegmt=True)
        case "past":
            return formatdate(now - _DAY, usegmt=True)
        case "absent":
            return None
        case "garbage":
            return "in a while"
        case "day":
            return str(_DAY)
    return str(ceil(rule.seconds))


def _server_error(rule: Rule, call: Call) -> Reply:
    code = _CODES.get(rule.status, "internal.server.error")
    if rule.body == "html":
        return Reply(rule.status, _PAGE, "text/html; charset=utf-8", outcome=code)
    if rule.body == "empty":
        return Reply(rule.status, media_type=None, outcome=code)
    return envelope(call, rule.status, code, "The server encountered an unexpected condition")
