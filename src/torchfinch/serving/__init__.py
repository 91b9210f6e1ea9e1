"""TorchServe as a process: start, watch and stop it, speak to it, and know when it is really ready."""

from torchfinch.serving.client import Client, NoAnswerError
from torchfinch.serving.instance import DEFAULT, Instance, find_instance, list_instances, start_instance
from torchfinch.serving.management import ManagementClient
from torchfinch.serving.ready import Readiness, readiness, replay

__all__ = [
    "DEFAULT",
    "Client",
    "Instance",
    "ManagementClient",
    "NoAnswerError",
    "Readiness",
    "find_instance",
    "list_instances",
    "readiness",
    "replay",
    "start_instance",
]
