from pathlib import Path
from typing import Any

import pytest
import yaml
from experiment.helpers import FIELDS

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.spec import read_experiment


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**FIELDS, **changes}))
    return path


def test_an_experiment_is_read_with_its_defaults(tmp_path: Path) -> None:
    read = read_experiment(write(tmp_path))
    assert (read.name, read.metric.kind, read.alpha, read.power, read.window_days) == (
        "digits-2",
        "conversion",
        0.05,
        0.8,
        1.0,
    )


METRIC: dict[str, Any] = {"name": "accepted", "kind": "conversion", "baseline": 0.3, "effect": 0.05}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": 0.5}, "shares is no known field; the nearest is share"),
        ({"metric": {**METRIC, "efect": 1}}, "metric.efect is no known field; the nearest is effect"),
        ({"xyzzy": 1}, "xyzzy is no known field (known: name, salt,"),
        ({"share": 1}, "share: Input should be less than 1, got 1"),
        ({"share": 0.33333}, "share: a share has steps of 0.0001, got 0.33333"),
        ({"name": "Digits 2"}, "name: String should match pattern"),
        ({"salt": "a:b"}, "salt: String should match pattern"),
        ({"days": "two weeks"}, "days: Input should be a valid number"),
        ({"metric": {**METRIC, "effect": 0}}, "metric.effect: an effect of 0 needs endless users, got 0"),
        ({"metric": {**METRIC, "baseline": 30}}, "metric: baseline and baseline + effect of a conversion lie between"),
        ({"metric": {**METRIC, "kind": "total"}}, "metric: deviation is missing: a total needs the standard deviation"),
        ({"metric": {**METRIC, "deviation": 1}}, "metric: deviation does not go with a conversion"),
        ({"metric": {**METRIC, "name": "request.second"}}, "metric.name: "),
        ({"metric": None}, "metric: Input should be a valid dictionary"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TorchfinchError) as caught:
        read_experiment(write(tmp_path, **changes))
    assert caught.value.message.startswith(f"{tmp_path / 'experiment.yaml'}: {message}")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in FIELDS.items() if key != "salt"}))
    with pytest.raises(TorchfinchError, match="salt is missing"):
        read_experiment(path)


@pytest.mark.parametrize("content", [b"name: [", b"\xff\xfe", b"", b"- a list"])
def test_what_is_no_experiment_gives_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(TorchfinchError, match=r"experiment\.yaml") as caught:
        read_experiment(path)
    assert "\n" not in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match=r"nowhere\.yaml cannot be read: No such file"):
        read_experiment(tmp_path / "nowhere.yaml")
