"""Turns frames into batches: each accepted reading in exactly one."""
