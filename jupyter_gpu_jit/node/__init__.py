"""The node agent's side: what a DaemonSet on a GPU node reports. Nothing runs here yet."""
