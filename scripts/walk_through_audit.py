"""A walk through an audit in Python, on the shipped diabetes networks.

    python scripts/walk_through_audit.py [--out DIR]

One question is followed through: does the predicted disease progression rise with the body mass
index? First for the network that was trained plainly, then for the one with monotone weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from lipverify.audit import REPORTS, AuditConfig, AuditResult, run_audit

AUDITS = Path(__file__).resolve().parents[1] / "specs" / "audits"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def totals(result: AuditResult) -> None:
    """What share of the records is proved."""
    for row in result.totals:
        if row["feature"] == "bmi":
            say(
                f"  bmi, {row['region']}: {row['verified']} verified, "
                f"{row['falsified']} falsified, {row['unknown']} unknown"
            )


def worst(result: AuditResult) -> None:
    """The record whose output falls the most, and along which part of the range."""
    frame = result.frame()
    broken = frame[(frame.feature == "bmi") & (frame.region == "line")]
    broken = broken[broken.verdict == "falsified"]
    if broken.empty:
        say("  no record breaks the claim on its line")
        return
    fall = broken.worst_output_before - broken.worst_output_after
    row = broken.loc[fall.idxmax()]
    say(
        f"  worst: record {row.record:.0f}. With bmi {row.worst_before:g} the network says "
        f"{row.worst_output_before:.1f}, with bmi {row.worst_after:g} {row.worst_output_after:.1f}"
    )
    say(f"  a small step that shows it: bmi {row.before:g} to {row.after:g}")
    say(f"  proved parts of its range: {row.parts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--sample", type=int, default=40)
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="lipverify-audit-"))
    for kind in ("plain", "monotone"):
        say(f"diabetes, {kind}:")
        config = AuditConfig(sample=given.sample, timeout=2.0)
        result = run_audit(AUDITS / f"diabetes_{kind}.yaml", out / kind, config)
        with result.store:
            totals(result)
            worst(result)
            for name, report in REPORTS.items():
                (out / kind / name).write_text(report(result), encoding="utf-8")
        say(f"  report: {out / kind / 'report.html'}")


if __name__ == "__main__":
    main()
