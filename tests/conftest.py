"""One profile for every property test: no deadlines, because the machines are shared."""

from hypothesis import settings

settings.register_profile("luban", deadline=None, max_examples=50)
settings.load_profile("luban")
