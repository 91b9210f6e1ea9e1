"""Canary releases: a manifest, one pure decision, one loop, and small adapters for router, evidence and store."""
