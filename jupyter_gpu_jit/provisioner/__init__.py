"""Carries plans out: watch, plan, write intents, launch, register, release, give back.

Decides nothing itself: asks ``core`` what to do and does it through ``ports``.
"""
