"""torchfinch: from a training script to safe production traffic on TorchServe.

Importing the package does nothing: every part is a sub-package, and each says on its first line what it is for.
"""

__version__ = "0.1.0"
