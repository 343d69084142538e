"""The demo: a vendor, a legacy backend and the proxy between them, as real processes on loopback."""
