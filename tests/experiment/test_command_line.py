"""The words of `torchfinch abtest`, and the walk through docs/experiments.md as it is written."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from experiment.helpers import FIELDS, experiment
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError
from torchfinch.experiment import EventLog

DOCS = Path(__file__).parents[2] / "docs" / "experiments.md"
DAY = 86400.0


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment file, which is where the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(FIELDS))
    return tmp_path


def abtest(*words: str) -> Result:
    return CliRunner().invoke(build(), ["abtest", *words], catch_exceptions=True)


def error(result: Result) -> TorchfinchError:
    assert isinstance(result.exception, TorchfinchError), result.output
    return result.exception


def begin(*, days_ago: float) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - days_ago * DAY))
    assert abtest("start", "--at", at).exit_code == 0


def visit(folder: Path, *, days_ago: float, users: int = 400) -> None:
    """Users who all come at one time; of the treatment all accept, of the control every third."""
    now = time.time() - days_ago * DAY
    log = EventLog(folder / "logs", clock=lambda: now)
    for number in range(users):
        user = f"user {number}"
        if log.expose(experiment(), user) == "treatment" or number % 3 == 0:
            log.outcome("digits-2", "accepted", 1, user=user, time=now + 60)


def test_the_plan_says_users_days_and_power() -> None:
    shown = abtest("plan").stdout
    assert "2,748" in shown
    assert "14 days bring about 2,800 users, which show an effect of 0.05 with power 81%" in shown
    assert [one["users"] for one in json.loads(abtest("plan", "--json").stdout)][1] == 2748


def test_a_plan_that_is_too_small_says_what_is_needed(here: Path) -> None:
    (here / "experiment.yaml").write_text(yaml.safe_dump({**FIELDS, "users_per_day": 50}))
    assert "too few for 80%, which needs 8 weeks" in abtest("plan").stdout


def test_assign_names_the_variant_and_the_header() -> None:
    assert abtest("assign", "ada").stdout == "treatment\n"
    shown = json.loads(abtest("assign", "ada", "--json").stdout)
    assert (shown["bucket"], shown["headers"]) == (1277, {"torchfinch-variant": "treatment"})


def test_nothing_is_judged_before_the_start() -> None:
    for word in ("status", "analyze"):
        assert "has not been started" in error(abtest(word)).message


def test_status_shows_the_split_and_not_the_metric(here: Path) -> None:
    begin(days_ago=3)
    visit(here, days_ago=2)
    shown = abtest("status").stdout
    assert "3.0 of 14 days" in shown
    assert "as planned (sequential test" in shown
    assert "accepted" not in shown
    found = json.loads(abtest("status", "--json").stdout)
    assert (found["users"], found["alarm"]) == (400, False)


def test_analyze_tells_early_and_final_looks_apart(here: Path) -> None:
    begin(days_ago=3)
    visit(here, days_ago=2)
    assert "This may be claimed at once" in abtest("analyze").stdout


def test_analyze_at_the_planned_end_shows_draws_and_dumps(here: Path) -> None:
    begin(days_ago=16)
    visit(here, days_ago=10)
    shown = abtest("analyze", "--svg", "looks.svg").stdout
    assert "Welch's t-test" in shown
    assert "With the treatment, accepted is" in shown
    assert (here / "looks.svg").read_text().startswith("<svg")
    found = json.loads(abtest("analyze", "--json").stdout)
    assert found["ended"]
    abtest("compact")
    assert json.loads(abtest("analyze", "--json").stdout)["interval"] == found["interval"]


def test_analyze_tells_what_it_left_out(here: Path) -> None:
    begin(days_ago=16)
    visit(here, days_ago=10)
    EventLog(here / "logs").outcome("digits-2", "accepted", 1, user="nobody")
    with (here / "logs" / "events.jsonl").open("a") as stream:
        stream.write('{"half')
    shown = abtest("analyze").stderr
    assert "lines left out, for they are no events: 1, the first logs/events.jsonl:" in shown
    assert "outcomes left out, for no user who entered goes with them: 1" in shown


def test_a_file_changed_after_the_start_is_refused(here: Path) -> None:
    begin(days_ago=3)
    (here / "experiment.yaml").write_text(yaml.safe_dump({**FIELDS, "alpha": 0.2}))
    assert "alpha of digits-2 changed since the start" in error(abtest("analyze")).message


def test_a_second_start_is_refused_and_a_grown_share_is_not(here: Path) -> None:
    begin(days_ago=3)
    assert "has been started already" in error(abtest("start")).message
    (here / "experiment.yaml").write_text(yaml.safe_dump({**FIELDS, "share": 0.6}))
    assert abtest("start").exit_code == 0


def test_there_is_nothing_to_compact_before_the_first_event() -> None:
    assert "no folder of events" in error(abtest("compact")).message


def first_block(text: str, kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.slow
def test_the_walk_through_the_docs_runs_as_it_is_written(tmp_path: Path) -> None:
    folder, text = tmp_path / "walk", DOCS.read_text()
    folder.mkdir()
    blocks = {
        kind: re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for kind in ("yaml", "python")
    }
    (folder / "experiment.yaml").write_text(blocks["yaml"][0])
    (folder / "visitors.py").write_text(blocks["python"][0])
    [script] = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "With the treatment, accepted is 0.0" in done.stdout
    assert (folder / "looks.svg").exists()
    assert (folder / "logs" / "events-000001.parquet").exists()
