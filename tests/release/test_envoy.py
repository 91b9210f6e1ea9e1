"""The controller with a real Envoy and real HTTP servers: promoted, taken back, and no request lost on the way."""

import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from release.helpers import HERE, Release, release

from torchfinch.errors import TorchfinchError
from torchfinch.release.history import read_history
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import LATENCY_EDGES, Counters, Phase

pytestmark = pytest.mark.slow


def reasons(it: Release) -> list[str]:
    return [line["reason"] for line in read_history(it.store.history)]


def notes(it: Release) -> str:
    return "; ".join(note for line in read_history(it.store.history) for note in line["notes"])


def by_hand(it: Release, **weights: int) -> None:
    """Change the weights of Envoy, and nothing else."""
    envoy = it.router.envoy
    envoy.set_routing(replace(envoy.routing(), weights=weights))


# --- promoted and taken back ---


def test_a_good_canary_climbs_every_step_and_no_request_fails(tmp_path: Path) -> None:
    with release(tmp_path, "good 2", analysis={"minRequests": 100}) as it, it.traffic() as statuses:
        it.run()
        time.sleep(0.5)
    history = read_history(it.store.history)

    assert it.phase is Phase.PROMOTED
    assert set(statuses) == {200}
    assert list(dict.fromkeys(line["weight"] for line in history)) == [0, 5, 25, 50, 100]
    assert it.router.table().stable == "b"
    assert all(replayed.same for replayed in replay(history))


@pytest.mark.parametrize(("canary", "reason"), [("failing 2", "error rate"), ("slow 2", "mean latency")])
def test_a_bad_canary_is_taken_back_for_what_is_wrong_with_it(tmp_path: Path, canary: str, reason: str) -> None:
    with release(tmp_path, canary) as it, it.traffic() as statuses:
        it.run()
        before = len(statuses)
        time.sleep(0.5)
        after = statuses[before + 8 :]

        assert it.weights == {"a": 100, "b": 0}
    assert it.phase is Phase.ROLLED_BACK
    assert reason in it.store.load().reason
    assert set(after) == {200}


def test_a_canary_whose_server_ends_is_taken_back_at_once(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        process = it.servers.process("b")
        assert process
        process.kill()
        it.run()

        assert it.weights == {"a": 100, "b": 0}
    assert it.store.load().reason == "the canary has no ready endpoint at weight 5"


def test_the_next_release_replaces_a_canary_amid_traffic_and_no_request_fails(tmp_path: Path) -> None:
    """The old canary has answers under way when its weight becomes 0; its server may end only after them."""
    with release(tmp_path, "slow 2", analysis={"maxMeanLatency": None, "maxLatencyRatio": None}) as it:
        it.run_to_weight(5)
        it.store.ask("skip")
        it.run_to_weight(25)
        with it.traffic() as statuses:
            time.sleep(1)
            (tmp_path / "canary.mar").write_text("good 3")
            it.run()

        assert it.router.table().b.label == "good 3"
    assert it.phase is Phase.PROMOTED
    assert set(statuses) == {200}


def test_after_a_promotion_the_other_slot_takes_the_next_canary(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it, it.traffic() as statuses:
        it.run()
        (tmp_path / "canary.mar").write_text("good 3")
        it.run()

        assert it.router.table().stable == "a"
        assert it.router.table().a.label == "good 3"
        assert len(list((it.store.folder / "archives").glob("*.mar"))) == 2
    assert set(statuses) == {200}


# --- killed ---


def start_controller(it: Release, call: str = "") -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, HERE / "killed.py", it.folder, call], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline() == "at work\n"
    child.stdout.close()
    return child


@pytest.mark.parametrize(
    ("action", "weight", "outcome"), [("skip", 25, Phase.PROMOTED), ("abort", 0, Phase.ROLLED_BACK)]
)
def test_a_kill_between_weight_set_and_state_written_is_taken_over(
    tmp_path: Path, action: str, weight: int, outcome: Phase
) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        written = it.store.load()
        it.store.ask(action)  # type: ignore[arg-type]
        child = start_controller(it, "save")

        assert child.wait(60) == -9
        assert it.weights["b"] == weight, "the weight was set"
        assert it.store.load() == written, "the state was not written"

        tick = it.controller().tick()

        assert it.weights["b"] == weight, "its own work is no hand edit"
        assert tick.decision.notes[0].startswith(f"took over at weight {weight}")
        with it.traffic() as statuses:
            it.run()
    assert it.phase is outcome
    assert set(statuses) == {200}


def test_a_kill_between_the_change_of_roles_and_state_written_is_a_promotion(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        it.store.ask("promote")
        it.controller().tick()
        assert start_controller(it, "save").wait(60) == -9
        assert it.router.table().stable == "b"
        assert it.phase == "Promoting"

        it.run()

        assert it.weights == {"a": 0, "b": 100}
    assert it.phase == "Promoted"


def test_a_controller_that_is_killed_again_and_again_still_promotes_and_no_request_fails(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        with it.traffic() as statuses:
            for life in range(40):
                child = start_controller(it)
                try:
                    child.wait(0.3 + life % 7 * 0.13)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                if it.phase is Phase.PROMOTED:
                    break
    assert it.phase is Phase.PROMOTED
    assert set(statuses) == {200}
    assert list(dict.fromkeys(line["weight"] for line in read_history(it.store.history))) == [0, 5, 25, 50, 100]


def test_two_controllers_of_one_release_never_both_act(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        child = start_controller(it)
        with pytest.raises(TorchfinchError, match=f"has a controller already, process {child.pid}"), it.store.locked():
            pass
        assert it.store.controlled
        child.kill()
        child.wait()
        with it.store.locked():
            pass
        assert not it.store.controlled


# --- interference ---


def test_a_weight_raised_by_hand_is_put_back_and_a_lowered_one_is_a_pause(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        controller = it.controller()
        by_hand(it, a=40, b=60)
        assert any("raised by hand to 60" in note for note in controller.tick().decision.notes)
        assert it.weights == {"a": 95, "b": 5}

        by_hand(it, a=99, b=1)
        assert controller.tick().decision.state.phase is Phase.PAUSED
        assert it.weights == {"a": 99, "b": 1}

        it.store.ask("resume")
        controller.tick()
        assert it.weights == {"a": 95, "b": 5}


def test_both_weights_set_to_0_by_hand_do_not_stay_an_outage(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        by_hand(it, a=0, b=0)
        assert "nothing was served" in it.controller().tick().trouble[0]
        assert it.weights == {"a": 95, "b": 5}
        assert httpx.post(it.url, content=b"x").status_code == 200


def test_a_restarted_envoy_gets_its_weights_back(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        it.run_to_weight(5)
        it.router.envoy.stop()
        controller = it.controller()
        for _ in range(3):
            controller.tick()

        assert it.weights == {"a": 95, "b": 5}
        assert only(it.read().canary).requests == 0


def test_without_envoys_admin_socket_the_weight_holds_and_traffic_flows(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it, it.traffic() as statuses:
        it.run_to_weight(5)
        socket = it.store.folder / "admin.sock"
        socket.rename(tmp_path / "away.sock")
        controller = it.controller()
        for _ in range(10):
            tick = controller.tick()
            assert tick.decision.state.phase is Phase.PROGRESSING
            assert "Envoy does not answer" in tick.trouble[0]
            time.sleep(0.1)
        (tmp_path / "away.sock").rename(socket)
        assert it.weights == {"a": 95, "b": 5}
        it.run()
    assert it.phase is Phase.PROMOTED
    assert set(statuses) == {200}


def test_a_broken_edit_of_the_manifest_is_reported_and_the_last_good_one_stays(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        controller = it.controller()
        controller.tick()
        good = it.manifest.read_text()
        it.manifest.write_text(good.replace("interval", "intervall"))
        tick = controller.tick()
        assert "spec.analysis.intervall is no known field" in tick.trouble[0]
        assert tick.spec.analysis.interval == 0.2
        it.manifest.write_text(good.replace("200ms", "300ms"))
        assert controller.tick().spec.analysis.interval == 0.3


def test_a_changed_route_is_told_to_wait_for_a_stop(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        controller = it.controller()
        assert controller.tick().trouble == ()
        it.write("good 2", route_timeout="7s")
        assert controller.tick().trouble == (
            "spec.route or spec.force has changed, which takes effect after torchfinch canary stop",
        )


def test_a_port_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    with release(tmp_path / "one", "good 2") as one:
        port = int(one.url.rstrip("/").rpartition(":")[2])
        taken = rf"set another spec.route.port, or end .*:{port}"
        with pytest.raises(TorchfinchError, match=taken), release(tmp_path / "two", "good 2", port=port):
            pass


def test_two_releases_live_side_by_side(tmp_path: Path) -> None:
    with release(tmp_path / "one", "good 2") as one, release(tmp_path / "two", "good 2") as two:
        one.run_to_weight(5)
        two.controller().tick()
        assert (one.weights, two.weights) == ({"a": 95, "b": 5}, {"a": 100, "b": 0})
        assert [httpx.post(it.url, content=b"x").status_code for it in (one, two)] == [200, 200]


# --- evidence ---


def only(counted: Mapping[str, Counters]) -> Counters:
    """The counters of the one Envoy that was read."""
    [counters] = counted.values()
    return counters


def test_every_kind_of_failure_is_counted_once(tmp_path: Path) -> None:
    kinds = ["good", "refused", "failed", "dropped", "garbage", "cut", "reset", "hanging", "stalled"]
    with release(tmp_path, "good 2", stable="odd", route_timeout="500ms") as it:
        outcomes = Counter(_ask(it.url + kind) for kind in kinds for _ in range(2))
        time.sleep(1.2)  # histograms are brought up to date every half second
        counted = only(it.read().stable)

    assert outcomes == {"200": 2, "400": 2, "500": 2, "503": 2, "502": 2, "504": 2, "broken": 6}
    assert (counted.requests, counted.errors, counted.client_errors) == (18, 14, 2)
    assert counted.latency_count >= 6


def _ask(url: str) -> str:
    try:
        return str(httpx.post(url, content=b"x", timeout=10).status_code)
    except httpx.HTTPError:
        return "broken"


def test_latency_is_what_envoy_timed(tmp_path: Path) -> None:
    with release(tmp_path, "good 2") as it:
        for _ in range(50):
            httpx.post(it.url, content=b"x")
        time.sleep(1.2)
        reading = it.read()

    stable = only(reading.stable)
    buckets = stable.latency_buckets
    assert replace(only(reading.canary), latency_buckets=()) == Counters()
    assert not any(only(reading.canary).latency_buckets)
    assert stable.latency_count == buckets[-1] == 50
    assert buckets == tuple(sorted(buckets))
    assert buckets[bisect_left(LATENCY_EDGES, 0.5)] > 0
    assert stable.mean_latency
    assert 0.001 < stable.mean_latency < 0.1
