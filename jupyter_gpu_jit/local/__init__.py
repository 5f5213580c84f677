"""The demo: the simulated world in real time, with a real hub and real JupyterLab in front.

Called by ``cli`` only. Nothing is imported here: the watchdog must start in milliseconds.
"""
