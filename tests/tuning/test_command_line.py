"""`torchfinch tune` as people type it: recipes, estimators and YAML files in, a file for `train` or `crossval` out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from torchfinch.cli import build
from torchfinch.errors import TorchfinchError

QUICK = ("--set", "epochs=1", "--set", "width=4")
SVC = ("sklearn.svm.SVC", "--data", "digits", "--search", "C=0.1,10", "--sampler", "grid")
SIZED = """
import torch
from torch import nn
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, FitSettings, Images

class Config(FitSettings):
    size: int = 8
    width: int = 2

def build(config):
    images = Images(torch.zeros(8, 3, config.size, config.size, dtype=torch.uint8), torch.arange(8) % 2)
    data = Data(labels=("a", "b"), train=images, validation=images)
    return data, nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), Preprocessing(size=(config.size, config.size))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def torchfinch(*words: str) -> Result:
    return CliRunner().invoke(build(), list(words))


def tune(*words: str) -> Result:
    result = torchfinch("tune", *words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def best(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return content


def test_the_best_settings_of_a_recipe_are_a_file_that_train_takes(here: Path) -> None:
    result = tune("digits", *QUICK, "--search", "learning_rate=1e-6,1e-2", "--sampler", "grid")

    assert result.stdout == "studies/digits/best.yaml\n"
    assert "2 trials: 2 complete, 0 pruned, 0 failed; the best:" in result.stderr
    assert best("studies/digits/best.yaml") == {"recipe": "digits", "epochs": 1, "width": 4, "learning_rate": 0.01}
    assert Path("studies/digits/best.yaml").read_text().startswith("# accuracy 0.")
    assert "Study digits" in Path("studies/digits/study.html").read_text()
    assert torchfinch("train", "studies/digits/best.yaml", "--no-pack").stdout == "runs/digits\n"
    described = json.loads((here / "runs" / "digits" / "model.json").read_text())
    assert described["lineage"]["config"]["learning_rate"] == 0.01


def test_the_best_parameters_of_an_estimator_are_a_file_that_crossval_takes() -> None:
    result = tune(*SVC, "--folds", "3", "--set", "gamma=0.1", "--json")

    assert "torchfinch crossval studies/SVC/best.yaml --output reports/crossval/SVC-best" in result.stderr

    scores = {trial["values"]["C"]: trial["score"] for trial in json.loads(result.stdout)["trials"]}
    assert set(scores) == {0.1, 10}
    file = best("studies/SVC/best.yaml")
    assert file == {"recipe": "digits", "estimator": "sklearn.svm.SVC", "gamma": 0.1, "C": 10}
    found = json.loads(torchfinch("crossval", "studies/SVC/best.yaml", "--folds", "3", "--json").stdout)
    assert found["parameters"]["svc__C"] == 10
    assert found["summary"]["accuracy"]["mean"] == pytest.approx(scores[10])


def test_values_are_tried_as_python_has_them_and_crossval_reads_them_again() -> None:
    words = ("--search", "class_weight={0: 2.0, 1: 1.0},None", "--search", "shrinking=True,False", "--json")
    trials = json.loads(tune("sklearn.svm.SVC", "--data", "digits", *words).stdout)["trials"]

    assert [trial["state"] for trial in trials] == ["complete"] * 4
    assert {repr(trial["values"]["class_weight"]) for trial in trials} == {"{'0': 2.0, '1': 1.0}", "None"}
    assert {trial["values"]["shrinking"] for trial in trials} == {True, False}
    file = yaml.safe_load(Path("studies/SVC/best.yaml").read_text())
    assert file["class_weight"] in ("{0: 2.0, 1: 1.0}", None)
    Path("studies/SVC/best.yaml").write_text(yaml.safe_dump({**file, "class_weight": "{0: 2.0, 1: 1.0}"}))
    found = json.loads(torchfinch("crossval", "studies/SVC/best.yaml", "--folds", "2", "--json").stdout)
    assert found["parameters"]["svc__class_weight"] == "{0: 2.0, 1: 1.0}"


def test_without_folds_an_estimator_is_judged_by_the_recipes_validation_images() -> None:
    trials = json.loads(tune(*SVC, "--json").stdout)["trials"]

    assert [len(trial["scores"]) for trial in trials] == [1, 1]


def test_a_file_has_what_is_fixed_and_what_is_searched_and_flags_and_environment_come_on_top(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "study.yaml").write_text(
        "recipe: digits\nepochs: 9\nwidth: 9\noptimizer: {name: momentum}\n"
        "search: {optimizer.momentum: [0.5, 0.9], learning_rate: '1e-3,1e-2'}\n"
    )
    monkeypatch.setenv("TORCHFINCH_TRAIN_WIDTH", "4")
    result = tune("study.yaml", "--set", "epochs=1", "--search", "learning_rate=0.01", "--sampler", "grid", "--json")

    tried = [trial["values"] for trial in json.loads(result.stdout)["trials"]]
    assert sorted(tried, key=str) == [{"optimizer.momentum": value, "learning_rate": 0.01} for value in (0.5, 0.9)]
    file = best("studies/digits/best.yaml")
    assert (file["epochs"], file["width"], file["optimizer"]) == (1, 4, {"name": "momentum"})


def test_off_is_a_value_to_try_also_in_a_file_where_yaml_reads_it_as_false(here: Path) -> None:
    (here / "study.yaml").write_text("recipe: digits\nepochs: 1\nwidth: 4\nsearch: {amp: [off, bf16]}\n")
    trials = json.loads(tune("study.yaml", "--json").stdout)["trials"]

    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    assert torchfinch("train", "studies/digits/best.yaml", "--no-pack").stdout == "runs/digits\n"


def test_a_study_goes_on_and_a_changed_one_is_refused(here: Path) -> None:
    tune(*SVC, "--trials", "1")
    assert tune(*SVC).stderr.count("complete  ") == 1
    error = torchfinch("tune", *SVC, "--folds", "3").exception

    assert isinstance(error, TorchfinchError)
    assert "the study SVC was begun with another folds" in error.message


@pytest.mark.parametrize("folder", ["what?", "a%20b", "a#b"])
def test_everything_of_a_study_is_in_the_folder_of_that_name(here: Path, folder: str) -> None:
    tune(*SVC, "--trials", "1", "--output", folder)

    assert [path.name for path in here.iterdir()] == [folder]
    assert {path.name for path in (here / folder).iterdir()} == {"best.yaml", "study.db", "study.html"}


@pytest.mark.slow
def test_a_regression_is_judged_by_r2() -> None:
    tune("angles", *QUICK, "--search", "learning_rate=0.01", "--sampler", "grid")

    assert Path("studies/angles/best.yaml").read_text().startswith("# r2 ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sklearn.svm.SVC", "--search", "C=1,2"), "sklearn.svm.SVC is given no images"),
        (("sklearn.svm.SVC", "--data", "digits", "--search", "c=1,2"), "did you mean C?"),
        (("sklearn.svm.SVX", "--data", "digits", "--search", "C=1,2"), "there is no estimator sklearn.svm.SVX"),
        (("digits",), "the search space is empty"),
        (("digits", "--search", "learning_rat=1,2"), "did you mean learning_rate?"),
        (("digits", "--search", "learning_rate=-1..1"), "learning_rate=-1: input should be greater than 0"),
        (("digits", "--search", "epochs=1,2", "--metric", "acuracy"), "did you mean accuracy?"),
        (("digits", "--search", "epochs=1,2", "--folds", "200"), "no 200 folds of 139 examples"),
        (("imagenet", "--search", "seed=1,2"), "imagenet is given nothing to learn from"),
        (("three.yaml",), "three.yaml: search is 3"),
        (("nowhere.yaml",), "nowhere.yaml cannot be read"),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_is_tried(here: Path, words: tuple[str, ...], said: str) -> None:
    (here / "three.yaml").write_text("recipe: digits\nsearch: 3\n")
    error = torchfinch("tune", *words).exception

    assert isinstance(error, TorchfinchError)
    assert said in str(error)
    assert [path.name for path in here.iterdir()] == ["three.yaml"]


def test_a_setting_that_changes_the_images_is_refused_before_anything_is_tried(here: Path) -> None:
    (here / "sized.py").write_text(SIZED)
    error = torchfinch("tune", "./sized.py", "--search", "size=8,12", "--search", "width=2,3").exception

    assert isinstance(error, TorchfinchError)
    assert error.message == "size=12 changes the images, and all candidates are judged by the same ones"
    assert not list(here.glob("*/study.db"))


@pytest.mark.slow
def test_without_the_extras_all_else_works_and_each_command_says_what_to_install() -> None:
    script = (
        "import sys\n"  # a module that is None cannot be imported
        "sys.modules.update(dict.fromkeys(['optuna', 'mlflow', 'sqlalchemy', 'alembic', 'pyarrow']))\n"
        "from typer.testing import CliRunner\n"
        "import torchfinch.training, torchfinch.evaluation, torchfinch.registry, torchfinch.report\n"
        "from torchfinch.cli import build\n"
        "for words in ('tune digits --search epochs=1,2', 'runs track r', 'push m.mar', 'train digits --track'):\n"
        "    print(CliRunner().invoke(build(), words.split()).exception)\n"
    )
    Path("r").mkdir()
    Path("r/model.json").write_text('{"network": {"class": "Net"}}')
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "tuning needs optuna (hint: pip install 'torchfinch[tune]')",
        *["tracking and registry need mlflow (hint: pip install 'torchfinch[tracking]')"] * 3,
    ]


def test_a_fixed_text_that_only_looks_like_a_number_stays_as_it_is(here: Path) -> None:
    (here / "named.py").write_text(
        "from torchfinch.training import load_recipe\n"
        "digits = load_recipe('digits')\n"
        "class Config(digits.config):\n    folder: str = ''\n"
        "build = digits.build\n"
    )
    result = tune(
        "named.py", *("--set", "folder=2024_01_15", "--set", "epochs=1", "--search", "width=4,8", "--trials", "1")
    )

    assert result.exit_code == 0, result.stderr
    assert (best("studies/named/best.yaml")["folder"], best("studies/named/best.yaml")["epochs"]) == ("2024_01_15", 1)
