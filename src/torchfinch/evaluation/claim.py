"""What may be claimed of a comparison, and what not, in one sentence."""

from torchfinch.evaluation.comparison import ErrorComparison, FoldComparison, TestSetComparison


def claim_of_folds(comparison: FoldComparison, *, names: tuple[str, str], metric: str) -> str:
    """On two ways to train: the trainings of each fold differ, so it holds for data like this, not for one network."""
    if comparison.interval is None or comparison.p_corrected is None or comparison.p_plain is None:
        return (
            f"Nothing may be claimed: all folds differ by {comparison.difference:+.4f} in {metric}, and a test "
            "goes by how much the folds vary."
        )
    numbers = f"{_span(comparison)}, corrected p = {_p(comparison.p_corrected)}"
    if comparison.p_corrected < comparison.alpha:
        better, worse = names if comparison.difference < 0 else names[::-1]
        return (
            f"It may be claimed that {better} is better than {worse} in {metric} when trained on data like this "
            f"({numbers}), but not for other data, nor for much larger training sets."
        )
    plain = ""
    if comparison.p_plain < comparison.alpha:
        plain = f" (uncorrected p = {_p(comparison.p_plain)}, as if the training sets did not overlap)"
    return (
        f"It may not be claimed that either is better in {metric}: {numbers}{plain}; "
        "nor is it shown that they are equal."
    )


def claim_of_answers(comparison: TestSetComparison, *, names: tuple[str, str]) -> str:
    """On two networks as they are: their recipes might do otherwise with another seed."""
    numbers = f"{_span(comparison)}, McNemar p = {_p(comparison.p)}"
    if comparison.p < comparison.alpha:
        better, worse = names if comparison.difference < 0 else names[::-1]
        return (
            f"It may be claimed that {better} answers more images right than {worse} on images like these ({numbers}), "
            "but not that its recipe is better, for it is one training of each."
        )
    return (
        f"It may not be claimed that either answers more images right: {numbers}; nor is it shown that they are equal."
    )


def claim_of_errors(comparison: ErrorComparison, *, names: tuple[str, str]) -> str:
    """On two regressors as they are, by whether the interval holds 0."""
    numbers = _span(comparison)
    low, high = comparison.interval
    if low <= 0 <= high:
        return f"It may not be claimed that either errs less: {numbers}; nor is it shown that they are equal."
    better, worse = names if comparison.difference < 0 else names[::-1]
    return (
        f"It may be claimed that {better} errs less than {worse} on images like these ({numbers}), "
        "but not that its recipe is better, for it is one training of each."
    )


def shown(alpha: float) -> str:
    """What an interval of a comparison is called: `95 % interval`."""
    return f"{100 * (1 - alpha):.4g} % interval"


def _span(comparison: FoldComparison | TestSetComparison | ErrorComparison) -> str:
    assert comparison.interval
    low, high = comparison.interval
    return f"difference {comparison.difference:+.4f}, {shown(comparison.alpha)} {low:+.4f} to {high:+.4f}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.0001 else "under 0.0001"
