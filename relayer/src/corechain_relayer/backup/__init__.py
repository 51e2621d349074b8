"""Backups of a relayer: its database and its data files as one set that belongs together."""
