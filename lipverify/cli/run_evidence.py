"""Bundles made and checked, in words and exit codes."""

from collections.abc import Sequence

from lipverify.cli.console import stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.figures import count_noun
from lipverify.evidence.bundle import make_bundle, verify_bundle


def make(results: Sequence[str], out: str, key_file: str | None) -> ExitCode:
    made = make_bundle(results, out, key_file)
    coverage = made.record.coverage
    console = stdout()
    signed = ", signed" if made.signed else ""
    console.print(
        f"{made.folder}: {count_noun(made.files, 'file')}{signed}; "
        f"{count_noun(coverage.properties, 'property', 'properties')}: {coverage.verified} "
        f"verified ({coverage.certified} certified), {coverage.falsified} falsified, "
        f"{coverage.unknown} unknown",
        soft_wrap=True,
    )
    for text in made.record.limits:
        console.print(f"  {text}", soft_wrap=True)
    return ExitCode.VERIFIED


def check(folder: str, key_file: str | None) -> ExitCode:
    found = verify_bundle(folder, key_file)
    for finding in found.findings:
        mark = "" if finding.kind == "wrong" else "not checked: "
        stderr().print(f"{mark}{finding}", soft_wrap=True)
    console = stdout()
    for text in found.checked:
        console.print(text, soft_wrap=True)
    if found.wrong:
        console.print(f"{folder}: {len(found.wrong)} wrong", soft_wrap=True)
        return ExitCode.FALSIFIED
    if found.open:
        console.print(f"{folder}: {len(found.open)} not checked", soft_wrap=True)
        return ExitCode.ERROR
    console.print(f"{folder}: nothing is wrong with it", soft_wrap=True)
    return ExitCode.VERIFIED
