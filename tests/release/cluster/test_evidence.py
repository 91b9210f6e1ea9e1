"""Servers of measurements as the workers of a controller meet them."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import pytest
from release.hooks import hook
from waiting import within

from torchfinch.errors import TorchfinchError
from torchfinch.release.cluster import evidence
from torchfinch.release.cluster.evidence import Fetcher

WORKERS = 8


def test_a_server_that_hangs_keeps_two_workers_waiting_and_the_others_are_free_for_other_releases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence, "_SECONDS", 60)
    fetcher = Fetcher()
    with ThreadPoolExecutor(WORKERS) as workers, hook() as hanging, hook() as healthy:
        hanging.free.clear()
        asked = [workers.submit(fetcher.get, hanging.url) for _ in range(WORKERS)]
        assert within(30, lambda: sum(each.done() for each in asked) == WORKERS - 2)
        assert len(hanging.bodies) == 2

        with pytest.raises(TorchfinchError, match="is slow: 2 requests wait for its answer"):
            fetcher.get(hanging.url)
        assert workers.submit(fetcher.get, healthy.url).result().json() == 1
        assert sum(each.done() for each in asked) == WORKERS - 2, "those two still wait"

        hanging.free.set()
        wait(asked)
        assert sum(each.exception() is None for each in asked) == 2
        assert fetcher.get(hanging.url).json() == 1, "once it answers it is asked as before"


def test_all_who_ask_a_server_that_answers_get_their_turn() -> None:
    fetcher = Fetcher()
    with ThreadPoolExecutor(WORKERS) as workers, hook() as healthy:
        asked = [workers.submit(fetcher.get, healthy.url) for _ in range(50)]
        wait(asked, return_when=FIRST_EXCEPTION)
        assert [each.result().json() for each in asked] == [1] * 50
