"""Raw rows, images and the quarantine: what deliveries become."""
