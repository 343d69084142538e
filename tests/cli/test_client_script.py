"""`guestpass client-script`."""

from click.testing import CliRunner

from guestpass.asgi.client_script import integrity
from guestpass.cli.app import guestpass


def run(*arguments: str) -> str:
    result = CliRunner().invoke(guestpass, ["client-script", *arguments])
    assert result.exit_code == 0
    return result.stdout


def test_the_tag_loads_this_script_and_no_other() -> None:
    assert run() == (
        f'<script type="module" src="/guestpass/client.js" integrity="{integrity()}" crossorigin></script>\n'
    )


def test_a_url_of_ones_own_is_escaped() -> None:
    assert 'src="https://cdn.example/a?b&amp;c=&quot;"' in run("--src", 'https://cdn.example/a?b&c="')


def test_the_integrity_alone_is_for_scripts() -> None:
    assert run("--integrity") == f"{integrity()}\n"
