"""traceability.csv: requirement, property, verdict, certificate."""

import csv
import io

from lipverify.evidence.bundle.record import Record


def traceability_csv(record: Record) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["requirement", "property", "asked", "verdict", "status", "certificate"])
    for row in record.traceability:
        writer.writerow(
            [row.requirement, row.property, row.asked, row.verdict, row.status, row.certificate]
        )
    return stream.getvalue()
