"""The handler of a network that predicts numbers: each by its name."""

from torch import Tensor

from torchfinch.handler.answers import JSON, shorten
from torchfinch.handler.errors import HandlerError
from torchfinch.handler.image_handler import ImageHandler


class ImageRegressor(ImageHandler):
    """Serve a regressor, whose outputs are the answer; a stock one overrides nothing."""

    def encode(self, row: Tensor) -> JSON:
        """Every output by its name."""
        names = self.archive.labels
        if len(row) != len(names):
            raise HandlerError(f"the model gives {len(row)} numbers and the archive names {len(names)}")
        return {"values": {name: shorten(value) for name, value in zip(names, row.tolist(), strict=True)}}

    def describe(self) -> JSON:
        """The description of every handler, and the names of the outputs."""
        return {**super().describe(), "outputs": list(self.archive.labels)}
