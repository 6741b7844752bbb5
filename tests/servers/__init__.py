"""RabbitMQ and Redis for the tests: the session's own, on free ports of the loopback, or those that a URL names."""
