"""What a recipe can be told; a recipe's own `Config` adds its fields to one of these.

A field of a section is named with a dot: `optimizer.momentum`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator


class Section(BaseModel):
    """Fields that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _read_none(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """The text `none` is a word where the field knows it, and else nothing."""
        try:
            return read(value)
        except ValidationError:
            if isinstance(value, str) and value.lower() in {"none", "null"}:
                return read(None)
            raise


class Settings(Section):
    """The settings of any recipe."""

    seed: int = Field(
        default=0, ge=0, lt=2**64, description="fixes the first weights, the order of images and their augmentation"
    )


class Optimizer(Section):
    """How a gradient becomes a step."""

    name: Literal["sgd", "momentum", "adam", "adamw"] = Field(default="adamw", description="sgd, momentum, adam, adamw")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of momentum: share of the last step that goes on")
    accumulate: int = Field(default=1, ge=1, description="batches whose mean gradient makes one step")
    clip_norm: float | None = Field(default=None, gt=0, description="longest gradient, as a 2-norm; none: any")


class Schedule(Section):
    """The learning rate over the steps of a training, after the warm-up."""

    name: Literal["one_cycle", "cosine", "step", "constant"] = Field(
        default="one_cycle", description="one_cycle, cosine, step or constant"
    )
    every: int = Field(default=10, ge=1, description="of step: epochs between two drops")
    factor: float = Field(default=0.1, gt=0, lt=1, description="of step: what a drop multiplies by")
    floor: float = Field(default=0, ge=0, lt=1, description="of cosine: where it ends, as a share of the learning rate")
    swing: float = Field(
        default=0, ge=0, lt=1, description="of one_cycle: how much lower momentum is at the highest rate"
    )


class Loss(Section):
    """What is made small."""

    name: Literal["cross_entropy", "focal", "mse", "mae", "huber"] = Field(
        default="cross_entropy", description="cross_entropy or focal for classes; mse, mae or huber for numbers"
    )
    label_smoothing: float = Field(default=0, ge=0, lt=1, description="of cross_entropy: share given to all classes")
    gamma: float = Field(default=2, ge=0, description="of focal: how much sure answers are played down")
    delta: float = Field(default=1, gt=0, description="of huber: beyond this error it grows linearly")
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = Field(
        default="none",
        description="of classes: none, balanced (rare ones count as much as frequent ones), or a list of numbers",
    )
    l1: float = Field(default=0, ge=0, description="times the sum of all weights' absolute values")
    l2: float = Field(default=0, ge=0, description="times the sum of all weights' squares")


class Augmentation(Section):
    """What is changed at random in training images."""

    policy: Literal["recipe", "none", "standard", "randaugment", "trivialaugment"] = Field(
        default="recipe", description="the recipe's own, none, or one of torchvision's"
    )
    mixup: float = Field(default=0, ge=0, description="alpha of blending two images; 0: never")
    cutmix: float = Field(default=0, ge=0, description="alpha of pasting a part of another image; 0: never")


class Frozen(Section):
    """Transfer learning: the head learns first, and then the whole network."""

    epochs: int = Field(default=0, ge=0, description="first epochs in which the head alone learns")
    head: str = Field(default="", description="name of the module that is the head; empty: the last one")


class FitSettings(Settings):
    """The settings of a recipe that is fitted to data."""

    epochs: int = Field(default=20, ge=1, description="passes over the training images")
    batch_size: int = Field(default=64, ge=1, description="images in one batch, at most")
    learning_rate: float = Field(default=3e-3, gt=0, description="highest one, reached after the warm-up")
    warm_up: float = Field(default=0.2, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(default=1e-2, ge=0, description="on weights with more than one dimension")
    keep: Literal["best", "final"] = Field(
        default="best", description="weights of the lowest validation loss, or the last"
    )
    patience: int | None = Field(default=None, ge=1, description="stop after so many epochs without a better one")
    sampling: Literal["shuffled", "balanced", "doubtful"] = Field(
        default="shuffled",
        description="all images alike, every class as often as the others, or rather images whose class is in doubt",
    )
    share: float = Field(default=1, gt=0, le=1, description="images of an epoch, as a share of the training images")
    ema: float = Field(default=0, ge=0, lt=1, description="decay of the weights' moving average, which is then kept")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="where to fit: cpu, cuda or cuda:N")
    threads: int = Field(default=0, ge=0, description="CPU threads of torch while fitting; 0 leaves torch's own number")
    amp: Literal["off", "bf16", "fp16"] = Field(
        default="off", description="mixed precision: bf16, or fp16 with a scaler"
    )
    channels_last: bool = Field(default=False, description="keep the channels of a pixel together in memory")
    compile: bool = Field(default=False, description="compile the network by torch.compile")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    frozen: Frozen = Frozen()

    @field_validator("amp", mode="before")
    @classmethod
    def _read_off(cls, value: Any) -> Any:
        """YAML reads the word `off` as false."""
        return "off" if value is False else value
