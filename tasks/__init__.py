"""Prefect tasks: each resolves its inputs, calls the domain, stores, and returns a reference."""
