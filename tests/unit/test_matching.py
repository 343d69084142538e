"""Which rule covers a method and path, and that looking paths up changes no answer."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guestpass.core.matching import Protection, Rule, Rules, is_preflight
from guestpass.errors import ConfigError

REQUIRED, OPTIONAL, OFF = Protection.REQUIRED, Protection.OPTIONAL, Protection.OFF


def covers(pattern: str, path: str, protection: Protection = OFF) -> bool:
    other = OFF if protection is REQUIRED else REQUIRED
    return Rules([Rule(None, pattern, protection)], default=other).protection("GET", path) is protection


# --- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("/", "/", True),
        ("/", "/a", False),
        ("/health", "/health", True),
        ("/health", "/health/", False),
        ("/health", "/healthy", False),
        ("/health", "/health/x", False),
        ("/health", "/Health", False),
        ("/health", "/x/health", False),
        ("/health", "/health\n", False),
        ("/health/", "/health", False),
        ("/a.b+c", "/a.b+c", True),
        ("/a.b", "/aXb", False),
        ("/café/a b", "/café/a b", True),
        ("/public/*", "/public/x", True),
        ("/public/*", "/public/x/y.css", True),
        ("/public/*", "/public/x/", True),
        ("/public/*", "/public/", True),
        ("/public/*", "/public", False),
        ("/public/*", "/publicity", False),
        ("/public/*", "/Public/x", False),
        ("/public/*", "/x/public/y", False),
        ("/*", "/", True),
        ("/*", "/a/b", True),
        ("/users/*/avatar", "/users/7/avatar", True),
        ("/users/*/avatar", "/users/a b*é/avatar", True),
        ("/users/*/avatar", "/users/7/8/avatar", False),
        ("/users/*/avatar", "/users/avatar", False),
        ("/users/*/avatar", "/users/7/avatar/", False),
        ("/users/*/avatar", "/users/7/avatars", False),
        ("/users/*/", "/users/7/", True),
        ("/users/*/", "/users/7", False),
        ("/users/*/files/*", "/users/7/files/a/b", True),
        ("/users/*/files/*", "/users/7/files", False),
        ("/*/*", "/a/b/c", True),
        ("/*/*", "/a", False),
    ],
)
@pytest.mark.parametrize("protection", [OFF, OPTIONAL])
def test_a_rule_that_lets_more_pass_covers_what_it_says_and_no_more(
    pattern: str, path: str, covered: bool, protection: Protection
) -> None:
    assert covers(pattern, path, protection) is covered


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("/", "/", True),
        ("/admin", "/admin", True),
        ("/admin", "/admin/", True),
        ("/admin/", "/admin", True),
        ("/admin/", "/admin/", True),
        ("/admin", "/admin/x", False),
        ("/admin", "/administer", False),
        ("/admin/*", "/admin", True),
        ("/admin/*", "/admin/", True),
        ("/admin/*", "/admin/x/y", True),
        ("/admin/*", "/administer", False),
        ("/*", "/", True),
        ("/*", "/a/b", True),
        ("/users/*/key", "/users/7/key/", True),
        ("/users/*/key", "/users/7/key/x", False),
        ("/users/*/", "/users/7", True),
        ("/users/*/files/*", "/users/7/files", True),
    ],
)
def test_a_rule_that_asks_for_a_token_covers_its_path_with_and_without_a_slash(
    pattern: str, path: str, covered: bool
) -> None:
    """P9: many backends serve both from one handler, so a slash must not lead around the rule."""
    assert covers(pattern, path, REQUIRED) is covered


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "health",
        "*",
        "//public",
        "/public//x",
        "/public/../x",
        "/./x",
        "/a;b",
        "/a?b",
        "/a#b",
        "/a\\b",
        "/a\x00",
        "/a%20b",
        "/a%2fb",
        "/**",
        "/public/**",
        "/public*",
        "/*.css",
        "/a/b*c/d",
        "http://good.example/public",
    ],
)
def test_a_pattern_that_covers_nothing_or_too_much_is_a_config_error(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"rules\.path"):
        Rule(None, pattern, OFF)


# --- methods ----------------------------------------------------------------------------------------------


def test_a_rule_for_get_covers_head_and_nothing_else() -> None:
    rules = Rules([Rule(frozenset({"GET"}), "/a", OFF)])
    assert [rules.protection(method, "/a") for method in ("GET", "HEAD", "POST")] == [OFF, OFF, REQUIRED]


def test_a_rule_for_head_does_not_cover_get() -> None:
    rules = Rules([Rule(frozenset({"HEAD"}), "/a", OFF)])
    assert rules.protection("GET", "/a") is REQUIRED


def test_a_method_in_lower_case_does_not_lead_around_a_rule() -> None:
    """A server may pass it as it came, and a backend read it as the other."""
    rules = Rules([Rule(frozenset({"POST"}), "/a/b", REQUIRED), Rule(None, "/a/*", OFF)])
    assert rules.protection("post", "/a/b") is REQUIRED


@pytest.mark.parametrize("methods", [(), ("get",), ("GET", ""), ("GE T",), ("*",), ("GET\n",)])
def test_a_method_that_no_request_has_is_a_config_error(methods: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"rules\.methods"):
        Rule(frozenset(methods), "/", OFF)


# --- order ------------------------------------------------------------------------------------------------


def test_what_no_rule_covers_is_protected() -> None:
    assert Rules().protection("GET", "/") is REQUIRED
    assert Rules([Rule(None, "/a", OFF)]).protection("GET", "/b") is REQUIRED
    assert Rules(default=OPTIONAL).protection("GET", "/") is OPTIONAL


@pytest.mark.parametrize("path", ["/public/admin", "/public/admin/"])
def test_the_first_rule_that_covers_a_request_decides(path: str) -> None:
    exact, prefix = Rule(None, "/public/admin", REQUIRED), Rule(None, "/public/*", OFF)
    assert Rules([exact, prefix]).protection("GET", path) is REQUIRED
    assert Rules([prefix, exact]).protection("GET", path) is OFF


def test_a_rule_for_another_method_is_passed_over() -> None:
    rules = Rules(
        [
            Rule(frozenset({"POST"}), "/a", REQUIRED),
            Rule(frozenset({"PUT"}), "/*", OPTIONAL),
            Rule(None, "/a", OFF),
        ]
    )
    assert [rules.protection(method, "/a") for method in ("POST", "PUT", "GET")] == [REQUIRED, OPTIONAL, OFF]


_paths = st.lists(st.sampled_from(["a", "b", "*"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
_rules = st.lists(
    st.builds(
        Rule,
        st.none() | st.frozensets(st.sampled_from(["GET", "POST", "HEAD"]), min_size=1),
        _paths,
        st.sampled_from(Protection),
    ),
    max_size=6,
)


@given(
    _rules,
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/b/a", "/a/b/", "/c"]),
    st.sampled_from(Protection),
)
@example([Rule(None, "/a", OFF), Rule(None, "/*", OPTIONAL)], "GET", "/a", REQUIRED)
def test_many_rules_answer_as_they_do_one_by_one(
    rules: list[Rule], method: str, path: str, default: Protection
) -> None:
    """The law behind the look-up: the first rule which alone would move its own opposite decides."""
    expected = default
    for rule in rules:
        other = OFF if rule.protection is REQUIRED else REQUIRED
        if Rules([rule], default=other).protection(method, path) is rule.protection:
            expected = rule.protection
            break
    assert Rules(rules, default).protection(method, path) is expected


@given(_rules)
def test_rules_keep_what_they_were_made_of(rules: list[Rule]) -> None:
    assert Rules(rules).rules == tuple(rules)


# --- preflights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "has_origin", "has_request_method", "is_one"),
    [
        ("OPTIONS", True, True, True),
        ("OPTIONS", False, True, False),
        ("OPTIONS", True, False, False),
        ("OPTIONS", False, False, False),
        ("options", True, True, False),
        ("GET", True, True, False),
        ("POST", True, True, False),
    ],
)
def test_only_a_whole_preflight_is_one(
    method: str, has_origin: bool, has_request_method: bool, is_one: bool
) -> None:
    """P16: a fake one is a request like any other."""
    assert is_preflight(method, has_origin, has_request_method) is is_one
