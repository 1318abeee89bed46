"""Services that decide. They touch only the bus."""
