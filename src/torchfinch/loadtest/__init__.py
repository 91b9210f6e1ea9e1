"""How a served model does under load, measured by locust and judged against limits."""

from torchfinch.loadtest.limits import Limit, milliseconds, parse_duration, parse_limit, phrase
from torchfinch.loadtest.run import LoadTest, open_web_ui, run_load_test
from torchfinch.loadtest.summary import Numbers, Reason, Summary, Verdict, read_summary
from torchfinch.loadtest.target import check_target

__all__ = [
    "Limit",
    "LoadTest",
    "Numbers",
    "Reason",
    "Summary",
    "Verdict",
    "check_target",
    "milliseconds",
    "open_web_ui",
    "parse_duration",
    "parse_limit",
    "phrase",
    "read_summary",
    "run_load_test",
]
