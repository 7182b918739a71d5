"""Helpers of the integration tests: the broker under test, MQTT packets as bytes, and a raw client."""
