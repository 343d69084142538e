"""How every test runs: property tests without a deadline, as a loaded machine says nothing of the code."""

from hypothesis import settings

settings.register_profile("guestpass", deadline=None)
settings.load_profile("guestpass")
