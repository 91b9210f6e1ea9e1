"""The page of a study says what its marks mean."""

import pytest

from torchfinch.tuning.page import render_page
from torchfinch.tuning.result import Trial, Tuned


@pytest.mark.parametrize(
    ("folds", "said"),
    [(5, "the mean of the folds that they got to"), (1, "the score of the last epoch that they got to")],
)
def test_it_says_where_pruned_trials_stand_with_and_without_folds(folds: int, said: str) -> None:
    whole = Trial(0, state="complete", score=0.9, values={"C": 1}, scores=(0.9,) * folds, seconds=1.0, note="")
    given_up = Trial(1, state="pruned", score=0.2, values={"C": 2}, scores=(0.2,), seconds=1.0, note="")
    page = render_page(Tuned("digits", metric="accuracy", trials=(whole, given_up), importances={}))

    assert f"hollow trials were pruned, and\nstand at {said}." in page
    assert page.count("that they got to") == 1
