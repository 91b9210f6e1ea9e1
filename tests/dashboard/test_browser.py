"""The page in a real browser."""

import json
from typing import Any

import pytest
from dashboard.conftest import TOKEN, Played

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tab: Any, address: str) -> Any:
    """The page, opened by its address with the token."""
    tab.goto(f"{address}?release=faces#{TOKEN}")
    tab.wait_for_selector("#release")
    return tab


def test_the_token_leaves_the_address_and_a_reload_still_shows_the_releases(page: Any) -> None:
    assert TOKEN not in page.url
    page.reload()
    page.wait_for_selector("#release")


def test_what_happens_is_shown_without_a_reload(page: Any, faces: Played) -> None:
    faces.promoted()
    page.wait_for_selector("#release .card-head >> text=Promoted")
    assert page.locator(".turning-points li").count() >= 4


def test_pause_takes_one_click_and_the_button_turns_into_resume(page: Any, faces: Played) -> None:
    page.click("button[data-word=pause]")
    page.wait_for_selector("#said >> text=asked faces to pause")
    faces.look()
    page.wait_for_selector("button[data-word=resume]")
    assert page.locator("button[data-word=pause]").count() == 0


def test_promote_and_abort_ask_first(page: Any, faces: Played) -> None:
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("button[data-word=abort]")
    assert faces.store.request().action is None
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("button[data-word=promote]")
    page.wait_for_selector("#said >> text=asked faces to promote")
    action = faces.store.request().action
    assert action
    assert action.type == "promote"


def test_a_row_of_the_table_shows_its_release_and_a_closed_part_stays_closed(page: Any, faces: Played) -> None:
    page.click("details.decided summary")
    shown = page.inner_text("#release")
    faces.look()
    page.wait_for_function("before => document.getElementById('release').innerText !== before", arg=shown)
    assert not page.locator("details.decided").evaluate("each => each.open")
    page.click("button[data-release=digits]")
    page.wait_for_selector("#release[data-release=digits]")
    assert page.url.endswith("?release=digits")


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_sticks_out_of_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_page_without_the_token_says_what_is_missing(browser: Any, address: str) -> None:
    stranger = browser.new_context().new_page()
    stranger.goto(address)
    stranger.wait_for_selector("#state >> text=the token is missing or wrong")
    assert stranger.inner_text("#content") == ""
    stranger.context.close()


def test_another_site_in_the_same_browser_cannot_ask(browser: Any, address: str, faces: Played) -> None:
    other = browser.new_context().new_page()
    other.route("http://other.test/", lambda route: route.fulfill(body="<p>another site</p>"))
    other.goto("http://other.test/")
    asked = f"fetch({json.dumps(address + 'api/releases/faces/abort')}, {{method: 'POST', mode: 'no-cors'}})"
    other.evaluate(f"{asked}.catch(() => null).then(() => null)")
    assert faces.store.request().action is None
    other.context.close()
