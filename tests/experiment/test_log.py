import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.helpers import experiment

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.events import Event, Exposure, Outcome
from torchfinch.experiment.log import LIVE, EventLog
from torchfinch.experiment.reading import compact, read_events
from torchfinch.experiment.start import DAY, start
from torchfinch.experiment.users import gather

WRITER = """
import sys
from pathlib import Path
from torchfinch.experiment.log import EventLog
log = EventLog(Path(sys.argv[1]), max_bytes=int(sys.argv[3]))
for number in range(int(sys.argv[4])):
    log.outcome("digits-2", "accepted", number, user=sys.argv[2])
    if number == 0:
        print("begun", flush=True)
"""


def writer(folder: Path, user: str, *, max_bytes: int = 2**20, lines: int = 200) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", WRITER, str(folder), user, str(max_bytes), str(lines)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def read(folder: Path) -> tuple[list[Event], list[str]]:
    faults: list[str] = []
    return list(read_events(folder, on_fault=faults.append)), faults


def values(events: list[Event]) -> list[tuple[str, float]]:
    return [(event.user or "", event.value) for event in events if isinstance(event, Outcome)]


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    log = EventLog(tmp_path, clock=lambda: 1000.5)
    assert log.expose(experiment(), "Zoë") == "control"
    log.request("digits-2", "r1", user="Zoë", variant="control", seconds=0.25, failed=False)
    log.outcome("digits-2", "accepted", value=True, request="r1")
    events, faults = read(tmp_path)
    assert not faults
    assert [event.model_dump(exclude_none=True) for event in events] == [
        {"time": 1000.5, "experiment": "digits-2", "event": "exposure", "user": "Zoë", "variant": "control"}
        | {"share": 0.5},
        {"time": 1000.5, "experiment": "digits-2", "event": "request", "request": "r1", "user": "Zoë"}
        | {"variant": "control", "seconds": 0.25, "failed": False},
        {"time": 1000.5, "experiment": "digits-2", "event": "outcome", "metric": "accepted", "value": 1.0}
        | {"request": "r1"},
    ]


def test_a_user_who_keeps_coming_is_exposed_once_in_ten_minutes(tmp_path: Path) -> None:
    times = iter([1000.0, 1300.0, 1599.0, 1600.0, 1700.0, 90_000.0, 500.0])
    log = EventLog(tmp_path, clock=lambda: next(times))
    for _ in range(7):
        log.expose(experiment(), "ada")
    assert [event.time for event in read(tmp_path)[0]] == [1000, 1600, 90_000, 500]  # at last the clock was put right


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_visitor_of_before_the_start_counts_from_the_next_visit_on(tmp_path: Path, share: float) -> None:
    times = iter([1000.0, 1000.0 + DAY])
    log = EventLog(tmp_path, clock=lambda: next(times))
    before = start(experiment(share=0.1), None, now=500.0) if share == 0.5 else None
    log.expose(experiment(share=share), "ada")
    started = start(experiment(share=share), before, now=1300.0)
    log.expose(experiment(share=share), "ada")

    assert gather(read(tmp_path)[0], started).exposed.tolist() == [1000 + DAY]


def test_a_user_is_exposed_once_per_process_and_again_under_a_larger_share(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for share in (0.1, 0.1, 0.5, 0.5):
        log.expose(experiment(share=share), "ada")
    EventLog(tmp_path).expose(experiment(), "ada")
    events, _ = read(tmp_path)
    assert [(event.variant, event.share) for event in events if isinstance(event, Exposure)] == [
        ("control", 0.1),
        ("treatment", 0.5),
        ("treatment", 0.5),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x89PNG", "bytes"),
        (np.zeros((3, 8, 8)), "ndarray"),
        ("0.5", "'0.5'"),
        (None, "NoneType"),
        (float("nan"), "nan"),
    ],
)
def test_an_image_or_anything_else_that_is_no_number_is_no_outcome(tmp_path: Path, value: Any, shown: str) -> None:
    with pytest.raises(TorchfinchError, match=f"outcome not logged: value: .*got {shown}"):
        EventLog(tmp_path).outcome("digits-2", "accepted", value, user="ada")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("request_id", [b"\x89PNG", "iVBORw0KGgo" * 100])
def test_an_image_is_no_request_id(tmp_path: Path, request_id: Any) -> None:
    with pytest.raises(TorchfinchError, match="outcome not logged: request") as caught:
        EventLog(tmp_path).outcome("digits-2", "accepted", 1, request=request_id)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("owner", [None, "ada"])
def test_an_outcome_belongs_to_a_user_or_a_request_and_not_to_both(tmp_path: Path, owner: str | None) -> None:
    with pytest.raises(TorchfinchError, match="belongs to a user or to a request"):
        EventLog(tmp_path).outcome("digits-2", "accepted", 1, user=owner, request=owner)


@pytest.mark.parametrize("left", [b'{"time":1.0,"experi', b"\xff\x00", b'{"event":"image"}'])
def test_a_half_line_is_ended_first_and_costs_itself_alone(tmp_path: Path, left: bytes) -> None:
    EventLog(tmp_path).outcome("digits-2", "accepted", 1, user="ada")
    with (tmp_path / LIVE).open("ab") as stream:
        stream.write(left)
    EventLog(tmp_path).outcome("digits-2", "accepted", 2, user="ada")
    events, faults = read(tmp_path)
    assert values(events) == [("ada", 1.0), ("ada", 2.0)]
    assert faults == [f"{tmp_path / LIVE}:2"]


def test_a_killed_process_loses_nothing_that_it_had_logged(tmp_path: Path) -> None:
    with writer(tmp_path, "ada", max_bytes=20_000, lines=10**6) as process:
        assert process.stdout
        process.stdout.readline()
        while not list(tmp_path.glob("events-000002.jsonl")):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    EventLog(tmp_path).outcome("digits-2", "accepted", -1, user="ada")
    events, faults = read(tmp_path)
    numbers = [value for _, value in values(events)]
    assert sorted(numbers) == [-1, *range(len(numbers) - 1)]
    assert len(faults) <= 1


def test_processes_and_threads_share_a_folder_and_its_rotation(tmp_path: Path) -> None:
    processes = [writer(tmp_path, user, max_bytes=5_000) for user in ("ada", "bob")]
    log = EventLog(tmp_path, max_bytes=5_000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: log.outcome("digits-2", "accepted", number, user="threads"), range(200)))
    for process in processes:
        process.communicate()
    events, faults = read(tmp_path)
    assert not faults
    assert sorted(values(events)) == sorted(
        (user, n) for user in ("ada", "bob", "threads") for n in map(float, range(200))
    )
    assert all(path.stat().st_size < 5_200 for path in tmp_path.glob("*.jsonl"))
    assert len(list(tmp_path.glob("events-*.jsonl"))) > 5


def test_compacting_keeps_every_event_and_leaves_only_parquet(tmp_path: Path) -> None:
    log = EventLog(tmp_path, max_bytes=5_000)
    for number in range(200):
        log.expose(experiment(), f"user {number}")
        log.outcome("digits-2", "accepted", number, user=f"user {number}")
    log.request("digits-2", "r1", user="ada", variant="control", seconds=0.25, failed=True)
    before, _ = read(tmp_path)
    made = compact(tmp_path)
    assert len(made) > 1
    assert {path.suffix for path in tmp_path.iterdir() if path.name != ".lock"} == {".parquet"}
    after, faults = read(tmp_path)
    assert not faults
    assert sorted(map(repr, after)) == sorted(map(repr, before))


def test_after_compacting_the_log_goes_on_under_a_new_number(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in range(3):
        log.outcome("digits-2", "accepted", number, user="ada")
        compact(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("events*")) == [f"events-{n:06}.parquet" for n in (1, 2, 3)]
    assert sorted(values(read(tmp_path)[0])) == [("ada", 0.0), ("ada", 1.0), ("ada", 2.0)]


def test_a_compaction_killed_before_its_end_doubles_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.outcome("digits-2", "accepted", 1, user="ada")
    lines = (tmp_path / LIVE).read_bytes()
    compact(tmp_path)
    (tmp_path / "events-000001.jsonl").write_bytes(lines)  # as a kill after the rename would leave it
    assert values(read(tmp_path)[0]) == [("ada", 1.0)]
    compact(tmp_path)
    assert values(read(tmp_path)[0]) == [("ada", 1.0)]


def test_a_broken_parquet_file_costs_itself_alone(tmp_path: Path) -> None:
    EventLog(tmp_path).outcome("digits-2", "accepted", 1, user="ada")
    (tmp_path / "events-000007.parquet").write_bytes(b"PAR1 and then nothing")
    events, faults = read(tmp_path)
    assert values(events) == [("ada", 1.0)]
    assert faults == [str(tmp_path / "events-000007.parquet")]


def test_one_flipped_byte_anywhere_in_a_parquet_file_costs_at_most_that_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in range(3):
        log.outcome("digits-2", "accepted", number, user="Zoë")
    [path] = compact(tmp_path)
    whole, broken = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        faults = read(tmp_path)[1]
        assert faults in ([], [str(path)])
        broken += bool(faults)
    assert broken > len(whole) / 2


def test_without_pyarrow_the_extra_is_named_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog(tmp_path).outcome("digits-2", "accepted", 1, user="ada")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TorchfinchError, match="Parquet needs pyarrow") as caught:
        compact(tmp_path)
    assert caught.value.hint == "pip install 'torchfinch[logs]'"
    assert (tmp_path / LIVE).exists()


def test_folders_of_several_machines_are_read_as_one(tmp_path: Path) -> None:
    for machine in ("a", "b"):
        EventLog(tmp_path / machine).outcome("digits-2", "accepted", 1, user=machine)
    compact(tmp_path / "a")
    assert sorted(values(read(tmp_path)[0])) == [("a", 1.0), ("b", 1.0)]


def test_lines_are_plain_json_without_empty_fields(tmp_path: Path) -> None:
    EventLog(tmp_path, clock=lambda: 5.0).outcome("digits-2", "accepted", 1, user="ada")
    assert json.loads((tmp_path / LIVE).read_text()) == {
        "time": 5.0,
        "experiment": "digits-2",
        "event": "outcome",
        "metric": "accepted",
        "value": 1.0,
        "user": "ada",
    }
