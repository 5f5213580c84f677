"""The world in virtual or real time: cluster, cloud and users for the tests and the demo."""
