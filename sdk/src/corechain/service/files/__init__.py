"""Data files from wherever they are offered: for whoever verifies batches."""
