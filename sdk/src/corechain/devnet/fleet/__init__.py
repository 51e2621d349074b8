"""Load for a relayer: many devices that sign, send, count their acknowledgements; and the check."""
