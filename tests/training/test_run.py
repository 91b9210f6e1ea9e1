"""The run folder: whole, repeatable, and served as training saw it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchfinch.archive import pack_run, unpack
from torchfinch.errors import TorchfinchError
from torchfinch.evaluation import Evaluation, probabilities
from torchfinch.handler import ImageClassifier, Preprocessing, safetensors
from torchfinch.testing import FakeContext, predict
from torchfinch.training import Data, Epoch, Recipe, Run, load_recipe, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(str(ROOT / "training" / "digits.py"))


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of a narrow digits network: the answers are unsure, so that differences show."""
    return train(recipe, recipe.configure({"epochs": "2", "width": "8"}), runs=tmp_path_factory.mktemp("runs"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_holds_what_packing_and_reports_take(run: Run) -> None:
    files = {path.name for path in run.folder.iterdir()}

    assert files == {"model.py", "weights.safetensors", "model.json", "history.jsonl", "evaluation.json", "golden"}
    lines = (run.folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert isinstance(run.evaluation, Evaluation)
    assert read(run.folder / "evaluation.json") == json.loads(json.dumps(run.evaluation.to_dict()))


def test_lineage_says_where_the_model_comes_from(run: Run) -> None:
    lineage = read(run.folder / "model.json")["lineage"]

    assert isinstance(run.evaluation, Evaluation)
    assert lineage["recipe"] == "digits"
    assert lineage["metrics"] == {"test_accuracy": run.evaluation.accuracy}
    assert len(lineage["data_digest"]) == 64
    assert (lineage["seed"], lineage["config"]["width"], lineage["torch"]) == (0, 8, torch.__version__)


def test_the_revision_is_that_of_the_recipes_repository(recipe: Recipe, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "networks").mkdir(parents=True)
    for name in ("digits.py", "networks/digits.py"):
        (project / name).write_text((recipe.path.parent / name).read_text(encoding="utf-8"), encoding="utf-8")
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    mine = load_recipe(str(project / "digits.py"))
    config = mine.configure({"epochs": "1", "width": "4"})

    def revision() -> Any:
        return read(train(mine, config, runs=tmp_path / "runs").folder / "model.json")["lineage"]["git_revision"]

    assert revision() is None
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert revision() == head
    with (project / "digits.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert revision() == f"{head}-dirty"


def test_a_server_answers_what_the_evaluation_saw(recipe: Recipe, run: Run, tmp_path: Path) -> None:
    config = recipe.configure({"epochs": "2", "width": "8"})
    data, model, preprocessing = recipe.build(config)
    model.load_state_dict(safetensors.load(run.folder / "weights.safetensors"))
    assert data.test is not None
    first = [data.test.targets.tolist().index(number) for number in range(10)]
    expected = probabilities(model, data.test.pixels, preprocessing=preprocessing)[first]
    archive = pack_run(run.folder, name="digits", version="1.0", output=tmp_path / "digits.mar")
    unpack(archive, tmp_path / "archive")
    context = FakeContext(tmp_path / "archive")
    handler = ImageClassifier()
    handler.initialize(context)
    bodies = [(run.folder / "golden" / f"{number}.png").read_bytes() for number in range(10)]
    answers = predict(handler, context, *bodies, headers={"torchfinch-top-k": "all"})

    for row, (status, answer), golden in zip(expected, answers, run.golden, strict=True):
        assert status == 200
        served = torch.tensor([answer["probabilities"][label] for label in data.labels])
        torch.testing.assert_close(served, row, atol=1e-5, rtol=0)
        assert golden["expected"]["predicted_class"] == answer["predicted_class"]
        for label, probability in golden["expected"]["probabilities"].items():
            assert answer["probabilities"][label] == pytest.approx(probability, abs=1e-5)


def test_only_what_is_a_run_is_replaced(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "thesis.tex").write_text("years of work")

    with pytest.raises(TorchfinchError, match=r"digits exists and is no run .*--runs"):
        train(recipe, recipe.configure({}), runs=tmp_path)
    assert (tmp_path / "digits" / "thesis.tex").read_text() == "years of work"


def test_a_second_run_takes_the_place_of_the_first(recipe: Recipe, tmp_path: Path) -> None:
    config = {"epochs": "1", "width": "4"}
    train(recipe, recipe.configure(config), runs=tmp_path)
    (tmp_path / "digits" / "left over.txt").touch()
    train(recipe, recipe.configure({**config, "seed": "5"}), runs=tmp_path)

    assert read(tmp_path / "digits" / "model.json")["lineage"]["seed"] == 5
    assert not (tmp_path / "digits" / "left over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_an_interrupt_leaves_the_run_before_it_and_no_other_file(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe.configure({"epochs": "1", "width": "4"})
    train(recipe, config, runs=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def interrupted(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)

        def stop(pixels: torch.Tensor, _chance: torch.Generator) -> torch.Tensor:
            raise KeyboardInterrupt

        return replace(data, augment=stop), model, preprocessing

    with pytest.raises(KeyboardInterrupt):
        train(replace(recipe, build=interrupted), config, runs=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_interrupt_of_the_first_epoch_says_that_nothing_is_kept(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)

        def stop(pixels: torch.Tensor, _chance: torch.Generator) -> torch.Tensor:
            raise KeyboardInterrupt

        return replace(data, augment=stop), model, preprocessing

    with pytest.raises(KeyboardInterrupt):
        train(replace(recipe, build=interrupted), recipe.configure({"width": "4"}), runs=tmp_path)
    assert capsys.readouterr().err == "nothing of this training is kept: no epoch had ended\n"
    assert not list(tmp_path.iterdir())


def test_who_follows_the_hint_at_a_lost_loss_goes_on_from_the_last_good_epoch(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fragile(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)
        assert data.train
        good = iter(range(-(-len(data.train) // config.batch_size)))  # one epoch

        def spoil(pixels: torch.Tensor, _chance: torch.Generator) -> torch.Tensor:
            lost = next(good, None) is None and config.learning_rate > 0.001
            return pixels * float("nan" if lost else 1)

        return replace(data, augment=spoil), model, preprocessing

    mine = replace(recipe, build=fragile)
    settings = {"epochs": "2", "width": "4", "learning_rate": "0.01"}
    with pytest.raises(TorchfinchError, match=r"became nan in epoch 2, .*--set learning_rate=0\.001"):
        train(mine, recipe.configure(settings), runs=tmp_path)
    assert "epoch-00001.pt is kept; --resume goes on from there, also with another" in capsys.readouterr().err

    hinted = recipe.configure({**settings, "learning_rate": "0.001"})
    assert [epoch.epoch for epoch in train(mine, hinted, runs=tmp_path, resume=True).history] == [1, 2]
    assert "epoch-00001.pt: config.learning_rate was 0.01 and is 0.001" in capsys.readouterr().err


def test_only_the_first_process_removes_the_checkpoints(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "digits.checkpoints" / "epoch-00001.pt"
    saved.parent.mkdir()
    saved.touch()
    monkeypatch.setenv("RANK", "1")
    train(recipe, recipe.configure({"epochs": "1", "width": "4"}), runs=tmp_path)

    assert saved.exists()


def test_what_cannot_be_removed_beside_the_checkpoints_keeps_none_of_them(recipe: Recipe, tmp_path: Path) -> None:
    saved = tmp_path / "digits.checkpoints"
    for number in range(30):  # some come before a checkpoint, in whatever order a file system has them
        (saved / str(number)).mkdir(parents=True)
    train(recipe, recipe.configure({"epochs": "1", "width": "4"}), runs=tmp_path)

    assert all(path.is_dir() for path in saved.iterdir())


def test_an_error_of_a_library_is_told_in_its_own_words(recipe: Recipe, tmp_path: Path) -> None:
    def torn(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)

        def fail(pixels: torch.Tensor, _chance: torch.Generator) -> torch.Tensor:
            raise OSError("image file is truncated")

        return replace(data, augment=fail), model, preprocessing

    with pytest.raises(TorchfinchError, match="the recipe digits: image file is truncated"):
        train(replace(recipe, build=torn), recipe.configure({"width": "4"}), runs=tmp_path)


def test_a_golden_file_that_is_no_image_is_told(recipe: Recipe, tmp_path: Path) -> None:
    def spoilt(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)
        return replace(data, golden={"notes.txt": b"no image at all"}), model, preprocessing

    with pytest.raises(TorchfinchError, match=r"the golden file notes\.txt: .* are no image"):
        train(replace(recipe, build=spoilt), recipe.configure({"epochs": "1", "width": "4"}), runs=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.checkpoints"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No such file or directory", "labels.csv"), "the recipe digits: .*labels.csv"),
        (ValueError("targets reach 2"), "the recipe digits: targets reach 2"),
    ],
)
def test_what_a_recipe_cannot_read_is_told_as_its_own(
    recipe: Recipe, tmp_path: Path, error: Exception, message: str
) -> None:
    def failing(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        raise error

    with pytest.raises(TorchfinchError, match=message):
        train(replace(recipe, build=failing), recipe.configure({}), runs=tmp_path)


def test_a_command_that_cannot_begin_leaves_the_checkpoints_of_an_interrupted_one(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, recipe.configure({"epochs": "2", "width": "4"}), runs=tmp_path, told=interrupt)
    assert "epoch-00001.pt is kept; the same command with --resume goes on" in capsys.readouterr().err
    with pytest.raises(TorchfinchError, match="torch sees no GPU"):
        train(recipe, recipe.configure({"epochs": "2", "device": "cuda:7"}), runs=tmp_path)
    assert capsys.readouterr().err == ""
    assert (tmp_path / "digits.checkpoints" / "epoch-00001.pt").exists()

    with pytest.raises(TorchfinchError, match=r"is of another training: .*network"):
        train(recipe, recipe.configure({"epochs": "2", "width": "8"}), runs=tmp_path, resume=True)
    run = train(recipe, recipe.configure({"epochs": "2", "width": "4", "threads": "2"}), runs=tmp_path, resume=True)
    assert [epoch.epoch for epoch in run.history] == [1, 2]


def test_a_class_without_a_training_image_is_told(recipe: Recipe, tmp_path: Path) -> None:
    def lacking(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)
        assert data.train
        return replace(data, train=data.train[data.train.targets != 7]), model, preprocessing

    with pytest.raises(TorchfinchError, match="there is no training image of 'seven'"):
        train(replace(recipe, build=lacking), recipe.configure({"epochs": "1", "width": "4"}), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_training_gets_the_checkpoints_only_when_the_run_is_whole(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe.configure({"epochs": "1", "width": "4"})
    ended: list[Epoch] = []
    refused: list[object] = []

    def watched(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)

        def try_a_second(*_: object) -> None:
            if ended and not refused:  # the first one evaluates
                with pytest.raises(TorchfinchError, match="another training keeps its checkpoints") as caught:
                    train(recipe, config, runs=tmp_path)
                refused.append(caught)

        model.register_forward_hook(try_a_second)
        return data, model, preprocessing

    train(replace(recipe, build=watched), config, runs=tmp_path, told=ended.append)
    assert refused
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_recipe_without_test_images_leaves_a_run_without_an_evaluation(recipe: Recipe, tmp_path: Path) -> None:
    def untested(config: Any) -> tuple[Data, nn.Module, Preprocessing]:
        data, model, preprocessing = recipe.build(config)
        assert data.test
        return replace(data, test=data.test[:0], golden={}), model, preprocessing

    run = train(replace(recipe, build=untested), recipe.configure({"epochs": "1", "width": "4"}), runs=tmp_path)
    assert run.evaluation is None
    assert (run.folder / "weights.safetensors").exists()
