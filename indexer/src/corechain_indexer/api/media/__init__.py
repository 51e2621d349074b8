"""The forms in which answers are sent: what a client accepts, tables, and their encodings."""
