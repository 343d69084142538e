"""Base64url without padding, in the one spelling that each byte string has (RFC 7515 §2, RFC 4648 §3.5)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

_PADDING = (b"", b"==", b"==", b"=")  # by length modulo 4; a remainder of 1 fails as the decoder should


def encode(octets: bytes) -> bytes:
    """Encode `octets`, unpadded."""
    return urlsafe_b64encode(octets).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """Decode `text` if it is canonical: what is accepted encodes to itself.

    The decoder of the standard library skips foreign characters and drops trailing bits, which gives one
    token many spellings, each with a digest of its own. Encoding again is a check without gaps.

    Raises:
        ValueError: Padding, a character outside the alphabet, an impossible length, or stray trailing bits.
    """
    octets = urlsafe_b64decode(text + _PADDING[len(text) % 4])
    if encode(octets) != text:
        raise ValueError("not canonical base64url")
    return octets
