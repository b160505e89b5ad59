"""What a written number, date or time of day can mean."""
