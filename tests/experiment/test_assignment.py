import random
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from torchfinch.errors import TorchfinchError
from torchfinch.experiment.assignment import BUCKETS, bucket_of, variant_of

USERS = st.text(min_size=1).filter(lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text)

GOLDEN = {"ada": 1277, "Ada": 6033, "1": 7007, "Zoë": 8260, "日本": 191, "a:b c": 9912}
"""In docs/experiments.md as well: a port to another language has to give the same."""


@pytest.mark.parametrize(("user", "bucket"), GOLDEN.items())
def test_the_published_assignments_hold(user: str, bucket: int) -> None:
    assert bucket_of(user, experiment="digits-2", salt="autumn") == bucket


def test_a_shell_assigns_the_same_users_to_the_same_buckets() -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    script = "printf '%s' \"autumn:digits-2:$1\" | sha256sum | cut -c1-8"
    for user, bucket in GOLDEN.items():
        digits = subprocess.run(["sh", "-c", script, "-", user], check=True, capture_output=True, text=True).stdout
        assert int(digits, 16) % 10_000 == bucket


def test_code_that_only_assigns_and_logs_loads_nothing_heavy() -> None:
    code = "import sys, torchfinch.experiment; print({'torch', 'scipy', 'pyarrow', 'sklearn'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == "set()\n"


def test_another_process_with_another_hash_seed_assigns_the_same() -> None:
    code = (
        "from torchfinch.experiment.assignment import bucket_of\n"
        "print([bucket_of(str(user), experiment='e', salt='s') for user in range(100)])"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1] == f"{[bucket_of(str(user), experiment='e', salt='s') for user in range(100)]}\n"


@given(user=USERS, shares=st.tuples(st.integers(0, BUCKETS), st.integers(0, BUCKETS)))
def test_a_growing_share_moves_users_from_control_to_treatment_only(user: str, shares: tuple[int, int]) -> None:
    bucket = bucket_of(user, experiment="digits-2", salt="autumn")
    before, after = (variant_of(bucket, share=share / BUCKETS) for share in sorted(shares))
    assert (before, after) != ("treatment", "control")


@given(bucket=st.integers(0, BUCKETS - 1), share=st.integers(0, BUCKETS))
def test_as_many_buckets_get_the_treatment_as_the_share_says(bucket: int, share: int) -> None:
    assert (variant_of(bucket, share=share / BUCKETS) == "treatment") == (bucket < share)


@pytest.mark.parametrize(
    "users", [[str(number) for number in range(40_000)], [f"u{n:09}@x.org" for n in range(40_000)]]
)
def test_buckets_are_used_evenly_even_by_numbered_users(users: list[str]) -> None:
    counts = [0] * 20
    for user in users:
        counts[bucket_of(user, experiment="digits-2", salt="autumn") * 20 // BUCKETS] += 1
    assert chisquare(counts).pvalue > 0.001


def test_experiments_and_salts_divide_the_users_independently() -> None:
    first, second, third = (
        [bucket_of(str(user), experiment=name, salt=salt) < BUCKETS // 2 for user in range(20_000)]
        for name, salt in (("one", "s"), ("two", "s"), ("one", "t"))
    )
    for other in (second, third):
        both = sum(a and b for a, b in zip(first, other, strict=True))
        assert both == pytest.approx(5_000, abs=4 * (20_000 * 0.25 * 0.75) ** 0.5)


@pytest.mark.parametrize("user", ["", None, 42, b"ada", "\ud800"])
def test_what_is_no_user_id_is_refused_with_its_value(user: object) -> None:
    with pytest.raises(TorchfinchError, match="is no user id") as caught:
        bucket_of(user, experiment="digits-2", salt="autumn")  # type: ignore[arg-type]
    assert repr(user) in caught.value.message


def test_users_who_differ_only_in_case_are_two() -> None:
    random.seed(1)
    names = ["".join(random.choices("abcdefgh", k=8)) for _ in range(200)]
    same = sum(
        bucket_of(name, experiment="e", salt="s") == bucket_of(name.upper(), experiment="e", salt="s") for name in names
    )
    assert same < 5
