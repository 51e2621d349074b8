"""CoreChain."""
