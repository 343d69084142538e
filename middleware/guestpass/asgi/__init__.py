"""Thin shells: ASGI scope, receive and send on one side, the gate on the other; they decide nothing."""
