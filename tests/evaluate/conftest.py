"""Property tests here have no deadline: a shared machine may pause at any time."""

from hypothesis import settings

settings.register_profile("luban", deadline=None)
settings.load_profile("luban")
