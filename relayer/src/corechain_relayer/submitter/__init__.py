"""Carries intents to the chain: each exactly once, in order, whatever crashes in between."""
