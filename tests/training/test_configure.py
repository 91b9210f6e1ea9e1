"""Settings from a file, the environment and the command line: the later wins, and a wrong name finds the right one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from torchfinch.errors import TorchfinchError
from torchfinch.training import FitSettings, Optimizer, Recipe, from_environment, read_config
from torchfinch.training.configure import without_effect


class Config(FitSettings):
    """A recipe with a default of its own inside a section, and a field that must be told."""

    folder: str
    optimizer: Optimizer = Optimizer(name="momentum", momentum=0.8)


RECIPE = Recipe(name="mine", path=Path("mine.py"), config=Config, build=lambda _: None)  # type: ignore[arg-type,return-value]


def configured(*sources: dict[str, Any]) -> Config:
    settings = RECIPE.configure({"folder": "photos"}, *sources)
    assert isinstance(settings, Config)
    return settings


def refusal(*sources: dict[str, Any]) -> str:
    with pytest.raises(TorchfinchError) as caught:
        configured(*sources)
    return str(caught.value)


def test_a_later_source_wins_field_by_field() -> None:
    settings = configured({"optimizer": {"momentum": 0.5, "clip_norm": 2}, "epochs": 3}, {"optimizer.momentum": "0.6"})

    assert settings.optimizer == Optimizer(name="momentum", momentum=0.6, clip_norm=2)
    assert settings.epochs == 3


def test_text_of_a_shell_is_read_as_the_type_of_its_field() -> None:
    words = configured({"loss.class_weights": "none", "augmentation.policy": "none", "patience": "none"})
    assert (words.loss.class_weights, words.augmentation.policy, words.patience) == ("none", "none", None)
    settings = configured({"compile": "true", "loss.class_weights": "[1, 2.5]", "optimizer.clip_norm": "none"})

    assert settings.compile is True
    assert settings.loss.class_weights == (1, 2.5)
    assert settings.optimizer.clip_norm is None


def test_the_word_off_of_a_yaml_file_is_off(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("recipe: mine\namp: off\n")

    assert configured(read_config(path)[1]).amp == "off"
    assert refusal({"amp": True}).startswith("amp=True: input should be 'off', 'bf16' or 'fp16'")


def test_what_a_config_says_of_itself_makes_it_again() -> None:
    settings = configured({"schedule.name": "cosine", "loss.l1": 1e-5, "loss.class_weights": "balanced"})

    assert configured(settings.model_dump(mode="json")) == settings
    assert configured(yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json")))) == settings


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("epoch", "epochs"),
        ("optimizer.momentun", "optimizer.momentum"),
        ("momentum", "optimizer.momentum"),
        ("gamma", "loss.gamma"),
        ("optimizer", "optimizer.name"),
        ("loss.optimizer.name", "optimizer.name"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_right_one(name: str, right: str) -> None:
    assert refusal({name: "1"}) == f"the recipe mine has no setting {name!r} (hint: did you mean {right}?)"


def test_the_largest_seed_is_what_torch_takes() -> None:
    assert configured({"seed": str(2**64 - 1)}).seed == 2**64 - 1
    assert refusal({"seed": str(2**64)}).startswith(f"seed={2**64}: input should be less than {2**64}")


@pytest.mark.parametrize(
    "text",
    ["epochs=many", "epochs=none", "learning_rate=nan", "learning_rate=inf", "optimizer.momentum=1", "loss.name=mean"],
)
def test_a_wrong_value_is_told_by_its_dotted_name_with_the_default(text: str) -> None:
    name, value = text.split("=")

    assert refusal({name: value}).startswith(f"{text}: input should be ")
    assert f"(hint: the default is --set {name}=" in refusal({name: value})


def test_a_field_that_must_be_told_is_asked_for() -> None:
    with pytest.raises(TorchfinchError, match=r"the recipe mine must be told folder .*--set folder="):
        RECIPE.configure({})


def test_the_environment_has_two_underscores_for_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHFINCH_TRAIN_EPOCHS", "7")
    monkeypatch.setenv("TORCHFINCH_TRAIN_OPTIMIZER__NAME", "sgd")

    settings = configured(from_environment())
    assert (settings.epochs, settings.optimizer.name, settings.optimizer.momentum) == (7, "sgd", 0.8)


def test_a_file_names_its_recipe_and_its_settings_in_either_form(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("recipe: mine\nepochs: 4\noptimizer: {name: sgd}\nschedule.name: step\nlearning_rate: 1e-3\n")

    name, values = read_config(path)
    settings = configured(values)
    assert (name, settings.epochs, settings.optimizer.name, settings.schedule.name) == ("mine", 4, "sgd", "step")
    assert settings.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: 3", "names no recipe"),
        (b"- 1", "names no recipe"),
        (b"a: [", "is no YAML"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_config_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)

    with pytest.raises(TorchfinchError, match=message):
        read_config(path)
    with pytest.raises(TorchfinchError, match="cannot be read: No such file"):
        read_config(tmp_path / "lost.yaml")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss.gamma": 2}, "loss.gamma has no effect: it is for loss.name=focal, not cross_entropy"),
        (
            {"loss": {"name": "mse", "delta": 2}},
            "loss.delta has no effect: it is for loss.name=huber, not mse",
        ),
        (
            {"schedule.every": 3},
            "schedule.every has no effect: it is for schedule.name=step, not one_cycle",
        ),
        ({"frozen.epochs": 5, "epochs": 2}, "the head alone learns in all epochs: frozen.epochs=5, and epochs=2"),
    ],
)
def test_a_setting_that_is_named_and_does_nothing_is_told(values: dict[str, Any], said: str) -> None:
    assert list(without_effect(configured(values), values)) == [said]


def test_settings_that_have_an_effect_or_are_not_named_are_passed_over() -> None:
    values = {"loss.name": "focal", "loss.gamma": 2, "optimizer.momentum": 0.5, "schedule.swing": 0.1}

    assert not list(without_effect(configured(values), values))
    assert not list(without_effect(configured({"loss.gamma": 3})))


def test_a_setting_that_a_training_refuses_beside_the_others_is_not_told_as_without_effect() -> None:
    values = {"loss.name": "focal", "loss.label_smoothing": 0.1}

    assert not list(without_effect(configured(values), values))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device=gpu", r"device=gpu: it has no such value .*where to fit: cpu, cuda or cuda:N"),
        ("loss.class_weights=balance", "loss.class_weights=balance: .* or a list of numbers"),
    ],
)
def test_the_hint_on_a_wrong_value_says_what_the_setting_takes(text: str, said: str) -> None:
    name, value = text.split("=")
    with pytest.raises(TorchfinchError, match=said):
        configured({name: value})
