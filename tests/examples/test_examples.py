"""Every example starts as its README says, and answers."""

import sys
from pathlib import Path

import httpx
from forward_auth_site import free_port
from running import GUESTPASS, ROOT, running

EXAMPLES = ROOT / "examples"
FORWARD_AUTH = Path(__file__).parents[1] / "forward_auth"
RECIPES = {"nginx", "caddy", "traefik", "envoy", "haproxy"}
VISITOR = {"name": "Grace Höpper", "email": "grace@example.org"}


def first_token(url: str) -> str:
    answer = httpx.post(f"{url}/guestpass/token", json=VISITOR, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def get(url: str, token: str | None = None) -> httpx.Response:
    headers = {} if token is None else {"X-Guest-Token": token}
    return httpx.get(url, headers=headers, trust_env=False)


def test_a_legacy_backend_is_told_who_the_guest_is(vendor: dict[str, str]) -> None:
    folder = EXAMPLES / "legacy-backend"
    serve = (*GUESTPASS, "serve", "--config", "guestpass.toml", "--port", "0")
    with (
        running(sys.executable, "backend.py", "0", cwd=folder) as backend,
        # Free ports in place of the example's, as the tests of others may run beside this one.
        running(*serve, "--upstream", backend.url(), cwd=folder, env=vendor) as proxy,
    ):
        url = proxy.url()
        assert get(f"{url}/orders").status_code == 401
        assert get(f"{url}/orders", first_token(url)).text == "Hello, Grace Höpper.\n"
        assert get(f"{url}/public/page").text == get(f"{url}/").text == "Hello, a stranger.\n"
        assert get(f"{url}/", "bad").status_code == 401


def test_a_backend_that_asks_for_proof_gets_it_and_believes_nothing_else(vendor: dict[str, str]) -> None:
    folder = EXAMPLES / "legacy-backend"
    serve = (*GUESTPASS, "serve", "--config", "guestpass.toml", "--port")
    port = free_port()
    environ = {**vendor, "GUESTPASS_ASSERTION__AUDIENCE": "orders"}
    # A proxy of the environment is for the world outside; urllib would take loopback there too.
    direct = {"no_proxy": "127.0.0.1"}
    backend_of = (sys.executable, "checking_backend.py", "0", f"http://127.0.0.1:{port}")
    with (
        running(*backend_of, cwd=folder, env=direct) as backend,
        running(*serve, str(port), "--upstream", backend.url(), cwd=folder, env=environ) as proxy,
    ):
        url = proxy.url()
        assert get(f"{url}/orders", first_token(url)).text == "Hello, Grace Höpper, and that is certain.\n"
        assert get(f"{url}/public/page").status_code == 403
        forged = httpx.get(backend.url(), headers={"X-Guest-Assertion": "forged"}, trust_env=False)
        assert forged.status_code == 403


def test_every_example_is_tested_and_says_how_it_is_run() -> None:
    tested = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    # The recipes of forward-auth need real proxies, and so have tests of their own, and a README each.
    recipes = (EXAMPLES / "forward-auth").iterdir()
    assert {folder.name for folder in recipes if (folder / "README.md").is_file()} == RECIPES
    assert {path.stem.removeprefix("test_") for path in FORWARD_AUTH.glob("test_*.py")} >= RECIPES
    for folder in EXAMPLES.iterdir():
        if folder.name == "forward-auth":
            continue
        assert f'"{folder.name}"' in tested
        assert (folder / "README.md").is_file()
