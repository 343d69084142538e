"""Where the issuer is: an environment, a region or a gateway becomes the login and the API base URL."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from guestpass.errors import ConfigError

REGIONS: Final = {
    "us_east_1": "mypurecloud.com",
    "eu_west_1": "mypurecloud.ie",
    "ap_southeast_2": "mypurecloud.com.au",
    "ap_northeast_1": "mypurecloud.jp",
    "eu_central_1": "mypurecloud.de",
    "us_west_2": "usw2.pure.cloud",
    "ca_central_1": "cac1.pure.cloud",
    "ap_northeast_2": "apne2.pure.cloud",
    "eu_west_2": "euw2.pure.cloud",
    "ap_south_1": "aps1.pure.cloud",
    "us_east_2": "use2.us-gov-pure.cloud",
    "sa_east_1": "sae1.pure.cloud",
    "me_central_1": "mec1.pure.cloud",
    "ap_northeast_3": "apne3.pure.cloud",
    "eu_central_2": "euc2.pure.cloud",
    "mx_central_1": "mxc1.pure.cloud",
    "ap_southeast_1": "apse1.pure.cloud",
    "eusc_de_east_1": "edee1.eusc-pure.cloud",
}
"""The vendor's region names and their domains."""

_MAX_HOST: Final = 253 - len("login.")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# At least two labels, the last of them a name: neither a bare word nor an address can be an environment.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}|[0-9a-f:.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The two base URLs, without a trailing slash.

    Attributes:
        login: Where access tokens are had.
        api: Where guest tokens are minted and keys are published.
    """

    login: str
    api: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "login", base_url("issuer.login", self.login))
        object.__setattr__(self, "api", base_url("issuer.api", self.api))


def hosts_of(environment: str) -> Hosts:
    """Derive both hosts from a domain, a region name such as `eu_central_1`, or an `api.`/`login.` host.

    A domain that is not in the list passes, as the vendor opens new regions.

    Raises:
        ConfigError: It is neither a region nor a bare domain.
    """
    name = environment.strip().lower()
    domain = REGIONS.get(name.replace("-", "_"))
    if domain is None:
        domain = name.removeprefix("login.").removeprefix("api.")
        if len(domain) > _MAX_HOST or not _DOMAIN.fullmatch(domain):
            close = get_close_matches(name, [*REGIONS, *REGIONS.values()], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError("issuer.environment", f"must be a region name or a bare domain{hint}")
    return Hosts(login=f"https://login.{domain}", api=f"https://api.{domain}")


def gateway_hosts(base: str, *, login_prefix: str = "", api_prefix: str = "") -> Hosts:
    """Put one base URL in place of both hosts, each behind its own path prefix.

    Raises:
        ConfigError: A part of it breaks a rule.
    """
    root = base_url("issuer.gateway", base)
    return Hosts(
        login=root + url_path("issuer.gateway_login_prefix", login_prefix),
        api=root + url_path("issuer.gateway_api_prefix", api_prefix),
    )


def endpoint(field: str, base: str, where: str) -> str:
    """Resolve a setting that is a path below `base`, or a whole URL of its own.

    Raises:
        ConfigError: It is neither.
    """
    if "://" in where:
        return base_url(field, where)
    path = url_path(field, where)
    if not path:
        raise ConfigError(field, "must be a path or a URL")
    return base + path


def base_url(field: str, url: str) -> str:
    """Check a base URL and strip its trailing slash.

    Credentials and guest data go there, so it must be https; plain http is for the loopback interface.

    Raises:
        ConfigError: Naming `field` and the rule. The value is not repeated: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise ConfigError(field, "must be a URL such as https://gateway.example") from exc
    if parts.scheme not in ("https", "http") or not _HOST.fullmatch(host):
        raise ConfigError(field, "must be a URL such as https://gateway.example")
    if "@" in parts.netloc or port == 0:
        raise ConfigError(field, "must name a host and a port and nothing else before its path")
    if "?" in url or "#" in url:
        raise ConfigError(field, "must have neither query nor fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(field, "must be https unless its host is loopback")
    path = url_path(field, parts.path)
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def url_path(field: str, path: str) -> str:
    """Check a path that is appended to a base URL: "", or segments each behind one slash.

    Raises:
        ConfigError: It could be read in two ways, or needs encoding.
    """
    trimmed = path.removesuffix("/")
    if not _PATH.fullmatch(trimmed) or {".", ".."} & set(trimmed.split("/")):
        raise ConfigError(
            field, "must be a plain path that starts with '/', without '..', '//', '%' or blanks"
        )
    return trimmed


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine (RFC 6761 §6.3, RFC 6890)."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
