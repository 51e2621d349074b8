"""Proposes the root of an epoch's rewards, recomputed from data files and events alone."""
