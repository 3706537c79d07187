"""Attacks: the same programs succeed outside the sandbox, and must not as cells inside."""
