"""What a release meets in life and is seldom tested: each on the real API server, by one controller."""

import json
import re
from datetime import UTC, datetime
from functools import partial

import pytest
import yaml
from release.cluster.apps import ENDLESS, App, MakeApp, Traffic
from release.cluster.place import ROOT, Cluster, Object
from waiting import within

from torchfinch.experiment import HEADER
from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_route_that_its_gateway_does_not_accept_holds_the_weight_until_it_does(
    make_app: MakeApp, traffic: Traffic
) -> None:
    app = make_app()
    traffic.refused[app.namespace] = "no listener of this name"
    app.offer("2.0")
    assert within(30, lambda: app.status["reason"] == "the route with weight 0 is not taken up yet"), app.status
    synced = {each["type"]: each for each in app.status["conditions"]}["RouteSynced"]
    assert (synced["status"], synced["message"]) == (
        "False",
        "the route is not accepted: no listener of this name; no listener of this name",
    )
    assert not within(2, lambda: app.weights != [100, 0])
    del traffic.refused[app.namespace]
    app.wait("Promoted")


def test_a_restart_of_either_deployment_is_no_new_version_amid_a_release_and_after_it(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    began = app.status["startedAt"]
    for track in ("canary", "stable"):
        app.cluster("rollout", "restart", f"deployment/digits-{track}")
        app.cluster("rollout", "status", f"deployment/digits-{track}", "--timeout=30s")
        assert app.weights == [75, 25]
    app.spec(analysis={"minRequests": 50})
    app.wait("Promoted")
    assert app.status["startedAt"] == began

    ended = app.status["endedAt"]
    app.cluster("rollout", "restart", "deployment/digits-stable", "deployment/digits-canary")
    app.cluster("rollout", "status", "deployment/digits-stable", "--timeout=30s")
    assert not within(1, lambda: not app.holds("Promoted") or app.status["endedAt"] != ended)


def test_a_new_version_whose_canary_has_no_pods_gets_no_weight_before_it_has_some(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.offer("3.0", starts=False, replicas=0)
    assert within(30, lambda: app.weights == [100, 0]), app.status
    assert within(30, lambda: app.version == "3.0" and app.replicas[1] > 0), app.status
    assert not within(1, lambda: app.weights != [100, 0])
    app.offer("4.0")
    assert within(60, partial(app.begins, "4.0")), app.status


def requests(app: App) -> int:
    return int(json.loads(app.status["state"])["total"]["canary"]["requests"])


def test_a_pod_that_counts_from_zero_again_takes_nothing_from_what_was_counted(
    make_app: MakeApp, traffic: Traffic
) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    assert within(30, lambda: requests(app) > 200)
    own = [pod["metadata"]["name"] for pod in app.pods if pod["metadata"]["labels"]["track"] == "canary"]
    before = requests(app)
    for pod in own:
        traffic.counted[pod] = [0, 0]
    seen = [before]

    def went_on() -> bool:
        seen.append(requests(app))
        return seen[-1] > before + 200

    assert within(30, went_on)
    assert seen == sorted(seen)


def test_a_stable_without_requests_is_no_measure_and_absolute_limits_judge_alone(
    make_app: MakeApp, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "silent", {"stable"})
    monkeypatch.setitem(traffic.error_rate, "too-much", 0.3)
    app = make_app()
    app.offer("too-much")
    app.wait("RolledBack")
    assert "error rate" in app.status["reason"]
    assert app.status["compared"]["requests"].endswith("/0")


@pytest.mark.parametrize(("version", "end"), [("2.0", "Promoted"), ("bad", "RolledBack")])
def test_the_canarys_pods_go_after_the_delay_and_never_before(
    make_app: MakeApp, traffic: Traffic, version: str, end: str
) -> None:
    traffic.error_rate["bad"] = 0.3
    app = make_app(scaleDownDelay="4s")
    app.offer(version)
    app.wait(end)
    assert within(30, lambda: app.replicas[1] == 0)
    fields = app.get(DEPLOYMENTS, "digits-canary")["metadata"]["managedFields"]
    scaled = next(each for each in fields if each["manager"] == "torchfinch" and "f:replicas" in str(each["fieldsV1"]))
    assert (moment(scaled["time"]) - moment(app.status["endedAt"])).total_seconds() >= 3  # of 4, told in whole ones


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def test_the_documented_route_of_an_experiment_is_one_that_the_api_server_takes_and_matches_its_header(
    cluster: Cluster,
) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    [written] = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: HTTPRoute" in block]
    cluster("apply", "--dry-run=server", "-f", "-", stdin=written)
    route: Object = yaml.safe_load(written)
    treated, others = route["spec"]["rules"]
    [header] = treated["matches"][0]["headers"]
    assert (header["name"], header["value"]) == (HEADER, "treatment")
    assert treated["backendRefs"] != others["backendRefs"]
    assert HTTP_ROUTES.name == route["kind"]
