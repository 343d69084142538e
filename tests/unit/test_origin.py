import pytest

from guestpass.errors import ConfigError
from guestpass.upstream.origin import Origin


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "authority"),
    [
        ("http://a", False, "a", 80, b"a"),
        ("http://a/", False, "a", 80, b"a"),
        ("http://A.example:80", False, "a.example", 80, b"a.example"),
        ("http://127.0.0.1:9000", False, "127.0.0.1", 9000, b"127.0.0.1:9000"),
        ("http://[::1]:9000", False, "::1", 9000, b"[::1]:9000"),
        ("https://a", True, "a", 443, b"a"),
        ("https://a:8443", True, "a", 8443, b"a:8443"),
        ("https://my_service.local.", True, "my_service.local.", 443, b"my_service.local."),
    ],
)
def test_a_url_names_one_backend(url: str, tls: bool, host: str, port: int, authority: bytes) -> None:
    assert Origin.parse(url) == Origin(tls=tls, host=host, port=port, socket_path=None, authority=authority)


def test_a_unix_socket_is_named_by_its_path() -> None:
    assert Origin.parse("unix:///run/app.sock") == Origin(
        tls=False, host="localhost", port=0, socket_path="/run/app.sock", authority=b"localhost"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:80",
        "//a",
        "ftp://a",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:65536",
        "http://a:x",
        "http://user:secret@a",
        "http://a/base",
        "http://a?",
        "http://a?x",
        "http://a#",
        "http://a b",
        "http://a\n",
        "http://\u00e4",
        "http://a%2fb",
        "http://[::1",
        "http://-a",
        "unix://run/app.sock",
        "unix:///",
        "unix:app.sock",
        "unix:///a?x",
    ],
)
def test_any_other_url_stops_the_start_up_without_showing_itself(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Origin.parse(url)
    assert raised.value.field == "upstream.url"
    assert "secret" not in str(raised.value)
