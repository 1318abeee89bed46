"""Market data of Polygon and other EVM chains: logs of Uniswap v2 and v3 pools, from a recorded capture."""
