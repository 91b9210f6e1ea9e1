import pytest

from torchfinch.loadtest import Numbers, parse_duration, parse_limit, phrase

NUMBERS = Numbers(requests=200, failures=2, throughput=49.5, p50=10.0, p95=80.0, p99=120.0, mean=15.0)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("p95=500ms", "p95", 500.0),
        ("p99=1.5s", "p99", 1500.0),
        ("mean = 80 ms", "mean", 80.0),
        ("errors=1%", "errors", 0.01),
        ("errors=0%", "errors", 0.0),
        ("throughput=50", "throughput", 50.0),
        ("throughput=50/s", "throughput", 50.0),
    ],
)
def test_a_limit_is_read_with_its_unit(text: str, name: str, value: float) -> None:
    limit = parse_limit(text)
    assert limit.name == name
    assert limit.value == pytest.approx(value)


@pytest.mark.parametrize("text", ["p95", "p95=", "p95=500", "p95=fast", "p42=5ms", "errors=0.01", "errors=1ms", "=5ms"])
def test_a_limit_that_cannot_be_read_names_valid_ones(text: str) -> None:
    with pytest.raises(ValueError, match="valid ones: p95=500ms"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("p95=80ms", True),
        ("p95=79ms", False),
        ("errors=1%", True),
        ("errors=0.9%", False),
        ("throughput=49", True),
        ("throughput=50", False),
    ],
)
def test_a_limit_is_kept_up_to_and_including_its_value(text: str, kept: bool) -> None:
    assert parse_limit(text).judge(NUMBERS).ok is kept


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1m30s", 90)])
def test_a_duration_is_read_in_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-5s", "soon", "1.5s", "30ms"])
def test_a_duration_that_cannot_be_read_names_valid_ones(text: str) -> None:
    with pytest.raises(ValueError, match="valid ones: 30s"):
        parse_duration(text)


def test_values_are_said_in_their_unit() -> None:
    assert phrase("p95", 1234.4) == "1234 ms"
    assert phrase("errors", 0.0123) == "1.23 %"
    assert phrase("throughput", 51.26) == "51.3/s"
