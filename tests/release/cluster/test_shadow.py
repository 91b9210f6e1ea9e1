"""Copies of requests, forced versions, checks of others and notifications, on a real API server."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from release.cluster.apps import App
from release.cluster.place import Cluster, Controller, Object
from release.cluster.world import World
from release.hooks import hook
from waiting import within

from torchfinch.release.cluster.kinds import HTTP_ROUTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ENDLESS = 1_000_000


class Mirroring(World):
    """A gateway that copies requests too, to servers that tell what they predict."""

    def __init__(self, kubeconfig: Path) -> None:
        self.predicts: dict[str, tuple[float, ...]] = {}
        self._versions: dict[str, str] = {}
        super().__init__(kubeconfig)

    def answer(self, query: str) -> Object:
        content = super().answer(query)
        if "torchfinch_predictions_total" in query:
            content["data"]["result"] += [
                {"metric": {"__name__": "torchfinch_predictions_total", "pod": pod, "class": str(number)},
                 "value": [time.time(), str(share * self.counted[pod][0])]}
                for pod, version in list(self._versions.items()) if pod in query
                for number, share in enumerate(self.predicts.get(version, ()))
            ]  # fmt: skip
        return content

    def _send(self, app: App) -> None:
        super()._send(app)
        rule = app.get(HTTP_ROUTES)["spec"]["rules"][0]
        copied = [each["requestMirror"].get("percent", 100) for each in rule.get("filters", [])]
        for pod in app.pods:
            labels, name = pod["metadata"]["labels"], pod["metadata"]["name"]
            self._versions[name] = labels["app.kubernetes.io/version"]
            if copied and labels["track"] == "canary" and name in self.counted:
                self.counted[name][0] += copied[0]
                self.counted[name][1] += copied[0] * self.error_rate.get(self._versions[name], 0.0)


@pytest.fixture
def world(cluster: Cluster) -> Iterator[World]:
    made = Mirroring(cluster.kubeconfig)
    made.join(cluster)
    yield made
    made.close()


def filters(cluster: Cluster) -> list[Object]:
    found: list[Object] = cluster.get("httproute", "digits")["spec"]["rules"][0].get("filters", [])
    return found


def decided(cluster: Cluster) -> list[tuple[str, int]]:
    status = cluster.get("canary", "digits")["status"]
    return list(dict.fromkeys((each["phase"], each["weight"]) for each in status["decisions"]))


def test_copies_come_before_the_first_weight_and_leave_no_trace_even_where_the_release_is_deleted(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    shadow = {"percent": 40, "minRequests": ENDLESS}
    cluster.patch("canary", "digits", {"spec": {"shadow": shadow}})
    cluster.release_version("2.0")
    assert within(60, lambda: "Shadowing" in cluster("get", "canary"))
    [copying] = filters(cluster)
    assert copying["requestMirror"] | {"backendRef": ...} == {"backendRef": ..., "percent": 40}
    assert copying["requestMirror"]["backendRef"]["name"] == "digits-canary"
    assert cluster.weights == (100, 0)
    cluster.wait("Progressing")

    cluster.patch("canary", "digits", {"spec": {"shadow": {"minRequests": 20}}})
    cluster.wait("Promoted", seconds=90)

    assert filters(cluster) == []
    assert decided(cluster)[1:4] == [("Progressing", 0), ("Shadowing", 0), ("Progressing", 25)]

    cluster.patch("canary", "digits", {"spec": {"shadow": shadow}})
    cluster.release_version("3.0")
    assert within(60, lambda: bool(filters(cluster)))
    cluster("delete", "canary", "digits", "--timeout=10s")
    assert within(20, lambda: not filters(cluster))


@pytest.mark.parametrize("fault", ["fails", "predicts otherwise"])
def test_a_canary_that_is_worse_on_copies_gets_no_user(
    cluster: Cluster, world: Mirroring, controller: Controller, fault: str
) -> None:
    if fault == "fails":
        world.error_rate["2.0"] = 0.3
    else:
        world.predicts = {"1.0": (0.5, 0.5), "2.0": (1.0, 0.0)}
    cluster.patch("canary", "digits", {"spec": {"shadow": {}}})
    cluster.release_version("2.0")
    cluster.wait("RolledBack")
    assert not any(weight for _, weight in decided(cluster))
    reason = cluster.get("canary", "digits")["status"]["reason"]
    assert ("error rate" if fault == "fails" else "class drift") in reason
    assert filters(cluster) == []


def chosen(cluster: Cluster) -> list[str]:
    """The versions that requests can choose, by the route for it."""
    done = cluster.run("get", "httproute", "digits-forced", "--output", "json")
    rules = json.loads(done.stdout)["spec"]["rules"] if done.returncode == 0 else []
    return [rule["matches"][0]["headers"][-1]["value"] for rule in rules]


def test_requests_can_choose_the_canary_while_it_has_a_weight_and_the_route_goes_with_the_release(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    force = {"header": "x-version", "cookie": "version"}
    cluster.patch("canary", "digits", {"spec": {"force": force, "analysis": {"minRequests": ENDLESS}}})
    assert within(20, lambda: chosen(cluster) == ["stable"])
    cluster.release_version("2.0")
    assert within(60, lambda: chosen(cluster) == ["stable", "canary"])
    assert cluster.weights == (75, 25)
    made = cluster.get("httproute", "digits-forced")
    assert made["spec"]["parentRefs"][0]["name"] == "gw"
    assert len(made["spec"]["rules"][0]["matches"]) == 2

    cluster.patch("canary", "digits", {"spec": {"action": {"type": "abort", "id": "stop it"}}})
    cluster.wait("RolledBack")
    assert within(20, lambda: chosen(cluster) == ["stable"])

    cluster.patch("canary", "digits", {"spec": {"force": None}})
    assert within(20, lambda: not attached(cluster))
    written = cluster.get("httproute", "digits-forced")["metadata"]["resourceVersion"]
    cluster.patch("canary", "digits", {"spec": {"progressDeadline": "9m"}})
    assert within(20, lambda: observed(cluster))
    assert cluster.get("httproute", "digits-forced")["metadata"]["resourceVersion"] == written

    cluster.patch("canary", "digits", {"spec": {"force": force}})
    assert within(20, lambda: attached(cluster))
    without_a_router = {"route": {"kind": "Replicas", "name": None}, "force": None}
    cluster.patch("canary", "digits", {"spec": without_a_router})
    assert within(20, lambda: not attached(cluster))

    cluster("delete", "canary", "digits", "--timeout=10s")
    assert within(30, lambda: cluster.run("get", "httproute", "digits-forced").returncode == 1)


def attached(cluster: Cluster) -> bool:
    return bool(cluster.get("httproute", "digits-forced")["spec"].get("parentRefs"))


def observed(cluster: Cluster) -> bool:
    found = cluster.get("canary", "digits")
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


def test_others_are_asked_and_told_and_a_route_of_theirs_is_left_alone(
    cluster: Cluster, world: World, controller: Controller
) -> None:
    theirs = {**cluster.get("httproute", "digits"), "metadata": {"name": "digits-forced"}}
    cluster("apply", "-f", "-", stdin=json.dumps(theirs))
    cluster.patch("canary", "digits", {"spec": {"progressDeadline": "9m"}})
    assert within(20, lambda: observed(cluster))
    assert "somebody else" not in controller.log, "without force it is nobody's business"
    cluster.patch("canary", "digits", {"spec": {"force": {"header": "x-version"}}})
    with hook() as shop, hook() as chat:
        checks = [{"name": "orders", "webhook": shop.url, "successCondition": ">= 0.9"}]
        query = {"name": "answers", "query": "sum(answers)", "failureCondition": "> 1", "dryRun": True}
        cluster.patch("canary", "digits", {"spec": {"checks": [*checks, query], "notify": {"webhook": chat.url}}})
        cluster.release_version("2.0")
        cluster.wait("Promoted", seconds=90)
        shop.answer = {"value": 0.25}
        cluster.release_version("3.0")
        cluster.wait("RolledBack")
        assert chat.came.wait(10)
        assert within(20, lambda: len(chat.bodies) == 2)

    good, bad = [body["text"] for body in chat.bodies]
    name = f"{cluster.namespace}/digits"
    assert good.startswith(f"{name}: 2.0 was promoted: ")
    assert bad == f"{name}: 3.0 was rolled back: orders: 0.25 fails; it passes if >= 0.9"
    assert {body["release"] for body in shop.bodies} == {name}
    verdicts = {check["name"]: check["verdict"] for line in controller.lines() for check in line.get("checks", [])}
    assert (verdicts["orders"], verdicts["answers"]) == ("fail", "skip")
    assert "HTTPRoute digits-forced is somebody else's" in controller.log
    assert cluster.get("httproute", "digits-forced")["spec"] == theirs["spec"]


CHECK = {"name": "a", "webhook": "http://a", "failureCondition": "> 1"}


def test_what_makes_no_sense_is_refused_by_the_api_server(cluster: Cluster) -> None:
    for change, said in (
        ({"checks": [{**CHECK, "webhook": None}]}, "either a webhook or a query"),
        ({"checks": [{**CHECK, "failureCondition": None}]}, "a successCondition, a failureCondition, or both"),
        ({"checks": [{**CHECK, "webhook": None, "query": "up"}]}, "the address of its Prometheus"),
        ({"checks": [{**CHECK, "failureCondition": "1"}]}, "spec.checks[0].failureCondition"),
        ({"checks": [CHECK, CHECK]}, "a name of its own"),
        ({"shadow": {}, "route": {"kind": "Replicas", "name": None}}, "need an HTTPRoute"),
        ({"baseline": {"deployment": "b"}, "route": {"kind": "Replicas", "name": None}}, "baseline needs an HTTPRoute"),
        ({"baseline": {}}, "spec.baseline.deployment"),
        ({"force": {}}, "force needs a header"),
        ({"notify": {}}, "either a webhook or a webhookEnv"),
        ({"shadow": {"percnt": 5}}, 'unknown field "spec.shadow.percnt"'),
    ):
        done = cluster.run("patch", "canary", "digits", "--type", "merge", "--patch", json.dumps({"spec": change}))
        assert said in done.stderr, done
