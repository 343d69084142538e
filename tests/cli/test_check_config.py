"""`guestpass check-config`: valid settings pass, wrong ones are named, secrets stay hidden."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guestpass.cli.app import guestpass
from guestpass.config import reference

SECRET = "a-secret-that-must-never-be-shown-anywhere"
VENDOR = {"GENESYS_CLIENT_ID": "client", "GENESYS_CLIENT_SECRET": SECRET}


def check(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(guestpass, ["check-config", *arguments], env=environ)


def test_valid_settings_exit_with_0_and_show_what_differs_from_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "guestpass.toml"
    path.write_text('[server]\nport = 81\n[[rules]]\npath = "/public/*"\nprotection = "off"', "utf-8")
    result = check("--config", str(path), **VENDOR)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "server.port = 81",
        "issuer.client_id = client",
        "issuer.client_secret = <set>",
        "rules[0] = /public/* off",
        "The settings are valid.",
    ]


def test_no_secret_is_shown() -> None:
    url = f"redis://:{SECRET}@127.0.0.1"
    result = check(GUESTPASS_STORE__URL=url, GUESTPASS_STORE__SECRET=SECRET, **VENDOR)
    assert result.exit_code == 0
    assert SECRET not in result.output


def test_missing_credentials_are_asked_for() -> None:
    result = check()
    assert result.exit_code == 2
    assert "GENESYS_CLIENT_ID" in result.stderr


def test_several_workers_without_a_shared_store_are_warned_of() -> None:
    result = check(GUESTPASS_SERVER__WORKERS="2", GUESTPASS_ISSUER__KIND="local")
    assert result.exit_code == 0
    assert "store.url" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--config", "does-not-exist.toml")])
def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = check(*arguments, GUESTPASS_STORE__URI="x")
    assert result.exit_code == 2
    assert result.stderr.startswith("guestpass: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GUESTPASS_VERIFY__JWKS_FILE": "missing"}, "verify.jwks_file: cannot be read"),
        ({"GUESTPASS_VERIFY__JWKS_FILE": __file__}, "verify.jwks_file: must be a JWKS"),
        ({"GUESTPASS_VERIFY__JWKS": "{}"}, "verify.jwks: must be a JWKS"),
        ({"GUESTPASS_ISSUER__ENVIRONMENT": "nowhere_"}, "issuer.environment: must be"),
        (
            {"GUESTPASS_STORE__URL": "redis://127.0.0.1:port", "GUESTPASS_STORE__SECRET": SECRET},
            "store.url: is no URL of a Redis",
        ),
        (
            {"GUESTPASS_UPSTREAM__URL": "https://127.0.0.1", "GUESTPASS_UPSTREAM__CA_FILE": "missing"},
            "upstream.ca_file: must be a readable PEM",
        ),
    ],
)
def test_what_serve_would_refuse_is_not_called_valid(environ: dict[str, str], said: str) -> None:
    """Those are found when the parts are put together, not when a value is read."""
    result = check(**VENDOR, **environ)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"guestpass: {said}")
    assert "valid" not in result.stdout


def test_the_reference_is_printed_without_reading_any_setting() -> None:
    result = check("--reference", GUESTPASS_STORE__URI="x")
    assert (result.exit_code, result.stdout) == (0, reference())
