"""Keys of one VM: who may log in, and who answers. Made for each start, removed at its end."""

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class KeyPair:
    """An Ed25519 key: OpenSSH's private text, its public line, and Dropbear's own format."""

    private: bytes
    public: bytes
    dropbear: bytes

    @classmethod
    def generate(cls) -> "KeyPair":
        """A new key from the host's random numbers."""
        key = Ed25519PrivateKey.generate()
        seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(
            private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            public=key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            # Dropbear's signkey.c: the name, then seed and point as one string.
            dropbear=_string(b"ssh-ed25519") + _string(seed + point),
        )


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
