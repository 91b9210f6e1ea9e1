"""What the settings change in the loop: steps, precision, averages, frozen parts, what is drawn and what is counted."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.helpers import DATA, Linear, Small, fitted, flat, halves

from torchfinch.errors import TorchfinchError
from torchfinch.training import Data, Images, cutout


def linear(dropout: float = 0) -> Linear:
    torch.manual_seed(0)
    return Linear(dropout=dropout)


PLAIN: dict[str, Any] = {"weight_decay": 0, "keep": "final", "schedule": {"name": "constant"}, "warm_up": 0}


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_batch_is_exactly_one_step_in_any_precision(amp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    step = torch.optim.SGD.step

    def counted(self: torch.optim.SGD, *arguments: Any, **named: Any) -> Any:
        steps.append(1)
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", counted)
    _, history = fitted(amp=amp, optimizer={"name": "sgd"}, epochs=2)

    assert len(steps) == 2 * 4
    assert history[-1].train_loss < 1


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_clipping_limits_the_true_gradient_whatever_it_is_scaled_by(amp: str) -> None:
    values = {**PLAIN, "epochs": 1, "batch_size": 61, "learning_rate": 1.0, "amp": amp}
    before = flat(linear())
    after, _ = fitted(linear(), optimizer={"name": "sgd", "clip_norm": 0.01}, **values)

    assert float((flat(after) - before).norm()) == pytest.approx(0.01, rel=1e-2)


def test_accumulated_batches_are_one_large_batch() -> None:
    values = {**PLAIN, "learning_rate": 0.1, "epochs": 2}
    data = Data(labels=DATA.labels, train=halves(60, 0), validation=DATA.validation)
    large, _ = fitted(linear(), data, batch_size=30, optimizer={"name": "sgd"}, **values)
    small, _ = fitted(linear(), data, batch_size=10, optimizer={"name": "sgd", "accumulate": 3}, **values)

    torch.testing.assert_close(flat(large), flat(small))


def test_a_short_last_group_of_batches_counts_as_a_mean_too() -> None:
    values = {**PLAIN, "learning_rate": 1.0, "epochs": 1, "batch_size": 20}  # three batches
    data = Data(labels=DATA.labels, train=halves(60, 0), validation=DATA.validation)
    moved, _ = fitted(linear(), data, optimizer={"name": "sgd", "accumulate": 8}, **values)
    whole, _ = fitted(linear(), data, optimizer={"name": "sgd"}, **{**values, "batch_size": 60})

    torch.testing.assert_close(flat(moved), flat(whole))


def test_the_moving_average_is_what_is_validated_and_kept() -> None:
    model, seen = Small(dropout=0), []
    hook = model.register_forward_pre_hook(lambda module, _: seen.append(flat(module)) if module.training else None)
    averaged, history = fitted(model, ema=0.75, epochs=1, **{**PLAIN, "learning_rate": 0.1})
    hook.remove()
    final, _ = fitted(_copy(Small(dropout=0), seen[0]), epochs=1, **{**PLAIN, "learning_rate": 0.1})
    after_each_step = [*seen[1:], flat(final)]
    expected = after_each_step[0]
    for weights in after_each_step[1:]:
        expected = 0.75 * expected + 0.25 * weights
    floats = [not name.endswith("num_batches_tracked") for name in averaged.state_dict()]
    sizes = [tensor.numel() for tensor in averaged.state_dict().values()]
    kept = torch.cat([torch.full((size,), keep) for size, keep in zip(sizes, floats, strict=True)])

    torch.testing.assert_close(flat(averaged)[kept], expected[kept], atol=1e-5, rtol=1e-4)
    assert math.isfinite(history[-1].validation_loss)


def _copy(model: nn.Module, weights: Tensor) -> nn.Module:
    sizes = [tensor.numel() for tensor in model.state_dict().values()]
    state = zip(model.state_dict().items(), weights.split(sizes), strict=True)
    model.load_state_dict({name: part.view(tensor.shape).to(tensor.dtype) for (name, tensor), part in state})
    return model


def test_patience_ends_a_training_that_gets_no_better_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    _, history = fitted(epochs=50, learning_rate=1.0, patience=2, schedule={"name": "constant"})
    losses = [epoch.validation_loss for epoch in history]

    assert len(losses) < 50
    assert losses.index(min(losses)) == len(losses) - 3
    said = f"ends after epoch {len(losses)}: none of the last 2 was better than the best before\n"
    assert capsys.readouterr().err.endswith(said)


def test_accuracy_is_told_by_class() -> None:
    data = Data(labels=("left", "right", "never"), train=halves(60, 0), validation=halves(40, 1, rare=10))
    assert data.train is not None
    data = Data(labels=data.labels, train=_with(data.train, 2), validation=data.validation)
    _, history = fitted(Linear(outputs=3), data, epochs=5, learning_rate=0.1)
    left, right, never = history[-1].class_accuracy

    assert never is None
    assert left is not None
    assert right is not None
    assert (30 * left + 10 * right) / 40 == pytest.approx(history[-1].validation_accuracy)


def _with(images: Images, number: int) -> Images:
    targets = images.targets.clone()
    targets[0] = number
    return Images(images.pixels, targets)


def test_the_time_for_data_is_part_of_the_time_for_a_pass() -> None:
    _, history = fitted(epochs=1)

    assert 0 < history[0].data_seconds < history[0].seconds


def test_balanced_sampling_shows_every_class_as_often() -> None:
    shown: list[int] = []

    def watch(batch: Tensor, _chance: torch.Generator) -> Tensor:
        shown.extend((batch[:, 0, 0, 0] == 7).long().tolist())
        return batch

    rare = halves(400, 0, rare=20)
    rare.pixels[rare.targets == 1, 0, 0, 0] = 7
    rare.pixels[rare.targets == 0, 0, 0, 0] = 8
    fitted(data=Data(labels=DATA.labels, train=rare, validation=DATA.validation, augment=watch), sampling="balanced")

    assert len(shown) == 3 * 400
    assert sum(shown) / len(shown) == pytest.approx(0.5, abs=0.05)


def test_doubtful_sampling_shows_most_what_stays_unknown() -> None:
    shown: list[int] = []

    def watch(batch: Tensor, _chance: torch.Generator) -> Tensor:
        shown.extend((batch[:, 0, 0, 0] == 7).long().tolist())
        return batch

    known = halves(400, 0)
    wrong = torch.arange(400) < 40
    known.pixels[wrong, 0, 0, 0], known.targets[wrong] = 7, 1 - known.targets[wrong]
    known.pixels[~wrong, 0, 0, 0] |= 8
    data = Data(labels=DATA.labels, train=known, validation=DATA.validation, augment=watch)
    fitted(Linear(dropout=0), data, epochs=20, learning_rate=0.1, sampling="doubtful", share=0.25)

    assert len(shown) == 20 * 100
    assert sum(shown) / len(shown) > 1.3 * 40 / 400


@pytest.mark.parametrize("sampling", ["shuffled", "balanced", "doubtful"])
def test_an_epoch_is_a_share_of_the_images(sampling: str) -> None:
    shown: list[int] = []

    def watch(batch: Tensor, _chance: torch.Generator) -> Tensor:
        shown.append(len(batch))
        return batch

    fitted(data=replace(DATA, augment=watch), epochs=2, sampling=sampling, share=0.3)

    assert sum(shown) == 2 * round(0.3 * 61)


@pytest.mark.parametrize("policy", ["standard", "randaugment", "trivialaugment"])
def test_torchvisions_augmentation_is_fixed_by_the_seed(policy: str) -> None:
    runs = [fitted(augmentation={"policy": policy}, seed=seed)[1][-1].train_loss for seed in (1, 1, 2)]

    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("mix", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_mixed_images_are_learnt_from(mix: dict[str, float], loss: str) -> None:
    _, history = fitted(epochs=12, learning_rate=0.1, augmentation=mix, loss={"name": loss})

    assert history[-1].validation_accuracy is not None
    assert history[-1].validation_accuracy > 0.7


def test_a_penalty_shrinks_weights_and_stays_out_of_the_stated_loss() -> None:
    values = {**PLAIN, "learning_rate": 0.1, "epochs": 10}
    free, _ = fitted(linear(), **values)
    held, history = fitted(linear(), loss={"l1": 1.0, "l2": 1.0}, **values)

    assert float(flat(held).abs().sum()) < float(flat(free).abs().sum()) / 2
    assert history[-1].train_loss == pytest.approx(math.log(2), abs=0.1)


def test_frozen_parts_wait_for_their_epoch_with_their_batch_statistics() -> None:
    torch.manual_seed(0)
    model = Small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fitted(model, epochs=2, frozen={"epochs": 2}, keep="final")
    first = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    fitted(model, epochs=2, frozen={"epochs": 1}, keep="final")
    then = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}

    assert {name.split(".")[0] for name in first} == {"classifier"}
    assert {name.split(".")[0] for name in then} == {"classifier", "features"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_recipe_itself_froze_never_learns() -> None:
    torch.manual_seed(0)
    model = Small()
    model.features.requires_grad_(False)
    before = [each.clone() for each in model.features.parameters()]
    fitted(model, epochs=2, frozen={"epochs": 1}, keep="final")

    assert all(map(torch.equal, model.features.parameters(), before))
    assert not any(each.requires_grad for each in model.features.parameters())


def test_a_training_without_validation_images_or_of_one_class_is_refused() -> None:
    with pytest.raises(TorchfinchError, match="the recipe gives no validation images"):
        fitted(data=Data(labels=DATA.labels, train=DATA.train, validation=halves(40, 1)[:0]))
    one = halves(40, 0, rare=0)
    with pytest.raises(TorchfinchError, match="there is one class, 'left'"):
        fitted(Linear(outputs=1), Data(labels=("left",), train=one, validation=one))


def test_a_head_that_is_not_there_is_told() -> None:
    with pytest.raises(TorchfinchError, match=r"Flatten has no part '' .*frozen\.epochs=0"):
        fitted(nn.Flatten(), frozen={"epochs": 1})
    with pytest.raises(TorchfinchError, match=r"Small has no part 'fc' .*frozen\.head: one of features, classifier"):
        fitted(Small(), frozen={"epochs": 1, "head": "fc"})


def test_the_memory_format_changes_no_result() -> None:
    results = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        results.append(flat(fitted(Small(), channels_last=channels_last)[0]))

    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-3)


def test_numbers_are_learnt_by_their_names() -> None:
    images = halves(80, 0)
    brightness = images.pixels.float().mean(dim=(1, 2, 3))[:, None] / 255
    images = Images(images.pixels, brightness)
    data = Data(labels=("brightness",), train=images, validation=images)
    _, history = fitted(Linear(outputs=1, dropout=0), data, epochs=30, learning_rate=0.05, loss={"name": "huber"})

    assert history[-1].validation_loss < 1e-3
    assert history[-1].validation_accuracy is None
    assert "accuracy" not in str(history[-1])


@pytest.mark.slow
def test_a_compiled_network_learns_the_same() -> None:
    values: dict[str, Any] = {"epochs": 1, "keep": "final"}
    plain, compiled = (flat(fitted(linear(), compile=compile, **values)[0]) for compile in (False, True))  # noqa: A001 - the setting's name

    torch.testing.assert_close(plain, compiled, atol=1e-4, rtol=1e-3)


def test_a_hidden_square_is_black_lies_anywhere_and_leaves_the_rest() -> None:
    white = torch.full((500, 2, 10, 6), 255, dtype=torch.uint8)
    hidden = cutout(white, torch.Generator().manual_seed(0), size=4) == 0
    inside = hidden[:, 0].flatten(1).sum(1)

    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert (int(inside.max()), int(inside.min())) == (16, 4)  # cut by a corner: 2 x 2
    assert hidden[:, 0].any(0).all()
    assert torch.equal(cutout(white, torch.Generator(), size=0), white)
