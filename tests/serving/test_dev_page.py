"""The page of the development server in a real browser."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from colours import colour_image
from PIL import Image
from werkzeug.serving import make_server

from torchfinch.serving.dev import create_app
from torchfinch.testing import encode_image

pytestmark = pytest.mark.slow
DROPPED = """encoded => {
    const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0)), dropped = new DataTransfer();
    dropped.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    return dropped; }"""
SHOWN = "() => !heatmap.hidden && heatmap.complete && heatmap.naturalWidth > 0"


@pytest.fixture(scope="module")
def address(colour_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the colour archive's development server listens."""
    app = create_app(colour_archive, tmp_path_factory.mktemp("dev") / "model")
    with make_server("127.0.0.1", 0, app, threaded=True) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def choose(page: Any, name: str, content: bytes) -> None:
    page.set_input_files("#drop input", {"name": name, "mimeType": "image/png", "buffer": content})


def test_an_image_that_is_chosen_shows_its_label_and_heatmap(tab: Any, address: str) -> None:
    tab.goto(address)
    assert not tab.is_visible("#result")
    choose(tab, "red.png", colour_image("red"))
    tab.wait_for_function(SHOWN)

    assert tab.inner_text("#label") == "red"
    assert tab.inner_text("#rows .row:first-child span:first-child") == "red"
    assert tab.locator("#rows .row").count() == 2
    assert tab.evaluate("image.naturalWidth") == 24
    assert not tab.is_visible("#wait, #error")


def test_an_image_that_is_dropped_takes_the_place_of_the_last_one(tab: Any, address: str) -> None:
    tab.goto(address)
    choose(tab, "red.png", colour_image("red"))
    tab.wait_for_selector("#label >> text=red")
    dropped = tab.evaluate_handle(DROPPED, base64.b64encode(colour_image("blue")).decode())
    tab.dispatch_event("#drop", "drop", {"dataTransfer": dropped})

    tab.wait_for_selector("#label >> text=blue")
    tab.wait_for_function(SHOWN)
    assert tab.inner_text("#rows .row:first-child span:first-child") == "blue"
    assert "red" not in tab.inner_text("#label")


def test_another_method_draws_another_heatmap(tab: Any, address: str) -> None:
    tab.goto(address)
    picture = Image.new("RGB", (24, 24), "red")
    picture.paste("blue", (2, 3, 9, 8))
    choose(tab, "mostly-red.png", encode_image(picture))
    tab.wait_for_function(SHOWN)
    first = tab.get_attribute("#heatmap", "src")
    tab.select_option("#method", "occlusion")

    tab.wait_for_function(f"heatmap.src !== {first!r}")
    tab.wait_for_function(SHOWN)
    seen = [
        tab.evaluate("src => fetch(src).then(answer => answer.text())", src)
        for src in (first, tab.get_attribute("#heatmap", "src"))
    ]
    assert all(seen)
    assert seen[0] != seen[1], "another picture, not the same one anew"
    assert tab.inner_text("#label") == "red"


def test_a_file_that_is_no_image_is_told_and_nothing_is_shown(browser: Any, address: str) -> None:
    page = browser.new_page()  # which says in its console that an answer was an error
    page.goto(address)
    choose(page, "notes.png", b"no image")
    page.wait_for_selector("#error")

    assert "image" in page.inner_text("#error")
    assert not page.is_visible("#result")
    page.close()
