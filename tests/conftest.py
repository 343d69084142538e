"""What every test shares: how hard hypothesis looks."""

from hypothesis import HealthCheck, settings

# A shared machine stalls now and then, which says nothing of the code: no deadline on a single example.
settings.register_profile("default", deadline=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
