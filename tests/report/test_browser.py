"""The report in a real browser."""

from pathlib import Path
from typing import Any

import pytest

from torchfinch.cli.report import report

pytestmark = pytest.mark.slow


def test_the_report_opens_from_its_file_with_all_of_its_parts(tab: Any, project: Path) -> None:
    report(image=["heatmap.png"])
    tab.goto((project / "reports" / "report.html").as_uri())

    assert tab.inner_text("h1") == "Model report"
    assert tab.locator("h2").all_inner_texts() == ["Training", "Load test", "Releases", "Images", "Environment"]
    assert tab.evaluate("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
