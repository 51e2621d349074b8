"""OGC SensorThings API 1.1 (18-088), the part that reads: stations and readings for its clients."""
