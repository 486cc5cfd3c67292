"""`check`: verdicts, exit codes, JSON; and the same from the package alone."""

import json
from pathlib import Path

from tests.checker.handmade import scalar, write
from tests.checker.test_archive import honest, network  # noqa: F401
from tests.cli.conftest import Cli


def test_check(cli: Cli, tmp_path: Path, network: Path) -> None:  # noqa: F811
    good = write(tmp_path / "c.lipcert", *honest(network))
    head, nodes = honest(network)
    head["property"]["at_most"] = scalar(2.5)
    bad = write(tmp_path / "bad.lipcert", head, nodes)
    ran = cli("check", str(good), str(network))
    assert ran.code == 0 and ran.out.startswith("accepted")
    ran = cli("check", str(bad), str(network), "--json", "-")
    assert ran.code == 1 and "expected 2.5" in json.loads(ran.out)["reason"]
    ran = cli("check", str(good), str(tmp_path / "none.onnx"))
    assert ran.code == 3 and "none.onnx" in ran.err
