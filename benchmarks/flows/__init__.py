"""The flows that are compared, each as an app that a worker and a sender can load."""
