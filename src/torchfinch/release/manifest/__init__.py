"""The manifest `kind: CanaryRelease`: what a person asks for."""
