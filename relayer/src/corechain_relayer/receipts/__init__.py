"""Completeness receipts: what the gateway signs for what it acknowledged, and what it can keep."""
