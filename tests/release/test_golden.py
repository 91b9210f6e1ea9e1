"""Before a canary's first weight its own server must answer as its archive promises."""

import json
from pathlib import Path

import pytest
from colours import write_colour_run
from release.conftest import make_spec
from serving.helpers import processes_of

from torchfinch.archive import ServingConfig, pack_run, read_archive
from torchfinch.errors import TorchfinchError
from torchfinch.release.local import servers
from torchfinch.release.local.servers import TorchServes, start_seconds


@pytest.mark.slow
def test_a_server_that_answers_otherwise_than_promised_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_colour_run(tmp_path / "run")
    described = json.loads((run / "model.json").read_text())
    described["network"]["arguments"]["sharpness"] = 0.5
    (run / "model.json").write_text(json.dumps(described))
    archive = pack_run(run, name="colours", version="2.0", output=tmp_path / "store" / "colours.mar")

    with pytest.raises(TorchfinchError, match=r"colours 2\.0 does not answer as its archive promises"):
        TorchServes("r", home=tmp_path / ".torchfinch").start(make_spec(model="colours"), "a", archive)

    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_a_server_whose_golden_requests_cannot_be_sent_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> str | None:
        assert processes_of(tmp_path) != []
        raise TorchfinchError("no answer from http://127.0.0.1")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(servers, "replay", unreachable)
    run, output = write_colour_run(tmp_path / "run"), tmp_path / "store" / "colours.mar"
    archive = pack_run(run, name="colours", version="2.0", output=output)

    with pytest.raises(TorchfinchError, match="no answer from"):
        TorchServes("r", home=tmp_path / ".torchfinch").start(make_spec(model="colours"), "a", archive)

    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(("told", "seconds"), [(30, 180), (300, 360)])
def test_a_server_may_take_as_long_to_start_as_its_archive_says(tmp_path: Path, told: int, seconds: int) -> None:
    run, serving = write_colour_run(tmp_path / "run"), ServingConfig(startup_timeout=told)
    archive = pack_run(run, name="colours", version="2.0", output=tmp_path / "colours.mar", serving=serving)
    assert start_seconds(read_archive(archive)) == seconds
