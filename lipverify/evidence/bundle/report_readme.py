"""README.md: what is in the bundle, and how to check it offline."""

from lipverify.evidence.bundle.record import Record

FILES = {
    "report.html": "to read first: verdicts, intervals, graphs, argument (one page, no network)",
    "record.json": "everything, for programs; its JSON Schema is record.schema.json",
    "gsn.yaml": "the argument in Goal Structuring Notation, for gsn2x; gsn.svg shows it",
    "argument.sacm.xml": "the same argument and its artifacts as SACM 2.3 (OMG)",
    "junit.xml": "one test case per property, for CI",
    "traceability.csv": "requirement, property, verdict, certificate",
    "statement.json": "in-toto statement with the SHA-256 of every file",
    "SHA256SUMS": "the same for sha256sum",
    "inputs/": "specs, networks and data, lying to each other as they did",
    "certificates/": "proofs that a small separate program can check (if there are any)",
}


def readme(record: Record) -> str:
    coverage = record.coverage
    lines = [
        "# Evidence",
        "",
        f"{coverage.properties} properties of {len(record.networks)} networks: "
        f"{coverage.verified} verified ({coverage.certified} with a certificate that the checker "
        f"accepts), {coverage.falsified} falsified, {coverage.unknown} unknown.",
        "",
        "| file | what |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in FILES.items()),
        "",
        "## Checking it, offline",
        "",
        f"With lipverify {record.tool.version} (`pip install lipverify`):",
        "",
        "```",
        "lipverify evidence --verify .",
        "```",
        "",
        "compares every file with its SHA-256, runs the checker on every certificate and every",
        "counterexample on the network again. If the bundle is signed, `--verify-key KEY.pem` with",
        "the signer's public key, got by another way than this folder, tells who made it.",
        "",
        "Without lipverify:",
        "",
        "```",
        "sha256sum --check --strict SHA256SUMS",
        "openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in statement.json "
        "-sigfile statement.sig",
        "```",
        "",
        "The proofs again, from nothing but the inputs (exit code 0: all verified; 1: some",
        "falsified; 2: some unknown):",
        "",
        "```",
        *record.reproduce,
        "```",
        "",
        "## Limits",
        "",
        *(f"- {text}" for text in record.limits),
        "",
    ]
    return "\n".join(lines)
