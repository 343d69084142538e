"""The signed assertion, from `guestpass serve` to a backend that checks it with the published keys."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from forward_auth_site import program
from jwcrypto.jwk import JWK
from recorder import Answer, Recorder, ask, get, recording, serving
from running import ROOT
from served import served
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from guestpass.cli.serving import launch
from guestpass.config import load
from guestpass.errors import ConfigError
from guestpass.gate import Gate
from guestpass.wiring.apps import build_app, build_forward_auth

pytestmark = pytest.mark.anyio

ENVIRON = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_ASSERTION__AUDIENCE": "orders"}
RULES = """
[[rules]]
path = "/open"
protection = "off"

[[rules]]
path = "/perhaps"
protection = "optional"
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def site(tmp_path: Path, url: str, **environ: str) -> AsyncIterator[tuple[int, bytes]]:
    """A served site: its port, and the field line of a guest's token."""
    path = tmp_path / "guestpass.toml"
    path.write_text(RULES, "utf-8")
    async with served(url, config=path, **{**ENVIRON, **environ}) as (port, token):
        with anyio.fail_after(10):
            yield port, token


async def published(port: int) -> Answer:
    return await ask(port, get(b"/.well-known/guestpass/jwks.json"))


def assertions(backend: Recorder) -> list[bytes]:
    return backend.requests[-1].values(b"x-guest-assertion")


async def test_the_backend_can_check_who_the_guest_is(tmp_path: Path) -> None:
    async with recording() as backend, site(tmp_path, backend.url) as (port, token):
        await ask(port, get(b"/", token))
        [assertion] = assertions(backend)
        keys = jwt.PyJWKSet.from_json((await published(port)).body.decode())
        key = keys[jwt.get_unverified_header(assertion)["kid"]]
        read = jwt.decode(assertion, key, algorithms=["ES256"], audience="orders", issuer="guestpass-gateway")
        assert (read["name"], read["email"]) == ("Ada Löve", "ada@example.org")
        assert read["sub"].encode() == backend.requests[-1].values(b"x-guest-subject")[0]
        with pytest.raises(jwt.InvalidAudienceError):
            jwt.decode(assertion, key, algorithms=["ES256"], audience="another")


async def test_the_example_in_node_checks_it_too_and_takes_nothing_else(tmp_path: Path) -> None:
    node = program("node", "apt-get install nodejs")
    check = str(ROOT / "examples" / "legacy-backend" / "check.mjs")
    async with recording() as backend, site(tmp_path, backend.url) as (port, token):
        await ask(port, get(b"/", token))
        assertion = assertions(backend)[0].decode()
        head, claims, signature = assertion.split(".")
        another = claims[:-4] + ("AAAA" if claims[-4:] != "AAAA" else "BBBB")
        for sent, believed in ((assertion, True), (f"{head}.{another}.{signature}", False), ("x.y.z", False)):
            command = [node, check, f"http://127.0.0.1:{port}", sent]
            done = await anyio.run_process(command, check=False)
            assert (done.returncode == 0) is believed
            assert ("Ada L" in done.stdout.decode()) is believed


async def test_one_signature_serves_many_requests(tmp_path: Path) -> None:
    async with recording() as backend, site(tmp_path, backend.url) as (port, token):
        for _ in range(5):
            await ask(port, get(b"/", token))
        assert len({request.values(b"x-guest-assertion")[0] for request in backend.requests}) == 1


@pytest.mark.parametrize("path", [b"/", b"/open", b"/perhaps"])
@pytest.mark.parametrize("name", [b"X-Guest-Assertion", b"x_guest_assertion", b"X.Guest-ASSERTION"])
async def test_no_client_can_send_one(tmp_path: Path, path: bytes, name: bytes) -> None:
    async with recording() as backend, site(tmp_path, backend.url) as (port, token):
        extra = [] if path != b"/" else [token]
        assert (await ask(port, get(path, name + b": forged", *extra))).status == 200
        assert b"forged" not in backend.requests[-1].head
        assert len(assertions(backend)) == len(extra)


async def test_a_guest_without_a_token_is_asserted_by_nobody(tmp_path: Path) -> None:
    async with recording() as backend, site(tmp_path, backend.url) as (port, token):
        await ask(port, get(b"/perhaps"))
        assert assertions(backend) == []
        await ask(port, get(b"/perhaps", token))
        assert len(assertions(backend)) == 1


async def test_an_assertion_is_no_guest_token(tmp_path: Path) -> None:
    """A backend that leaks one has not given away a session."""
    settings = {"GUESTPASS_VERIFY__ALGORITHMS": "RS256,ES256"}
    async with recording() as backend, site(tmp_path, backend.url, **settings) as (port, token):
        await ask(port, get(b"/", token))
        [assertion] = assertions(backend)
        assert (await ask(port, get(b"/", b"X-Guest-Token: " + assertion))).status == 401


async def test_a_websockets_handshake_carries_one(tmp_path: Path) -> None:
    async def answer(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(socket.request.headers["X-Guest-Assertion"])

    async with serve(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with site(tmp_path, url) as (port, token):
            name, _, value = token.decode().partition(": ")
            async with connect(f"ws://127.0.0.1:{port}/", additional_headers={name: value}) as socket:
                assert (
                    jwt.decode(str(await socket.recv()), options={"verify_signature": False})["aud"]
                    == "orders"
                )


async def test_without_the_setting_nothing_is_signed_or_published(tmp_path: Path) -> None:
    async with recording() as backend:
        vendor = {
            "GUESTPASS_ISSUER__KIND": "guesttoken",
            "GENESYS_CLIENT_ID": "id",
            "GENESYS_CLIENT_SECRET": "secret",
            "GUESTPASS_ISSUER__GATEWAY": "http://127.0.0.1:9",
        }
        settings = load(None, {**vendor, "GUESTPASS_UPSTREAM__URL": backend.url})
        async with serving(build_app(settings), "httptools") as port:
            assert (await published(port)).status == 401
        signing = load(
            None, {**vendor, "GUESTPASS_ASSERTION__AUDIENCE": "x", "GUESTPASS_UPSTREAM__URL": backend.url}
        )
        async with serving(build_app(signing), "httptools") as port:
            answer = await published(port)
            [key] = json.loads(answer.body)["keys"]
            assert (answer.status, key["kty"], "d" in key) == (200, "EC", False)


# --- keys from files --------------------------------------------------------------------------------------


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def test_keys_from_files_are_the_same_in_every_worker_and_overlap(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.json"
    first.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    second.write_text(JWK.generate(kty="EC", crv="P-256").export())
    files = {
        "GUESTPASS_ASSERTION__KEY_FILE": str(first),
        "GUESTPASS_ASSERTION__SECOND_KEY_FILE": str(second),
    }
    swapped = dict(zip(files, reversed(files.values()), strict=True))
    async with recording() as backend:
        kids, documents = [], []
        for environ in (files, files, swapped):
            async with site(tmp_path, backend.url, **environ) as (port, token):
                await ask(port, get(b"/", token))
                [assertion] = assertions(backend)
                kids.append(jwt.get_unverified_header(assertion)["kid"])
                keys = json.loads((await published(port)).body)["keys"]
                documents.append({key["kid"] for key in keys if key["kty"] == "EC"})
        assert kids[0] == kids[1] != kids[2]
        assert documents[0] == documents[2] == {kids[0], kids[2]}


UPSTREAM = {"GUESTPASS_UPSTREAM__URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audience", " "),
        ("issuer", "guestpass"),
        ("key_file", "none.pem"),
        ("key_file", "rsa.pem"),
        ("key_file", "p384.pem"),
        ("key_file", __file__),
        ("second_key_file", "good.pem"),
        ("key_period", "20m"),
    ],
)
def test_a_mistake_is_an_error_that_names_its_setting(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "rsa.pem").write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    (tmp_path / "p384.pem").write_bytes(pem(ec.generate_private_key(ec.SECP384R1())))
    text = str(tmp_path / value) if value.endswith(".pem") else value
    environ = {**ENVIRON, **UPSTREAM, f"GUESTPASS_ASSERTION__{name}".upper(): text}
    with pytest.raises(ConfigError, match=rf"^assertion\.{name}:"):
        build_app(load(None, environ))


def test_a_given_key_does_not_change_by_itself(tmp_path: Path) -> None:
    files = {"GUESTPASS_ASSERTION__KEY_FILE": str(tmp_path / "k"), "GUESTPASS_ASSERTION__KEY_PERIOD": "1h"}
    with pytest.raises(ConfigError, match=r"assertion\.key_period"):
        load(None, {**ENVIRON, **files})


def test_several_workers_need_a_key_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRON, **UPSTREAM, "GUESTPASS_ISSUER__KEY_FILE": "any"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"assertion\.key_file: must be set for several workers"):
        launch("app", {"server": {"workers": 2}}, lambda _: None, under="uvicorn", parser="auto", config=None)


def test_who_cannot_sign_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"assertion\.audience: must be off"):
        build_forward_auth(load(None, ENVIRON))
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"assertion\.audience: must be off"):
        Gate.from_env()
