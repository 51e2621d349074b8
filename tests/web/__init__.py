"""What runs in a browser, and in Node."""
