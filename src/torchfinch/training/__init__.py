"""From a recipe to a run folder: fit a network to images, evaluate it, and leave what packing takes.

A recipe is a Python file with a `Config` and a `build(config)`; `load_recipe` finds it, `train` runs it, and `fit` is
the loop in between.
"""

from torchfinch.training.augmentation import cutout, each, mirror_and_shift, standard
from torchfinch.training.checkpoint import Checkpoints, save_whole_model
from torchfinch.training.configure import from_environment, read_config
from torchfinch.training.data import Augment, Data, Images, split, unique_labels
from torchfinch.training.datasets import fashion_mnist, mnist_5k
from torchfinch.training.folder import FolderReport, image_folder
from torchfinch.training.history import Epoch
from torchfinch.training.loop import fit
from torchfinch.training.losses import focal_loss
from torchfinch.training.optimizers import build_optimizer, build_schedule
from torchfinch.training.recipe import Recipe, load_recipe, recipe_names
from torchfinch.training.run import Run, train
from torchfinch.training.runtime import rank
from torchfinch.training.settings import (
    Augmentation,
    FitSettings,
    Frozen,
    Loss,
    Optimizer,
    Schedule,
    Section,
    Settings,
)

__all__ = [
    "Augment",
    "Augmentation",
    "Checkpoints",
    "Data",
    "Epoch",
    "FitSettings",
    "FolderReport",
    "Frozen",
    "Images",
    "Loss",
    "Optimizer",
    "Recipe",
    "Run",
    "Schedule",
    "Section",
    "Settings",
    "build_optimizer",
    "build_schedule",
    "cutout",
    "each",
    "fashion_mnist",
    "fit",
    "focal_loss",
    "from_environment",
    "image_folder",
    "load_recipe",
    "mirror_and_shift",
    "mnist_5k",
    "rank",
    "read_config",
    "recipe_names",
    "save_whole_model",
    "split",
    "standard",
    "train",
    "unique_labels",
]
