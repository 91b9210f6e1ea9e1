"""What people see of a release among the Events of its namespace."""

import json

import pytest
from release.cluster.apps import MakeApp
from waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_release_in_trouble_warns_and_one_that_goes_on_does_not(make_app: MakeApp) -> None:
    app = make_app(evidence={"kind": "Prometheus", "address": "http://127.0.0.1:9"})
    app.offer("2.0")

    def told(kind: str) -> str:
        return app.cluster("get", "events", "--field-selector", f"type={kind}", "--output", "json")

    assert within(30, lambda: "http://127.0.0.1:9/api/v1/query" in told("Warning")), told("Normal")
    notes = {each["message"] for each in json.loads(told("Normal"))["items"] if each["reason"] == "Progressing"}
    assert any(note.startswith("a new canary is offered") for note in notes), notes
