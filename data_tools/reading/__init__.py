"""From entries to decoded images of one size, with a reason for each that is set aside."""
