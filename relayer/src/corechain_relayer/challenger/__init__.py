"""Finds frauds in the batches of all lanes, shows them to the contract, and takes the bonds."""
