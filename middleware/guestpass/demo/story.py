"""The demo's story: what each step expects in plain words, and what it then sees."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from guestpass.demo.world import Answer, World

_CROWD: Final = 50
_OK: Final = 200
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step saw, and whether that is what was told."""

    as_told: bool
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its title, what is expected, and the deed that looks."""

    title: str
    expected: str
    look: Callable[[World], Seen]


def _first_token(world: World) -> Seen:
    answer = world.ask_token("Ada")
    life = answer.json.get("expires_in", 0)
    cached = answer.fields.get("cache-control")
    ok = answer.status == _OK and 1700 < life <= 1800 and cached == "no-store"  # noqa: PLR2004  half an hour
    return Seen(ok, f"{answer.status}, a token that expires in {life} s, Cache-Control: {cached}")


def _without_token(world: World) -> Seen:
    before = _served(world)
    answer = world.get("/orders")
    reached = _served(world) - before - 1  # the second question is one request itself
    ok = (answer.status, answer.json.get("code"), reached) == (_UNAUTHORIZED, "token_missing", 0)
    return Seen(ok, f"{_refusal(answer)}; {reached} requests reached the backend")


def _guarded(world: World) -> Seen:
    answer = world.get("/orders", world.token("Ada"))
    found = answer.identity
    ok = answer.status == _OK and bool(found.get("HTTP_X_GUEST_SUBJECT"))
    ok = ok and (found.get("HTTP_X_GUEST_NAME"), found.get("HTTP_X_GUEST_EMAIL")) == (
        "Ada",
        "ada@example.org",
    )
    return Seen(ok, f"{answer.status} from {answer.json.get('backend')}, which found {_listed(answer)}")


def _forged(world: World) -> Seen:
    token = world.token("Ada")
    honest = world.get("/orders", token)
    fields = {"X-Guest-Subject": "admin", "x_guest_subject": "admin", "X-GUEST_Name": "root"}
    forged = world.get("/orders", token, **fields)
    ok = forged.status == _OK and honest.identity == forged.identity != {}
    return Seen(ok, f"the backend found {_listed(forged)}")


def _rotated(world: World) -> Seen:
    old = world.token_about_to_expire("Grace")
    answer = world.get("/orders", old)
    cached = answer.fields.get("cache-control", "")
    fresh = answer.successor is not None and answer.successor != old
    left = answer.fields.get("x-guest-token-expires-in", "")
    ok = answer.status == _OK and fresh and "no-store" in cached and left.isdigit() and int(left) > 1700  # noqa: PLR2004
    again = world.get("/orders", answer.successor)
    ok = ok and again.status == _OK and again.successor is None
    what = f"a new token that expires in {left} s" if fresh else "no new token"
    return Seen(
        ok, f"{answer.status} with {what}, Cache-Control: {cached}; with the new token {again.status}"
    )


def _crowd(world: World) -> Seen:
    old = world.token_about_to_expire("Alan")
    before = world.mints()
    with ThreadPoolExecutor(_CROWD) as crowd:
        answers = list(crowd.map(lambda _: world.get("/orders", old), range(_CROWD)))
    mints = world.mints() - before
    good = sum(answer.status == _OK for answer in answers)
    successors = {answer.successor for answer in answers}
    ok = good == _CROWD and len(successors) == 1 and None not in successors and mints == 1
    distinct = len(successors - {None})
    without = sum(answer.successor is None for answer in answers)
    return Seen(
        ok,
        f"{good} times 200, {distinct} new token(s) among them, {without} answers without one;"
        f" the vendor's books show {mints} mint(s)",
    )


def _tampered(world: World) -> Seen:
    header, claims, signature = world.token("Ada").split(".")
    middle = len(claims) // 2
    other = "A" if claims[middle] != "A" else "B"
    before = _served(world)
    answer = world.get(
        "/orders", ".".join((header, claims[:middle] + other + claims[middle + 1 :], signature))
    )
    reached = _served(world) - before - 1
    ok = (answer.status, answer.json.get("code"), reached) == (_UNAUTHORIZED, "invalid_token", 0)
    return Seen(ok, f"{_refusal(answer)}; {reached} requests reached the backend")


def _vendor_down(world: World) -> Seen:
    used, unused = world.token("Ada"), world.token("Edsger")
    world.get("/orders", used)
    world.vendor.stop()
    answers = [world.get("/orders", token) for token in (used, unused, used)]
    ok = all(answer.status == _OK and answer.identity for answer in answers)
    return Seen(ok, f"{', '.join(str(answer.status) for answer in answers)} while nobody listens there")


def _vendor_back(world: World) -> Seen:
    world.restart_vendor()
    first = world.ask_token("Barbara")
    if first.status != _OK:
        return Seen(as_told=False, text=_refusal(first))
    answer = world.get("/orders", str(first.json["token"]))
    ok = answer.status == _OK and answer.identity.get("HTTP_X_GUEST_NAME") == "Barbara"
    return Seen(ok, f"a token, and with it {answer.status} as {_listed(answer)}")


STEPS: Final = (
    Step(
        "A visitor's first token",
        "the token endpoint answers 200 with a token that lives half an hour, never to be cached",
        _first_token,
    ),
    Step(
        "A request without a token",
        "401 token_missing, and the backend sees nothing of it",
        _without_token,
    ),
    Step(
        "The same request with the token",
        "200 from the legacy backend, which is told who the guest is: Ada, her e-mail, her subject",
        _guarded,
    ),
    Step(
        "Forged identity fields beside a genuine token (X-Guest-Subject, x_guest_subject, ...)",
        "none arrives: the backend finds exactly what it found before",
        _forged,
    ),
    Step(
        "A token that is about to expire (the vendor stamps it 28 minutes old)",
        "200, and a fresh token in the response, with no-store over the backend's public, max-age=60",
        _rotated,
    ),
    Step(
        f"{_CROWD} requests at once with one token that is about to expire",
        f"{_CROWD} times 200, all with the same new token, for one mint at the vendor",
        _crowd,
    ),
    Step(
        "A token with one character changed",
        "401 invalid_token, and the backend sees nothing of it",
        _tampered,
    ),
    Step(
        "The vendor goes down (its process is ended)",
        "guests with valid tokens notice nothing: 200 each time, whether the token was seen before or not",
        _vendor_down,
    ),
    Step(
        "The vendor comes back (a new process, with new keys)",
        "a new visitor gets a token that works, without anything being restarted",
        _vendor_back,
    ),
)


def tell(world: World, steps: tuple[Step, ...] = STEPS) -> Iterator[tuple[Step, Seen]]:
    """Go through the steps one by one; a step that fails does not keep the next from being told."""
    for step in steps:
        try:
            seen = step.look(world)
        except Exception as exc:  # noqa: BLE001  the reader is to learn of anything that went wrong
            seen = Seen(as_told=False, text=f"{type(exc).__name__}: {exc}")
        yield step, seen


def _served(world: World) -> int:
    """How many requests the backend has served, this question included."""
    return int(world.get("/count", world.token("Ada")).json["served"])


def _refusal(answer: Answer) -> str:
    return f"{answer.status} {answer.json.get('code')}"


def _listed(answer: Answer) -> str:
    return ", ".join(f"{name}={value}" for name, value in answer.identity.items()) or "no identity"
