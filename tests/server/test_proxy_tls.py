"""Backends behind TLS and Unix sockets."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from recorder import Connection, Recorder, answering, ask, get, recording, serving

from guestpass.asgi.proxy import ReverseProxy
from guestpass.errors import ConfigError
from guestpass.upstream.dial import BackendTls

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@dataclass
class Authority:
    """A certificate authority of the test's own, and what it has issued, as PEM files."""

    folder: Path

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ca {self.folder.name}")])
        self.certificate = self._sign(self.name, self.key.public_key(), authority=True)
        self.ca_file = str(self.folder / "ca.pem")
        Path(self.ca_file).write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *names: x509.GeneralName,
        authority: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, label: str, *names: x509.GeneralName) -> str:
        """A PEM file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        certificate = self._sign(subject, key.public_key(), *names)
        path = self.folder / f"{label}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(path)


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with TemporaryDirectory() as folder:
        yield Authority(Path(folder))


def serving_as(certificate: str, *, asks_for: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if asks_for is not None:
        context.load_verify_locations(asks_for)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def https(backend: Recorder, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{backend.port}"


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


async def test_a_backend_with_a_certificate_for_its_host_is_believed(authority: Authority) -> None:
    asked: list[str | None] = []
    context = serving_as(authority.issue("host", x509.DNSName("localhost")))
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with recording(ssl=context) as backend:
        proxy = ReverseProxy(https(backend, "localhost"), tls=BackendTls(ca_file=authority.ca_file))
        async with serving(proxy, "httptools") as port:
            for _ in range(2):
                answer = await ask(port, get(b"/secure"))
                assert (answer.status, answer.body) == (200, b"ok")
        assert len(backend.connections) == 1
    assert asked == ["localhost"]


async def test_another_name_can_be_asked_for_and_checked(authority: Authority) -> None:
    asked: list[str | None] = []
    context = serving_as(authority.issue("inner", x509.DNSName("backend.internal")))
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with recording(ssl=context) as backend:
        tls = BackendTls(ca_file=authority.ca_file, server_name="backend.internal")
        async with serving(ReverseProxy(https(backend), tls=tls), "httptools") as port:
            assert (await ask(port, get())).status == 200
    assert asked == ["backend.internal"]


@pytest.mark.parametrize("names", [(x509.DNSName("other.example"),), (x509.DNSName("127.0.0.1"),), ()])
async def test_a_certificate_for_another_host_is_unreachable(
    authority: Authority, names: tuple[x509.GeneralName, ...]
) -> None:
    async with recording(ssl=serving_as(authority.issue("wrong", *names))) as backend:
        tls = BackendTls(ca_file=authority.ca_file)
        async with serving(ReverseProxy(https(backend), tls=tls), "httptools") as port:
            answer = await ask(port, get())
            assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True)
        assert backend.requests == []


async def test_an_authority_that_nobody_named_is_not_believed(authority: Authority) -> None:
    async with recording(ssl=serving_as(authority.issue("unknown", LOOPBACK))) as backend:
        async with serving(ReverseProxy(https(backend)), "httptools") as port:
            assert (await ask(port, get())).status == 502
        assert backend.requests == []


@pytest.mark.parametrize("ours", [True, False])
async def test_a_backend_may_ask_for_our_certificate(authority: Authority, *, ours: bool) -> None:
    context = serving_as(authority.issue("mutual", LOOPBACK), asks_for=authority.ca_file)
    own = authority.issue("guestpass") if ours else None
    async with recording(ssl=context) as backend:
        tls = BackendTls(ca_file=authority.ca_file, certificate_file=own)
        async with serving(ReverseProxy(https(backend), tls=tls), "httptools") as port:
            assert (await ask(port, get())).status == (200 if ours else 502)
        assert len(backend.requests) == (1 if ours else 0)


async def test_a_large_response_comes_through_tls_unchanged(authority: Authority) -> None:
    body = bytes(range(256)) * 8192
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    context = serving_as(authority.issue("large", LOOPBACK))
    async with recording(answering(raw + body), ssl=context) as backend:
        tls = BackendTls(ca_file=authority.ca_file)
        async with serving(ReverseProxy(https(backend), tls=tls), "httptools") as port:
            answer = await ask(port, get())
    assert (answer.complete, answer.body) == (True, body)


async def test_a_plain_backend_is_no_tls_backend(authority: Authority) -> None:
    async def behave(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    async with recording(behave) as backend:
        tls = BackendTls(ca_file=authority.ca_file)
        async with serving(ReverseProxy(https(backend), tls=tls), "httptools") as port:
            assert (await ask(port, get())).status == 502


@pytest.mark.parametrize(
    ("tls", "field"),
    [
        (BackendTls(ca_file="/nowhere.pem"), "upstream.ca_file"),
        (BackendTls(ca_file=__file__), "upstream.ca_file"),
        (BackendTls(certificate_file="/nowhere.pem"), "upstream.certificate_file"),
        (BackendTls(certificate_file=__file__), "upstream.certificate_file"),
        (BackendTls(key_file="/nowhere.pem"), "upstream.key_file"),
    ],
)
def test_certificates_that_cannot_be_read_stop_the_start_up(tls: BackendTls, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ReverseProxy("https://localhost", tls=tls)
    assert raised.value.field == field


async def test_a_unix_socket_is_a_backend_too(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    backend = Recorder()
    server = await asyncio.start_unix_server(backend._accepted, path)
    try:
        async with serving(ReverseProxy(f"unix://{path}"), "httptools") as port:
            assert (await ask(port, get(b"/x"))).body == b"ok"
        assert backend.requests[0].line == b"GET /x HTTP/1.1"
    finally:
        server.close()
        for connection in backend.connections:
            connection.close()


async def test_a_unix_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async with serving(ReverseProxy(f"unix://{tmp_path}/none"), "httptools") as port:
        answer = await ask(port, get())
        assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True)
