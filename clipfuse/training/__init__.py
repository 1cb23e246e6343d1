"""Stage two: the loop, what it makes small, and how models are put together from what it trains."""
