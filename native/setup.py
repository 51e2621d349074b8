"""Names the extension module; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["build_native.py:ffibuilder"],
    # One wheel for every Python from 3.11 on: the module uses the limited API alone.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
