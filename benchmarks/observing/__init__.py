"""What it costs to be watched: traced, scraped, and neither."""
