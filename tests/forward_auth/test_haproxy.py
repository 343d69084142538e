"""HAProxy: a Lua action over its own HTTP client."""

from forward_auth_laws import Laws
from forward_auth_site import Recipe

HAPROXY = Recipe("haproxy", ("haproxy", "apt-get install haproxy"), ("-db", "-f", "haproxy.cfg"))


class TestHaproxy(Laws):
    recipe = HAPROXY
