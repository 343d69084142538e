"""The pure core: bytes and values in, values out; no await, clock, environment, log or socket."""
