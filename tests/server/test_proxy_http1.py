"""What the backend sees and what the client gets, byte for byte, under both of uvicorn's parsers."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from recorder import (
    Answer,
    Behaviour,
    Connection,
    Recorder,
    answer_ok,
    answering,
    ask,
    connected,
    get,
    recording,
    serving,
)

from guestpass.asgi.proxy import ReverseProxy

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    """Each parser on the loop that it comes with: h11 is pure Python, httptools is there for speed."""
    return "asyncio", {"use_uvloop": parser == "httptools"}


@asynccontextmanager
async def proxying(
    parser: str, behaviour: Behaviour = answer_ok, *, preserve_host: bool = True
) -> AsyncIterator[tuple[int, Recorder]]:
    async with recording(behaviour) as backend:
        proxy = ReverseProxy(backend.url, preserve_host=preserve_host)
        async with serving(proxy, parser) as port:
            yield port, backend


async def once(parser: str, data: bytes, *answers: bytes, method: bytes = b"GET") -> tuple[Answer, Recorder]:
    async with proxying(parser, answering(*answers) if answers else answer_ok) as (port, backend):
        return await ask(port, data, method), backend


# --- the request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a/%2e%2e/b%2Fc//d;x=1?q=%20a+b&q=/..//&=",
        b"/~user/'(a)*!$&,=:@%C3%A9",
        b"/x?a=http://evil/",
    ],
)
async def test_path_and_query_arrive_byte_for_byte(parser: str, target: bytes) -> None:
    answer, backend = await once(parser, get(target))
    assert answer.status == 200
    assert [request.line for request in backend.requests] == [b"GET " + target + b" HTTP/1.1"]


async def test_repeated_fields_arrive_all_and_in_order(parser: str) -> None:
    data = get(b"/", b"X-A: 1", b"Cookie: a=1", b"X-B: 2", b"X-A: 3, 4", b"Accept-Encoding: gzip")
    _, backend = await once(parser, data)
    (request,) = backend.requests
    assert request.values(b"x-a") == [b"1", b"3, 4"]
    assert request.values(b"cookie") == [b"a=1"]
    assert request.values(b"accept-encoding") == [b"gzip"]
    assert request.values(b"user-agent") == []


async def test_hop_by_hop_fields_end_at_the_proxy(parser: str) -> None:
    data = get(
        b"/",
        b"Connection: keep-alive, X-Private, Host, Content-Length",
        b"X-Private: secret",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Trailer: X-T",
        b"Proxy-Authorization: Basic eA==",
        b"Proxy-Connection: keep-alive",
        b"Proxy: http://evil/",
        b"Transfer_Encoding: chunked",
        b"X-End: 1",
    )
    _, backend = await once(parser, data)
    (request,) = backend.requests
    assert {name for name, _ in request.fields} == {
        b"host",
        b"x-end",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
    assert request.values(b"host") == [b"site.example"]


async def test_forwarding_fields_are_ours_alone(parser: str) -> None:
    data = get(
        b"/",
        b"X-Forwarded-For: 1.2.3.4",
        b"X_Forwarded_For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.example",
        b"X-Forwarded-Port: 1",
        b"Forwarded: for=1.2.3.4",
        b"X-Real-IP: 1.2.3.4",
        b"X-Original-URL: /admin",
        b"X-Rewrite-URL: /admin",
    )
    _, backend = await once(parser, data)
    (request,) = backend.requests
    assert b"1.2.3.4" not in request.head
    assert b"evil" not in request.head
    assert b"/admin" not in request.head
    assert request.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert request.values(b"x-forwarded-proto") == [b"http"]
    assert request.values(b"x-forwarded-host") == [b"site.example"]
    assert request.values(b"forwarded") == [b"for=127.0.0.1;host=site.example;proto=http"]


async def test_the_backend_sees_its_own_name_if_the_host_is_not_preserved(parser: str) -> None:
    async with proxying(parser, preserve_host=False) as (port, backend):
        await ask(port, get())
        assert backend.requests[0].values(b"host") == [b"127.0.0.1:%d" % backend.port]
        assert backend.requests[0].values(b"x-forwarded-host") == [b"site.example"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/public?\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\nY : c\r\n\r\n",
    ],
)
async def test_what_two_readers_could_read_differently_never_reaches_the_backend(
    parser: str, data: bytes
) -> None:
    """P7, P11. 501 is how h11 refuses a transfer coding that it does not know."""
    answer, backend = await once(parser, data)
    assert answer.status in (400, 501)
    assert backend.requests == []


@pytest.mark.parametrize("target", [b"http://evil.example/x", b"*", b"evil.example:80", b"/a#b"])
async def test_a_target_that_is_no_plain_path_leads_nowhere_else(parser: str, target: bytes) -> None:
    """An absolute-form target must not make an open proxy; httptools hands over its path alone."""
    answer, backend = await once(parser, b"GET " + target + b" HTTP/1.1\r\nHost: site.example\r\n\r\n")
    if answer.status == 200:
        assert [request.line for request in backend.requests] in (
            [b"GET /x HTTP/1.1"],
            [b"GET /a HTTP/1.1"],
        )
    else:
        assert answer.status in (400, 500)
        assert backend.requests == []


# --- request bodies ---------------------------------------------------------------------------------------


async def test_a_body_with_a_length_keeps_it(parser: str) -> None:
    data = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    _, backend = await once(parser, data)
    assert backend.requests[0].values(b"content-length") == [b"5"]
    assert backend.requests[0].body == b"hello"


async def test_a_body_of_length_zero_says_so_and_no_body_says_nothing(parser: str) -> None:
    _, backend = await once(parser, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert backend.requests[0].values(b"content-length") == [b"0"]
    _, backend = await once(parser, get())
    assert backend.requests[0].values(b"content-length") == []
    assert backend.requests[0].values(b"transfer-encoding") == []


async def test_chunks_that_come_one_by_one_are_framed_anew_and_trailers_end_here(parser: str) -> None:
    async with proxying(parser) as (port, backend):
        async with connected(port) as client:
            with anyio.fail_after(5):
                await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                await client.send(b"3;ext=1\r\nabc\r\n")
                await backend.accepted.wait()
                await client.send(b"2\r\nde\r\n0\r\nX-Guest-Subject: evil\r\n\r\n")
                answer = await client.answer()
        assert answer.status == 200
        (request,) = backend.requests
        assert request.body == b"abcde"
        assert b"evil" not in request.head
        assert b"ext" not in request.head


async def test_a_large_body_streams_through_unchanged(parser: str) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB
    data = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    _, backend = await once(parser, data + body)
    assert backend.requests[0].body == body


async def test_expect_is_answered_here_and_the_body_goes_up_once(parser: str) -> None:
    """P26."""
    async with proxying(parser) as (port, backend):
        async with connected(port) as client:
            with anyio.fail_after(5):
                await client.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
                )
                assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                await client.send(b"abc")
                answer = await client.answer()
        assert answer.status == 200
        assert [request.body for request in backend.requests] == [b"abc"]
        assert backend.requests[0].values(b"expect") == []


async def test_an_early_answer_reaches_the_client_while_it_still_uploads(parser: str) -> None:
    async def refuse_at_once(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await connection.reader.read()

    async with proxying(parser, refuse_at_once) as (port, backend), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
            answer = await client.answer()
            assert (answer.status, answer.body, answer.complete) == (413, b"big", True)
        # Half a request is on that connection: whatever came next on it would be read as its body.
        assert (await ask(port, get())).status == 413
        assert len(backend.connections) == 2


# --- the response -----------------------------------------------------------------------------------------


async def test_a_response_passes_with_its_fields_and_bytes(parser: str) -> None:
    body = gzip.compress(b"hello")
    raw = (
        b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\n"
        b"X-Trailing:  x  \r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer, _ = await once(parser, get(), raw)
    assert (answer.body, answer.complete) == (body, True)
    assert answer.values(b"set-cookie") == [b"a=1", b"b=2"]
    assert answer.values(b"content-encoding") == [b"gzip"]
    assert answer.values(b"x-trailing") == [b"x"]
    assert answer.values(b"content-length") == [b"%d" % len(body)]


async def test_hop_by_hop_fields_of_a_response_end_at_the_proxy(parser: str) -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nConnection: x-private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nTrailer: X-T\r\nX-End: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    )
    answer, _ = await once(parser, get(), raw)
    assert answer.body == b"ok"
    assert {name for name, _ in answer.headers} == {b"x-end", b"transfer-encoding"}


async def test_a_redirect_and_its_cookie_pass_and_are_not_followed_or_kept(parser: str) -> None:
    """P21."""
    raw = b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\n"
    async with proxying(parser, answering(raw)) as (port, backend):
        for _ in range(2):
            answer = await ask(port, get())
            assert (answer.status, answer.values(b"location")) == (302, [b"http://other/"])
        assert [request.values(b"cookie") for request in backend.requests] == [[], []]


async def test_a_chunked_response_passes_in_pieces(parser: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, _ = await once(parser, get(), head, b"3\r\nabc\r\n", b"2\r\n", b"de\r\n0\r\n", b"\r\n")
    assert (answer.body, answer.complete) == (b"abcde", True)


async def test_a_response_that_ends_with_the_connection_is_complete(parser: str) -> None:
    behaviour = answering(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", close=True)
    async with proxying(parser, behaviour) as (port, _):
        answer = await ask(port, get())
    assert (answer.body, answer.complete) == (b"abcd", True)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"])
async def test_a_backend_that_means_to_close_is_taken_at_its_word(parser: str, line: bytes) -> None:
    """It may close late, and then a request sent meanwhile would be lost."""
    async with proxying(parser, answering(line + b"\r\nContent-Length: 2\r\n\r\nok")) as (port, backend):
        for _ in range(3):
            assert (await ask(port, get())).body == b"ok"
        assert len(backend.connections) == 3


async def test_interim_responses_are_passed_over(parser: str) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answer, _ = await once(parser, get(), interim, early + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.status, answer.body, answer.values(b"link")) == (200, b"ok", [])


@pytest.mark.parametrize("framing", [b"Content-Length: 1", b"Transfer-Encoding: chunked"])
async def test_an_interim_response_does_not_frame_the_final_one(parser: str, framing: bytes) -> None:
    """Its length on a response that ends with the connection would cut that one, and desynchronise ours."""
    early = b"HTTP/1.1 103 Early Hints\r\n" + framing + b"\r\n\r\n"
    async with proxying(parser, answering(early + b"HTTP/1.1 200 OK\r\n\r\nwhole", close=True)) as (port, _):
        answer = await ask(port, get())
    assert (answer.status, answer.body, answer.complete) == (200, b"whole", True)


async def test_a_response_to_head_keeps_its_length_and_has_no_body(parser: str) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
    async with proxying(parser, answering(raw)) as (port, backend):
        data = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        with anyio.fail_after(5):
            async with connected(port) as client:
                for _ in range(2):
                    await client.send(data)
                    answer = await client.answer(b"HEAD")
                    assert (answer.values(b"content-length"), answer.body) == ([b"1234"], b"")
        assert len(backend.connections) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_a_bodiless_status_keeps_both_connections_alive(parser: str, status: int) -> None:
    raw = b"HTTP/1.1 %d X\r\nETag: x\r\nContent-Length: 9\r\n\r\n" % status
    async with proxying(parser, answering(raw)) as (port, backend):
        with anyio.fail_after(5):
            async with connected(port) as client:
                for _ in range(2):
                    await client.send(get())
                    answer = await client.answer()
                    assert (answer.status, answer.body, answer.complete) == (status, b"", True)
                    assert answer.values(b"etag") == [b"x"]
        assert len(backend.connections) == 1


async def test_a_kept_alive_connection_carries_one_request_after_the_other(parser: str) -> None:
    async with proxying(parser) as (port, backend):
        for number in range(5):
            await ask(port, get(b"/%d" % number))
        assert [request.line for request in backend.requests] == [
            b"GET /%d HTTP/1.1" % number for number in range(5)
        ]
        assert len(backend.connections) == 1
