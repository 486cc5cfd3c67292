"""Ed25519 signatures of statements, through the optional package `cryptography`."""

from pathlib import Path
from types import ModuleType
from typing import Any

from lipverify.errors import InputError, MissingDependency

NEEDED = "cryptography is needed to sign bundles and to check signatures; install it with: "
INSTALL = "pip install lipverify[sign]"


def sign(content: bytes, key_file: str | Path) -> tuple[bytes, bytes]:
    """The signature (64 bytes) and the public key in PEM; `key_file` holds the private one."""
    serialization, ed25519 = _package()
    from cryptography.exceptions import UnsupportedAlgorithm

    data = _read(key_file, "--sign")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"--sign {key_file}: {_EXPECTED_PRIVATE} ({error})") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"--sign {key_file}: {_EXPECTED_PRIVATE}")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return key.sign(content), public


def is_signed_by(content: bytes, signature: bytes, public_key: bytes, where: str) -> bool:
    """Whether the signature is the key's; `InputError` for a file that holds no such key."""
    key: Any = _public(public_key, where)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _public(data: bytes, where: str) -> Any:
    serialization, ed25519 = _package()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{where}: {_EXPECTED_PUBLIC} ({error})") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError(f"{where}: {_EXPECTED_PUBLIC}")
    return key


def _read(path: str | Path, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read: {error.strerror}") from error


def _package() -> tuple[ModuleType, ModuleType]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependency(NEEDED + INSTALL) from error
    return serialization, ed25519


_EXPECTED_PRIVATE = (
    "expected an Ed25519 private key in PEM without password, as made by "
    "`openssl genpkey -algorithm ed25519`"
)
_EXPECTED_PUBLIC = "expected an Ed25519 public key in PEM, as made by `openssl pkey -pubout`"
