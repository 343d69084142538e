"""Whoever stands behind or before guestpass meets the same as without it, but for what is said.

What differs, and nothing else does: hop-by-hop fields and framing, which are each connection's own; the
guest's identity and `X-Forwarded-*`, which the backend gains; the token's field, which it loses; `Vary`, and
for pages of other origins `Access-Control-Expose-Headers`, which the client gains; and `Date`, where a
backend sends none (RFC 9110 §6.6.1).
"""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import anyio
import pytest
from recorder import Answer, Client, Connection, Request, connected, recording
from served import served

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


# --- what is asked, and what is answered ------------------------------------------------------------------

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
GZIP = zlib.compress(b"the same bytes " * 200, wbits=31)
BINARY = bytes(range(256)) * 64


def sized(status: bytes, body: bytes, *fields: bytes) -> bytes:
    head = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(head)


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\n" + DATE + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


ANSWERS = [
    sized(b"200 OK", b"plain", DATE, b"Content-Type: text/plain; charset=utf-8"),
    sized(b"200 Fine By Me", b"", b"X-Empty:", b"X-Odd!#$%&'*+.^_`|~: 1"),
    sized(b"200 OK", GZIP, b"Content-Encoding: gzip", b'ETag: W/"a"', b"Vary: Accept-Encoding"),
    sized(b"200 OK", BINARY, b"Content-Type: application/octet-stream", b"Cache-Control: max-age=60"),
    sized(b"200 OK", b"x", b"Set-Cookie: a=1; Path=/", b"X-B: 1", b"Set-Cookie: b=2, c", b"Set-Cookie: a=3"),
    sized(b"200 OK", b"x", b"X-Latin: caf\xe9", b"X-Tab: a\tb", b"X-Long: " + b"v" * 4000),
    sized(b"200 OK", b"x", b"Vary: Accept", b"Vary: Origin", b"Link: </s>; rel=preload", b"Server: old"),
    sized(b"206 Partial Content", b"part", b"Content-Range: bytes 0-3/10", b"Accept-Ranges: bytes"),
    sized(b"301 Moved Permanently", b"", b"Location: http://other.example/%zz?a=b#c"),
    sized(b"401 No", b"no", b'WWW-Authenticate: Basic realm="x"', b'WWW-Authenticate: Digest realm="y"'),
    sized(b"404 Not Found", b"no"),
    sized(b"416 Range Not Satisfiable", b"", b"Content-Range: bytes */10"),
    sized(b"500 Oops", b"<h1>oops</h1>", b"Connection: x-hop", b"X-Hop: 1", b"Retry-After: 1"),
    b'HTTP/1.1 204 No Content\r\nETag: "a"\r\n\r\n',
    b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: no-cache\r\nVary: Accept\r\n\r\n',
    chunked(b"one", b"two", BINARY),
    chunked(),
]  # fmt: skip

TARGETS = [
    b"/",
    b"/a/b",
    b"/a%20b/%C3%A9",
    b"/~!$&'()*+,=:@x",
    b"/q?a=b&a=b&&c",
    b"/q?%zz=%2f..;//?[]|",
    b"/a?x=%00",
]
METHODS = [
    b"GET",
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"PROPFIND",
    b"M-SEARCH",
]
FIELDS = [
    b"Accept: */*",
    b"Accept-Encoding: gzip, br;q=0.5",
    b"Accept-Language: ",
    b"Authorization: Basic YTpi",
    b"Cookie: " + b"; ".join(b"c%d=%032x" % (i, i) for i in range(150)),
    b"Cookie: a=1; a=2",
    b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    b'If-None-Match: W/"a", "b"',
    b'If-Range: "a"',
    b"Origin: null",
    b"Range: bytes=0-3, -2",
    b"Referer: http://x/?q=\xe9",
    b"User-Agent: a  b\tc",
    b"Content-Language: de",
    b"X-Many: 1",
    b"x-many: 2, 3",
    b"X-MANY: ",
    b"X-Odd!#$%&'*+.^`|~: odd",
    b"X_Under_Score: 1",
    b"X-Latin: caf\xe9 \xff",
    b'X-Quoted: "a\\"b, c"; d=e',
    b"Priority: u=1, i",
    b"Sec-Fetch-Mode: cors",
    b"Prefer: respond-async",
    b"Connection: keep-alive, X-Named",
    b"X-Named: hop",
    b"TE: trailers",
]  # fmt: skip


@dataclass
class Asked:
    """One request: what goes before the guest's token and what goes after it."""

    method: bytes
    start: bytes
    rest: bytes

    def wire(self, *fields: bytes) -> bytes:
        return b"\r\n".join([self.start, *fields, self.rest])


def requests(seed: int, count: int) -> Iterator[tuple[Asked, bytes]]:
    """Requests, each with the answer that the backend will give: the same ones for the same seed."""
    chance = random.Random(seed)
    for number in range(count):
        method = chance.choice(METHODS)
        fields = chance.sample(FIELDS, chance.randrange(8))
        body = chance.choice([b"", b"a=b&c=%20", BINARY, GZIP, b"x" * 200_000])
        if method in (b"GET", b"HEAD", b"OPTIONS"):
            body = b""
        framing, sent = [], b""
        if body and chance.random() < 0.5:
            framing, sent = [b"Content-Length: %d" % len(body)], body
        elif body:
            cut = chance.randrange(1, len(body))
            parts = [part for part in (body[:cut], body[cut:]) if part]
            sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            framing = [b"Transfer-Encoding: chunked"]
        target = chance.choice(TARGETS)
        start = b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: Site.Example:81", *fields])
        asked = Asked(method, start, b"\r\n".join([*framing, b"X-Number: %d" % number, b"", b""]) + sent)
        yield asked, ANSWERS[number % len(ANSWERS)]


# --- what is compared -------------------------------------------------------------------------------------

OF_EACH_CONNECTION = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"x-hop"}
GAINED = (b"x-forwarded-", b"x-guest-", b"forwarded")


def seen_by_backend(request: Request, straight: Request) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    fields, theirs = ([(name.lower(), value) for name, value in one.fields] for one in (request, straight))
    lost = set(OF_EACH_CONNECTION)
    if (b"connection", b"keep-alive, X-Named") in theirs:
        lost.add(b"x-named")
    if b"transfer-encoding" in dict(theirs):
        lost.add(b"content-length")  # the proxy knows it where the whole body is there at once
    kept = [field for field in fields if field[0] not in lost and not field[0].startswith(GAINED)]
    # Only among fields of one name does the order mean anything (RFC 9110 §5.3); this sort keeps it.
    return request.line, sorted(kept, key=lambda field: field[0]), request.body


def seen_by_client(answer: Answer, straight: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool]:
    left = list(answer.headers)
    if answer is not straight:
        left.remove((b"vary", b"X-Guest-Token"))
        left = [field for field in left if field[0] != b"access-control-expose-headers"]
        if not straight.values(b"date"):
            left = [field for field in left if field[0] != b"date"]
    kept = [field for field in left if field[0] not in OF_EACH_CONNECTION]
    return answer.status, kept, answer.body, answer.complete


async def exchanged(client: Client, asked: Asked, *fields: bytes) -> Answer:
    with anyio.fail_after(10):
        await client.send(asked.wire(*fields))
        return await client.answer(asked.method)


@pytest.mark.slow
async def test_the_same_requests_get_the_same_answers_and_arrive_the_same(parser: str) -> None:
    answers: Iterator[bytes] = iter([])

    async def behave(connection: Connection) -> None:
        while True:
            request = await connection.request()
            answer = next(answers)
            head, _, _ = answer.partition(b"\r\n\r\n")
            await connection.send(head + b"\r\n\r\n" if request.line.startswith(b"HEAD ") else answer)

    async with (
        recording(behave, limit=1 << 20) as backend,
        served(backend.url, parser) as (port, token),
        connected(backend.port) as straight,
        connected(port) as through,
    ):
        for asked, answer in requests(seed=len(parser), count=255):
            answers = iter([answer, answer])
            expected = await exchanged(straight, asked)
            found = await exchanged(through, asked, token)
            assert seen_by_client(found, expected) == seen_by_client(expected, expected), asked.start
            seen = [c.requests[-1] for c in backend.connections if c.requests][-2:]
            direct, relayed = (seen_by_backend(request, seen[0]) for request in seen)
            assert relayed == direct, asked.start
        # All through one connection on each side: nothing was left over of any exchange.
        assert [len(connection.requests) for connection in backend.connections] == [255, 255]


# --- a WSGI backend ---------------------------------------------------------------------------------------


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def printing_environ() -> Iterator[tuple[int, list[WSGIEnvironment]]]:
    """The server of the standard library: its port, and the environ of every request."""
    environs: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environs.append({key: value for key, value in environ.items() if isinstance(value, str)})
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with make_server("127.0.0.1", 0, app, server_class=WSGIServer, handler_class=_Quiet) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, environs
        finally:
            server.shutdown()
            thread.join()


OURS = (
    "HTTP_X_FORWARDED_",
    "HTTP_X_GUEST_",
    "HTTP_FORWARDED",
    "HTTP_CONNECTION",
    "REMOTE_",
    "HTTP_TE",
    "HTTP_X_NAMED",
)


async def test_a_wsgi_backend_finds_the_same_environ(parser: str) -> None:
    with printing_environ() as (wsgi, environs):
        async with served(f"http://127.0.0.1:{wsgi}", parser) as (port, token):
            for target, field in [(t, FIELDS[0]) for t in TARGETS] + [(TARGETS[0], f) for f in FIELDS]:
                asked = Asked(b"GET", b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + field, b"\r\n")
                for to, fields in ((wsgi, ()), (port, (token,))):
                    async with connected(to) as client:
                        answer = await exchanged(client, asked, *fields)
                        assert (answer.status, answer.body) == (200, b"ok")
                straight, through = environs[-2:]
                theirs = [{k: v for k, v in e.items() if not k.startswith(OURS)} for e in (straight, through)]
                assert theirs[0] == theirs[1], asked.start
                assert through["HTTP_X_GUEST_NAME"] == "Ada%20L%C3%B6ve"
                assert through["REMOTE_ADDR"] == "127.0.0.1"
