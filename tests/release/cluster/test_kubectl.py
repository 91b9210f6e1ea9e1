"""`kubectl torchfinch`, called as a user calls it: by kubectl, with a kubeconfig, on a real API server."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from release.cluster.place import BIN, ROOT, Cluster, Controller, kubectl_path
from release.cluster.wire import Wire
from release.cluster.world import World
from waiting import within

from torchfinch.release.cluster.records import decisions, newest
from torchfinch.release.cluster.status import build_status
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.state import Check, Counters, Pair, Phase, State
from torchfinch.release.view import decision_cells, summary

pytestmark = pytest.mark.timeout(240)
SPEC = {
    "model": "digits",
    "stable": {"deployment": "stable"},
    "canary": {"deployment": "canary"},
    "route": {"kind": "HTTPRoute", "name": "digits"},
    "steps": [{"weight": 25}, {"weight": 100}],
}


def kubectl(*words: str) -> list[str]:
    return [kubectl_path(), "torchfinch", *words]


def surroundings(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "220", **more}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`kubectl torchfinch WORDS`, which finds the plugin on the PATH."""
    command, env = kubectl(*words), surroundings(**environment)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def say(cluster: Cluster, word: str, *options: str) -> str:
    done = run(word, *options, "-n", cluster.namespace, "--kubeconfig", str(cluster.kubeconfig))
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def watching(cluster: Cluster, kubeconfig: Path) -> Iterator[Callable[[str], bool]]:
    """`kubectl torchfinch watch digits` on a terminal; yields whether it comes to show a text after the last one."""
    terminal, other = pty.openpty()
    command = kubectl("watch", "digits", "-n", cluster.namespace)
    env = surroundings(KUBECONFIG=str(kubeconfig), TERM="xterm")
    process = subprocess.Popen(command, env=env, stdin=other, stdout=other, stderr=other, start_new_session=True)
    os.close(other)
    os.set_blocking(terminal, False)
    shown = b""

    def shows(text: str) -> bool:
        def seen() -> bool:
            nonlocal shown
            try:
                shown += os.read(terminal, 1 << 20)
            except BlockingIOError:
                pass
            except OSError:  # the terminal's other side is closed
                pytest.fail(f"watch ended: {shown.decode(errors='replace')}")
            before, found, after = shown.partition(text.encode())
            shown = after if found else before
            return bool(found)

        return within(30, seen)

    try:
        yield shows
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@pytest.mark.slow
def test_a_person_drives_a_release_with_kubectl_torchfinch(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    def phase() -> str:
        return str(json.loads(say(cluster, "get", "digits", "--json"))["digits"]["phase"])

    cluster.patch("canary", "digits", {"spec": {"analysis": {"minRequests": 100000}}})
    cluster.release_version("2.0")
    assert within(60, lambda: cluster.weights == (75, 25))
    with watching(cluster, cluster.kubeconfig) as shows:
        assert shows("of 100000 canary requests")
        say(cluster, "pause", "digits")
        cluster.wait("Paused")
        assert shows("paused at weight 25")
        say(cluster, "resume", "digits")
        assert within(20, lambda: phase() == "Progressing")
        say(cluster, "skip", "digits")
        assert within(20, lambda: cluster.weights == (50, 50))
        say(cluster, "abort", "digits")
        cluster.wait("RolledBack")
        assert shows("a person asked to abort")
    say(cluster, "retry", "digits")
    assert within(60, lambda: cluster.weights == (75, 25))
    say(cluster, "promote", "digits")
    cluster.wait("Promoted")

    listed = say(cluster, "get")
    assert "Promoted" in listed
    assert "2.0" in listed
    told = say(cluster, "history", "digits")
    asked = [told.find(f"a person asked to {word}") for word in ("skip", "abort", "retry", "promote")]
    assert asked == sorted(asked)
    assert asked[0] > 0
    kept = [json.loads(line) for line in say(cluster, "history", "digits", "--json").splitlines()]
    assert kept == cluster.get("canary", "digits")["status"]["decisions"]


@pytest.mark.slow
def test_without_a_controller_watch_says_that_nobody_looks(cluster: Cluster) -> None:
    with watching(cluster, cluster.kubeconfig) as shows:
        assert shows("no controller has looked at it yet")


@pytest.mark.slow
def test_a_check_without_a_number_is_shown_though_the_api_server_drops_what_is_null(cluster: Cluster) -> None:
    unknown = Check(name="mean latency", value=None, limit=None, verdict="skip")
    cluster.patch("canary", "digits", {"status": {"checks": [asdict(unknown)]}}, "--subresource=status")
    found = cluster.get("canary", "digits")
    assert newest(found)["checks"] == [asdict(unknown)]
    with watching(cluster, cluster.kubeconfig) as shows:
        assert shows("mean latency")


@pytest.mark.slow
def test_watch_outlives_an_api_server_that_does_not_answer(cluster: Cluster, wire: Wire) -> None:
    with watching(cluster, wire.kubeconfig) as shows:
        assert shows("no controller has looked at it yet")
        wire.cut()
        assert shows("the API server does not answer")
        wire.mend()
        assert shows("no controller has looked at it yet")


@pytest.mark.slow
def test_a_release_that_is_not_there_is_named_beside_those_that_are(cluster: Cluster) -> None:
    for word in ("get", "watch", "history", "promote", "pause"):
        done = run(word, "nope", "-n", cluster.namespace, KUBECONFIG=str(cluster.kubeconfig))
        assert done.returncode == 1
        assert f"no CanaryRelease nope in namespace {cluster.namespace} (known: digits)" in done.stderr


@pytest.mark.slow
def test_a_person_without_the_right_is_told_so(cluster: Cluster, tmp_path: Path) -> None:
    cluster("create", "serviceaccount", "reader")
    cluster("create", "role", "reader", "--verb=get,list,watch", "--resource=canaryreleases.torchfinch.dev")
    cluster("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={cluster.namespace}:reader")
    config = tmp_path / "config"
    config.write_bytes(cluster.kubeconfig.read_bytes())
    token = cluster("create", "token", "reader").strip()
    chosen = ("--kubeconfig", str(config))
    plain = [kubectl()[0], "config", *chosen]
    for words in (
        ("set-credentials", "reader", f"--token={token}"),
        ("set-context", "mine", f"--cluster={cluster.name}", "--user=reader", f"--namespace={cluster.namespace}"),
    ):
        subprocess.run([*plain, *words], check=True, capture_output=True)

    assert "digits" in run("get", *chosen, "--context", "mine").stdout
    refused = run("abort", "digits", *chosen, "--context", "mine")
    assert refused.returncode == 1
    assert "cannot patch resource" in refused.stderr
    assert "action" not in cluster.get("canary", "digits")["spec"]


@pytest.mark.slow
def test_both_overlays_and_one_with_a_baseline_are_accepted_by_the_api_server(cluster: Cluster, tmp_path: Path) -> None:
    cluster("create", "namespace", "digits")
    shipped = [ROOT / "k8s" / "overlays" / name for name in ("local", "cluster")]
    content = {"namespace": "digits", "resources": [shipped[0]], "components": [ROOT / "k8s" / "baseline"]}
    relative = partial(os.path.relpath, start=tmp_path)
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content, default=relative))
    for overlay in (*shipped, tmp_path):
        config = ["--kubeconfig", str(cluster.kubeconfig), "--dry-run=server"]
        command = [kubectl()[0], "apply", "--server-side", *config, "-k", str(overlay)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "canaryrelease.torchfinch.dev/digits" in done.stdout
    assert "deployment.apps/digits-baseline" in done.stdout
    cluster("delete", "namespace", "digits", "--wait=false")


def test_a_resource_that_nobody_has_looked_at_can_be_shown() -> None:
    found = {"metadata": {"name": "digits"}, "spec": SPEC}
    assert newest(found)["reason"] == "no release yet"
    assert list(decisions(found)) == []


def test_a_status_is_shown_with_its_checks() -> None:
    counted = Pair(stable=Counters(requests=900), canary=Counters(requests=300, errors=30))
    state = State(phase=Phase.PROGRESSING, canary="c", weight=25, total=counted, at=60.0, reason="looking")
    status = build_status(state, spec=Spec.model_validate(SPEC), view=None, measured="", generation=1, before={})
    kept = {"time": "1970-01-01T00:01:00Z", "phase": "Progressing", "step": 1, "weight": 25, "reason": "looking",
            "stable": {"requests": 9, "errors": 0, "latency_sum": 0.0, "latency_count": 0},
            "canary": {"requests": 3, "errors": 0, "latency_sum": 0.3, "latency_count": 3},
            "notes": "looking; and more"}  # fmt: skip
    failed = {"name": "error rate", "value": 0.1, "limit": 0.05, "verdict": "fail", "note": ""}
    found = {
        "metadata": {"name": "digits"},
        "spec": SPEC,
        "status": {**status, "checks": [failed], "decisions": [kept]},
    }

    record = newest(found)
    assert (record["step"], record["steps"], record["weight"]) == (1, 2, 25)
    assert {check["name"]: check["verdict"] for check in record["checks"]}["error rate"] == "fail"
    assert "300/900" in summary("digits", state, record)
    (decision,) = decisions(found)
    assert decision_cells(decision)[1:] == ("Progressing", "1/2", 25, "3/9", "0/0", "100.0/-", "looking; and more")


def test_after_a_promotion_the_numbers_are_still_those_of_the_canary_and_of_the_stable_version_that_it_beat() -> None:
    old, new = Counters(requests=900, errors=9), Counters(requests=300)
    state = State(phase=Phase.PROMOTED, stable="c", canary="c", total=Pair(stable=new, canary=old), at=60.0, ended=60.0)
    status = build_status(state, spec=Spec.model_validate(SPEC), view=None, measured=None, generation=1, before={})
    assert status["compared"] == {"requests": "300/900", "errors": "0.00%/1.00%", "latency": "-/-"}
    found = {"metadata": {"name": "digits"}, "spec": SPEC, "status": status}
    assert "300/900" in summary("digits", state, newest(found))
    assert "300/900" in decision_cells(newest(found))
