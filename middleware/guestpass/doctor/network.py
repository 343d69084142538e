"""Checks that every host can be reached: its name, its port, its certificate."""

import ssl
from collections.abc import AsyncIterator
from socket import gaierror
from typing import Final
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.streams.tls import TLSAttribute

from guestpass.doctor.findings import Finding, failed, ok, skipped
from guestpass.doctor.patient import Patient

_PATIENCE: Final = 5.0


async def hosts(patient: Patient) -> AsyncIterator[Finding]:
    """One finding a host: login, mint and keys, each once."""
    urls = dict.fromkeys(_urls(patient))
    if not urls:
        yield skipped("hosts", "tokens are signed and verified here, so no host is asked")
    for url in urls:
        yield await _reached(url)


def _urls(patient: Patient) -> list[str]:
    """Scheme, host and port of everything that `serve` asks."""
    urls = []
    if patient.hosts is not None and patient.parts.logins is not None:
        urls.append(patient.hosts.api)
    elif patient.hosts is not None:
        urls += [patient.routes.token_url(patient.hosts), patient.routes.mint_url(patient.hosts)]
        if patient.settings.verify.jwks is None and patient.settings.verify.jwks_file is None:
            urls.append(patient.settings.verify.jwks_url or patient.routes.jwks_url(patient.hosts))
    elif patient.settings.verify.jwks_url is not None:
        urls.append(patient.settings.verify.jwks_url)
    return ["{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in urls]


async def _reached(url: str) -> Finding:
    step, parts = "hosts", urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        with anyio.fail_after(_PATIENCE):
            await anyio.getaddrinfo(host, port)
            if not tls:
                async with await anyio.connect_tcp(host, port):
                    return ok(step, f"{url} answers")
            async with await anyio.connect_tcp(host, port, ssl_context=_authorities()) as stream:
                return ok(step, f"{url} answers with {stream.extra(TLSAttribute.tls_version)}")  # noqa: S610  anyio's
    except TimeoutError:
        cure = "Open the firewall for this host, or name the gateway that leads there: issuer.gateway."
        return failed(step, f"{url} does not answer within {_PATIENCE:.0f} s", cure)
    except ssl.SSLCertVerificationError as exc:
        cure = "If a proxy on the way opens TLS, exempt this host from it; else it is not the vendor's."
        return failed(step, f"the certificate of {url} is not trusted ({exc.verify_message})", cure)
    except OSError as exc:
        if isinstance(exc, gaierror):
            cure = "Check GENESYS_ENVIRONMENT (a domain such as mypurecloud.de), and this host's DNS."
            return failed(step, f"the name {host} is not known", cure)
        return failed(
            step, f"{url} cannot be reached ({type(exc).__name__})", "Check host, port and firewall."
        )


def _authorities() -> ssl.SSLContext:
    """What the clients of issuer and keys trust."""
    return httpx.create_ssl_context(trust_env=False)
