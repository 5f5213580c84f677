"""API, dashboard and quotes: a process of its own, registered at the hub as a service."""
