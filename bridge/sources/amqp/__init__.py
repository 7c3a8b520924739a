"""RabbitMQ's queues as a source: acknowledged after the commit, dropped when the broker sends a message again."""
