from http.cookies import SimpleCookie

import pytest
from experiment.helpers import experiment

from torchfinch.experiment.web import COOKIE, new_user_id, visitor


def test_an_unknown_visitor_gets_an_id_and_keeps_it() -> None:
    user, cookie = visitor(None)
    assert cookie
    sent = SimpleCookie(cookie)[COOKIE]
    assert visitor(f"theme=dark; {COOKIE}={sent.value}") == (user, None)


def test_the_cookie_is_kept_for_a_year_and_from_scripts_and_plain_http() -> None:
    cookie = visitor(None)[1]
    assert cookie
    morsel = SimpleCookie(cookie)[COOKIE]
    assert (morsel["max-age"], morsel["path"], morsel["samesite"]) == ("31536000", "/", "Lax")
    assert morsel["secure"]
    assert morsel["httponly"]


@pytest.mark.parametrize("value", ["", "admin", "x" * 5000, "a" * 21 + "!", '"; Path=/', "\x00" * 22])
def test_an_id_that_was_not_made_here_is_replaced(value: str) -> None:
    user, cookie = visitor(f"{COOKIE}={value}")
    assert user != value
    assert cookie


@pytest.mark.parametrize("other", ['prefs={"a":1}', "flag", "name=Zoë", "t=a b", "u[x]=1", "", "=", f"{COOKIE}=old"])
def test_a_visitor_keeps_the_id_whatever_other_cookies_there_are(other: str) -> None:
    user = new_user_id()

    assert visitor(f"{other}; {COOKIE}={user}") == (user, None)
    assert visitor(f"{COOKIE}={user}; {other}") == (user, None)
    assert visitor(f"{other};{COOKIE}={user} ;{other}") == (user, None)


def test_a_cookie_whose_name_only_ends_as_the_own_one_is_no_id() -> None:
    assert visitor(f"my-{COOKIE}={new_user_id()}")[1]


def test_ids_are_new_every_time() -> None:
    assert len({new_user_id() for _ in range(1000)}) == 1000


def test_the_header_names_the_variant_of_the_user() -> None:
    assert experiment().headers("ada") == {"torchfinch-variant": "treatment"}
    assert experiment(share=0.1).headers("ada") == {"torchfinch-variant": "control"}
