"""A release whose spec the controller cannot read, beside others."""

import os
import subprocess
from pathlib import Path

from release.cluster.objects import SPEC, write_kubeconfig
from release.cluster.place import BIN
from release.hooks import hook

BROKEN = {**SPEC, "evidence": {"kind": "Prometheus"}}


def test_a_release_whose_spec_cannot_be_read_is_listed_with_the_reason_and_hides_no_other(tmp_path: Path) -> None:
    found = [
        {"metadata": {"name": name, "resourceVersion": "7"}, "spec": spec}
        for name, spec in (("broken", BROKEN), ("digits", SPEC))
    ]
    with hook() as server:
        server.answer = {"metadata": {"resourceVersion": "7"}, "items": found}
        kubeconfig = write_kubeconfig(tmp_path / "config", server.url.removesuffix("/hook"))
        env = {**os.environ, "KUBECONFIG": str(kubeconfig), "COLUMNS": "220"}
        done = subprocess.run([BIN / "kubectl-torchfinch", "get"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, broken, digits = done.stdout.splitlines()
    assert " ".join(broken.split()) == "broken Idle 0 0/0 0/0 -/- spec.evidence: kind Prometheus needs its address"
    assert " ".join(digits.split()) == "digits Idle 0 0/0 0/0 -/- no release yet"
