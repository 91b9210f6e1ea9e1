"""`torchfinch report`: what is on the page, what it asks of others (nothing), and what is said of missing parts."""

import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from torchfinch.cli.report import report

Page = Callable[..., str]
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "background", "formaction", "xlink:href", "ping"}


class Parsed(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "path", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(" ".join(data.split()))

    @property
    def words(self) -> str:
        return " ".join(part for part in self.text if part)


def run(*options: str) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, list(options))


@pytest.fixture
def page(project: Path) -> Page:
    """Make the report of the project and return its text."""

    def make(*options: str) -> str:
        result = run(*options)
        assert result.exit_code == 0, result.output
        return (project / result.stdout.strip()).read_text()

    return make


def records(project: Path) -> list[dict[str, Any]]:
    history = project / ".torchfinch" / "releases" / "digits" / "history.jsonl"
    return [json.loads(line) for line in history.read_text().splitlines()]


def test_the_path_alone_is_on_stdout(project: Path) -> None:
    result = run("--output", "out/page.html")
    assert result.stdout == "out/page.html\n"
    assert (project / "out" / "page.html").is_file()


def test_every_decision_is_there_with_its_numbers(page: Page, project: Path) -> None:
    parsed = Parsed(page())
    history = records(project)
    assert sum(tag == "tr" for tag, _ in parsed.tags) > len(history)
    words = parsed.words
    assert {record["phase"] for record in history} >= {"Promoted", "RolledBack", "Promoting", "RollingBack"}
    position = 0
    for record in history:  # in their order, each with reason, samples and every check
        position = words.index(record["reason"], position)
        row = words[position : position + 1500]
        for arm in ("stable", "canary"):
            numbers = record[arm]
            stated = f"{numbers['errors']:,} of {numbers['requests']:,} failed"
            assert (stated if numbers["requests"] else "no requests") in row
        for check in record["checks"]:
            assert check["name"] in row
        position += len(record["reason"])


def test_checks_are_written_in_their_units(page: Page) -> None:
    words = Parsed(page()).words
    assert re.search(r"requests \d+ ≥ 100", words)
    assert re.search(r"error rate \d[\d.]* % ≤ 5 %", words)
    assert re.search(r"mean latency 310 ms ≤ 1,500 ms", words)


def test_both_releases_of_the_folder_have_their_own_part(page: Page) -> None:
    words = Parsed(page()).words
    assert "digits 1.0 → digits 2.0 promoted" in words
    assert "digits 2.0 → digits 3.0 rolled back" in words
    assert "50 → 100 %" in words


def test_training_is_shown_with_curves_matrix_classes_and_lineage(page: Page) -> None:
    text = page()
    words = Parsed(text).words
    assert "accuracy 98.9 %" in words
    assert "eight taken for one (2)" in words
    assert "9f2c1b7a" * 8 in words
    assert 'aria-label="Loss (cross-entropy) by epoch: training from' in text
    assert "precision recall specificity F1 ROC AUC images" in words
    assert "Rows are true classes, columns are answers, of 440 test images. Most often confused:" in words


def test_a_seed_is_shown_once_and_settings_apart_from_the_lineage(page: Page, project: Path) -> None:
    lineage = json.loads((project / "runs" / "digits" / "model.json").read_text())["lineage"]
    lineage["config"] = {"seed": 7, "batch_size": 64, "optimizer": {"name": "adamw"}}
    spoil(project / "runs" / "digits" / "model.json", lineage=lineage | {"seed": 7})
    about, settings = Parsed(page()).words.split(" Lineage ")[1].split(" Settings ")

    assert "image size 8 x 8 image mode L" in about
    assert "test accuracy 0.98" in about
    assert "seed" not in about
    assert settings.startswith("seed 7 batch size 64 optimizer name adamw ")


def test_of_the_last_epoch_the_worst_classes_are_shown_and_of_each_the_time_for_data(page: Page) -> None:
    words = Parsed(page()).words
    assert "Least known in the last epoch, of the validation images: nine 80.0 %, eight 90.0 %, five 99.0 %." in words
    assert "seconds of them for data" in words
    assert "0.41 0.0625" in words


def test_the_load_test_is_shown_by_version_with_limits_and_reasons(page: Page) -> None:
    words = Parsed(page()).words
    for expected in ("version 1.0", "version 2.0", "p99", "119 ms", "✗ broken", "✓ kept", "the queue is full"):
        assert expected in words


def test_nothing_outside_the_file_is_asked_for(page: Page) -> None:
    text = page("--image", "heatmap.png=espresso")
    parsed = Parsed(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ADDRESSES & set(attributes):
            assert (attributes[name] or "").startswith(("#", "data:image/"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text


def test_the_page_can_be_read_without_seeing_it(page: Page) -> None:
    parsed = Parsed(page("--image", "heatmap.png=espresso, integrated gradients"))
    attributes = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert [image["alt"] for image in attributes] == ["espresso, integrated gradients"]
    tables = sum(tag == "table" for tag, _ in parsed.tags)
    assert tables == sum(tag == "caption" for tag, _ in parsed.tags)
    assert all("scope" in attributes for tag, attributes in parsed.tags if tag == "th")
    assert all(attributes.get("aria-label") for _, attributes in parsed.tags if attributes.get("role") == "img")
    assert ("html", {"lang": "en"}) in parsed.tags


def test_it_is_small(page: Page) -> None:
    assert len(page()) < 300_000


HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


def spoil(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_everything_from_outside_is_escaped(page: Page, project: Path) -> None:
    labels = [HOSTILE, *"abcdefghi"]
    spoil(project / "runs" / "digits" / "model.json", lineage={"recipe": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}})
    evaluation = json.loads((project / "runs" / "digits" / "evaluation.json").read_text())
    classes = dict(zip(labels, evaluation["per_class"].values(), strict=True))
    spoil(project / "runs" / "digits" / "evaluation.json", labels=labels, per_class=classes)
    load = project / "reports" / "loadtest" / "summary.json"
    numbers = json.loads(load.read_text())["versions"]["1.0"]
    reason = [{"name": HOSTILE, "reason": HOSTILE, "count": 1}]
    spoil(load, url=HOSTILE, model=HOSTILE, versions={HOSTILE: numbers}, reasons=reason)
    history = records(project)
    for record in history:
        record |= {"reason": HOSTILE, "notes": [HOSTILE], "trouble": [HOSTILE], "phase": record["phase"]}
        record["canary"]["label"] = record["stable"]["label"] = HOSTILE
        record["checks"] = [{"name": HOSTILE, "value": 1.0, "limit": 1.0, "verdict": HOSTILE, "note": HOSTILE}]
    lines = project / ".torchfinch" / "releases" / "digits" / "history.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in history))
    text = page("--image", f"heatmap.png={HOSTILE}", "--title", HOSTILE)
    parsed = Parsed(text)
    tags = {tag for tag, _ in parsed.tags}
    assert "script" not in tags
    assert "onerror" not in {name for _, attributes in parsed.tags for name in attributes}
    assert [attributes["src"] for tag, attributes in parsed.tags if tag == "img" and attributes["src"] == "x"] == []
    assert unescape(text).count(HOSTILE) > 30


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("runs", "torchfinch train digits"),
        ("reports", "torchfinch loadtest --image photo.jpg"),
        (".torchfinch", "torchfinch canary run"),
        ("runs/digits/history.jsonl", "No training curves"),
        ("runs/digits/evaluation.json", "No confusion matrix"),
        ("heatmap.png", "torchfinch explain photo.jpg"),
    ],
)
def test_a_missing_part_is_replaced_by_how_to_make_it(page: Page, project: Path, gone: str, sentence: str) -> None:
    (project / gone).rename(project / "elsewhere")
    assert sentence in Parsed(page()).words


def test_a_project_without_anything_has_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run().exit_code == 0
    words = Parsed((tmp_path / "reports" / "report.html").read_text()).words
    assert "No training run here" in words
    assert "Python" in words


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("runs/digits/model.json", "{", "model.json is no description"),
        ("runs/digits/model.json", "[]", "model.json is no description"),
        ("runs/digits/history.jsonl", "{", "no history of a training"),
        ("runs/digits/history.jsonl", "{}\n", "no history of a training"),
        ("runs/digits/evaluation.json", '{"per_class": {"a": 1}}', "is no evaluation"),
        ("reports/loadtest/summary.json", "{}", "no load test's summary"),
        ("reports/loadtest/history.csv", "Name,Timestamp\nAggregated,x\nAggregated,x\nAggregated,x\n", "history.csv"),
        (".torchfinch/releases/digits/history.jsonl", '{"time": 1}\n', "no history of a release"),
        (".torchfinch/releases/digits/history.jsonl", "", "nothing in it"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_the_others_are_shown(
    project: Path, *, path: str, content: str, said: str
) -> None:
    (project / path).write_text(content)
    result = run()
    assert result.exit_code == 1
    assert "left out" in result.stderr
    assert said in result.stderr
    words = Parsed((project / "reports" / "report.html").read_text()).words
    assert said in words
    assert "Environment" in words


def test_a_half_line_at_the_end_of_a_history_is_passed_over(page: Page, project: Path) -> None:
    history = project / ".torchfinch" / "releases" / "digits" / "history.jsonl"
    with history.open("a") as stream:
        stream.write('{"time": 17640')
    assert "digits 2.0 → digits 3.0 rolled back" in Parsed(page()).words


def test_a_release_under_way_is_shown_as_such(page: Page, project: Path) -> None:
    history = project / ".torchfinch" / "releases" / "digits" / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join(lines[:12]))
    assert "digits 1.0 → digits 2.0 under way" in Parsed(page()).words


def test_only_what_is_named_is_shown(page: Page, project: Path) -> None:
    (project / "runs" / "digits").rename(project / "runs" / "other")
    (project / "mine").mkdir()
    (project / "mine" / "model.json").write_text('{"labels": ["a"], "network": {"class": "Mine"}}')
    words = Parsed(page("--run", "mine")).words
    assert "Mine" in words
    assert "DigitsNet" not in words


def test_a_folder_that_is_not_what_it_is_named_for_exits_1(project: Path) -> None:
    result = run("--run", "reports", "--release", "runs", "--image", "nowhere.png", "--image", "runs/digits/model.json")
    assert result.exit_code == 1
    for said in ("reports is no run folder", "runs is no release folder", "nowhere.png is not there", "is no image"):
        assert said in result.stderr
