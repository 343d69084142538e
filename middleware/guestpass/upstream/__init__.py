"""The client side of the reverse proxy: HTTP/1.1 connections to a backend, on asyncio."""
