"""What a recipe can be told; a recipe's own `Config` adds its fields to one of these."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """The settings of any recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(
        default=0, ge=0, description="fixes the first weights, the order of images and their augmentation"
    )


class FitSettings(Settings):
    """The settings of a recipe that is fitted to data."""

    epochs: int = Field(default=20, ge=1, description="passes over the training images")
    batch_size: int = Field(default=64, ge=1, description="images in one step, at most")
    learning_rate: float = Field(default=3e-3, gt=0, description="highest one, reached after the warm-up")
    warm_up: float = Field(default=0.2, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(default=1e-2, ge=0, description="decoupled, on weights with more than one dimension")
    keep: Literal["best", "final"] = Field(
        default="best", description="weights of the lowest validation loss, or the last"
    )
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="where to fit: cpu, cuda or cuda:N")
    threads: int = Field(default=0, ge=0, description="CPU threads of torch while fitting; 0 leaves torch's own number")
