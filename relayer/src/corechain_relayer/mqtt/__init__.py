"""Takes signed reports from an MQTT broker, and acknowledges them once they are durable."""
