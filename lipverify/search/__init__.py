"""From a query to a verdict."""
