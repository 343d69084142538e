"""Verifies, rotates and injects guest tokens in front of any ASGI app or HTTP backend."""
