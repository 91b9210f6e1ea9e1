"""A regressor's answers: every number by its name, and one image's fault is its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from colours import colour_image
from torch import Tensor

from torchfinch.handler import Archive, ImageRegressor, Predictor
from torchfinch.testing import predict


class Brightness(ImageRegressor):
    """A network that gives the mean of each channel, in percent."""

    def load(self, archive: Archive) -> Predictor:
        return self.means

    def means(self, batch: Tensor) -> Tensor:
        return batch.mean(dim=(2, 3)) * 100


class Short(Brightness):
    """A network with an output too few."""

    def means(self, batch: Tensor) -> Tensor:
        return super().means(batch)[:, :2]


def test_every_number_is_told_by_its_name(serve: Callable[..., Any]) -> None:
    handler, context = serve(Brightness)
    (status, answer), (broken, error) = predict(handler, context, colour_image("red"), b"no image")
    rows = handler.predict(torch.stack([handler.decode(colour_image("red"))]))[0]

    assert (status, broken) == (200, 400)
    assert list(answer) == ["values"]
    assert list(answer["values"]) == list(handler.archive.labels)
    assert list(answer["values"].values()) == pytest.approx(rows.tolist(), rel=1e-5)
    assert error["code"] == 400


def test_the_description_names_the_outputs(serve: Callable[..., Any]) -> None:
    handler, _ = serve(Brightness)

    assert handler.describe()["outputs"] == list(handler.archive.labels)


def test_numbers_that_do_not_fit_the_names_end_the_loading(serve: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="the model gives 2 numbers and the archive names 3"):
        serve(Short)
