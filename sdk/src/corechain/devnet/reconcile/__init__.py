"""Holds a sender's log of acknowledgements against data files and chain."""
