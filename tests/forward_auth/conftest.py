"""Lets pytest explain the asserts of the suite that every recipe's tests inherit."""

import pytest

pytest.register_assert_rewrite("forward_auth_laws")
