"""The Redis pair and its Sentinels: what they say, taken together."""
