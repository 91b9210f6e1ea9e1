import logging
from pathlib import Path

import pytest
from experiment.helpers import experiment

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.events import Event, Exposure, Outcome, Request
from torchfinch.experiment.log import EventLog
from torchfinch.experiment.reading import read_events
from torchfinch.experiment.router import Router


def double(number: int) -> int:
    return 2 * number


def invert(number: int) -> float:
    return 1 / number


def router(folder: Path) -> Router[int, float]:
    return Router(experiment(), {"control": double, "treatment": invert}, log=EventLog(folder))


def events(folder: Path) -> list[Event]:
    return list(read_events(folder, on_fault=pytest.fail))


def test_each_user_gets_their_variants_answer(tmp_path: Path) -> None:
    routed = router(tmp_path)
    ada, zoe = routed.predict("ada", 4), routed.predict("Zoë", 4)
    assert (ada.variant, ada.answer) == ("treatment", 0.25)
    assert (zoe.variant, zoe.answer) == ("control", 8)


def test_every_request_is_logged_and_the_exposure_once(tmp_path: Path) -> None:
    routed = router(tmp_path)
    ids = [routed.predict("ada", number).request for number in (1, 2, 3)]
    logged = events(tmp_path)
    assert [event.user for event in logged if isinstance(event, Exposure)] == ["ada"]
    assert [event.request for event in logged if isinstance(event, Request)] == ids
    assert len(set(ids)) == 3


def test_an_outcome_is_logged_by_the_requests_id(tmp_path: Path) -> None:
    routed = router(tmp_path)
    answer = routed.predict("ada", 1, request_id="from the gateway")
    routed.outcome("accepted", 1, request=answer.request)
    [outcome] = [event for event in events(tmp_path) if isinstance(event, Outcome)]
    assert (outcome.request, outcome.user, outcome.experiment) == ("from the gateway", None, "digits-2")


def test_a_predictor_that_fails_is_exposed_and_failed_and_its_error_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        router(tmp_path).predict("ada", 0)
    exposure, request = events(tmp_path)
    assert isinstance(exposure, Exposure)
    assert isinstance(request, Request)
    assert request.failed


def test_a_log_that_cannot_be_written_costs_nobody_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with caplog.at_level(logging.ERROR):
        assert router(tmp_path / "logs").predict("ada", 4).answer == 0.25
        router(tmp_path / "logs").outcome("accepted", 1, user="ada")
    assert "an event of experiment digits-2 is lost" in caplog.text
    assert len(caplog.records) == 3


def test_a_request_id_too_long_to_log_costs_nobody_an_answer(tmp_path: Path) -> None:
    assert router(tmp_path).predict("ada", 4, request_id="x" * 1000).answer == 0.25


@pytest.mark.parametrize("names", [["control"], ["control", "treatement"], []])
def test_predictors_are_named_after_the_variants(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(TorchfinchError, match="predictors are named"):
        Router(experiment(), dict.fromkeys(names, double), log=EventLog(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ["", None])
def test_nobody_is_no_user(tmp_path: Path, user: str) -> None:
    with pytest.raises(TorchfinchError, match="is no user id"):
        router(tmp_path).predict(user, 1)
    assert not list(tmp_path.iterdir())
