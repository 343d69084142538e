"""Where the issuer is: environments, gateways, and what is no host at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.adapters.issuers.guesttoken import GuestTokenSettings
from guestpass.adapters.issuers.hosts import REGIONS, Hosts, endpoint, gateway_hosts, hosts_of, is_loopback
from guestpass.errors import ConfigError

FRANKFURT = Hosts(login="https://login.mypurecloud.de", api="https://api.mypurecloud.de")


def refusal(caught: pytest.ExceptionInfo[ConfigError]) -> tuple[str, str]:
    return caught.value.field, caught.value.rule


@pytest.mark.parametrize(("region", "domain"), REGIONS.items())
def test_every_region_and_its_domain_name_the_same_hosts(region: str, domain: str) -> None:
    expected = Hosts(login=f"https://login.{domain}", api=f"https://api.{domain}")
    assert hosts_of(region) == hosts_of(domain) == expected


def test_there_are_eighteen_regions_and_no_domain_stands_twice() -> None:
    assert len(REGIONS) == len(set(REGIONS.values())) == 18


@pytest.mark.parametrize(
    "environment",
    [
        "mypurecloud.de",
        "api.mypurecloud.de",
        "login.mypurecloud.de",
        "eu_central_1",
        "eu-central-1",
        "EU_Central_1",
        " MyPureCloud.de ",
    ],
)
def test_one_environment_may_be_spelled_in_every_usual_way(environment: str) -> None:
    assert hosts_of(environment) == FRANKFURT


def test_an_unknown_domain_passes_as_the_vendor_opens_new_regions() -> None:
    assert hosts_of("xx9.pure.cloud").api == "https://api.xx9.pure.cloud"


@pytest.mark.parametrize(
    "environment",
    [
        "",
        "mypurecloud",
        "eu_central_9",
        "https://api.mypurecloud.de",
        "mypurecloud.de/path",
        "mypurecloud.de:443",
        "user@mypurecloud.de",
        "mypurecloud..de",
        "mypurecloud.de.",
        "-a.de",
        "evil.example#.mypurecloud.de",
        "evil.example\r\n.de",
        "127.0.0.1",
        "bücher.example",
        "a" * 64 + ".de",
        "a." * 130 + "de",
    ],
)
def test_what_is_neither_region_nor_bare_domain_is_refused(environment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts_of(environment)
    field, rule = refusal(caught)
    assert field == "issuer.environment"
    assert rule.startswith("must be a region name or a bare domain")


def test_a_mistyped_region_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'eu_central_1'"):
        hosts_of("eu_centrall_1")


@given(st.text(max_size=40))
def test_an_environment_yields_plain_https_hosts_or_a_config_error(environment: str) -> None:
    """Total: whatever stands there, no other exception, and nothing but a host in the URL."""
    try:
        hosts = hosts_of(environment)
    except ConfigError:
        return
    domain = hosts.api.removeprefix("https://api.")
    assert hosts.login == f"https://login.{domain}"
    assert set(domain) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


def test_a_gateway_replaces_both_hosts_each_behind_its_prefix() -> None:
    hosts = gateway_hosts("https://gw.example:8443/genesys/", login_prefix="/login", api_prefix="/api/")
    assert hosts == Hosts(
        login="https://gw.example:8443/genesys/login", api="https://gw.example:8443/genesys/api"
    )


def test_a_gateway_without_prefixes_is_both_hosts() -> None:
    hosts = gateway_hosts("http://127.0.0.1:9100")
    assert hosts.login == hosts.api == "http://127.0.0.1:9100"


@pytest.mark.parametrize(
    "url", ["http://localhost:9100", "http://127.9.9.9", "http://[::1]:9100", "https://a.example"]
)
def test_https_or_loopback_is_a_base(url: str) -> None:
    assert gateway_hosts(url).api == url


@pytest.mark.parametrize(
    "url",
    [
        "http://gw.example",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
    ],
)
def test_plain_http_beyond_loopback_is_refused(url: str) -> None:
    """K15: credentials and names would cross the network in the clear."""
    with pytest.raises(ConfigError) as caught:
        gateway_hosts(url)
    assert refusal(caught) == ("issuer.gateway", "must be https unless its host is loopback")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gw.example",
        "ftp://gw.example",
        "file:///etc/passwd",
        "https://",
        "https://user:pa55@gw.example",
        "https://gw.example?x=1",
        "https://gw.example#",
        "https://gw.example:99999",
        "https://gw.example:0",
        "https://[::1",
        "https://gw.example/a/../b",
        "https://gw.example//a",
        "https://gw.example/%2e%2e",
        "https://gw exa.mple",
        "https://" + "a" * 64 + ".example",
        "https://gw.example\\@evil.example",
    ],
)
def test_what_is_no_plain_base_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gateway_hosts(url)
    assert refusal(caught)[0] == "issuer.gateway"
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["login", "/a//b", "/..", "/a?b", "/a b", "/%41", "/a#"])
def test_a_prefix_that_is_no_plain_path_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gateway_hosts("https://gw.example", login_prefix=prefix)
    assert refusal(caught)[0] == "issuer.gateway_login_prefix"


def test_all_three_routes_follow_the_environment() -> None:
    """A JWKS URL that stays behind when the environment changes verifies against another region's keys."""
    settings = GuestTokenSettings()
    assert settings.token_url(FRANKFURT) == "https://login.mypurecloud.de/oauth/token"
    assert settings.mint_url(FRANKFURT) == "https://api.mypurecloud.de/api/v2/webchat/v1/guesttokens"
    assert settings.jwks_url(FRANKFURT) == "https://api.mypurecloud.de/api/v2/oauth/jwks"


def test_a_route_may_be_a_whole_url_of_its_own() -> None:
    settings = GuestTokenSettings(token_path="https://api.mypurecloud.de/api/v2/oauth/token")
    assert settings.token_url(FRANKFURT) == "https://api.mypurecloud.de/api/v2/oauth/token"


@pytest.mark.parametrize("where", ["", "oauth/token", "http://gw.example/oauth/token", "/oauth/../token"])
def test_a_route_that_is_neither_path_nor_safe_url_is_refused(where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GuestTokenSettings(mint_path=where)
    assert refusal(caught)[0] == "issuer.mint_path"


@pytest.mark.parametrize("path", ["", ".", "a..b", ".a", "a."])
def test_a_member_path_has_no_empty_names(path: str) -> None:
    with pytest.raises(ConfigError, match=r"issuer\.token_member"):
        GuestTokenSettings(token_member=path)


def test_name_and_email_need_a_member_each() -> None:
    with pytest.raises(ConfigError, match=r"issuer\.name_member"):
        GuestTokenSettings(name_member="x", email_member="x")


def test_an_endpoint_never_leaves_its_base() -> None:
    assert endpoint("f", "https://a.example", "/b") == "https://a.example/b"
    with pytest.raises(ConfigError):
        endpoint("f", "https://a.example", "@evil.example")


@given(st.text(max_size=20))
def test_loopback_is_decided_for_any_host_without_a_look_up(host: str) -> None:
    assert is_loopback(host) in (True, False)
