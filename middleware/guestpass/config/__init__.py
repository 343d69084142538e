"""Settings: their shapes, their defaults, and how they are read. The public names are re-exported here."""

from guestpass.config.assertion_section import AssertionSettings
from guestpass.config.issuer_sections import IssuerSettings, VerifySettings
from guestpass.config.loading import load
from guestpass.config.sections import (
    HeaderSettings,
    LimitSettings,
    PoolSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TracingSettings,
)
from guestpass.config.table import Setting, describe, reference
from guestpass.config.upstream_sections import RouteSettings, UpstreamSettings
from guestpass.config.values import Rate, Secret

__all__ = [
    "AssertionSettings",
    "HeaderSettings",
    "IssuerSettings",
    "LimitSettings",
    "PoolSettings",
    "Rate",
    "RouteSettings",
    "Secret",
    "ServerSettings",
    "Setting",
    "Settings",
    "StoreSettings",
    "TracingSettings",
    "UpstreamSettings",
    "VerifySettings",
    "describe",
    "load",
    "reference",
]
