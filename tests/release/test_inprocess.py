"""Two predictors in one process: the same rule, the same words, no server."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from release.conftest import make_spec
from typer.testing import CliRunner
from waiting import within

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.release.history import read_history
from torchfinch.release.inprocess import CanaryDeployment
from torchfinch.release.local.store import FileStore, release_folder
from torchfinch.release.simulation.replay import replay
from torchfinch.release.state import Phase

USERS = [f"user-{number}" for number in range(400)]
ANALYSIS = {"interval": "20ms", "maxLatencyRatio": None}  # predictors of a microsecond differ by chance
STEPS = [{"weight": 10}, {"weight": 50}]
FAST = {"steps": STEPS, "analysis": ANALYSIS}
ENDLESS = {"steps": STEPS, "analysis": {**ANALYSIS, "minRequests": 1_000_000}}
HISTORY = Path(".torchfinch/releases/digits/history.jsonl")
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
        given = {"stable": "1.0", "canary": "2.0", "spec": FAST, **more}
        return CanaryDeployment("digits", versions, **given)  # type: ignore[arg-type]

    return make


def served(deployment: Deployment) -> dict[str, str]:
    """The version that each user meets, but for those whom it fails."""
    met = {}
    for user in USERS:
        try:
            met[user] = deployment.predict("seven", user=user).version
        except BrokenError:
            continue
    return met


def reaches(deployment: Deployment, *phases: Phase, weight: int | None = None) -> bool:
    """Whether the release gets there while every user asks again and again."""

    def there() -> bool:
        served(deployment)
        state = deployment.state
        return state.phase in phases and (weight is None or (state.weight == weight and state.verified))

    return within(20, there)


def test_a_good_version_gets_more_and_more_users_and_is_promoted(make: Make) -> None:
    with make() as deployment:
        assert set(served(deployment).values()) == {"1.0"}
        assert reaches(deployment, Phase.PROMOTED)
        assert within(5, lambda: deployment.predict("seven") == ("new seven", "2.0"))
        assert deployment.state.stable == "2.0"
    weights = [line["weight"] for line in read_history(HISTORY)]
    assert list(dict.fromkeys(weights)) == [0, 10, 50, 100]


def test_a_user_who_has_met_the_new_version_keeps_it_as_the_weight_grows(make: Make) -> None:
    met: set[str] = set()
    shares = {}
    with make(spec=ENDLESS) as deployment:
        for weight in (10, 50):
            assert reaches(deployment, Phase.PROGRESSING, weight=weight)
            now = {user for user, version in served(deployment).items() if version == "2.0"}
            assert met <= now
            met, shares[weight] = now, len(now)
            CliRunner().invoke(build(), ["canary", "skip", "digits"])
    assert 20 < shares[10] < 60
    assert 160 < shares[50] < 240


def test_a_failing_version_is_taken_back_and_its_error_reaches_the_caller(make: Make) -> None:
    with make(broken) as deployment:
        assert reaches(deployment, Phase.ROLLED_BACK)
        assert "failed" in deployment.state.reason
        assert set(served(deployment).values()) == {"1.0"}
    assert all(turn.same for turn in replay(read_history(HISTORY)))


def test_an_error_of_the_canary_is_raised_as_it_is(make: Make) -> None:
    def picky(request: str) -> str:
        return broken(request) if request == "bad" else request

    with make(picky, spec=ENDLESS) as deployment:
        assert reaches(deployment, Phase.PROGRESSING, weight=10)
        [user, *_] = [user for user, version in served(deployment).items() if version == "2.0"]
        with pytest.raises(BrokenError, match="bad"):
            deployment.predict("bad", user=user)


def test_a_slow_version_is_taken_back(make: Make) -> None:
    def slow(request: str) -> str:
        time.sleep(0.002)
        return request

    with make(slow, spec={"steps": STEPS, "analysis": {"interval": "20ms"}}) as deployment:
        assert reaches(deployment, Phase.ROLLED_BACK)
        assert "mean latency" in deployment.state.reason


def test_a_version_that_hangs_is_taken_back_while_its_users_wait(make: Make) -> None:
    release = threading.Event()

    def hangs(request: str) -> str:
        release.wait(30)
        return request

    def ask(user: str) -> None:
        deployment.predict("seven", user=user)

    with make(hangs, timeout=0.2) as deployment:
        assert within(20, lambda: deployment.state.weight == 10 and deployment.state.verified)
        threads = [threading.Thread(target=ask, args=(user,)) for user in USERS[:200]]
        for thread in threads:
            thread.start()
        assert within(20, lambda: deployment.state.phase is Phase.ROLLED_BACK)
        release.set()
        for thread in threads:
            thread.join()
        assert "failed" in deployment.state.reason


def test_an_interrupt_is_no_error_of_the_version_and_a_stop_decides_nothing(make: Make) -> None:
    stopped = False

    def interrupted(request: str) -> str:
        if stopped:
            raise KeyboardInterrupt
        return request

    with make(interrupted, spec=ENDLESS) as deployment:
        assert reaches(deployment, Phase.PROGRESSING, weight=10)
        stopped = True
        with pytest.raises(KeyboardInterrupt):
            served(deployment)
    assert deployment.state.phase is Phase.PROGRESSING
    assert deployment.state.total.canary.errors == 0


def test_a_person_steers_it_by_the_words_of_every_release(make: Make) -> None:
    def say(word: str) -> None:
        assert CliRunner().invoke(build(), ["canary", word, "digits"]).exit_code == 0

    with make(spec=ENDLESS) as deployment:
        assert reaches(deployment, Phase.PROGRESSING)
        say("pause")
        assert reaches(deployment, Phase.PAUSED)
        say("resume")
        assert reaches(deployment, Phase.PROGRESSING)
        with pytest.raises(TorchfinchError, match="has a controller already"), make():
            pass
        say("promote")
        assert reaches(deployment, Phase.PROMOTED)
    assert not any(thread.name == "canary-digits" for thread in threading.enumerate())
    with pytest.raises(TorchfinchError, match="ask within its with block"):
        deployment.predict("seven")


def test_another_process_goes_on_where_the_last_one_was(make: Make) -> None:
    second = make()  # made while the first still runs, as in a rolling restart
    with make(spec=ENDLESS) as first:
        assert reaches(first, Phase.PROGRESSING, weight=10)
    with second:
        assert set(served(second).values()) <= {"1.0", "2.0"}
        assert reaches(second, Phase.PROMOTED)
    with make() as third:
        assert set(served(third).values()) == {"2.0"}
        assert third.state.phase is Phase.PROMOTED


def test_a_process_that_ended_amid_a_promotion_is_followed_by_one_that_promotes(make: Make) -> None:
    with make(spec=ENDLESS) as first:
        assert reaches(first, Phase.PROGRESSING, weight=10)
    store = FileStore(release_folder("digits", home=Path(".torchfinch")))
    store.save(make_spec(), replace(first.state, phase=Phase.PROMOTING, weight=100))
    with make() as second:
        assert reaches(second, Phase.PROMOTED)
        assert set(served(second).values()) == {"2.0"}


def test_requests_of_many_threads_are_all_counted(make: Make) -> None:
    with make(spec=ENDLESS) as deployment:
        assert reaches(deployment, Phase.PROGRESSING, weight=10)
        threads = [threading.Thread(target=served, args=(deployment,)) for _ in range(8)]

        def counted() -> int:
            total = deployment.state.total
            return total.stable.requests + total.canary.requests

        time.sleep(0.2)
        before = counted()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert within(5, lambda: counted() == before + 8 * len(USERS)), (before, counted())


def test_the_guides_example_answers(make: Make) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "releases.md").read_text(encoding="utf-8")
    [block] = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    told: dict[str, object] = {}
    exec(block, told)
    assert (told["answer"], told["version"]) == ("seven", "1.0")


def test_what_is_no_user_or_answers_later_is_refused_from_the_first_request_on(make: Make) -> None:
    async def later(request: str) -> str:
        return request

    with make() as deployment:
        with pytest.raises(TorchfinchError, match="42 is no user id"):
            deployment.predict("seven", user=42)  # type: ignore[arg-type]
        with pytest.raises(TorchfinchError, match="'' is no user id"):
            deployment.predict("seven", user="")
    with pytest.raises(TorchfinchError, match=r"the predictor 2\.0 answers later, as a coroutine"):
        make(later)


def test_a_stable_version_that_is_not_there_any_more_is_told(make: Make) -> None:
    with make() as deployment:
        assert reaches(deployment, Phase.PROMOTED)
    versions = {"1.0": old, "3.0": new}
    another = CanaryDeployment("digits", versions, stable="1.0", canary="3.0")
    with pytest.raises(TorchfinchError, match=r"2\.0 is no version here") as raised, another:
        pass
    assert "remove" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canary": "3.0"}, r"3\.0 is no version here \(hint: name one of 1\.0, 2\.0\)"),
        ({"stable": "0.9"}, r"0\.9 is no version here"),
        ({"spec": {"steps": STEPS[::-1]}}, r"weights must rise from step to step, got \[50, 10, 100\]|got \[50, 10\]"),
        ({"spec": {**FAST, "analysis": {"maxErorRate": 0.1}}}, r"analysis\.maxErorRate is no known field"),
    ],
)
def test_what_cannot_be_released_is_refused(make: Make, change: dict[str, object], message: str) -> None:
    with pytest.raises(TorchfinchError) as raised:
        make(**change)
    assert re.search(message, str(raised.value))
