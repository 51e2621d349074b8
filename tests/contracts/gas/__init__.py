"""Gas of real transactions: receipts from anvil under Osaka rules, one scenario an operation."""
