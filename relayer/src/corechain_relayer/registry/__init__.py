"""Which devices exist, who owns them, which are revoked: a view of DeviceRegistry's events."""
