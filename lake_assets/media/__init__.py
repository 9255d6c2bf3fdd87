"""What an image is: facts from one decode, mapped over many by an engine."""
