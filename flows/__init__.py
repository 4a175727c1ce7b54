"""Prefect flows and the command: wiring only."""
