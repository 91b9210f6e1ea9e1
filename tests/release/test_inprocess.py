"""Two predictors in one process: the same rule, the same words, no server."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner
from waiting import within

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.release.history import read_history
from torchfinch.release.inprocess import CanaryDeployment
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Phase

USERS = [f"user-{number}" for number in range(400)]
FAST = {"interval": "50ms", "maxLatencyRatio": None}  # predictors of a microsecond differ by chance
Deployment = CanaryDeployment[str, str]
Make = Callable[..., Deployment]


class BrokenError(Exception):
    """What the new version of these tests raises."""


def old(request: str) -> str:
    return f"old {request}"


def new(request: str) -> str:
    return f"new {request}"


def broken(request: str) -> str:
    raise BrokenError(request)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes deployments of one name in one home, which is the working folder's."""
    monkeypatch.chdir(tmp_path)

    def make(predictor: Callable[[str], str] = new, **more: object) -> Deployment:
        versions = {"1.0": old, "2.0": predictor}
        given = {"stable": "1.0", "canary": "2.0", "weights": (10, 50), "analysis": FAST, **more}
        return CanaryDeployment("digits", versions, **given)  # type: ignore[arg-type]

    return make


def served(deployment: Deployment) -> dict[str, str]:
    """The version that each user meets."""
    return {user: deployment.predict("seven", user=user).version for user in USERS}


def turns(deployment: Deployment, *, most: int = 60) -> list[Phase]:
    """Look, with every user asking once between two looks, until the release has ended."""
    phases = []
    for _ in range(most):
        tick = deployment.look()
        phases.append(tick.decision.state.phase)
        if tick.outcome:
            break
        for user in USERS:
            try:
                deployment.predict("seven", user=user)
            except BrokenError:
                continue
    return phases


def test_a_good_version_gets_more_and_more_users_and_is_promoted(make: Make) -> None:
    deployment = make()
    assert set(served(deployment).values()) == {"1.0"}
    assert turns(deployment)[-1] is Phase.PROMOTED
    weights = [line["weight"] for line in read_history(Path(".torchfinch/releases/digits/history.jsonl"))]
    assert list(dict.fromkeys(weights)) == [0, 10, 50, 100]
    deployment.look()
    assert deployment.predict("seven") == ("new seven", "2.0")
    assert deployment.state.stable == "2.0"


def test_a_user_who_has_met_the_new_version_keeps_it_as_the_weight_grows(make: Make) -> None:
    deployment = make(analysis={**FAST, "minRequests": 20})
    shares = []
    met: set[str] = set()
    while deployment.look().outcome is None:
        canary = {user for user, version in served(deployment).items() if version == "2.0"}
        assert met <= canary
        met = canary
        shares.append(len(canary))
    assert 20 < shares[3] < 60
    assert any(150 < share < 250 for share in shares)


def test_a_failing_version_is_taken_back_and_its_error_reaches_the_caller(make: Make) -> None:
    deployment = make(broken)
    while not deployment.state.weight:
        deployment.look()
    with pytest.raises(BrokenError, match="seven"):
        served(deployment)
    assert turns(deployment)[-1] is Phase.ROLLED_BACK
    assert "failed" in deployment.state.reason
    assert set(served(deployment).values()) == {"1.0"}
    history = read_history(Path(".torchfinch/releases/digits/history.jsonl"))
    assert all(turn.same for turn in replay(history))


def test_a_slow_version_is_taken_back(make: Make) -> None:
    lock = threading.Event()

    def slow(request: str) -> str:
        lock.wait(0.002)
        return request

    deployment = make(slow, analysis={"interval": "50ms"})
    assert turns(deployment)[-1] is Phase.ROLLED_BACK
    assert "mean latency" in deployment.state.reason


def test_with_a_thread_of_its_own_it_looks_by_itself_and_a_person_steers_it(make: Make) -> None:
    def say(word: str) -> None:
        assert CliRunner().invoke(build(), ["canary", word, "digits"]).exit_code == 0

    def reached(phase: Phase) -> bool:
        served(deployment)
        return deployment.state.phase is phase

    with make(analysis={**FAST, "minRequests": 1_000_000}) as deployment:
        assert within(10, lambda: reached(Phase.PROGRESSING))
        say("pause")
        assert within(10, lambda: reached(Phase.PAUSED))
        say("resume")
        assert within(10, lambda: reached(Phase.PROGRESSING))
        with pytest.raises(TorchfinchError, match="has a controller already"), make():
            pass
        say("promote")
        assert within(10, lambda: reached(Phase.PROMOTED))
    assert not any(thread.name == "canary-digits" for thread in threading.enumerate())


def test_another_process_goes_on_where_the_last_one_was(make: Make) -> None:
    first = make()
    for _ in range(4):
        first.look()
        served(first)
    weight = first.state.weight
    assert weight in {10, 50}
    second = make()
    second.look()
    second.look()
    assert second.state.weight == weight
    assert set(served(second).values()) == {"1.0", "2.0"}
    assert turns(second)[-1] is Phase.PROMOTED
    assert set(served(make()).values()) == {"2.0"}


def test_requests_of_many_threads_are_all_counted(make: Make) -> None:
    deployment = make()
    while not deployment.state.verified or not deployment.state.weight:
        deployment.look()
    threads = [threading.Thread(target=served, args=(deployment,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = deployment.look().decision.state.total
    assert total.stable.requests + total.canary.requests == 8 * len(USERS)


def test_the_guides_example_answers(make: Make) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "releases.md").read_text(encoding="utf-8")
    [block] = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    told: dict[str, object] = {}
    exec(block, told)
    assert (told["answer"], told["version"]) == ("seven", "1.0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canary": "3.0"}, r"3\.0 is no version here \(known: 1\.0, 2\.0\)"),
        ({"stable": "0.9"}, r"0\.9 is no version here"),
        ({"weights": (50, 10)}, r"weights must rise from step to step, got \[50, 10\]"),
        ({"analysis": {"maxErorRate": 0.1}}, r"analysis\.maxErorRate is no known field"),
    ],
)
def test_what_cannot_be_released_is_refused(make: Make, change: dict[str, object], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        make(**change)
