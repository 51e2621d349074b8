"""Takes signed reports over HTTP and acknowledges them once they are durable."""
