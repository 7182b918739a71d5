"""What the crash suite is made of; README.md of the folder above tells how it works together."""
