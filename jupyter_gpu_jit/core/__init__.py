"""Pure decisions: no I/O, no asyncio, no clock, no randomness, no logging.

Time and ids come in as arguments, so equal arguments always give equal answers.
"""
