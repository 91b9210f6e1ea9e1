"""The digits recipe beside a support vector machine under the same five folds, and what may be claimed of the two.

    python benchmarks/digits_crossval.py [--folder reports/crossval]

About a minute on two cores. Writes benchmarks/results/digits_crossval.json.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from torchfinch.evaluation import claim_of_folds, code_digest, compare_folds, cross_validate, load_estimator
from torchfinch.files import write_whole
from torchfinch.training import load_recipe
from torchfinch.training.estimator import RecipeClassifier

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "digits_crossval.json"
GOAL = 0.992
SVC = {"gamma": "0.256"}  # on pixels of 0 to 1; 0.001 on values of 0 to 16, as scikit-learn's own example has it


def main(
    folder: Annotated[Path, typer.Option(help="Finished folds are kept here.")] = Path("reports/crossval"),
) -> None:
    recipe = load_recipe(str(ROOT / "training" / "digits.py"))
    data = recipe.build(recipe.configure())[0]
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    images = np.concatenate([part.pixels.numpy() for part in parts])
    targets = np.concatenate([part.targets.numpy() for part in parts])
    estimators = {"SVC": load_estimator("sklearn.svm.SVC", SVC), "digits": RecipeClassifier(recipe.path)}
    svc, digits = (
        cross_validate(
            estimator,
            images,
            targets,
            name=name,
            jobs=2,
            folder=folder / f"all-{name}",
            code=code_digest(recipe.path) if name == "digits" else "",
        )
        for name, estimator in estimators.items()
    )
    compared = compare_folds(svc.scores("accuracy"), digits.scores("accuracy"), test_share=svc.test_share)
    result: dict[str, Any] = {
        "samples": len(targets),
        "goal": GOAL,
        "reached": digits.mean("accuracy") >= GOAL,
        "claim": claim_of_folds(compared, names=("SVC", "digits"), metric="accuracy"),
        "comparison": compared.to_dict(),
        "digits": digits.to_dict(),
        "svc": svc.to_dict(),
        "machine": f"{platform.machine()}, 2 processes",
        "versions": {name: version(name) for name in ("torchfinch", "torch", "scikit-learn", "numpy")},
    }
    write_whole(RESULT, json.dumps(result, indent=1) + "\n")
    for each in (digits, svc):
        print(f"{each.plan.name}: {each.mean('accuracy'):.4f} ± {each.sd('accuracy'):.4f}")
    print(result["claim"])


if __name__ == "__main__":
    typer.run(main)
