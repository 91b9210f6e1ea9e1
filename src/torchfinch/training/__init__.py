"""From a recipe to a run folder: fit a network to images, evaluate it, and leave what packing takes.

A recipe is a Python file with a `Config` and a `build(config)`; `load_recipe` finds it, `train` runs it, and `fit` is
the loop in between.
"""

from torchfinch.training.data import Augment, Data, Images, split, unique_labels
from torchfinch.training.loop import Epoch, fit
from torchfinch.training.recipe import Recipe, load_recipe, recipe_names
from torchfinch.training.run import Run, train
from torchfinch.training.settings import FitSettings, Settings

__all__ = [
    "Augment",
    "Data",
    "Epoch",
    "FitSettings",
    "Images",
    "Recipe",
    "Run",
    "Settings",
    "fit",
    "load_recipe",
    "recipe_names",
    "split",
    "train",
    "unique_labels",
]
