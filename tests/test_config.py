"""Settings: what is read, who wins, and what every mistake is answered with."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from guestpass.adapters.issuers.guesttoken import GuestTokenSettings
from guestpass.adapters.issuers.local import LocalSettings
from guestpass.config import (
    HeaderSettings,
    IssuerSettings,
    Rate,
    Secret,
    Setting,
    Settings,
    StoreSettings,
    UpstreamSettings,
    VerifySettings,
    describe,
    load,
    reference,
)
from guestpass.config.environment import read_environment
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Policy
from guestpass.errors import ConfigError
from guestpass.gate import OPEN_PATHS
from guestpass.upstream.pool import PoolLimits

SECRET = "a-secret-that-must-never-be-shown-anywhere"  # 42 bytes
DOCS = Path(__file__).parent.parent / "docs" / "settings.md"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        path = tmp_path / "guestpass.toml"
        path.write_text(text, "utf-8")
        return path

    return write_file


def refused(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides or {})
    return caught.value


def test_without_any_source_every_default_holds() -> None:
    assert load(None, {}) == Settings()


def test_the_policy_section_is_the_policy_of_the_core() -> None:
    """There is one list of defaults, so a library user and an operator get the same gate."""
    assert load(None, {}).policy == Policy()


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(write: Write) -> None:
    path = write('[server]\nport = 1\nhost = "0.0.0.0"\nworkers = 4')
    settings = load(
        path, {"GUESTPASS_SERVER__PORT": "2", "GUESTPASS_SERVER__HOST": "::1"}, {"server": {"port": 3}}
    )
    assert (settings.server.port, settings.server.host, settings.server.workers) == (3, "::1", 4)


def test_an_override_of_none_was_not_given() -> None:
    assert load(None, {"GUESTPASS_SERVER__PORT": "2"}, {"server": {"port": None}}).server.port == 2


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(None, {"GUESTPASS_SERVER__PORT": "", "GENESYS_CLIENT_ID": ""}) == Settings()


def test_the_file_may_be_named_by_the_environment(write: Write) -> None:
    path = write("[server]\nport = 81")
    assert load(None, {"GUESTPASS_CONFIG": str(path)}).server.port == 81


def test_the_vendors_own_names_work_alone() -> None:
    issuer = load(
        None,
        {
            "GENESYS_CLIENT_ID": "client",
            "GENESYS_CLIENT_SECRET": SECRET,
            "GENESYS_ENVIRONMENT": "eu_central_1",
            "GENESYS_REGION": "a variable of the vendor's tools",
        },
    ).issuer
    assert (issuer.client_id, issuer.client_secret, issuer.environment) == (
        "client",
        Secret(SECRET),
        "eu_central_1",
    )


def test_our_name_wins_over_the_vendors() -> None:
    environ = {"GUESTPASS_ISSUER__CLIENT_ID": "ours", "GENESYS_CLIENT_ID": "theirs"}
    assert load(None, environ).issuer.client_id == "ours"


def test_every_name_that_others_rely_on_is_read() -> None:
    settings = load(
        None,
        {
            "GUESTPASS_ISSUER__KIND": "local",
            "GUESTPASS_ISSUER__GATEWAY": "https://gateway.example/genesys",
            "GUESTPASS_VERIFY__JWKS_URL": "http://127.0.0.1:9100/api/v2/oauth/jwks",
            "GUESTPASS_VERIFY__ISSUER": "someone",
            "GUESTPASS_VERIFY__AUDIENCE": "backend",
            "GUESTPASS_VERIFY__ALGORITHMS": "RS256, ES256",
            "GUESTPASS_POLICY__ROTATE_BEFORE": "120",
            "GUESTPASS_POLICY__ON_SUBJECT_CHANGE": "refuse",
            "GUESTPASS_STORE__URL": "redis://:password@127.0.0.1:6379/1",
            "GUESTPASS_STORE__SECRET": SECRET,
            "GUESTPASS_LIMITS__FAILED_VERIFICATION": "5/second",
        },
    )
    assert settings.issuer.kind == "local"
    assert settings.issuer.gateway == "https://gateway.example/genesys"
    assert settings.verify.jwks_url == "http://127.0.0.1:9100/api/v2/oauth/jwks"
    assert (settings.verify.issuer, settings.verify.audience) == ("someone", ("backend",))
    assert settings.verify.algorithms == ("RS256", "ES256")
    assert settings.policy == Policy(rotate_before=120.0, on_subject_change="refuse")
    assert settings.store.url.reveal() == "redis://:password@127.0.0.1:6379/1"
    assert settings.store.secret == Secret(SECRET)
    assert settings.limits.failed_verification == Rate(5, 1.0)


@pytest.mark.parametrize("setting", [s for s in describe() if s.variable], ids=lambda s: s.variable)
def test_each_documented_variable_is_read(setting: Setting, tmp_path: Path) -> None:
    """A value of no type is refused by the setting's own rule, and what has none takes it as text."""
    path = tmp_path / "guestpass.toml"
    path.write_text(f"[{setting.section}]\n{setting.name} = {{ not = 'a value' }}", "utf-8")
    error = refused(path)
    assert error.field.startswith(f"{setting.section}.{setting.name}")
    assert read_environment({setting.variable: "x"}) == {setting.section: {setting.name: "x"}}


def test_rules_keep_their_order(write: Write) -> None:
    path = write("""
        [[rules]]
        methods = ["GET"]
        path = "/public/*"
        protection = "off"

        [[rules]]
        path = "/maybe"
        protection = "optional"

        [[rules]]
        path = "/admin/*"
    """)
    assert load(path, {}).rules == (
        Rule(frozenset({"GET"}), "/public/*", Protection.OFF),
        Rule(None, "/maybe", Protection.OPTIONAL),
        Rule(None, "/admin/*", Protection.REQUIRED),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("0.5", 0.5), ("500ms", 0.5), ("300s", 300.0), ("5m", 300.0), ("24H", 86_400.0)],
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert load(None, {"GUESTPASS_POLICY__ROTATE_BEFORE": text}).policy.rotate_before == seconds


@pytest.mark.parametrize(
    ("text", "rate"),
    [("7/second", Rate(7, 1.0)), ("10 per 5 minutes", Rate(10, 300.0)), ("1 / hour", Rate(1, 3600.0))],
)
def test_a_rate_is_read_and_written_alike(text: str, rate: Rate) -> None:
    assert load(None, {"GUESTPASS_LIMITS__MINT_BUDGET": text}).limits.mint_budget == rate
    assert load(None, {"GUESTPASS_LIMITS__MINT_BUDGET": str(rate)}).limits.mint_budget == rate


@pytest.mark.parametrize("text", ["soon", "5 minutes", "-1", "1e3", "inf", "nan", ""])
def test_anything_else_is_no_duration(write: Write, text: str) -> None:
    error = refused(write(f'[policy]\ngrace = "{text}"'))
    assert error.field == "policy.grace"


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("limits", "failed_verification"),
        ("limits", "mint_budget"),
        ("server", "livez"),
        ("policy", "max_session_age"),
    ],
)
def test_off_turns_off_what_can_be_off(section: str, name: str) -> None:
    settings = load(None, {f"GUESTPASS_{section}__{name}".upper(): "off"})
    assert getattr(getattr(settings, section), name) is None


def test_lists_and_pairs_are_separated_by_commas() -> None:
    headers = load(
        None,
        {
            "GUESTPASS_HEADERS__IDENTITY": "sub=X-User, email=X-Mail",
            "GUESTPASS_HEADERS__CORS_ORIGINS": "https://a.example,https://b.example",
        },
    ).headers
    assert headers.identity == {"sub": "X-User", "email": "X-Mail"}
    assert headers.cors_origins == ("https://a.example", "https://b.example")


# --- secret files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GUESTPASS_ISSUER__CLIENT_SECRET_FILE", "GENESYS_CLIENT_SECRET_FILE"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n", "utf-8")
    assert load(None, {name: str(file)}).issuer.client_secret == Secret(SECRET)


def test_a_setting_whose_own_name_ends_in_file_is_a_path() -> None:
    verify = load(None, {"GUESTPASS_VERIFY__JWKS_FILE": "/etc/guestpass/jwks.json"}).verify
    assert (verify.jwks_file, verify.jwks) == (Path("/etc/guestpass/jwks.json"), None)


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(SECRET, "utf-8")
    name = "GUESTPASS_STORE__SECRET"
    error = refused(environ={name: SECRET, f"{name}_FILE": str(tmp_path / "s")})
    assert (error.field, error.rule) == (f"{name}_FILE", "must be given once: itself or as a file")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 65_537])
def test_a_secret_file_that_cannot_be_one_is_named_by_its_variable(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    assert (
        refused(environ={"GUESTPASS_STORE__SECRET_FILE": str(file)}).field == "GUESTPASS_STORE__SECRET_FILE"
    )


# --- mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ("[servr]\nport = 1", "[servr]", "server"),
        ("[server]\nprot = 1", "[server] prot", "port"),
        ("[policy]\nrotate_befor = 1", "[policy] rotate_befor", "rotate_before"),
        ('[[rules]]\npath = "/"\nmethod = ["GET"]', "[[rules]] method", "methods"),
        ("[headers]\nquerry = 1", "[headers] querry", "query"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    write: Write, text: str, where: str, meant: str
) -> None:
    path = write(text)
    error = refused(path)
    assert error.field == f"{path}: {where}"
    assert error.rule.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GUESTPASS_STORE__URI", "GUESTPASS_STORE__URL"),
        ("GUESTPASS_ISSUR__KIND", "GUESTPASS_ISSUER__KIND"),
        ("GUESTPASS_ISSUER_KIND", "GUESTPASS_ISSUER__KIND"),
        ("GUESTPASS_STORE__SECRT_FILE", "GUESTPASS_STORE__SECRET"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    error = refused(environ={name: "x"})
    assert (error.field, error.rule) == (name, f"is no setting; did you mean {meant}?")


@pytest.mark.parametrize(
    ("methods", "read"), [("'off'", None), ("'GET, POST'", {"GET", "POST"}), ("['GET']", {"GET"})]
)
def test_the_methods_of_a_rule_are_written_as_any_list(
    write: Write, methods: str, read: set[str] | None
) -> None:
    [rule] = load(write(f"[[rules]]\npath = '/x'\nmethods = {methods}"), {}).rules
    assert rule.methods == read


@pytest.mark.parametrize(
    ("environ", "field"),
    [
        ({"GUESTPASS_SERVER__PORT": "http"}, "server.port"),
        ({"GUESTPASS_SERVER__PORT": "70000"}, "server.port"),
        ({"GUESTPASS_SERVER__WORKERS": "0"}, "server.workers"),
        ({"GUESTPASS_SERVER__LIVEZ": "livez"}, "server.livez"),
        ({"GUESTPASS_SERVER__LIVEZ": "/readyz"}, "server.livez"),
        ({"GUESTPASS_SERVER__TRUSTED_PROXIES": "proxy.example"}, "server.trusted_proxies"),
        ({"GUESTPASS_SERVER__DRAIN_DELAY": "inf"}, "server.drain_delay"),
        ({"GUESTPASS_SERVER__DRAIN_TIMEOUT": "0"}, "server.drain_timeout"),
        ({"GUESTPASS_UPSTREAM__URL": "ftp://backend"}, "upstream.url"),
        ({"GUESTPASS_UPSTREAM__URL": "http://user:pass@backend"}, "upstream.url"),
        ({"GUESTPASS_UPSTREAM__URL": "http://backend:port"}, "upstream.url"),
        ({"GUESTPASS_UPSTREAM__URL": "http://backend/?a=b"}, "upstream.url"),
        ({"GUESTPASS_ISSUER__KIND": "genesys"}, "issuer.kind"),
        ({"GUESTPASS_ISSUER__GATEWAY": "http://gateway.example"}, "issuer.gateway"),
        ({"GUESTPASS_ISSUER__MINT_PATH": "http://api.example/mint"}, "issuer.mint_path"),
        ({"GUESTPASS_ISSUER__LIFETIME": "0"}, "issuer.lifetime"),
        ({"GUESTPASS_ISSUER__GATEWAY_API_PREFIX": "api/"}, "issuer.gateway_api_prefix"),
        ({"GUESTPASS_VERIFY__JWKS_URL": "http://keys.example/jwks"}, "verify.jwks_url"),
        ({"GUESTPASS_VERIFY__JWKS": "{}", "GUESTPASS_VERIFY__JWKS_FILE": "x"}, "verify.jwks"),
        ({"GUESTPASS_VERIFY__ALGORITHMS": ","}, "verify.algorithms"),
        ({"GUESTPASS_VERIFY__ALGORITHMS": "none"}, "verify.algorithms"),
        ({"GUESTPASS_VERIFY__ALGORITHMS": "RS256,HS256"}, "verify.algorithms"),
        ({"GUESTPASS_VERIFY__MAX_STALE": "1m"}, "verify.max_stale"),
        ({"GUESTPASS_POLICY__GRACE": "-1"}, "policy.grace"),
        ({"GUESTPASS_POLICY__MINT_DEADLINE": "0"}, "policy.mint_deadline"),
        ({"GUESTPASS_POLICY__ON_SUBJECT_CHANGE": "ignore"}, "policy.on_subject_change"),
        ({"GUESTPASS_STORE__URL": "postgres://db"}, "store.url"),
        ({"GUESTPASS_STORE__SECRET": "short"}, "store.secret"),
        ({"GUESTPASS_STORE__URL": "redis://127.0.0.1"}, "store.secret"),
        ({"GUESTPASS_LIMITS__FAILED_VERIFICATION": "0/minute"}, "limits.failed_verification"),
        ({"GUESTPASS_LIMITS__MINT_BUDGET": "300"}, "limits.mint_budget"),
        ({"GUESTPASS_LIMITS__TOKEN_ENDPOINT": "many/fortnight"}, "limits.token_endpoint"),
        ({"GUESTPASS_HEADERS__HEADER": "X Guest"}, "headers.header"),
        ({"GUESTPASS_HEADERS__HEADER": "off", "GUESTPASS_HEADERS__SUBPROTOCOL": "false"}, "headers.header"),
        ({"GUESTPASS_HEADERS__IDENTITY": "sub"}, "headers.identity"),
        ({"GUESTPASS_HEADERS__IDENTITY": "sub=X-Füld"}, "headers.identity"),
        ({"GUESTPASS_HEADERS__IDENTITY": "sub=X-Id,name=x-id"}, "headers.identity"),
        ({"GUESTPASS_HEADERS__CORS_ORIGINS": "https://shop.example/"}, "headers.cors_origins"),
        (
            {"GUESTPASS_HEADERS__CORS_ORIGINS": "*", "GUESTPASS_HEADERS__SET_COOKIE": "guest"},
            "headers.cors_origins",
        ),
    ],
)
def test_a_value_that_breaks_its_rule_is_named_with_its_origin(environ: dict[str, str], field: str) -> None:
    error = refused(environ=environ)
    assert error.field == field
    # A secret that is missing was set by nobody.
    assert any(f"(set by {name})" in error.rule for name in environ) or field == "store.secret"


def test_a_wrong_type_in_the_file_names_field_and_file(write: Write) -> None:
    path = write('[server]\nport = ["x"]')
    error = refused(path)
    assert error.field == "server.port"
    assert error.rule == f"must be a whole number (set by {path})"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nhost = 3", "server.host: must be text"),
        ("[server]\nport = 1.5", "server.port: must be a whole number"),
        ("[server]\ntrusted_proxies = 3", "server.trusted_proxies: must be a list"),
        ("[server]\ntrusted_proxies = [3]", "server.trusted_proxies.0: must be text"),
        ("[upstream]\npreserve_host = 'x'", "upstream.preserve_host: must be true or false"),
        ("[upstream]\npreserve_host = 7", "upstream.preserve_host: must be true or false"),
        ("[upstream]\nca_file = 3", "upstream.ca_file: must be a path"),
        ("[policy]\nleeway = [1]", "policy.leeway: must be a duration"),
        ("[store]\nsecret = 3", "store.secret: must be text"),
        ("[limits]\nmint_budget = 3", "limits.mint_budget: must be text, such as 100/minute"),
        ("[headers]\nidentity = 3", "headers.identity: must be pairs, such as sub=X-Guest-Subject"),
        ("[headers]\nsame_site = 'x'", "headers.same_site: must be 'lax', 'strict' or 'none'"),
        ("[[rules]]\nprotection = 'off'", "rules.0.path: must be set"),
        ("[[rules]]\npath = '/x'\nmethods = 3", "rules.0.methods: must be a list"),
    ],
)
def test_a_wrong_type_is_told_in_the_words_of_the_reference(write: Write, text: str, said: str) -> None:
    assert str(refused(path := write(text))) == f"{said} (set by {path})"


def test_a_rule_is_said_once() -> None:
    error = refused(environ={"GUESTPASS_SERVER__PORT": "http"})
    assert error.rule == "must be a whole number (set by GUESTPASS_SERVER__PORT)"


@pytest.mark.parametrize("setting", ["[server]\nhost", "[verify]\njwks_file", "[store]\nsecret"])
def test_no_text_holds_a_nul(write: Write, setting: str) -> None:
    """What opens a file or a socket by it would raise a ValueError or TypeError of its own, a traceback."""
    assert refused(write(rf'{setting} = "a\u0000b"')).rule.startswith("must not hold a NUL character")


@pytest.mark.parametrize(
    "text", ["[server]\nport = true", "[policy]\ngrace = false", "[limits]\nmint_budget = true"]
)
def test_a_truth_value_is_no_number(write: Write, text: str) -> None:
    assert refused(write(text)).rule.startswith("must not be true or false")


def test_a_wrong_override_names_the_command_line() -> None:
    error = refused(overrides={"server": {"port": -1}})
    assert str(error) == "server.port: must be 0 to 65535 (set by the command line)"


@pytest.mark.parametrize(
    "text", ["server = 1", "[rules]\npath = '/'", "rules = ['/']", "[server", "[[rules]]\nprotection = 'off'"]
)
def test_a_file_of_another_shape_is_one_error(write: Write, text: str) -> None:
    assert refused(write(text)).code == "config"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]"])
def test_a_loopback_issuer_may_be_reached_without_tls(host: str) -> None:
    assert load(None, {"GUESTPASS_ISSUER__GATEWAY": f"http://{host}:9100"}).issuer.gateway


@pytest.mark.parametrize("host", ["localhost.example", "127.0.0.1.example", "[::2]", "0.0.0.0"])
def test_a_host_that_only_looks_like_loopback_may_not(host: str) -> None:
    assert refused(environ={"GUESTPASS_ISSUER__GATEWAY": f"http://{host}:9100"}).field == "issuer.gateway"


def test_a_byte_order_mark_is_passed_over(write: Write) -> None:
    assert load(write("\ufeff[server]\nport = 81"), {}).server.port == 81


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.toml").field == str(tmp_path / "none.toml")


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "guestpass.config.layers", None)
    assert 'pip install "guestpass[settings]"' in refused().rule


def test_credentials_are_asked_for_only_when_an_issuer_needs_them() -> None:
    with pytest.raises(ConfigError, match="GENESYS_CLIENT_ID"):
        Settings().issuer.require_credentials()
    load(None, {"GUESTPASS_ISSUER__KIND": "local"}).issuer.require_credentials()


# --- secrets ----------------------------------------------------------------------------------------------


def test_no_repr_or_dump_shows_a_secret() -> None:
    settings = load(
        None,
        {
            "GENESYS_CLIENT_ID": "client",
            "GENESYS_CLIENT_SECRET": SECRET,
            "GUESTPASS_STORE__SECRET": SECRET,
            "GUESTPASS_STORE__URL": f"redis://:{SECRET}@127.0.0.1",
        },
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(dataclasses.asdict(settings))


@pytest.mark.parametrize(
    "environ",
    [
        {"GUESTPASS_STORE__URL": f"postgres://:{SECRET}@127.0.0.1"},
        {"GUESTPASS_STORE__SECRET": SECRET[:20]},
        {"GUESTPASS_ISSUER__GATEWAY": f"https://user:{SECRET}@gateway.example"},
        {"GUESTPASS_ISSUER__GATEWAY": f"https://[{SECRET}"},
        {"GUESTPASS_VERIFY__JWKS_URL": f"https://keys.example/?key={SECRET}"},
    ],
)
def test_no_error_quotes_a_value_that_may_be_secret(environ: dict[str, str]) -> None:
    error = refused(environ=environ)
    assert SECRET[:20] not in str(error)
    assert error.__cause__ is None


def test_a_secret_in_the_file_of_the_wrong_type_is_not_quoted(write: Write) -> None:
    error = refused(write(f'[store]\nsecret = ["{SECRET}"]'))
    assert error.field == "store.secret"
    assert SECRET not in str(error)


def test_equal_secrets_are_one_value() -> None:
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("a"), Secret("b")}
    assert Secret("a") != "a"


# --- by hand, and the documentation -----------------------------------------------------------------------


def test_sections_written_by_hand_keep_the_same_rules() -> None:
    with pytest.raises(ConfigError, match=r"headers\.header"):
        HeaderSettings(header=None, subprotocol=False)
    with pytest.raises(ConfigError, match=r"store\.secret"):
        StoreSettings(url=Secret("redis://127.0.0.1"))
    with pytest.raises(ConfigError, match="rate"):
        Rate(0, 60.0)


def test_every_setting_is_documented() -> None:
    assert [f"{s.section}.{s.name}" for s in describe() if not s.doc] == []


def test_the_settings_reference_is_up_to_date() -> None:
    """`make docs` writes it again."""
    assert DOCS.read_text("utf-8") == reference()


@pytest.mark.parametrize(
    ("settings", "adapter"),
    [
        (IssuerSettings(), GuestTokenSettings()),
        (IssuerSettings(), LocalSettings(issuer="any")),
        (UpstreamSettings(), PoolLimits()),
        (VerifySettings(), VerifySettings().claim_rules("any")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_default_is_the_one_that_the_adapter_has(settings: object, adapter: object) -> None:
    """A library user who writes the parts by hand gets what an operator gets from an empty file."""
    ours, theirs = dataclasses.asdict(settings), dataclasses.asdict(adapter)  # type: ignore[call-overload]
    shared = ours.keys() & theirs.keys() - {"issuer", "audience"}
    assert shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_the_paths_of_ours_are_the_ones_that_a_gate_leaves_open() -> None:
    server = Settings().server
    assert {server.token_endpoint, server.client_script, server.livez, server.readyz} == set(OPEN_PATHS)
