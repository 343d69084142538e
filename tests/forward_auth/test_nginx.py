"""nginx: auth_request, with decisions cached by token."""

import getpass

from forward_auth_laws import Laws
from forward_auth_site import Recipe

NGINX = Recipe(
    "nginx",
    ("nginx", "apt-get install nginx-light"),
    # As root nginx changes to a user who may not enter a folder of pytest's.
    ("-p", "{here}", "-c", "nginx.conf", "-g", f"user {getpass.getuser()};"),
)


class TestNginx(Laws):
    recipe = NGINX
