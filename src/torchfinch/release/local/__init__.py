"""Releases on one machine: two TorchServe instances behind one Envoy."""
