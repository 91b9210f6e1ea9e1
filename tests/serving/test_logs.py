"""The reason why a model did not load, found in a log that several write to."""

from pathlib import Path

from torchfinch.serving.logs import first_traceback, tail

WORKER = "06:26:42 INFO  W-9000-digits_1.0-stdout - "
OTHER = "06:26:42 INFO  W-9001-digits_1.0-stdout - "
SERVER = "06:26:42 WARN  main - "


def written(folder: Path, *lines: str) -> Path:
    (folder / "logs").mkdir(exist_ok=True)
    log = folder / "logs" / "server.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return log


def test_no_traceback_is_none(tmp_path: Path) -> None:
    assert first_traceback(written(tmp_path, WORKER + "Torch worker started.")) is None
    assert first_traceback(tmp_path / "nothing.log") is None


def test_a_traceback_whose_end_is_not_written_yet_is_none(tmp_path: Path) -> None:
    assert (
        first_traceback(written(tmp_path, WORKER + "Traceback (most recent call last):", WORKER + "  File x")) is None
    )


def test_lines_of_others_do_not_cut_a_traceback(tmp_path: Path) -> None:
    log = written(
        tmp_path,
        WORKER + "Traceback (most recent call last):",
        SERVER + "Load model failed: digits, error: Worker died.",
        WORKER + '  File "digits.py", line 1',
        OTHER + "Traceback (most recent call last):",
        WORKER + "ValueError: labels.json is missing",
        OTHER + "KeyError: 'other'",
    )

    assert first_traceback(log) == (
        'Traceback (most recent call last):\n  File "digits.py", line 1\nValueError: labels.json is missing'
    )


def test_the_first_of_a_chain_is_the_reason(tmp_path: Path) -> None:
    log = written(
        tmp_path,
        WORKER + "Traceback (most recent call last):",
        WORKER + "ModuleNotFoundError: No module named 'x'",
        WORKER,
        WORKER + "During handling of the above exception, another exception occurred:",
        WORKER,
        WORKER + "Traceback (most recent call last):",
        WORKER + "ModuleNotFoundError: No module named 'ts.torch_handler.digits'",
    )

    assert str(first_traceback(log)).endswith("No module named 'x'")


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    written(tmp_path, *(str(number) for number in range(30)))

    assert tail(tmp_path, 2) == "28\n29"
