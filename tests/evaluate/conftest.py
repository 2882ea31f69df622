"""Property tests here are short, and have no deadline: a shared machine may pause at any time."""

from hypothesis import settings

settings.register_profile("luban", deadline=None, max_examples=30)
settings.load_profile("luban")
