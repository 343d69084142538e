"""The status page: the paths of its three files."""

from starlette.types import ASGIApp

from guestpass.asgi.page_file import PageFile


def status_pages() -> dict[str, ASGIApp]:
    """The page's files by path."""
    return {
        "/status": PageFile("status/status.html"),
        "/status/status.css": PageFile("status/status.css"),
        "/status/status.js": PageFile("status/status.js"),
    }
