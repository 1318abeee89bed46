"""What a process tells about itself: logs, health, latency."""
