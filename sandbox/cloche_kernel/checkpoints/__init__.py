"""What makes a session durable: finding what a cell changed, taking it down in bytes, and bringing it back."""
