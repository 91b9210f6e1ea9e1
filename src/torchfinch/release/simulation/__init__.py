"""Releases in memory, and recorded ones, under any policy."""
