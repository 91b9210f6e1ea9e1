"""Before a canary's first weight its own server must answer as its archive promises."""

import json
from pathlib import Path

import pytest
from colours import write_colour_run
from release.conftest import make_spec
from serving.helpers import processes_of

from torchfinch.archive import pack_run
from torchfinch.errors import TorchfinchError
from torchfinch.release.local.servers import TorchServes


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
