"""Where the tests keep what is slow to make: outside the checkout, shared by all checkouts of one user."""

from consumer.settings import BuildSettings

CACHE_DIR = BuildSettings().whisper_consumer_cache
