"""The pure core: bytes, hashes, proofs, rules. No I/O of any kind."""
