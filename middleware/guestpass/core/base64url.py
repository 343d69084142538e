"""Base64url without padding, in the one spelling that each byte string has (RFC 7515 §2, RFC 4648 §3.5)."""

from base64 import urlsafe_b64encode
from binascii import a2b_base64, b2a_base64
from typing import Final

# By length modulo 4; a remainder of 1 fails as the decoder should.
_PADDING: Final = (b"", b"==", b"==", b"=")

# To the alphabet that the decoder knows (RFC 4648 §4 against §5). What is that alphabet's alone becomes `-`,
# which no encoder writes.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/---")


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
    standard = text.translate(_TO_STANDARD) + _PADDING[len(text) % 4]
    octets = a2b_base64(standard)
    if b2a_base64(octets, newline=False) != standard:
        raise ValueError("not canonical base64url")
    return octets
