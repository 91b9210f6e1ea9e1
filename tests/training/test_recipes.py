"""Recipes: found, set, trained, packed; mistakes are one line."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from torchfinch.archive import pack_run, verify
from torchfinch.cli.train import train as train_command
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import Evaluation, evaluate
from torchfinch.training import load_recipe, train, unique_labels
from torchfinch.training.data import Images

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "training" / "digits.py")


def quick(runs: Path, **values: str) -> Path:
    """Train digits for an epoch."""
    recipe = load_recipe(DIGITS)
    return train(recipe, recipe.configure({"epochs": "1", **values}), runs=runs).folder


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second, other = (
        (quick(tmp_path / name, seed=seed) / "weights.safetensors").read_bytes()
        for name, seed in (("a", "3"), ("b", "3"), ("c", "4"))
    )

    assert first == second
    assert first != other


@pytest.mark.slow
def test_digits_are_told_apart_and_the_archive_proves_it(tmp_path: Path) -> None:
    recipe = load_recipe(DIGITS)
    run = train(recipe, recipe.configure({}), runs=tmp_path)

    assert isinstance(run.evaluation, Evaluation)
    assert run.evaluation.accuracy >= 0.99
    history = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 10
    assert verify(pack_run(run.folder, name="digits", version="1.0", output=tmp_path / "d.mar")).ok


@pytest.mark.slow
def test_mnist_is_learnt_and_packed(tmp_path: Path) -> None:
    recipe = load_recipe(str(ROOT / "training" / "mnist.py"))
    run = train(recipe, recipe.configure({"epochs": "3"}), runs=tmp_path)

    assert isinstance(run.evaluation, Evaluation)
    assert run.evaluation.accuracy >= 0.95
    assert run.evaluation.samples == 1000
    assert verify(pack_run(run.folder, name="mnist", version="1.0", output=tmp_path / "m.mar")).ok


@pytest.mark.slow
def test_imagenet_knows_espresso_and_daisy_and_names_every_class_once(tmp_path: Path) -> None:
    recipe = load_recipe(str(ROOT / "training" / "imagenet.py"))
    run = train(recipe, recipe.configure({}), runs=tmp_path)
    described = json.loads((run.folder / "model.json").read_text())
    best = [
        max(golden["expected"]["probabilities"], key=golden["expected"]["probabilities"].get) for golden in run.golden
    ]

    assert best == ["espresso", "daisy"]
    assert len(set(described["labels"])) == 1000
    assert verify(pack_run(run.folder, name="imagenet", version="1.0", output=tmp_path / "i.mar")).ok


def test_a_failed_training_leaves_the_run_before_it_whole(tmp_path: Path) -> None:
    folder = quick(tmp_path / "runs")
    before = (folder / "weights.safetensors").read_bytes()
    recipe = load_recipe(DIGITS)

    with pytest.raises(TorchfinchError):
        train(recipe, recipe.configure({"epochs": "2", "learning_rate": "1e30"}), runs=tmp_path / "runs")

    assert (folder / "weights.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["digits"]


def test_training_from_the_command_line_prints_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train_command("digits", setting=["epochs=1"])

    assert capsys.readouterr().out == "model_store/digits.mar\n"
    assert (tmp_path / "model_store" / "digits.mar").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "there is no recipe 'nothing'"),
        ("broken.py", "import a_package_that_is_not_there\n", r"cannot be imported: ModuleNotFoundError.*line 1"),
        ("empty.py", "x = 1\n", "is no recipe: it needs a class Config"),
        ("syntax.py", "def\n", "invalid syntax"),
    ],
)
def test_recipes_that_cannot_be_run_are_told_so(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
        name = str(tmp_path / name)

    with pytest.raises(TorchfinchError, match=message):
        load_recipe(name)


def test_a_neighbour_imported_without_a_dot_is_told(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("x = 1\n")
    (tmp_path / "mine.py").write_text("from helpers import x\n")

    with pytest.raises(TorchfinchError, match=r"import \.\.\."):
        load_recipe(str(tmp_path / "mine.py"))


def test_two_folders_may_have_networks_of_the_same_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        shutil.copytree(ROOT / "training", tmp_path / folder)
    network = tmp_path / "b" / "networks" / "digits.py"
    network.write_text(network.read_text().replace("nn.Dropout(0.3)", "nn.Dropout(0.7)"))
    dropouts = []
    for folder in ("a", "b"):
        recipe = load_recipe(str(tmp_path / folder / "digits.py"))
        _, model, _ = recipe.build(recipe.configure({}))
        dropouts += [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]

    assert dropouts == [0.3, 0.7]


def test_unknown_settings_and_wrong_values_are_one_line() -> None:
    recipe = load_recipe(DIGITS)

    with pytest.raises(TorchfinchError, match="did you mean epochs"):
        recipe.configure({"epoch": "3"})
    with pytest.raises(TorchfinchError, match=r"epochs=many: .*the default is --set epochs=30"):
        recipe.configure({"epochs": "many"})


def test_a_recipe_of_ones_own_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "training", tmp_path / "training")
    (tmp_path / "training" / "digits.py").rename(tmp_path / "training" / "mine.py")
    monkeypatch.chdir(tmp_path)

    assert load_recipe("mine").path == tmp_path / "training" / "mine.py"


def test_all_chance_of_a_recipe_comes_from_its_seed(tmp_path: Path) -> None:
    (tmp_path / "chance.py").write_text(
        "import random, numpy, torch\n"
        "from torchfinch.training import Settings\n"
        "class Config(Settings): pass\n"
        "def build(config): return random.random(), numpy.random.rand(), torch.rand(()).item()\n"
    )
    recipe = load_recipe(str(tmp_path / "chance.py"))
    first, second, other = (recipe.made(recipe.configure({"seed": seed})) for seed in (1, 1, 2**40))

    assert first == second
    assert not set(first) & set(other)


def test_labels_become_unique() -> None:
    labels = unique_labels(["crane", "dog", "crane"])

    assert len(set(labels)) == 3
    assert labels[1] == "dog"


def test_the_cross_entropy_of_the_requirements_example() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    evaluation = evaluate(np.array([0, 1]), probabilities.numpy(), labels=["a", "b", "c"])

    assert evaluation.cross_entropy == pytest.approx(0.28991, abs=1e-5)
    assert functional.cross_entropy(probabilities.log(), torch.tensor([0, 1])).item() == pytest.approx(
        0.28991, abs=1e-5
    )


def test_the_metrics_of_the_requirements_example() -> None:
    counts = {(1, 1): 85, (0, 0): 860, (0, 1): 40, (1, 0): 15}  # (truth, answer)
    truth = np.concatenate([np.full(n, t) for (t, _), n in counts.items()])
    answers = np.concatenate([np.full(n, a) for (_, a), n in counts.items()])
    evaluation = evaluate(truth, np.eye(2)[answers] * 0.8 + 0.1, labels=["negative", "positive"])
    positive = evaluation.per_class["positive"]

    assert evaluation.accuracy == pytest.approx(0.945)
    assert evaluation.confusion_matrix == ((860, 40), (15, 85))
    assert (positive.precision, positive.recall) == pytest.approx((0.68, 0.85))
    assert positive.f1 == pytest.approx(0.7556, abs=1e-4)
    assert not math.isnan(evaluation.cross_entropy)


def test_images_are_indexable_data() -> None:
    images = Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4))

    assert len(images) == 4
