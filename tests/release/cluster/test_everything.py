"""Everything real: the project's manifests, TorchServes in pods, a gateway, Prometheus, Locust, the controller."""

import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from colours import write_colour_run
from release.cluster.everything import PROMETHEUS, ROOT, Everything
from release.cluster.plane import tools
from waiting import within

from torchfinch.archive import pack_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
VERSIONS = {"1.0": None, "2.0": None, "3.0": ROOT / "demo" / "broken.py"}
FASTER = {
    "apiVersion": "torchfinch.dev/v1alpha1",
    "kind": "CanaryRelease",
    "metadata": {"name": "digits"},
    "spec": {
        "steps": [{"weight": 25}, {"weight": 50}, {"weight": 100}],
        "analysis": {"interval": "1s", "minRequests": 60, "maxLatencyRatio": 20},
        "evidence": {"kind": "Prometheus", "address": PROMETHEUS},
        "diff": {"inputs": "digits"},
        "force": {"header": "x-version"},
        "scaleDownDelay": "5s",
    },
}
_POD = "/spec/template/spec"
INPUTS = [  # the volume's folder is where the mount would be in a container
    {"op": "replace", "path": f"{_POD}/containers/0/args", "value": ["controller", "--inputs", "$(VOLUME_DIGITS)/.."]},
    {"op": "add", "path": f"{_POD}/volumes", "value": [{"name": "digits", "configMap": {"name": "inputs"}}]},
]


def archives(folder: Path) -> None:
    """`TAG.mar` for every version: a model that tells colours apart, one of which is called eight."""
    run = write_colour_run(folder / "run")
    for name in ("model.json", "golden/golden.json"):  # the broken version dislikes eights
        (run / name).write_text((run / name).read_text().replace("green", "eight"))
    (run / "golden" / "green.png").rename(run / "golden" / "eight.png")
    for version, handler in VERSIONS.items():
        pack_run(run, name="digits", version=version, handler=handler, output=folder / f"{version}.mar")


def inputs(folder: Path) -> list[str]:
    """The golden requests as text, for the cluster's stand-in for a node knows no binaryData."""
    images = sorted((folder.parent / "run" / "golden").glob("*.png"))
    for image in images:
        body = {"image": base64.b64encode(image.read_bytes()).decode()}
        (folder / f"{image.stem}.json").write_text(json.dumps(body))
    return [f"{image.stem}.json" for image in images]


def overlay(folder: Path, version: str) -> Path:
    """What a user's own overlay is: the shipped one with a few settings, and both Deployments at a version."""
    folder.mkdir(exist_ok=True)
    (folder / "release.yaml").write_text(yaml.safe_dump(FASTER))
    content = {
        "resources": [os.path.relpath(ROOT / "k8s" / "overlays" / "local", folder)],
        "images": [{"name": "digits", "newTag": version}],
        "replicas": [{"name": "torchfinch-controller", "count": 2}],
        "configMapGenerator": [{"name": "inputs", "namespace": "digits", "files": inputs(folder)}],
        "patches": [
            {"path": "release.yaml"},
            {"target": {"kind": "Deployment", "name": "torchfinch-controller"}, "patch": yaml.safe_dump(INPUTS)},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    tools()
    home = tmp_path_factory.mktemp("everything")
    archives(home)
    made = Everything(home)
    try:
        made.start()
        made.kubectl("apply", "--server-side", "-k", str(ROOT / "k8s" / "crd"))
        known = (
            "get",
            "crd",
            "canaryreleases.torchfinch.dev",
            "-o",
            "jsonpath={.status.conditions[?(@.type=='Established')].status}",
        )
        assert within(30, lambda: made.kubectl(*known) == "True")
        yield made
    finally:
        made.close()


def test_a_good_version_is_promoted_and_a_broken_one_taken_back_without_a_failed_request_owed_to_it(
    world: Everything,
) -> None:
    apply = ("apply", "--server-side", "-k", str(overlay(world.home / "overlay", "1.0")))
    world.kubectl(*apply)
    world.kubectl("rollout", "status", "-n", "digits", "deployment/digits-stable", "--timeout=120s")
    world.kubectl("wait", "-n", "digits", "canary/digits", "--for=condition=RouteSynced", "--timeout=60s")

    traffic = world.run("torchfinch", "loadtest", "http://127.0.0.1:80", "--model", "digits", "--image",
                        world.home / "run" / "golden", "--rate", "60", "--duration", "10m", "--json")  # fmt: skip
    offer(world, "2.0")
    assert within(90, lambda: weights(world)[1] > 0), told(world)
    with pytest.raises(AssertionError, match='conflict with "torchfinch" using gateway'):
        world.kubectl(*apply)
    killed = leader(world)
    assert world.kill("torchfinch-controller") == 2
    ended(world, "Promoted")
    assert leader(world) != killed
    assert weights(world) == [100, 0]
    assert "3 of 3 inputs are answered as by stable" in str(world.get("canary", "digits")["status"]["decisions"])
    stable = world.get("deployment", "digits-stable")["spec"]["template"]["spec"]
    assert stable["containers"][0]["image"] == "digits:2.0"
    world.kubectl("wait", "-n", "digits", "deployment/digits-canary", "--for=jsonpath={.spec.replicas}=0")
    overlay(world.home / "overlay", "2.0")
    world.kubectl(*apply)

    from_pods = {  # the default: each pod is asked; and its last failures are scraped before it goes
        "spec": {"evidence": {"kind": "Pods", "address": None}, "scaleDownDelay": "2m"}
    }
    world.kubectl("patch", "canary", "digits", "-n", "digits", "--type=merge", "--patch", json.dumps(from_pods))
    offer(world, "3.0")
    assert within(90, partial(chosen, world, "3.0")), told(world)
    ended(world, "RolledBack")
    assert within(20, partial(chosen, world, "2.0")), "who chose the canary has stable now"
    assert weights(world) == [100, 0]
    reason = world.get("canary", "digits")["status"]["reason"]
    assert "error rate" in reason, reason

    traffic.send_signal(signal.SIGINT)
    summary = json.loads(traffic.communicate(timeout=60)[0])
    failed = {version: counted["failures"] for version, counted in summary["versions"].items()}
    assert set(failed) == set(VERSIONS), failed
    broken = failed.pop("3.0")
    assert broken > 0
    counted = partial(world.query, "sum(max_over_time(Requests5XX[10m]))")
    assert within(30, lambda: counted() == broken), (broken, counted())
    assert not any(failed.values()), (failed, summary["reasons"])


def test_the_controller_uses_every_right_that_it_ships_with_and_no_other(world: Everything) -> None:
    rights = (ROOT / "k8s" / "controller" / "rbac.yaml").read_text()
    granted = {
        (group, resource, verb)
        for document in yaml.safe_load_all(rights)
        for rule in document.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    world.kubectl("create", "namespace", "rights")
    world.kubectl("apply", "--server-side", "-f", str(Path(os.environ["KUBEBUILDER_ASSETS"]) / "manifests" / "istio"))
    world.kubectl("apply", "-n", "rights", "-k", str(ROOT / "k8s" / "controller"))
    world.kubectl("apply", "-n", "rights", "-f", str(Path(__file__).with_name("rights.yaml")))
    ready = "--for=jsonpath={.status.readyReplicas}=1"
    world.kubectl("wait", "-n", "rights", "deployment/one-canary", ready, "--timeout=90s")

    def missing() -> set[tuple[str, str, str]]:
        """A promotion that never comes to an end, aborted, while somebody else edits everything."""
        for word, phase in (("promote", "Promoting"), ("abort", "RolledBack"), ("retry", "Progressing")):
            world.kubectl("torchfinch", word, "one", "-n", "rights")
            reached = f"--for=jsonpath={{.status.phase}}={phase}"
            world.kubectl("wait", "-n", "rights", "canary/one", reached, "--timeout=60s")
        return granted - world.asked("rights:torchfinch-controller")

    editing = world.run(sys.executable, Path(__file__).with_name("editing.py"), "rights")
    try:
        assert within(240, lambda: not missing()), missing()
    finally:
        editing.kill()
    assert world.asked("rights:torchfinch-controller") == granted


def offer(world: Everything, version: str) -> None:
    """What a person does to release a version."""
    world.kubectl("set", "image", "-n", "digits", "deployment/digits-canary", f"server=digits:{version}")


def chosen(world: Everything, version: str) -> bool:
    """Whether this version answers who asks for the canary."""
    return world.answering(world.home / "run" / "golden" / "red.png", "x-version: canary") == version


def ended(world: Everything, condition: str) -> None:
    wait = ("wait", "-n", "digits", "canary/digits", f"--for=condition={condition}", "--timeout=240s")
    try:
        world.kubectl(*wait, timeout=260)
    except AssertionError as error:
        raise AssertionError(told(world)) from error


def told(world: Everything) -> str:
    return world.kubectl("torchfinch", "history", "digits", "-n", "digits")


def weights(world: Everything) -> list[int]:
    return [each["weight"] for each in world.get("httproute", "digits")["spec"]["rules"][0]["backendRefs"]]


def leader(world: Everything) -> str:
    return str(world.get("lease", "torchfinch-controller")["spec"]["holderIdentity"])
