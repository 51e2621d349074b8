"""Without the native module nothing of this folder can run; tests/conftest.py says so loudly."""

from corechain.protocol import native

collect_ignore_glob = [] if native.library else ["test_*.py"]
