"""The issuer's stand-in: one ASGI app for the demo, for our tests, and for users' own."""

from guestpass.fake_vendor.app import FakeVendor

__all__ = ["FakeVendor"]
