"""The message classes of the trading system, by domain, and their value types."""
