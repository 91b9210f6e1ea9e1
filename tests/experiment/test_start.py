from pathlib import Path
from typing import Any

import pytest
from experiment.helpers import experiment

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.start import Started, load_started, save_started, start, started_path

DAY = 86400.0


def begun(**changes: Any) -> Started:
    return start(experiment(**changes), None, now=1_000.0)


def test_the_planned_end_is_the_last_entry_and_its_window() -> None:
    started = begun(days=14, window_days=2)
    assert (started.begin, started.last_entry, started.end) == (1_000, 1_000 + 14 * DAY, 1_000 + 16 * DAY)


def test_a_larger_share_counts_anew() -> None:
    grown = start(experiment(share=0.5), begun(share=0.1), now=9_000.0)
    assert [(phase.start, phase.share) for phase in grown.phases] == [(1_000, 0.1), (9_000, 0.5)]
    assert grown.begin == 9_000
    assert grown.experiment.share == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "has been started already"),
        ({"share": 0.2}, "may only grow: it is 0.5, the file says 0.2"),
        ({"share": 0.6, "alpha": 0.1}, "alpha of digits-2 changed since the start: it was 0.05, the file says 0.1"),
        ({"share": 0.6, "salt": "spring"}, "salt of digits-2 changed"),
        ({"metric": {"effect": 0.1}}, "metric of digits-2 changed"),
    ],
)
def test_what_was_decided_at_the_start_stays(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        start(experiment(**changes), begun(), now=9_000.0)


def test_phases_follow_each_other() -> None:
    with pytest.raises(TorchfinchError, match="begins before the one it follows"):
        start(experiment(share=0.6), begun(), now=500.0)


def test_a_start_is_kept_beside_the_events(tmp_path: Path) -> None:
    path = started_path(experiment(logs="events"), beside=tmp_path / "experiment.yaml")
    assert path == tmp_path / "events" / "digits-2.started.json"
    assert load_started(path) is None
    save_started(begun(), path)
    assert load_started(path) == begun()


def test_a_broken_start_is_no_new_start(tmp_path: Path) -> None:
    path = tmp_path / "digits-2.started.json"
    path.write_text('{"experiment": ')
    with pytest.raises(TorchfinchError, match="cannot be read"):
        load_started(path)
