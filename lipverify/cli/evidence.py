"""`lipverify evidence`."""

from typing import Annotated

import typer


def command(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RESULT]...", help="Files that `verify --json` wrote."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="A new folder for the bundle.")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option("--verify", metavar="DIR", help="Check a bundle instead of making one."),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option("--sign", metavar="KEYFILE", help="Sign it: Ed25519 private key in PEM."),
    ] = None,
    verify_key: Annotated[
        str | None,
        typer.Option("--verify-key", metavar="KEYFILE", help="The signer's public key in PEM."),
    ] = None,
) -> int:
    """Make an evidence bundle of results, or check one, offline.

    A bundle is a folder that stands alone: record, specs, networks, certificates, a report, the
    argument, hashes. Exit code: 0 made, or nothing is wrong with it; 1 something is wrong, each
    with its file's name; 3 bad input, an error, or a part that could not be checked here.
    """
    from lipverify.cli.run_evidence import check, make
    from lipverify.errors import InputError

    if verify is not None:
        if results or out is not None or sign is not None:
            raise InputError("--verify DIR goes with --verify-key only; it makes no bundle")
        return check(verify, verify_key)
    if verify_key is not None:
        raise InputError("--verify-key goes with --verify DIR")
    if not results or out is None:
        raise InputError("expected RESULT... --out DIR to make a bundle, or --verify DIR")
    return make(results, out, sign)
