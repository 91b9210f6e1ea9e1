"""Deleting a release amid its split, on the real API server."""

import pytest
from release.cluster.apps import ENDLESS, MakeApp
from release.cluster.place import Controller
from waiting import within

from torchfinch.release.cluster.kinds import DEPLOYMENTS, HTTP_ROUTES
from torchfinch.release.cluster.marks import ANNOTATION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_no_traffic_goes_to_a_stable_version_that_cannot_answer_until_it_can(
    make_app: MakeApp, everywhere: Controller
) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.merge(DEPLOYMENTS, {"spec": {"replicas": 0}}, "digits-stable")
    assert within(30, lambda: "stable has no ready endpoint" in app.status["reason"]), app.status
    app.cluster("delete", "canary", "digits")
    told = f"HTTPRoute {app.namespace}/digits keeps 25 % on digits-canary"
    assert within(30, lambda: told in everywhere.log)
    assert not within(2, lambda: app.weights != [75, 25])

    app.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "digits-stable")
    assert within(60, lambda: app.weights == [100, 0])
    assert ANNOTATION not in app.get(HTTP_ROUTES)["metadata"].get("annotations", {})


def test_a_release_that_is_deleted_after_its_annotation_leaves_all_traffic_on_stable(make_app: MakeApp) -> None:
    app = make_app(analysis=ENDLESS)
    app.offer("2.0")
    app.reach(25)
    app.cluster("annotate", "httproute", "digits", f"{ANNOTATION}-")
    assert within(30, lambda: ANNOTATION in app.get(HTTP_ROUTES)["metadata"].get("annotations", {}))
    assert app.weights == [75, 25]
    assert any("had gone from the route: put back" in each["notes"] for each in app.status["decisions"])
    app.cluster("delete", "canary", "digits")
    assert within(30, lambda: app.weights == [100, 0])
