"""Hostile traffic: wires of every transport, attacks that use them, and those who watch the broker meanwhile."""
