"""Answers a stale close of a state channel with the newest state that both parties signed."""
