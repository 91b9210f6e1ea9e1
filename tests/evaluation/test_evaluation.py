"""Evaluation says what scikit-learn says, and refuses numbers that make no sense."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, log_loss
from torch import Tensor, nn

from torchfinch.evaluation import evaluate, probabilities
from torchfinch.handler import Preprocessing

LABELS = ("ant", "bee", "cat")
GREY = Preprocessing(size=(2, 2), mode="L", mean=(0.5,), std=(0.5,))


def random_answers(classes: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and float32 softmax rows that are right more often than not."""
    random = np.random.default_rng(7)
    targets = random.integers(classes, size=samples)
    scores = random.normal(size=(samples, classes)) + 1.5 * np.eye(classes)[targets]
    return targets, torch.from_numpy(scores).float().softmax(dim=1).numpy()


class Brightness(nn.Module):
    """Scores that are the mean of the normalised image, for one class and for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = self.dropout(images.mean(dim=(1, 2, 3)) * self.scale)
        return torch.stack([mean, -mean], dim=1)


def test_every_number_is_scikit_learns() -> None:
    targets, rows = random_answers(3, 500)
    answers = rows.argmax(axis=1)
    report = classification_report(targets, answers, target_names=LABELS, output_dict=True)
    evaluation = evaluate(targets, rows, labels=LABELS)

    assert evaluation.samples == 500
    assert evaluation.accuracy == accuracy_score(targets, answers)
    assert evaluation.cross_entropy == pytest.approx(log_loss(targets, rows), abs=1e-6)
    assert np.array_equal(evaluation.confusion_matrix, confusion_matrix(targets, answers))
    for label, metrics in evaluation.per_class.items():
        expected = report[label]
        assert (metrics.precision, metrics.recall, metrics.f1, metrics.support) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )


def test_tensors_give_what_arrays_give() -> None:
    targets, rows = random_answers(3, 50)

    assert evaluate(torch.from_numpy(targets), torch.from_numpy(rows), labels=LABELS) == evaluate(
        targets, rows, labels=LABELS
    )


def test_a_class_that_nobody_saw_or_answered_scores_zero_and_is_not_the_worst() -> None:
    evaluation = evaluate([0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]], labels=LABELS)

    assert evaluation.per_class["cat"].support == 0
    assert evaluation.per_class["cat"].f1 == 0
    assert evaluation.worst[0] in {"ant", "bee"}


def test_the_dictionary_is_json_with_a_number_for_every_class() -> None:
    targets, rows = random_answers(3, 50)
    written = json.loads(json.dumps(evaluate(targets, rows, labels=LABELS).to_dict()))

    assert written["labels"] == list(LABELS)
    assert sum(map(sum, written["confusion_matrix"])) == written["samples"] == 50
    assert set(written["per_class"]["ant"]) == {"precision", "recall", "f1", "support"}


@pytest.mark.parametrize(
    ("targets", "rows", "message"),
    [
        ([], np.empty((0, 3)), "0 targets"),
        ([0], [[0.5, 0.5]], "do not fit"),
        ([0, 1], [[1, 0, 0]], "do not fit"),
        ([3], [[1, 0, 0]], "3 labels allow 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(targets: list[int], rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(targets, rows, labels=LABELS)


def test_probabilities_are_the_softmax_of_normalised_pixels_without_dropout() -> None:
    model = Brightness().train()
    images = torch.randint(256, (5, 1, 2, 2), dtype=torch.uint8)
    mean = GREY.normalise(images).mean(dim=(1, 2, 3))
    rows = probabilities(model, images, preprocessing=GREY, batch_size=2)

    torch.testing.assert_close(rows, torch.stack([mean, -mean], dim=1).softmax(dim=1))
    assert not rows.requires_grad
    assert model.training
