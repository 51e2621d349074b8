"""The bridge: signs for stations that cannot, with keys of its own. It knows the SDK alone."""
