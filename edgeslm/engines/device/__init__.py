"""What this device is: its processor, its memory, the limits of a container."""
