"""Talks to a fake vendor in process, as an issuer's client would."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS, InvalidJWSSignature

from guestpass.fake_vendor import FakeVendor

LOGIN = "/oauth/token"
MINT = "/api/v2/webchat/v1/guesttokens"
JWKS = "/api/v2/oauth/jwks"
ME = "/api/v2/tokens/me"
ADA = {"name": "Ada", "email": "ada@example.com"}
FORM = {"grant_type": "client_credentials"}
CREDENTIALS = ("fake-client", "fake-secret")


class VendorClient:
    """A client without connections, so there is nothing to close."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; `options` are those of httpx."""
        transport = httpx.ASGITransport(self.vendor)
        async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as client:
            return await client.request(method, path, **options)

    async def login(self) -> str:
        """An access token."""
        answer = await self.ask("POST", LOGIN, data=FORM, auth=CREDENTIALS)
        access: str = answer.json()["access_token"]
        return access

    async def mint(self, access: str, guest: Mapping[str, Any] = ADA) -> httpx.Response:
        """The answer to a mint."""
        return await self.ask("POST", MINT, json=guest, headers=bearer(access))

    async def token(self, guest: Mapping[str, Any] = ADA) -> str:
        """A guest token, after a login of its own."""
        token: str = (await self.mint(await self.login(), guest)).json()["token"]
        return token

    async def control(self, method: str, name: str, document: object = None) -> httpx.Response:
        """One request to the control plane."""
        body = None if document is None else json.dumps(document)
        return await self.ask(method, f"/__fake__/{name}", content=body)

    async def jwks(self) -> list[dict[str, Any]]:
        """The published keys."""
        keys: list[dict[str, Any]] = (await self.ask("GET", JWKS)).json()["keys"]
        return keys


def bearer(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}


def claims_of(token: str, keys: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The claims set, if one of `keys` has signed it, by jwcrypto and not by code of ours."""
    for key in keys:
        jws = JWS()
        jws.allowed_algs = ["RS256"]
        try:
            jws.deserialize(token, JWK(**key))
        except InvalidJWSSignature:
            continue
        claims: dict[str, Any] = json.loads(jws.payload)
        return claims
    return None


def header_of(token: str) -> dict[str, Any]:
    """The header, unverified."""
    jws = JWS()
    jws.deserialize(token)
    header: dict[str, Any] = jws.jose_header
    return header
