"""whisper-consumer: recordings named by Kafka events become transcripts."""

__version__ = "0.1.0"
