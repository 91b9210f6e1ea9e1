"""The reason why a model did not load, found in a log that several write to."""

from pathlib import Path

import pytest

from torchfinch.serving.logs import dying, follow, loading_failure, tail

WORKER = "06:26:42 INFO  W-9000-digits_1.0-stdout - "
DIED = WORKER + "Backend worker process died."
OTHER = "06:26:42 INFO  W-9001-digits_1.0-stdout - "
SERVER = "06:26:42 WARN  main - "


def written(folder: Path, *lines: str) -> Path:
    (folder / "logs").mkdir(exist_ok=True)
    log = folder / "logs" / "server.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return log


def test_a_worker_that_lives_did_not_fail(tmp_path: Path) -> None:
    assert loading_failure(written(tmp_path, WORKER + "Torch worker started.")) is None
    assert loading_failure(tmp_path / "nothing.log") is None


def test_a_traceback_whose_end_is_not_written_yet_is_none(tmp_path: Path) -> None:
    log = written(tmp_path, DIED, WORKER + "Traceback (most recent call last):", WORKER + "  File x")

    assert loading_failure(log) is None


def test_a_traceback_of_what_a_handler_caught_ends_nothing(tmp_path: Path) -> None:
    caught = (WORKER + "Traceback (most recent call last):", WORKER + "ModuleNotFoundError: No module named 'optional'")

    assert loading_failure(written(tmp_path, *caught)) is None
    died = (DIED, WORKER + "Traceback (most recent call last):", WORKER + "ValueError: labels.json is missing")
    assert str(loading_failure(written(tmp_path, *caught, *died))).endswith("ValueError: labels.json is missing")


@pytest.mark.parametrize(
    "said", ["Failed to load model digits, exception x", "Load model digits cuda OOM, exception x"]
)
def test_the_first_words_of_an_end_are_those_of_its_reason(tmp_path: Path, said: str) -> None:
    log = written(
        tmp_path,
        WORKER + said,
        WORKER + "Traceback (most recent call last):",
        WORKER + "RuntimeError: x",
        DIED,
        WORKER + "Traceback (most recent call last):",
        WORKER + "RuntimeError: 500 - Unknown exception",
    )

    assert loading_failure(log) == "Traceback (most recent call last):\nRuntimeError: x"


def test_one_worker_that_ended_three_times_while_loading_is_a_model_that_does_not_load(tmp_path: Path) -> None:
    died = ": Load model failed: digits, error: Worker died."
    one, two = (f"03:33:15 WARN  W-900{number}-digits_1.0 - {died[2:]}" for number in (0, 1))

    assert dying(written(tmp_path, one, two, one, two)) is None
    assert dying(written(tmp_path, one, two, one, two, one)) == "digits"


def test_a_traceback_torn_by_the_end_of_its_worker_is_passed_over_for_that_of_the_next_try(tmp_path: Path) -> None:
    torn = (DIED, WORKER + "Traceback (most recent call last):", WORKER + '  File "/tmp/torchf')
    again = WORKER + "s_name_part0=/tmp/torchfinch-1/.ts.sock, s_name_part1=9000, pid=24906"
    whole = (DIED, WORKER + "Traceback (most recent call last):", WORKER + "  File x", WORKER + "RuntimeError: y")

    assert loading_failure(written(tmp_path, *torn, again)) is None
    assert str(loading_failure(written(tmp_path, *torn, again, *whole))).endswith("File x\nRuntimeError: y")


def test_lines_of_others_do_not_cut_a_traceback(tmp_path: Path) -> None:
    log = written(
        tmp_path,
        DIED,
        WORKER + "Traceback (most recent call last):",
        SERVER + "Load model failed: digits, error: Worker died.",
        WORKER + '  File "digits.py", line 1',
        OTHER + "Traceback (most recent call last):",
        WORKER + "ValueError: labels.json is missing",
        OTHER + "KeyError: 'other'",
    )

    assert loading_failure(log) == (
        'Traceback (most recent call last):\n  File "digits.py", line 1\nValueError: labels.json is missing'
    )


def test_the_first_of_a_chain_is_the_reason(tmp_path: Path) -> None:
    log = written(
        tmp_path,
        DIED,
        WORKER + "Traceback (most recent call last):",
        WORKER + "ModuleNotFoundError: No module named 'x'",
        WORKER,
        WORKER + "During handling of the above exception, another exception occurred:",
        WORKER,
        WORKER + "Traceback (most recent call last):",
        WORKER + "ModuleNotFoundError: No module named 'ts.torch_handler.digits'",
    )

    assert str(loading_failure(log)).endswith("No module named 'x'")


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    written(tmp_path, *(str(number) for number in range(30)))

    assert tail(tmp_path, 2) == "28\n29"


def test_what_is_added_to_a_log_is_told_once_and_also_after_it_was_rolled(tmp_path: Path) -> None:
    log = written(tmp_path, "before")
    lines = follow(log)
    assert next(lines) == []
    with log.open("a") as old:
        old.write("one\n")
        old.flush()
        assert next(lines) == ["one"]
        log.rename(log.with_name("server.1.log"))
        old.write("two\n")
    assert next(lines) == ["two"]

    written(tmp_path, "three")
    assert next(lines) == ["three"]
    written(tmp_path, "4")  # shorter than it was
    assert next(lines) == ["4"]
    assert next(lines) == []
    lines.close()
