"""The operator's view of all transactions of a relayer, and what an operator can want of them."""
