"""Long work that is stopped from outside ends as it does at Ctrl-C."""

import signal


def stop_as_ctrl_c() -> None:
    """SIGTERM, and SIGHUP unless `nohup` has it ignored, raise KeyboardInterrupt, so that what is finished is kept."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
