"""What the start script is made of: where the servers are, Flower's password, and keeping two processes running."""
