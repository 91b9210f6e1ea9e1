"""How TorchServe runs an archive: the part of `model-config.yaml` that it reads itself."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Workers, batches, queue and timeouts.

    All are always written: once an archive has a `model-config.yaml`, TorchServe takes what is missing from its own
    defaults and ignores `config.properties` and the registration's parameters.
    """

    workers: int = 1
    """Worker processes; each holds its own copy of the model."""
    batch_size: int = 8
    """Most requests in one batch."""
    max_batch_delay: int = 2
    """Longest wait for a batch to fill, milliseconds; a lone request waits this long."""
    job_queue_size: int = 100
    """Requests that wait before TorchServe answers 503."""
    response_timeout: int = 60
    """A worker that has not answered a batch by then is restarted, seconds."""
    startup_timeout: int = 120
    """Longest time for loading and warming up, seconds."""

    def to_dict(self) -> dict[str, Any]:
        """The keys as TorchServe spells them."""
        return {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch_size,
            "maxBatchDelay": self.max_batch_delay,
            "jobQueueSize": self.job_queue_size,
            "responseTimeout": self.response_timeout,
            "startupTimeout": self.startup_timeout,
            "clientTimeoutInMills": 0,
        }
