"""The world in virtual or real time: cluster, cloud and users that the tests and the demo run on."""
