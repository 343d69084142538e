"""Credentials and names go only to the host that its certificate names (K15)."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from issuer_stub import CREDENTIALS, IssuerStub

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer
from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.http_client import HttpClient
from guestpass.core.model import Identity
from guestpass.errors import Unavailable

ALICE = Identity(name="Alice", email="alice@example.org")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `localhost` and no other name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return path


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "trusted", "served"),
    [("localhost", True, True), ("127.0.0.1", True, False), ("localhost", False, False)],
    ids=["trusted", "wrong name", "self-signed"],
)
async def test_secrets_are_sent_to_a_host_that_proves_its_name_and_to_no_other(
    certificate: Path, host: str, *, trusted: bool, served: bool
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    async with IssuerStub().listening(serving) as stub:
        issuer = GuestTokenIssuer(
            hosts=gateway_hosts(f"https://{host}:{stub.port}", login_prefix="/login"),
            credentials=CREDENTIALS,
            clock=stub.clock,
            http=HttpClient(tls=trust),
            sleep=stub.clock.sleep,
        )
        if served:
            await issuer.mint(ALICE)
        else:
            with pytest.raises(Unavailable):
                await issuer.mint(ALICE)
        assert len(stub.logins) == served
        await issuer.aclose()
