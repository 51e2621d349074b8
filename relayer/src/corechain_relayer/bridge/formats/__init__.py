"""Bytes of stations that cannot sign → observations. Pure: no socket, no clock, no file."""
