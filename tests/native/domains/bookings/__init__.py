"""Bookings. They have workflows alone, on the application's queue."""
