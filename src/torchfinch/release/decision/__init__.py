"""What happens next to a release, out of what was asked for, remembered and seen. Pure."""
