"""What the dashboard's server answers, and whom it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from dashboard.conftest import TOKEN, Played
from flask.testing import FlaskClient

from torchfinch.dashboard import LocalReleases, create_app
from torchfinch.release.state import Phase

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def content(client: FlaskClient, release: str = "") -> str:
    answer = client.get("/api/releases", query_string={"release": release}, headers=BEARER)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_release_is_shown_with_its_numbers_reasons_and_intervals(client: FlaskClient) -> None:
    shown = content(client, "digits")
    assert 'id="release" data-release="digits"' in shown
    assert "error rate: " in shown
    assert "5 → 0 %" in shown
    assert "bands: 95 % intervals" in shown
    assert "No controller runs" in shown


def test_the_one_that_moved_last_is_shown_where_none_is_named(client: FlaskClient, faces: Played) -> None:
    faces.world.now += 1000
    faces.look()
    assert 'id="release" data-release="faces"' in content(client)


def test_the_evidence_of_sequential_is_drawn_and_the_last_look_is_told(client: FlaskClient) -> None:
    shown = content(client, "faces")
    assert "log of the odds, 1 takes it back" in shown
    assert "failing more than stable" in shown
    assert "no evidence" in shown


def test_what_a_version_calls_itself_is_text(client: FlaskClient) -> None:
    shown = content(client, "faces")
    assert "two &lt;i&gt;2&lt;/i&gt;" in shown
    assert "<i>2</i>" not in shown


def test_after_a_promotion_the_numbers_stay_with_their_versions(client: FlaskClient, faces: Played) -> None:
    faces.promoted()
    total = faces.world.load().total
    assert f"{total.stable.requests:,} / {total.canary.requests:,}" in content(client, "faces")


def test_nothing_new_costs_no_page(client: FlaskClient, faces: Played) -> None:
    tag = client.get("/api/releases", headers=BEARER).headers["ETag"]
    assert client.get("/api/releases", headers={**BEARER, "If-None-Match": tag}).status_code == 304
    faces.look()
    assert client.get("/api/releases", headers={**BEARER, "If-None-Match": tag}).status_code == 200


def test_a_history_that_was_put_aside_is_read_anew(client: FlaskClient, faces: Played) -> None:
    content(client, "faces")
    whole = faces.store.history.read_bytes()
    faces.store.history.write_bytes(whole[: whole.index(b"\n") + 1] + b'{"half')
    assert "evidence" not in content(client, "faces")


def test_a_state_that_cannot_be_read_hides_no_other_release(client: FlaskClient, digits: Played) -> None:
    (digits.store.folder / "state.json").write_text("{}x")
    shown = content(client, "digits")
    assert "state.json cannot be read" in shown
    assert 'data-release="faces"' in shown


def test_without_any_release_the_page_says_how_to_begin_one(tmp_path: Path) -> None:
    empty = create_app(LocalReleases(tmp_path), token=TOKEN).test_client()
    assert "torchfinch canary run MANIFEST" in content(empty)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer \xe9"}],
)
def test_without_the_token_nothing_is_told_and_nothing_done(
    client: FlaskClient, digits: Played, headers: dict[str, str]
) -> None:
    assert client.get("/api/releases", headers=headers).status_code == 401
    assert client.post("/api/releases/digits/retry", headers=headers).status_code == 401
    assert digits.store.request().action is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "["}, 421),
        ({"Host": "127.0.0.1.evil.example:8070"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_another_site_is_refused_even_with_the_token(
    client: FlaskClient, digits: Played, headers: dict[str, str], status: int
) -> None:
    asked = {**BEARER, "Host": "127.0.0.1:8070", **headers}
    assert client.post("/api/releases/digits/retry", headers=asked).status_code == status
    assert client.get("/", headers=asked).status_code == status
    assert digits.store.request().action is None


def test_the_page_itself_runs_no_script_but_its_own_and_is_framed_by_nobody(client: FlaskClient) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("word", ["promote", "abort", "skip", "resume", "retry"])
def test_a_button_leaves_an_action(client: FlaskClient, faces: Played, word: str) -> None:
    answer = client.post(f"/api/releases/faces/{word}", headers=BEARER)
    assert answer.get_json() == {"message": f"asked faces to {word}"}
    action = faces.store.request().action
    assert action
    assert action.type == word


def test_pause_holds_and_resume_goes_on(client: FlaskClient, faces: Played) -> None:
    client.post("/api/releases/faces/pause", headers=BEARER)
    faces.look()
    assert faces.world.load().phase is Phase.PAUSED
    assert 'data-word="resume"' in content(client, "faces")
    client.post("/api/releases/faces/resume", headers=BEARER)
    faces.look()
    assert faces.world.load().phase is not Phase.PAUSED


def test_what_is_no_word_or_no_release_is_told(client: FlaskClient) -> None:
    assert client.post("/api/releases/faces/explode", headers=BEARER).status_code == 404
    answer = client.post("/api/releases/cats/abort", headers=BEARER)
    assert answer.status_code == 502
    assert "there is no release cats" in answer.get_json()["message"]


def test_without_a_token_of_its_own_the_page_only_shows(tmp_path: Path, faces: Played) -> None:
    reader = create_app(LocalReleases(tmp_path), token=None).test_client()
    assert "data-word" not in reader.get("/api/releases").text
    assert reader.post("/api/releases/faces/abort").status_code == 403
    assert faces.store.request().action is None


def test_the_page_loads_no_torch_for_it_runs_in_the_controller_too() -> None:
    code = "import sys, torchfinch.dashboard.cluster; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
